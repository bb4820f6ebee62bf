"""CombOptNet's ablations (its Tab. 8 and 9): origins, basis and softened minimum, beside the published figures.

Usage: python -m benchmarks.layers.ilp_ablation [--tasks binary,dense,covering] [--m 1,2,4,8,6,10] [--runs 10]
       [--epochs 100] [--quick] [--json FILE] [--resume]

Each variant changes one thing: m learned constraints, learned origins, the delta basis, tau 0.5. `--m` picks among the
published sizes of a task.
"""

from __future__ import annotations

import argparse
from functools import partial

from benchmarks.layers.ilp_learning import Learning
from benchmarks.layers.ilp_published import ABLATION, COVERING, RANDOM, Figure
from benchmarks.layers.ilp_study import Row, begin, parser, show, study
from benchmarks.layers.ilp_tasks import random_constraints, set_covering

DEFAULT = "default"
CHANGES: dict[str, dict[str, object]] = {
    DEFAULT: {},
    "origin corner": {"origins": "corner"},
    "origin centre": {"origins": "centre"},
    "canonical basis": {"basis": "canonical"},
    "hard minimum": {"tau": 0.0},
    "tau 1": {"tau": 1.0},
    "tau 2": {"tau": 2.0},
    "tau 5": {"tau": 5.0},
}
SIZES = {"binary": (1, 2, 4, 8), "dense": (1, 2, 4, 8), "covering": (4, 6, 8, 10)}


def published(row: Row) -> Figure | None:
    """Return the published figure of a row."""
    if row["variant"] == DEFAULT:
        return COVERING[row["m"], 1] if row["task"] == "covering" else RANDOM[row["task"], row["m"], 1]
    return ABLATION[row["task"], row["variant"]].get(row["m"])


def run(arguments: argparse.Namespace) -> list[Row]:
    """Learn every setting of the command line."""
    record = begin(arguments)
    tasks, sizes = arguments.tasks.split(","), [int(m) for m in arguments.m.split(",")]
    if arguments.quick:
        tasks, sizes = ["binary"], [2]
    for task in tasks:
        for m in (size for size in SIZES[task] if size in sizes):
            for variant, change in CHANGES.items():
                if variant != DEFAULT and (task, variant) not in ABLATION:
                    continue
                key = {"task": task, "m": m, "variant": variant, "multiple": 1}
                make = partial(set_covering, m) if task == "covering" else partial(random_constraints, task, m)
                study(record, key, make, Learning(epochs=arguments.epochs, **change), arguments.runs)
    return record.rows


if __name__ == "__main__":
    asked = parser(__doc__)
    asked.add_argument("--tasks", default="binary,dense,covering")
    asked.add_argument("--m", default="1,2,4,8,6,10")
    print(show(run(asked.parse_args()), published))
