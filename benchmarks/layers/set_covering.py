"""CombOptNet's weighted set covering (its Tab. 5): accuracy of k m learned constraints, beside the published one.

Usage: python -m benchmarks.layers.set_covering [--m 4,6,8,10] [--multiples 1,2,4] [--runs 10] [--restarts 2]
       [--epochs 100] [--rate 5e-4] [--cooling 0] [--quick] [--json FILE] [--resume]

m elements and 2 m subsets of at most 3 of them, each element in two or more; 1600 programs to learn from and 1000 to
test on, our own data sets.
"""

from __future__ import annotations

import argparse
from functools import partial

from benchmarks.layers.ilp_published import COVERING, Figure
from benchmarks.layers.ilp_study import Row, begin, learning, show, study, study_parser, variant
from benchmarks.layers.ilp_tasks import set_covering


def published(row: Row) -> Figure | None:
    """Return the published figure of a row."""
    return COVERING.get((row["m"], row["multiple"]))


def run(arguments: argparse.Namespace) -> list[Row]:
    """Learn every setting of the command line."""
    record = begin(arguments)
    sizes, multiples = arguments.m.split(","), arguments.multiples.split(",")
    if arguments.quick:
        sizes, multiples = ["4"], ["1"]
    name = variant("positive costs", arguments)
    for multiple in multiples:
        for m in sizes:
            key = {"task": "covering", "m": int(m), "variant": name, "multiple": int(multiple)}
            make, how = partial(set_covering, int(m)), learning(int(multiple), arguments)
            study(record, key, make, how, arguments.runs, arguments.restarts)
    return record.rows


if __name__ == "__main__":
    asked = study_parser(__doc__)
    asked.add_argument("--m", default="4,6,8,10")
    asked.add_argument("--multiples", default="1,2,4")
    print(show(run(asked.parse_args()), published))
