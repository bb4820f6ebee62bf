"""Few samples: an embedding trained through the MIP's value, beside straight-through training and the MIP alone.

Usage: python -m benchmarks.bnn.end_to_end [--data NAME,...] [--features 2,3] [--seeds 10] [--solver highs|gurobi]
       [--steps 60] [--rate 0.1] [--margin 0.5] [--growth 1.5] [--time-limit 5] [--quick] [--json FILE] [--resume]

Ten samples a class; 2 hidden sign units with ternary weights behind an embedding, added up. A seed draws samples and
the random embedding that all methods start from. "MIP alone": the most samples right that any such network gets on the
embedding as it is. "straight-through": 300 steps and 5 restarts at a low and at a high rate, embedding and network
together. Wherever the MIP's value has come down to 0, its margin is multiplied by `--growth`. All but the MIP alone
keep the iterate with the most training samples right, then with the least loss (through the MIP: the largest margin).
`--quick`: one seed, 2 features, 10 steps.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.bnn.data import DATA, Split, split
from benchmarks.bnn.embedding import PENALTY, Embedded, embed, past_the_mip, start, through_the_mip
from benchmarks.record import Record, command_line, number, table
from encoding.bnn_training import BnnOptions, train_bnn
from proxies.layers.mip_value import MipOptions

PER_CLASS, HIDDEN = 10, (2,)
USUAL_STEPS, RESTARTS, USUAL_RATES = 300, 5, (0.02, 0.05)
METHODS = ("alone", "through", *(f"straight {rate:g}" for rate in USUAL_RATES))


def measure(name: str, features: int, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return one row's figures: training and test accuracy of every method, in percent."""
    given = split(name, PER_CLASS, seed)
    begin = start(given.x, features, seed)
    options = BnnOptions(HIDDEN, readout="sum", solver=arguments.solver, time_limit=20.0)
    alone = train_bnn(embed(*begin, given.x), given.labels, options)
    assert alone.weights is not None
    row = _accuracies("alone", Embedded(*begin, alone.weights, alone.margin), given)
    began = time.monotonic()
    how = MipOptions(time_limit=arguments.time_limit, solver=arguments.solver)
    steps = (arguments.steps, arguments.rate, arguments.margin, arguments.growth)
    through = through_the_mip(given.x, given.labels, begin, HIDDEN, *steps, how)
    row |= _accuracies("through", through, given)
    row |= {
        "alone status": alone.status.value,
        "first train": through.accuracies[0],
        "first value": through.values[0],
        "last value": through.values[-1],
        "margin": through.margin,
        "steps": len(through.values),
        "unproven": through.unproven,
        "seconds": time.monotonic() - began,
    }
    for rate in USUAL_RATES:
        usual = past_the_mip(given.x, given.labels, begin, HIDDEN, USUAL_STEPS, rate, RESTARTS, seed)
        row |= _accuracies(f"straight {rate:g}", usual, given)
    return row


def _accuracies(method: str, found: Embedded, given: Split) -> dict[str, Any]:
    return {
        f"{method} train": found.correct(given.x, given.labels),
        f"{method} test": found.correct(given.test_x, given.test_labels),
    }


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train what is not yet in the file; return all rows."""
    facts = {"per class": PER_CLASS, "hidden": HIDDEN, "penalty": PENALTY}
    record = Record.begin(arguments, ["data", "features", "seed"], facts)
    for name, features, seed in product(
        arguments.data.split(","), map(int, arguments.features.split(",")), range(arguments.seeds)
    ):
        if record.find(data=name, features=features, seed=seed) is None:
            row = record.add(
                {"data": name, "features": features, "seed": seed, **measure(name, features, seed, arguments)}
            )
            tests = ", ".join(
                f"{method} {row[f'{method} train']:.0f}/{row[f'{method} test']:.1f}" for method in METHODS
            )
            print(f"{name}, {features} features, seed {seed}: {tests}; {row['seconds']:.0f} s", flush=True)
    return record.rows


def summary(rows: list[dict[str, Any]]) -> str:
    """Return a table with a line for each data set and number of features."""
    head = ["data", "features", "seeds"]
    for method in ("MIP alone", "through the MIP", *(f"straight-through, rate {rate:g}" for rate in USUAL_RATES)):
        head += [f"{method}: train %", "test %"]
    head += ["train rose", "test above straight-through", "value", "steps", "unproven", "s"]
    lines = []
    for key in dict.fromkeys((row["data"], row["features"]) for row in rows):
        mine = [row for row in rows if (row["data"], row["features"]) == key]
        cells: list[Any] = [*key, len(mine)]
        for method in METHODS:
            cells += [_spread(mine, f"{method} train"), _spread(mine, f"{method} test")]
        rose = sum(row["through train"] > row["alone train"] for row in mine)
        kept = sum(row["alone train"] == row["through train"] == 100 for row in mine)
        cells.append(f"{rose}" + (f" (100 before: {kept})" if kept else ""))
        above = [sum(row["through test"] > row[f"{method} test"] for row in mine) for method in METHODS[2:]]
        cells.append(", ".join(map(str, above)))
        cells.append(" to ".join(number(mean(row[f"{end} value"] for row in mine), ".2f") for end in ("first", "last")))
        cells += [number(mean(row[name] for row in mine), ".1f") for name in ("steps", "unproven", "seconds")]
        lines.append(cells)
    return table(head, lines)


def _spread(rows: list[dict[str, Any]], name: str) -> str:
    values = [row[name] for row in rows]
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def main() -> None:
    """Run the benchmark from the command line."""
    made = command_line(__doc__)
    made.add_argument("--data", default=",".join(DATA))
    made.add_argument("--features", default="2,3")
    made.add_argument("--seeds", type=int, default=10)
    made.add_argument("--steps", type=int, default=60)
    made.add_argument("--rate", type=float, default=0.1)
    made.add_argument("--margin", type=float, default=0.5)
    made.add_argument("--growth", type=float, default=1.5)
    made.add_argument("--time-limit", type=float, default=5.0)
    made.add_argument("--solver", default="highs")
    made.add_argument("--quick", action="store_true")
    arguments = made.parse_args()
    if arguments.quick:
        arguments.features, arguments.seeds, arguments.steps = "2", 1, 10
    torch.set_num_threads(1)
    print(summary(run(arguments)))


if __name__ == "__main__":
    main()
