"""CombOptNet's random constraints (its Tab. 4): accuracy of k m learned constraints, beside the published one.

Usage: python -m benchmarks.layers.random_constraints [--kinds binary,dense] [--m 1,2,4,8] [--multiples 1,2,4]
       [--runs 10] [--restarts 2] [--epochs 100] [--rate 5e-4] [--cooling 0] [--positive-costs] [--quick]
       [--json FILE] [--resume]

16 variables, 1600 programs to learn from and 1000 to test on, our own data sets by the paper's recipe. "within": our
mean is no more than the published deviation below the published mean. Costs have both signs, as the paper says; its
program's settings hold a misspelt "false" that reads as true, and --positive-costs shows what that would give.
"""

from __future__ import annotations

import argparse
from functools import partial

from benchmarks.layers.ilp_published import RANDOM, Figure
from benchmarks.layers.ilp_study import Row, begin, learning, show, study, study_parser, variant
from benchmarks.layers.ilp_tasks import Kind, Task, random_constraints


def published(row: Row) -> Figure | None:
    """Return the published figure of a row."""
    return RANDOM.get((row["task"], row["m"], row["multiple"])) if row["variant"].startswith("signed costs") else None


def run(arguments: argparse.Namespace) -> list[Row]:
    """Learn every setting of the command line."""
    record = begin(arguments)
    kinds, sizes, multiples = arguments.kinds.split(","), arguments.m.split(","), arguments.multiples.split(",")
    if arguments.quick:
        kinds, sizes, multiples = ["binary"], ["1"], ["1"]
    name = variant("positive costs" if arguments.positive_costs else "signed costs", arguments)
    for kind in kinds:
        for multiple in multiples:
            for m in sizes:
                key = {"task": kind, "m": int(m), "variant": name, "multiple": int(multiple)}
                make = partial(_task, kind, int(m), arguments.positive_costs)
                how = learning(int(multiple), arguments)
                study(record, key, make, how, arguments.runs, arguments.restarts)
    return record.rows


def _task(kind: Kind, m: int, positive: bool, seed: int) -> Task:
    return random_constraints(kind, m, seed, positive)


if __name__ == "__main__":
    asked = study_parser(__doc__)
    asked.add_argument("--kinds", default="binary,dense")
    asked.add_argument("--m", default="1,2,4,8")
    asked.add_argument("--multiples", default="1,2,4")
    asked.add_argument("--positive-costs", action="store_true")
    print(show(run(asked.parse_args()), published))
