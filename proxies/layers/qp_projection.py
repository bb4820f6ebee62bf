"""Projection of a dispatch onto everything that is feasible with hard limits, as a repair layer for training.

It has no encoding and no bounds: a proxy that ends in it can be trained and evaluated, not verified.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from problems.dcopf import DcOpf
from proxies.layers.qp import QPLayer, QPOptions, QPSolution


class QPProjection(nn.Module):
    """The dispatch nearest to the network's that meets the demand, the generators' limits and every branch limit.

    min |p - h|^2 subject to 1'p = demand, pmin <= p <= pmax, and flows within the problem's limits, which are hard here
    whatever the problem says. Generators with pmin = pmax stay there.

    Args:
        problem: the problem, for its grid and limits.
        options: how to solve; by default inputs that no dispatch can serve give NaN.
    """

    matrix: Tensor
    ceiling: Tensor
    per_load: Tensor
    fixed: Tensor
    moved: Tensor

    def __init__(self, problem: DcOpf, options: QPOptions | None = None) -> None:
        super().__init__()
        grid, limit = problem.grid, problem.limit
        moved = grid.dispatchable
        fixed = np.where(np.isin(np.arange(grid.generators), moved), 0.0, grid.pmin)
        eye = np.eye(moved.size)
        flow = problem.flow_of_dispatch[:, moved]
        base = problem.flow_of_nothing + problem.flow_of_dispatch @ fixed
        # Rows: generators up and down, branches up and down; each load moves only the branches' ceilings.
        matrix = np.concatenate([eye, -eye, flow, -flow])
        none = np.zeros((2 * moved.size, grid.buses))
        ceiling = [grid.pmax[moved], -grid.pmin[moved], limit.upper - base, base - limit.lower]
        per_load = np.concatenate([none, grid.ptdf, -grid.ptdf])
        stated = np.isfinite(np.concatenate(ceiling))
        self.register_buffer("matrix", torch.as_tensor(matrix[stated]))
        self.register_buffer("ceiling", torch.as_tensor(np.concatenate(ceiling)[stated]))
        self.register_buffer("per_load", torch.as_tensor(per_load[stated]))
        self.register_buffer("fixed", torch.as_tensor(fixed))
        self.register_buffer("moved", torch.as_tensor(moved))
        self.demand_constant = float(problem.fixed_demand.sum() - fixed.sum())
        self.layer = QPLayer(
            options,
            Q=torch.eye(moved.size, dtype=torch.float64),
            A=torch.ones(1, moved.size, dtype=torch.float64),
            G=self.matrix,
        )

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the feasible dispatch ((batch, n_gen)) for h ((batch, n_gen)) and demand x ((batch, n_bus)), per
        unit; NaN where there is none."""
        z = self.solve(h, x).z.to(h.dtype)
        return self.fixed.to(h.dtype).expand_as(h).index_copy(-1, self.moved, z)

    def solve(self, h: Tensor, x: Tensor) -> QPSolution:
        """Return the projection's solution, with its status, for the generators that can move."""
        wide, demand = h.double(), x.double()
        total = demand.sum(-1, keepdim=True) + self.demand_constant
        return self.layer.solve(q=-wide[:, self.moved], b=total, h=self.ceiling + demand @ self.per_load.mT)
