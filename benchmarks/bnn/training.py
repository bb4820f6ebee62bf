"""Binarized networks trained as a MIP and straight through: accuracy, bound and time against samples and hidden units.

Usage: python -m benchmarks.bnn.training [--data NAME,...] [--samples 20,50,100,200] [--hidden 2,4,8] [--seeds 1]
       [--objectives max-correct] [--time-limit 20] [--solver highs] [--quick] [--json FILE] [--resume]

Ternary weights. The solver starts from what straight-through training found where `--warm` asks for it. `--quick`: 20
samples, 2 hidden units, 5 seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch

from benchmarks.bnn.data import DATA, split
from benchmarks.record import Record, command_line, number, table
from encoding.bnn_model import MARGIN, margins
from encoding.bnn_training import BnnOptions, train_bnn
from problems.interval import Vector
from proxies.straight_through import RESTARTS, STEPS, straight_through

HEAD = ["data", "objective", "samples", "hidden", "seed", "MIP train %", "bound %", "test %", "s", "end"]
HEAD += ["straight-through train %", "test %", "s"]


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train what is not yet in the file; return all rows."""
    facts = {"margin": MARGIN, "values": "ternary"}
    key_names = ["data", "objective", "samples", "hidden", "seed", "warm"]
    record = Record.begin(arguments, key_names, facts)
    asked = product(
        arguments.data.split(","),
        arguments.objectives.split(","),
        map(int, arguments.samples.split(",")),
        map(int, arguments.hidden.split(",")),
        range(arguments.seeds),
    )
    for values in asked:
        key = {**dict(zip(key_names, values)), "warm": arguments.warm}
        if record.find(**key) is None:
            print(table([], [line(record.add({**key, **measure(key, arguments)}))]).splitlines()[-1], flush=True)
    return record.rows


def measure(key: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return one row's figures."""
    given = split(key["data"], key["samples"] // 2, key["seed"])
    hidden = (key["hidden"],)
    began = time.monotonic()
    samples = torch.as_tensor(given.x), torch.as_tensor(given.labels)
    found = straight_through(*samples, hidden, "ternary", MARGIN, False, key["seed"], STEPS, RESTARTS)
    usual = [layer.numpy() for layer in found]
    usual_seconds = time.monotonic() - began
    options = BnnOptions(
        hidden, objective=key["objective"], solver=arguments.solver, time_limit=arguments.time_limit, seed=key["seed"]
    )
    trained = train_bnn(given.x, given.labels, options, start=usual if arguments.warm else None)
    count = len(given.labels)
    return {
        "train": 100 * trained.correct / count if trained.weights else None,
        "bound": 100 * min(1.0, trained.bound / count) if key["objective"] == "max-correct" else None,
        "objective value": trained.objective,
        "objective bound": trained.bound,
        "test": _accuracy(given.test_x, given.test_labels, trained.weights) if trained.weights else None,
        "seconds": trained.seconds,
        "status": trained.status.value,
        "nodes": trained.nodes,
        "straight-through train": _accuracy(given.x, given.labels, usual),
        "straight-through test": _accuracy(given.test_x, given.test_labels, usual),
        "straight-through seconds": usual_seconds,
    }


def _accuracy(x: Vector, labels: Vector, weights: Sequence[Vector]) -> float:
    return 100 * float((labels * margins(x, weights) > 0).mean())


def line(row: dict[str, Any]) -> list[Any]:
    """Return the cells of one row."""
    shown = [number(row[name], ".1f") for name in ("train", "bound", "test", "seconds")]
    usual = [number(row[f"straight-through {name}"], ".1f") for name in ("train", "test", "seconds")]
    objective = f"{row['objective']}, from straight-through" if row["warm"] else row["objective"]
    head = [row["data"], objective, row["samples"], row["hidden"], row["seed"]]
    return [*head, *shown, row["status"], *usual]


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_line(__doc__)
    made.add_argument("--data", default=",".join(DATA))
    made.add_argument("--objectives", default="max-correct")
    made.add_argument("--samples", default="20,50,100,200")
    made.add_argument("--hidden", default="2,4,8")
    made.add_argument("--seeds", type=int, default=1)
    made.add_argument("--time-limit", type=float, default=20.0)
    made.add_argument("--solver", default="highs")
    made.add_argument("--warm", action="store_true")
    made.add_argument("--quick", action="store_true")
    return made


def main() -> None:
    """Run the benchmark from the command line."""
    arguments = parser().parse_args()
    if arguments.quick:
        arguments.samples, arguments.hidden, arguments.time_limit = "20", "2", 5.0
    torch.set_num_threads(1)
    print(table(HEAD, [line(row) for row in run(arguments)]))


if __name__ == "__main__":
    main()
