"""DC-OPF proxies trained with a QP projection as their repair, beside clamp and hypersimplex: mean gaps on one grid.

Usage: python benchmarks/layers/projection.py [--case pglib_opf_case57_ieee] [--u 20] [--ratings 1.0,0.6,0.4]
       [--steps 1000] [--seeds 0,1,2] [--threads 1] [--quick] [--json FILE]

Both proxies have the same network and the same training: the objective of their own dispatch (overloads priced) and a
pull towards what the repair keeps. Clamp and hypersimplex meet the generators' limits and the demand; the projection
meets the branch limits too. Gaps are relative to the exact optimum with soft limits, on inputs that have a dispatch
within hard limits. The projection is for training only: it has no encoding, so such a proxy cannot be verified.
`--ratings` scale the branch limits, to make them bind: where none does, both repairs are the same map inside the box.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from qp_record import begin, parser, table
from torch import Tensor, nn

from problems.dcopf import DcOpf
from problems.grid import load_grid
from proxies.layers import hypersimplex
from proxies.layers.qp import Status
from proxies.layers.qp_projection import QPProjection

HIDDEN, BATCH, RATE = 32, 64, 3e-3
# Pull towards what the repair keeps, as a share of the largest cost: the training floor's value.
PULL = 0.1
TEST_INPUTS = 400
REPAIRS = ("clamp + hypersimplex", "QP projection")


class Trained(nn.Module):
    """A network that reads the loads and writes the share of every generator's range, and a repair."""

    def __init__(self, problem: DcOpf, repair: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.loads = torch.as_tensor(np.flatnonzero(problem.grid.load))
        self.low, self.high = torch.as_tensor(problem.grid.pmin), torch.as_tensor(problem.grid.pmax)
        self.repair = repair
        sizes = (len(self.loads), HIDDEN, HIDDEN, len(self.low))
        layers = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.ReLU())][:-1]
        self.network = nn.Sequential(*layers).double()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's dispatch and the repaired one."""
        h = self.low + (0.5 + self.network(x[:, self.loads])) * (self.high - self.low)
        return h, self.repair(h, x)


def repair_of(name: str, problem: DcOpf) -> Callable[[Tensor, Tensor], Tensor]:
    """Return one of the two repairs as a function of the network's dispatch and the demand."""
    if name == "QP projection":
        return QPProjection(problem)
    low, high = torch.as_tensor(problem.grid.pmin), torch.as_tensor(problem.grid.pmax)
    constant = float(problem.fixed_demand.sum())
    return lambda h, x: hypersimplex(torch.minimum(torch.maximum(h, low), high), x.sum(-1) + constant, low, high)


def inputs(problem: DcOpf, u: float, count: int, seed: int) -> Tensor:
    """Return those of `count` drawn demands ((at most count, n_bus)) that some dispatch serves within hard limits."""
    domain = problem.domain(u)
    x = torch.as_tensor(domain.sample(count, seed) @ domain.matrix.toarray().T + domain.shift)
    middle = torch.as_tensor((problem.grid.pmin + problem.grid.pmax) / 2).expand(count, -1)
    return x[QPProjection(problem).solve(middle, x).status == Status.SOLVED]


def measure(problem: DcOpf, name: str, u: float, steps: int, seed: int, test: Tensor, best: Tensor) -> dict[str, Any]:
    """Train one proxy, and return its mean and largest relative gap on the test inputs, and how many it overloads."""
    torch.manual_seed(seed)
    model = Trained(problem, repair_of(name, problem))
    optimiser = torch.optim.Adam(model.network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    pool = inputs(problem, u, 4096, seed + 1)
    draw = torch.Generator().manual_seed(seed)
    scale, pull = float(best.mean()), PULL * float(problem.grid.cost.max())
    began = time.perf_counter()
    for _ in range(steps):
        x = pool[torch.randint(len(pool), (BATCH,), generator=draw)]
        h, y = model(x)
        loss = (problem.objective(x, y).mean() + pull * (h - y).abs().sum(-1).mean()) / scale
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    seconds = time.perf_counter() - began
    with torch.no_grad():
        y = model(test)[1]
        gap = problem.objective(test, y) / best - 1
        overloaded = problem.overloads(test, y).amax(-1) > 1e-6
    return {
        "mean_gap": float(gap.mean()),
        "largest_gap": float(gap.max()),
        "overloaded": float(overloaded.double().mean()),
        "seconds": seconds,
    }


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train every repair with every seed, and return the rows."""
    kept = begin(arguments, ["rating", "repair", "trained_with"])
    grid, u = load_grid(arguments.case), arguments.u / 100
    for rating in [float(word) for word in arguments.ratings.split(",")]:
        problem = DcOpf(replace(grid, rating=rating * grid.rating))
        test = inputs(problem, u, arguments.inputs, 10_000)
        best = torch.tensor([problem.solve(x)[0] for x in test.numpy()], dtype=torch.float64)
        served = {"served": len(test) / arguments.inputs}
        for seed in [int(word) for word in arguments.seeds.split(",")]:
            for name in REPAIRS:
                row = measure(problem, name, u, arguments.steps, seed, test, best)
                kept.add({"rating": rating, "repair": name, "trained_with": seed, **served, **row})
    return list(kept.rows)


def show(rows: Sequence[dict[str, Any]]) -> str:
    """Return the mean over the seeds for each repair and rating."""
    lines = []
    for rating, name in dict.fromkeys((row["rating"], row["repair"]) for row in rows):
        own = [row for row in rows if (row["rating"], row["repair"]) == (rating, name)]
        shares = ("served", "mean_gap", "largest_gap", "overloaded")
        means = [f"{100 * np.mean([row[key] for row in own]):.3f}" for key in shares]
        lines.append([rating, name, len(own), *means, f"{np.mean([row['seconds'] for row in own]):.0f}"])
    head = ["branch limits times", "repair", "seeds", "served inputs %", "mean gap %", "largest gap %"]
    return table([*head, "overloaded inputs %", "s"], lines)


def main(argv: Sequence[str] | None = None) -> None:
    command = parser(__doc__)
    command.add_argument("--case", default="pglib_opf_case57_ieee")
    command.add_argument("--u", type=float, default=20.0)
    command.add_argument("--ratings", default="1.0,0.6,0.4")
    command.add_argument("--steps", type=int, default=1000)
    command.add_argument("--seeds", default="0,1,2")
    command.add_argument("--inputs", type=int, default=TEST_INPUTS)
    arguments = command.parse_args(argv)
    if arguments.quick:
        arguments.steps, arguments.seeds, arguments.inputs = 20, "0", 10
    print(show(run(arguments)))


if __name__ == "__main__":
    main()
