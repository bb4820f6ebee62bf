"""Robustness of small classifiers with sign units beside ReLU ones: how many samples are certified, at which radius.

Usage: python -m benchmarks.bnn.robustness [--classifiers NAME,...] [--u 1,2,5,10] [--samples 5] [--time-limit 30]
       [--steps 2000] [--quick] [--json FILE] [--resume]

Every classifier is trained first (binary hidden weights of sign units; straight through; the same steps and seed).
Features are scaled to [0, 1] by the table's own range, in which u counts. Asked are the first test samples that are
classified right: can any input within u be classified otherwise? `--quick`: one classifier, one radius, one sample.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cache
from itertools import product
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.bnn.data import DATA
from benchmarks.record import Record, command_line, number, table
from problems.interval import Vector
from proxies.classification import classification_proxy
from proxies.layers import Affine, Layer
from proxies.layers.binarized import binarized_perceptron
from proxies.manifest import ClassificationSpec, Manifest
from proxies.training import exact, perceptron
from verifier.options import VerifyOptions
from verifier.verify import verify

SEED, RATE, TESTED = 1, 1e-2, 0.3
# Name of the table, and its hidden layers.
CLASSIFIERS = ["digits 3 or 8: 16 sign", "breast cancer: 16 sign", "digits: 16-16 sign", "digits: 16-16 ReLU"]
HEAD = ["classifier", "test %", "u %", "samples", "robust", "falsified", "open", "median s", "largest s"]


@dataclass(frozen=True)
class Trained:
    """A network, and what it is tested on: (count, n) features in [0, 1] and (count,) classes."""

    network: list[Layer]
    x: Vector
    classes: Vector
    accuracy: float


def samples(name: str) -> tuple[Vector, Vector]:
    """Return a table's features ((count, n), in [0, 1]) and classes ((count,) from 0)."""
    if name == "digits":
        from sklearn.datasets import load_digits

        x, classes = load_digits(return_X_y=True)
    else:
        x, labels = DATA[name]()
        classes = (labels > 0).astype(np.int64)
    low, high = x.min(0), x.max(0)
    return (x - low) / np.where(high > low, high - low, 1.0), classes


def scores(network: list[Layer], x: Tensor) -> Tensor:
    """Return the network's outputs ((batch, n)), with slopes that go straight through its signs."""
    h = x
    for layer in network:
        h = layer.climbable(h, x)
    return h


@cache
def trained(name: str, steps: int) -> Trained:
    """Return a classifier such as "digits: 16-16 sign", trained on seven tenths; two classes have one output."""
    data, network = name.split(": ")
    widths, unit = network.split()
    hidden = [int(width) for width in widths.split("-")]
    x, classes = samples(data)
    order = np.random.default_rng(SEED).permutation(len(x))
    tested, learned = np.split(order, [int(TESTED * len(x))])
    torch.manual_seed(SEED)
    outputs = int(classes.max()) + 1 if classes.max() > 1 else 1
    reads = x.shape[1]
    middle = (
        binarized_perceptron(reads, hidden, outputs, "binary") if unit == "sign" else perceptron(reads, hidden, outputs)
    )
    layers = nn.ModuleList([Affine(torch.full((reads,), 2.0), torch.full((reads,), -1.0)), *middle]).float()
    given, wanted = torch.as_tensor(x[learned]).float(), torch.as_tensor(classes[learned])
    optimiser = torch.optim.Adam([p for layer in middle for p in layer.parameters()], lr=RATE)
    for _ in range(steps):
        found = scores(list(layers), given)  # type: ignore[arg-type]
        if outputs == 1:
            loss = nn.functional.binary_cross_entropy_with_logits(found[:, 0], wanted.float())
        else:
            loss = nn.functional.cross_entropy(found, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    kept = exact(list(layers))  # type: ignore[arg-type]
    with torch.no_grad():
        told = scores(kept, torch.as_tensor(x[tested]))
    right = (told[:, 0] >= 0).numpy() == classes[tested] if outputs == 1 else told.argmax(1).numpy() == classes[tested]
    return Trained(kept, x[tested][right], classes[tested][right], 100 * float(right.mean()))


def measure(name: str, u: int, sample: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return one sample's figures."""
    found = trained(name, arguments.steps)
    centre, label = tuple(found.x[sample].tolist()), int(found.classes[sample])
    spec = ClassificationSpec(name=f"test {sample}", centre=centre, label=label, lower=0.0, upper=1.0)
    proxy, problem = classification_proxy(found.network, Manifest(problem=spec))
    options = VerifyOptions(threshold=0.0, time_limit=arguments.time_limit, workers=1)
    result = verify(proxy, problem, problem.domain(u / 100), options)
    return {
        "accuracy": found.accuracy,
        "lower": result.lower,
        "upper": result.upper,
        "verdict": result.verdict.value,
        "termination": result.termination.value,
        "seconds": result.seconds["total"],
        "parts": result.parts,
        "nodes": result.nodes,
        "binaries": None if result.size_after is None else result.size_after.integer,
    }


def line(rows: list[dict[str, Any]]) -> list[Any]:
    """Return the cells of one classifier and radius from the rows of its samples."""
    verdicts = [row["verdict"] for row in rows]
    counts = [verdicts.count("certified"), verdicts.count("falsified")]
    spent = [row["seconds"] for row in rows]
    times = [number(median(spent), ".1f"), number(max(spent), ".1f")]
    head = [rows[0]["classifier"], number(rows[0]["accuracy"], ".1f"), rows[0]["u"], len(rows)]
    return [*head, *counts, len(rows) - sum(counts), *times]


def lines(rows: list[dict[str, Any]]) -> list[list[Any]]:
    """Return one line for each classifier and radius, in the order of the rows."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["classifier"], row["u"]), []).append(row)
    return [line(group) for group in groups.values()]


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Verify what is not yet in the file; return all rows."""
    record = Record.begin(arguments, ["classifier", "u", "sample"], {"seed": SEED, "rate": RATE})
    asked = product(arguments.classifiers.split(","), map(int, arguments.u.split(",")), range(arguments.samples))
    for name, u, sample in asked:
        key = {"classifier": name, "u": u, "sample": sample}
        if record.find(**key) is None:
            row = record.add({**key, **measure(name, u, sample, arguments)})
            print(name, u, sample, row["verdict"], number(row["seconds"], ".1f"), flush=True)
    return record.rows


def main() -> None:
    """Run the benchmark from the command line."""
    made = command_line(__doc__)
    made.add_argument("--classifiers", default=",".join(CLASSIFIERS))
    made.add_argument("--u", default="1,2,5,10")
    made.add_argument("--samples", type=int, default=5)
    made.add_argument("--time-limit", type=float, default=30.0)
    made.add_argument("--steps", type=int, default=2000)
    made.add_argument("--quick", action="store_true")
    arguments = made.parse_args()
    if arguments.quick:
        arguments.classifiers, arguments.u, arguments.samples, arguments.steps = CLASSIFIERS[0], "2", 1, 100
    torch.set_num_threads(1)
    print(table(HEAD, lines(run(arguments))))


if __name__ == "__main__":
    main()
