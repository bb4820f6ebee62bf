"""Gradients of MIP values against directional finite differences, by kind of program and distance from a tie.

python -m benchmarks.bnn.mip_gradient --json benchmarks/bnn/mip_gradient.json [--kinds "mixed 5 + 3"] [--programs 1000]
       [--quick] [--resume]
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.bnn.mip_programs import KINDS, SMALL
from benchmarks.record import Record, command_line, number, table
from proxies.layers.mip_value import MipOptions, mip_value_solve, mip_value_vjp
from solvers.elastic_program import ElasticProgram

# STEP: half of the distance over which a difference is taken, along a direction of norm one in each of c, A and b. A
# program whose second assignment is worse by less than AWAY is near a tie. AGREE is relative to 1 + |derivative|.
STEP, AWAY, AGREE = 1e-6, 1e-4, 1e-4
HEAD = [
    "kind",
    "programs",
    "solved",
    "at a kink",
    "near a tie",
    "compared",
    "match %",
    "worst compared",
    "match % of rest",
]


def compare(programs: list[ElasticProgram], rng: np.random.Generator) -> dict[str, float | int]:
    """Return how well gradient and difference agree, each program along one random direction of (c, A, b)."""
    parts = {name: torch.as_tensor(np.stack([getattr(one, name) for one in programs])) for name in ("c", "A", "b")}
    ways = {name: torch.as_tensor(rng.normal(size=part.shape)) * (part != 0) for name, part in parts.items()}
    ways = {name: way / way.flatten(1).norm(dim=1).reshape(-1, *[1] * (way.ndim - 1)) for name, way in ways.items()}
    first = programs[0]
    rest = [torch.as_tensor(part) for part in (first.lower, first.upper, first.integer, first.penalty)]
    ones = torch.ones(len(programs), dtype=torch.float64)
    equality = torch.as_tensor(first.equality)
    solution, grads = mip_value_vjp(parts, ones, *rest, MipOptions(pieces=2), equality=equality)
    slope = sum(((grads[name] * ways[name]).flatten(1).sum(1) for name in parts), torch.zeros(()))
    ends = [
        mip_value_solve(*(parts[name] + sign * STEP * ways[name] for name in parts), *rest, equality=equality).value
        for sign in (1, -1)
    ]
    difference = (ends[0] - ends[1]) / (2 * STEP)
    error = (difference - slope).abs() / (1 + slope.abs())
    near = solution.margin <= AWAY
    kink = ~solution.unique_x | ~solution.unique_y
    away = solution.solved & ~kink & ~near
    return {
        "programs": len(programs),
        "solved": int(solution.solved.sum()),
        "at a kink": int(kink.sum()),
        "near a tie": int(near.sum()),
        "compared": int(away.sum()),
        "match %": share(error[away] <= AGREE),
        "worst compared": float(error[away].max()) if bool(away.any()) else float("nan"),
        "match % of rest": share(error[solution.solved & ~away] <= AGREE),
    }


def share(match: Tensor) -> float:
    """Return the percentage of true entries, NaN where there are none."""
    return 100 * float(match.double().mean())


def main() -> None:
    made = command_line(__doc__)
    made.add_argument("--kinds", default=";".join(SMALL), help="separated by semicolons")
    made.add_argument("--programs", type=int, default=1000, help="of each kind")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--quick", action="store_true", help="20 programs of each kind")
    arguments = made.parse_args()
    torch.set_num_threads(1)
    count = 20 if arguments.quick else arguments.programs
    record = Record.begin(arguments, ["kind"], {"step": STEP, "away": AWAY, "agree": AGREE})
    for kind in arguments.kinds.split(";"):
        rng = np.random.default_rng(arguments.seed)
        record.add({"kind": kind, **compare([KINDS[kind](rng) for _ in range(count)], rng)})
    cells = ([row[name] for name in HEAD] for row in record.rows)
    print(table(HEAD, [[v if isinstance(v, (int, str)) else number(v, ".3g") for v in row] for row in cells]))


if __name__ == "__main__":
    main()
