"""Worst-case gaps of knapsack proxies with sign units beside ReLU ones: time against items, units and u.

Usage: python -m benchmarks.bnn.verification [--items 10,20,50] [--networks 16 sign,16-16 sign,16-16 ReLU] [--u 1,5,20]
       [--time-limit 60] [--steps 6000] [--quick] [--json FILE] [--resume]

Each proxy is trained first (binary hidden weights, the same steps and seed). `--quick`: 10 items, one network of each
kind, u = 5 %.
"""

from __future__ import annotations

import argparse
from functools import cache
from itertools import product
from typing import Any

import torch

from benchmarks.record import Record, command_line, number, ratio, table
from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack
from proxies.proxy import Proxy
from proxies.training import TrainingOptions
from proxies.training_knapsack import train_knapsack
from verifier.options import VerifyOptions
from verifier.sampling import sampled_gaps
from verifier.verify import verify

TOLERANCE, SEED, SAMPLED = 0.01, 1, 1000
HEAD = ["items", "network", "u %", "sampled", "lower", "upper", "upper/lower", "open units", "binaries", "s", "end"]


@cache
def trained(items: int, network: str, steps: int) -> tuple[Proxy, Knapsack]:
    """Return a proxy of a random instance; "16-16 sign" has two hidden layers of 16 sign units."""
    widths, unit = network.split()
    problem = random_knapsack(items, SEED)
    options = TrainingOptions(hidden=tuple(int(width) for width in widths.split("-")), steps=steps, seed=SEED)
    return train_knapsack(problem, options, binarized="binary" if unit == "sign" else None)[0], problem


def measure(items: int, network: str, u: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return one row's figures."""
    proxy, problem = trained(items, network, arguments.steps)
    domain = problem.domain(u / 100)
    options = VerifyOptions(tolerance=TOLERANCE, time_limit=arguments.time_limit, workers=1)
    result = verify(proxy, problem, domain, options)
    hidden = [layer for layer in result.stability if layer.layer.startswith(("Sign", "Relu"))]
    return {
        "sampled": float(sampled_gaps(proxy, problem, domain, SAMPLED, seed=SEED).max(initial=0.0)),
        "lower": result.lower,
        "upper": result.upper,
        "open": sum(layer.units - layer.stable_after for layer in hidden) if hidden else None,
        "binaries": None if result.size_after is None else result.size_after.integer,
        "seconds": result.seconds["total"],
        "termination": result.termination.value,
        "verdict": result.verdict.value,
        "parts": result.parts,
        "nodes": result.nodes,
    }


def line(row: dict[str, Any]) -> list[Any]:
    """Return the cells of one row."""
    figures = [number(row[name], ",.2f") for name in ("sampled", "lower", "upper")]
    counts = [number(row[name], "d") if row[name] is not None else "-" for name in ("open", "binaries")]
    share = number(ratio(row["upper"], row["lower"]), ".3f")
    head = [row["items"], row["network"], row["u"]]
    return [*head, *figures, share, *counts, number(row["seconds"], ".1f"), row["termination"]]


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Verify what is not yet in the file; return all rows."""
    key_names = ["items", "network", "u"]
    record = Record.begin(arguments, key_names, {"tolerance": TOLERANCE, "seed": SEED})
    asked = product(
        map(int, arguments.items.split(",")), arguments.networks.split(","), map(int, arguments.u.split(","))
    )
    for items, network, u in asked:
        key = {"items": items, "network": network, "u": u}
        if record.find(**key) is None:
            row = record.add({**key, **measure(items, network, u, arguments)})
            print(table([], [line(row)]).splitlines()[-1], flush=True)
    return record.rows


def main() -> None:
    """Run the benchmark from the command line."""
    made = command_line(__doc__)
    made.add_argument("--items", default="10,20,50")
    made.add_argument("--networks", default="16 sign,16-16 sign,16-16 ReLU")
    made.add_argument("--u", default="1,5,20")
    made.add_argument("--time-limit", type=float, default=60.0)
    made.add_argument("--steps", type=int, default=6000)
    made.add_argument("--quick", action="store_true")
    arguments = made.parse_args()
    if arguments.quick:
        arguments.items, arguments.networks, arguments.u, arguments.steps = "10", "8 sign,8 ReLU", "5", 500
    torch.set_num_threads(1)
    print(table(HEAD, [line(row) for row in run(arguments)]))


if __name__ == "__main__":
    main()
