"""Binarized networks of 16 hidden units on the heart-like table: the MIP alone, from a start, and unit by unit.

Usage: python -m benchmarks.bnn.heart --json benchmarks/bnn/heart.json [--samples 50,200] [--seeds 3]
       [--ways ...] [--quick] [--resume]

Ternary weights, max-correct. Published figures beside (heart data, 16 hidden units, weights of -1, 0 and 1): test 70 to
82 % after 1 s with 50 samples, 77 to 84 % after 182 to 341 s with 200. The data differ: ours is generated. A start
counts only where the program can hold it, with no training sample inside the margin. `--quick`: 8 samples, 2 units.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from benchmarks.bnn.data import Split, split
from benchmarks.record import Record, command_line, number, table
from encoding.bnn_model import margins
from encoding.bnn_polish import polish
from encoding.bnn_training import BnnOptions, train_bnn
from problems.interval import Vector
from proxies.straight_through import RESTARTS, STEPS, straight_through

DATA, HIDDEN = "heart-like (generated)", 16
# Smaller than the default: with 200 samples and 16 units some sample is often within 0.001 below a threshold.
MARGIN = 1e-4
# Way, and the seconds that it has.
WAYS = ["straight-through", "MIP, 30 s", "MIP, 120 s", "MIP from straight-through, 30 s"]
WAYS += ["MIP from straight-through, 120 s", "units from straight-through, 30 s", "units from random weights, 30 s"]
LONG = 200
HEAD = ["samples", "way", "train %", "bound %", "test %", "test % by seed", "s"]


def measure(key: dict[str, Any], hidden: int) -> dict[str, Any]:
    """Return one row's figures."""
    given = split(DATA, key["samples"] // 2, key["seed"])
    count = len(given.labels)
    way, _, limit = key["way"].partition(", ")
    seconds = float(limit.split()[0]) if limit else 0.0
    began = time.monotonic()
    bound, status, weights = None, None, None
    if "straight-through" in way:
        weights = usual(given, hidden, key["seed"])
    elif "random" in way:
        rng = np.random.default_rng(key["seed"])
        shapes = (hidden, given.x.shape[1] + 1), (1, hidden + 1)
        weights = [rng.integers(-1, 2, shape).astype(np.float64) for shape in shapes]
    start_seconds = time.monotonic() - began
    clear = None if weights is None else bool((~inside(given.x, weights)).all())
    if way.startswith("MIP"):
        options = BnnOptions((hidden,), margin=MARGIN, time_limit=seconds, seed=key["seed"])
        trained = train_bnn(given.x, given.labels, options, start=weights)
        weights, bound, status = trained.weights, 100 * min(1.0, trained.bound / count), trained.status.value
    elif way.startswith("units"):
        polished = polish(given.x, given.labels, weights, margin=MARGIN, time_limit=seconds, seed=key["seed"])
        weights, status = polished.weights, "settled" if polished.settled else "time_limit"
    return {
        "train": accuracy(given.x, given.labels, weights),
        "bound": bound,
        "test": accuracy(given.test_x, given.test_labels, weights),
        "start clear of margin": clear,
        "start seconds": start_seconds,
        "seconds": time.monotonic() - began,
        "status": status,
    }


def usual(given: Split, hidden: int, seed: int) -> list[Vector]:
    """Return the weights that straight-through training finds."""
    samples = torch.as_tensor(given.x), torch.as_tensor(given.labels)
    return [w.numpy() for w in straight_through(*samples, (hidden,), "ternary", MARGIN, False, seed, STEPS, RESTARTS)]


def inside(x: Vector, weights: Sequence[Vector]) -> Any:
    """Return which sums of the first layer ((n, units)) are inside the margin."""
    sums = x @ weights[0][:, :-1].T + weights[0][:, -1]
    return (sums < 0) & (sums > -MARGIN)


def accuracy(x: Vector, labels: Vector, weights: Sequence[Vector] | None) -> float | None:
    """Return the percentage of samples ((n, d)) that are classified right."""
    return None if weights is None else 100 * float((labels * margins(x, weights, MARGIN) > 0).mean())


def lines(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return the cells of each group of seeds."""
    made = []
    for samples, way in dict.fromkeys((row["samples"], row["way"]) for row in rows):
        own = [row for row in rows if (row["samples"], row["way"]) == (samples, way)]
        found = [row for row in own if row["train"] is not None]
        spans = {
            name: span([row[name] for row in own if row[name] is not None])
            for name in ("train", "bound", "test", "seconds")
        }
        by_seed = ", ".join(number(row["test"], ".1f") for row in own)
        none = f" ({len(own) - len(found)} found none)" if len(found) < len(own) else ""
        made.append(
            [str(samples), way, spans["train"] + none, spans["bound"], spans["test"], by_seed, spans["seconds"]]
        )
    return made


def span(values: Sequence[float]) -> str:
    """Return the least and the largest value."""
    if not values:
        return "-"
    low, high = number(min(values), ".1f"), number(max(values), ".1f")
    return low if low == high else f"{low} to {high}"


def main() -> None:
    """Run the benchmark from the command line."""
    made = command_line(__doc__)
    made.add_argument("--samples", default=f"50,{LONG}")
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--hidden", type=int, default=HIDDEN)
    made.add_argument("--ways", default=";".join(WAYS), help="separated by semicolons")
    made.add_argument("--quick", action="store_true")
    arguments = made.parse_args()
    if arguments.quick:
        arguments.samples, arguments.seeds, arguments.hidden = "8", 1, 2
    torch.set_num_threads(1)
    key_names = ["samples", "way", "seed", "hidden"]
    record = Record.begin(arguments, key_names, {"margin": MARGIN, "data": DATA})
    counts = [int(count) for count in arguments.samples.split(",")]
    for samples, way, seed in product(counts, arguments.ways.split(";"), range(arguments.seeds)):
        key = dict(zip(key_names, (samples, way, seed, arguments.hidden)))
        if record.find(**key) is None and (samples >= LONG or "120 s" not in way):
            row = record.add({**key, **measure(key, arguments.hidden)})
            print(*(row[name] for name in (*key_names, "train", "test", "seconds", "status")), flush=True)
    print(table(HEAD, lines(record.rows)))


if __name__ == "__main__":
    main()
