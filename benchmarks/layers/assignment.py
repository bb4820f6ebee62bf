"""A synthetic assignment task in the place of CombOptNet's keypoint matching (its Tab. 1): constraints and costs.

Usage: python -m benchmarks.layers.assignment [--points 4,5,6] [--runs 3] [--steps 6000] [--quick] [--json FILE]
       [--resume]

The paper matches keypoints of photographs (SPair-71k) with a pretrained image network. Neither is here. Instead, p of
12 landmarks are seen in two views as noisy vectors; in the second view they come in another order, and each is missing
with probability 0.2, an unseen landmark in its place. A small network turns the two views into p x p costs, and the
layer must find the matching: y in {0, 1}^(p p), at most one match a row and a column. The network and 2 p constraints
are learned together, from matchings.

Besides: "known", the same network with the true constraints of an assignment, and "none", without any: what knowing
them is worth. "variables" is the share of entries of y that are met (what Tab. 1 calls per-variable accuracy; "all
zero" is what no match at all would reach), "matchings" the share of whole matchings. The published column belongs to
another task; its "known" is BB-GM (unary).
"""

from __future__ import annotations

import argparse
import time
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.layers.ilp_published import KEYPOINTS
from benchmarks.layers.ilp_study import parser as shared_parser
from benchmarks.layers.ilp_tasks import half_spaces
from benchmarks.record import Record, table
from proxies.layers.ilp import ILPLayer
from proxies.layers.ilp_constraints import ConstraintModule

Row = dict[str, Any]
Constraints = Literal["learned", "known", "none"]
LANDMARKS, FEATURES, NOISE, MISSING = 12, 16, 0.9, 0.2
HIDDEN, EMBEDDING = 64, 16
BATCH, TEST, RATE, CONSTRAINT_RATE = 8, 1000, 3e-4, 2e-3
# The share of steps, at the end, over which all rates fall to zero: at constant ones the last steps' noise is measured.
COOLING = 0.5


class Views:
    """Draws pairs of views of the same landmarks, and which points match."""

    def __init__(self, points: int, seed: int) -> None:
        self.points = points
        self.generator = torch.Generator().manual_seed(seed)
        self.landmarks = torch.randn(LANDMARKS, FEATURES, generator=self.generator).double()

    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return first and second views ((count, p, features)) and matchings ((count, p p))."""
        p = self.points
        order = torch.rand(count, LANDMARKS, generator=self.generator).argsort(-1)
        first, unseen = order[:, :p], order[:, p : 2 * p] if 2 * p <= LANDMARKS else order.roll(-p, 1)[:, :p]
        gone = torch.rand(count, p, generator=self.generator) < MISSING
        # With more than half of the landmarks seen, an unseen one may be one that is seen elsewhere: leave it there.
        gone &= ~(unseen[:, :, None] == first[:, None, :]).any(-1)
        second = torch.where(gone, unseen, first)
        second = second.gather(1, torch.rand(count, p, generator=self.generator).argsort(-1))
        match = (first[:, :, None] == second[:, None, :]).double().flatten(1)
        return self._see(first), self._see(second), match

    def _see(self, which: Tensor) -> Tensor:
        noise = torch.randn(*which.shape, FEATURES, generator=self.generator).double()
        return torch.tanh(self.landmarks[which] + NOISE * noise)


class Matcher(nn.Module):
    """Turns two views into costs ((B, p p), of unit norm): a learned threshold less the similarity of embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, EMBEDDING))
        self.threshold = nn.Parameter(torch.tensor(0.3))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        one, other = (nn.functional.normalize(self.network(view), dim=-1) for view in (first, second))
        costs = self.threshold - one @ other.transpose(1, 2)
        return nn.functional.normalize(costs.flatten(1), dim=-1)


def assignment_rows(points: int) -> tuple[Tensor, Tensor]:
    """Return the rows A ((2 p, p p)) and b of at most one match a row and a column."""
    eye, ones = torch.eye(points, dtype=torch.float64), torch.ones(1, points, dtype=torch.float64)
    return torch.cat([torch.kron(eye, ones), torch.kron(ones, eye)]), torch.ones(2 * points, dtype=torch.float64)


class Fixed(nn.Module):
    """Constraints that are not learned."""

    def __init__(self, A: Tensor, b: Tensor) -> None:
        super().__init__()
        self.rows = A, b

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.rows


def constraints_of(kind: Constraints, points: int, seed: int) -> nn.Module:
    """Return the constraints to begin with; learned ones are random half-spaces, as for random constraints."""
    A, b = assignment_rows(points)
    if kind == "learned":
        drawn = half_spaces(np.random.default_rng(seed), 2 * points, points * points, 0.0, 1.0)
        return ConstraintModule(*(torch.as_tensor(part) for part in drawn))
    return Fixed(A, b) if kind == "known" else Fixed(A[:0], b[:0])


def learn(kind: Constraints, points: int, steps: int, seed: int) -> Row:
    """Train one network and return what it reaches on new views."""
    torch.manual_seed(seed)
    views, matcher, constraints = Views(points, seed), Matcher().double(), constraints_of(kind, points, seed)
    test = views.draw(TEST)
    layer = ILPLayer(0, 1)
    groups = [{"params": list(matcher.parameters()), "lr": RATE}]
    groups += [{"params": list(constraints.parameters()), "lr": CONSTRAINT_RATE}] if kind == "learned" else []
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (steps - step) / (COOLING * steps)))
    began = time.perf_counter()
    for _ in range(steps):
        first, second, match = views.draw(BATCH)
        loss = (layer(matcher(first, second), *constraints()).y - match).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - began
    with torch.no_grad():
        met = layer(matcher(*test[:2]), *constraints()).y == test[2]
    share = float(test[2].mean())
    return {
        "variables": float(met.double().mean()),
        "matchings": float(met.all(-1).double().mean()),
        "empty": 1 - share,
        "seconds": seconds,
    }


def show(rows: list[Row]) -> str:
    """Return the table, a line for each size and kind of constraints."""
    lines = []
    for points, kind in sorted({(row["points"], row["constraints"]) for row in rows}):
        some = [row for row in rows if (row["points"], row["constraints"]) == (points, kind)]
        ours, known = KEYPOINTS[points]
        cells = []
        for name in ("variables", "matchings"):
            reached = [100 * row[name] for row in some]
            cells.append(f"{mean(reached):.1f}" + (f" ± {stdev(reached):.1f}" if len(reached) > 1 else ""))
        empty, seconds = (mean(row[name] for row in some) for name in ("empty", "seconds"))
        published = {"learned": ours, "known": known}.get(kind, "-")
        cells = [f"{points} x {points}", kind, *cells, f"{100 * empty:.1f}", published]
        lines.append([*cells, len(some), some[0]["steps"], f"{seconds:.0f}"])
    head = ["points", "constraints", "variables %", "matchings %", "all zero %", "published %, keypoints"]
    return table([*head, "runs", "steps", "s a run"], lines)


def run(arguments: argparse.Namespace) -> list[Row]:
    """Learn every setting of the command line."""
    torch.set_num_threads(1)
    if arguments.quick:
        arguments.points, arguments.runs, arguments.steps = "4", 1, 200
    record = Record.begin(arguments, ["points", "constraints", "seed", "steps"], {})
    kinds: tuple[Constraints, ...] = ("learned", "known", "none")
    for points in map(int, arguments.points.split(",")):
        for seed in range(arguments.runs):
            for kind in kinds:
                key = {"points": points, "constraints": kind, "seed": seed, "steps": arguments.steps}
                if record.find(**key) is None:
                    row = record.add(key | learn(kind, points, arguments.steps, seed))
                    print(*row.values(), flush=True)
    return record.rows


if __name__ == "__main__":
    asked = shared_parser(__doc__)
    asked.set_defaults(runs=3)
    asked.add_argument("--points", default="4,5,6")
    asked.add_argument("--steps", type=int, default=6000)
    print(show(run(asked.parse_args())))
