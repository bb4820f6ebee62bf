"""Hypersimplex layer: one scalar shift, clipped to the limits, makes the entries sum to the demand.

Source: Chen et al. 2024, eq. (13), Algorithm 2; evaluated exactly by sorting instead of by bisection.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proxies.errors import InfeasibleDemandError, ProxyError
from proxies.layers.layer import Layer
from solvers.safe_bound import gamma

# A demand this far outside the limits, relative to them, is rounding and is moved onto the limit.
DEMAND_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


class Hypersimplex(Layer):
    """The hypersimplex repair, for a demand that is an affine function of the proxy's input.

    Args:
        lower, upper: (n,) limits.
        demand_weight: (n_x,); the demand is demand_weight'x + demand_constant.
        demand_constant: scalar tensor.
    """

    lower: Tensor
    upper: Tensor
    demand_weight: Tensor
    demand_constant: Tensor

    def __init__(
        self, lower: Tensor, upper: Tensor, demand_weight: Tensor, demand_constant: Tensor | float = 0.0
    ) -> None:
        super().__init__()
        self.register_buffer("lower", torch.as_tensor(lower, dtype=torch.float64).clone())
        self.register_buffer("upper", torch.as_tensor(upper, dtype=torch.float64).clone())
        self.register_buffer("demand_weight", torch.as_tensor(demand_weight, dtype=torch.float64).clone())
        self.register_buffer("demand_constant", torch.as_tensor(demand_constant, dtype=torch.float64).clone())
        if self.lower.shape != self.upper.shape or bool((self.lower > self.upper).any()):
            raise ProxyError("a hypersimplex layer needs as many lower as upper limits, none above its upper one")

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return hypersimplex(h, x @ self.demand_weight + self.demand_constant, self.lower, self.upper)

    def on_latent(self, matrix: Tensor, shift: Tensor) -> Hypersimplex:
        weight, constant = self.demand_weight @ matrix, self.demand_weight @ shift + self.demand_constant
        return Hypersimplex(self.lower, self.upper, weight, constant)

    def rounding(self, magnitude: Tensor) -> Tensor:
        """Return how far shift and outputs can be from the exact ones in float64 ((...)), in any order of summation.

        Args:
            magnitude: (..., n_x) the largest absolute values of x.
        """
        demand = magnitude @ self.demand_weight.to(magnitude).abs() + self.demand_constant.to(magnitude).abs()
        limits = self.lower.abs().sum() + self.upper.abs().sum()
        return gamma(4 * self.lower.numel() + self.demand_weight.numel()) * (limits.to(magnitude) + demand)

    def output_size(self, input_size: int) -> int:
        if input_size != self.lower.numel():
            raise ProxyError(f"a hypersimplex layer takes {self.lower.numel()} values but gets {input_size}")
        return input_size


def hypersimplex(p: Tensor, demand: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Shift every entry of `p` by one scalar, clipped to its limits, until the entries sum to `demand`.

    Args:
        p: (batch, n) dispatch in per unit, already inside [lower, upper].
        demand: (batch,) total to reach, per unit.
        lower, upper: (n,) limits, per unit.

    Returns:
        (batch, n) the unique clip(p + shift, lower, upper) whose rows sum to `demand`. Its gradient is that of the
        entries strictly between their limits; where none is, it is zero.

    Raises:
        InfeasibleDemandError: a demand lies outside [sum(lower), sum(upper)].

    Source: Chen et al. 2024, eq. (13), Algorithm 2.
    """
    shift = shift_to_demand(p.detach(), demand.detach(), lower, upper)[:, None]
    moved = p.detach() + shift
    above, below = moved >= upper, moved <= lower
    free = ~(above | below)
    held = torch.where(above, upper, lower)
    # The same shift once more, from the free entries alone: exact to rounding, and differentiable.
    count = free.sum(-1)
    rest = demand - torch.where(free, p, held).sum(-1)
    exact = p + (rest / count.clamp(min=1))[:, None]
    return torch.where(free, torch.minimum(torch.maximum(exact, lower), upper), held)


def shift_to_demand(p: Tensor, demand: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return the shift ((batch,)) at which the entries of clip(p + shift, lower, upper) sum to `demand`.

    The sum is piecewise linear and nondecreasing in the shift, with two breakpoints an entry: they are sorted and
    the segment that holds the demand is found. Arguments and errors as `hypersimplex`; where the sum is flat at the
    demand, an end of the flat part is returned.
    """
    least, most = lower.sum(), upper.sum()
    slack = DEMAND_TOLERANCE.get(p.dtype, 1e-5) * (1 + lower.abs().sum() + upper.abs().sum())
    served = (demand >= least - slack) & (demand <= most + slack)  # False also for what is not a number.
    if not bool(served.all()):
        worst = demand[~served][0].item()
        raise InfeasibleDemandError(
            f"a demand of {worst:.6g} per unit is outside what the generators can serve, "
            f"{least.item():.6g} to {most.item():.6g}; leave such inputs out of the domain"
        )
    target = torch.minimum(torch.maximum(demand, least), most)
    starts, ends = lower - p, upper - p
    points, order = torch.cat([starts, ends], -1).sort(-1)
    slope = torch.cat([torch.ones_like(starts), -torch.ones_like(ends)], -1).gather(-1, order).cumsum(-1)
    rise = slope[:, :-1] * points.diff(dim=-1)
    total = least + torch.cat([torch.zeros_like(points[:, :1]), rise.cumsum(-1)], -1)
    segment = torch.searchsorted(total.contiguous(), target[:, None].contiguous()).clamp(1, points.shape[-1] - 1)
    left, right = points.gather(-1, segment - 1), points.gather(-1, segment)
    base = total.gather(-1, segment - 1)
    step = (target[:, None] - base) / slope.gather(-1, segment - 1).clamp(min=1)
    return torch.minimum(torch.maximum(left + step, left), right)[:, 0]
