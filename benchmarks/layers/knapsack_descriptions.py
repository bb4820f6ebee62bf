"""CombOptNet's knapsack from descriptions (its Tab. 7), with a surrogate for the sentence embeddings.

Usage: python -m benchmarks.layers.knapsack_descriptions [--constraints 1,2,4,8] [--runs 3] [--epochs 100] [--noise 0]
       [--quick] [--json FILE] [--resume]

Ten items with prices 10..45 and weights 15..35 in a knapsack of 100; the network sees a vector for each item and learns
prices and weights from the optimal selections alone: 4500 to learn from, 500 to test on, published hyperparameters.

The surrogate: the paper embeds a sentence about each item in 4096 numbers. Here an item's price, weight and 14 numbers
that have nothing to do with them (the other words) pass a fixed random network of two tanh layers (64, then 256
numbers), optionally with noise. How well that hides the two numbers is not the same as for sentences, so the accuracies
are no reproduction of the published ones; the program to be learned and the training are. The learner has 128 hidden
units instead of 512. "prices known": the same network trained on the true prices and weights instead of selections.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.layers.ilp_published import KNAPSACK
from benchmarks.layers.ilp_study import parser as shared_parser
from benchmarks.record import Record, table
from proxies.layers.ilp import ILPLayer, ilp_solve

Row = dict[str, Any]
ITEMS, TRAIN, TEST = 10, 4500, 500
PRICES, WEIGHTS, CAPACITY = (10, 45), (15, 35), 100
WORDS, SPREAD, INNER, EMBEDDING, HIDDEN = 14, 0.5, 64, 256, 128
# Prices, weights and the capacity are divided by this, as in the paper.
UNIT = 100
BATCH, RATE, KNOWN_EPOCHS = 8, 5e-4, 5


@dataclass(frozen=True)
class Items:
    """Items to learn from and to test on.

    Attributes:
        train, test: embeddings ((N, items, size)) and optimal selections ((N, items)).
        shares: (N, items, 2) true prices and weights of the items to learn from, from 0 to 1.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    shares: Tensor


def items(seed: int, noise: float) -> Items:
    """Return random instances and their embeddings; a seed has an embedding network of its own."""
    generator = torch.Generator().manual_seed(seed)
    count = TRAIN + TEST
    price = torch.randint(PRICES[0], PRICES[1] + 1, (count, ITEMS), generator=generator).double()
    weight = torch.randint(WEIGHTS[0], WEIGHTS[1] + 1, (count, ITEMS), generator=generator).double()
    capacity = torch.tensor([CAPACITY], dtype=torch.float64)
    best = ilp_solve(-price / UNIT, weight[:, None] / UNIT, capacity / UNIT, 0, 1).y
    shares = torch.stack(
        [(part - low) / (high - low) for part, (low, high) in ((price, PRICES), (weight, WEIGHTS))], -1
    )
    words = SPREAD * torch.randn(count, ITEMS, WORDS, generator=generator).double()
    sizes = (WORDS + 2, INNER), (INNER, EMBEDDING)
    inner, outer = (torch.randn(size, generator=generator).double() for size in sizes)
    x = torch.cat([2 * shares - 1, words], -1)
    x = torch.tanh(torch.tanh(x @ inner / (WORDS + 2) ** 0.5) @ outer / INNER**0.5)
    x = (x + noise * torch.randn(x.shape, generator=generator)).float()
    return Items((x[TEST:], best[TEST:].float()), (x[:TEST], best[:TEST].float()), shares[TEST:].float())


class Reader(nn.Module):
    """Reads a price and `constraints` weights from an item's embedding."""

    def __init__(self, constraints: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(EMBEDDING, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1 + constraints), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return costs ((B, items), of unit norm), weights ((B, constraints, items)) and capacities."""
        shares = self.network(x)
        price = PRICES[0] + (PRICES[1] - PRICES[0]) * shares[..., 0]
        weight = WEIGHTS[0] + (WEIGHTS[1] - WEIGHTS[0]) * shares[..., 1:].transpose(1, 2)
        capacity = torch.full((weight.shape[1],), CAPACITY / UNIT, dtype=x.dtype)
        return -nn.functional.normalize(price, dim=-1), weight / UNIT, capacity


def learn(data: Items, constraints: int, epochs: int, seed: int) -> Row:
    """Train one network; returns accuracies (share of selections met exactly) every tenth of the epochs."""
    torch.manual_seed(seed)
    reader, layer = Reader(constraints), ILPLayer(0, 1)
    optimizer = torch.optim.Adam(reader.parameters(), lr=RATE)
    x, y = data.train
    began, curve = time.perf_counter(), []
    for epoch in range(epochs):
        for some in torch.randperm(len(x)).split(BATCH):
            loss = (layer(*reader(x[some])).y - y[some]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if (epoch + 1) % max(1, epochs // 10) == 0:
            curve.append(accuracy(reader, layer, data.test))
    return {"accuracy": curve[-1], "curve": curve, "seconds": time.perf_counter() - began}


def known(data: Items, seed: int) -> float:
    """Return the accuracy of a network trained on the true prices and weights."""
    torch.manual_seed(seed)
    reader = Reader(1)
    optimizer = torch.optim.Adam(reader.parameters(), lr=RATE)
    x = data.train[0]
    for _ in range(KNOWN_EPOCHS):
        for some in torch.randperm(len(x)).split(BATCH):
            loss = (reader.network(x[some]) - data.shares[some]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return accuracy(reader, ILPLayer(0, 1), data.test)


def accuracy(reader: Reader, layer: ILPLayer, test: tuple[Tensor, Tensor]) -> float:
    """Return the share of selections that are met exactly."""
    with torch.no_grad():
        found = layer(*reader(test[0])).y
    return float((found == test[1]).all(-1).double().mean())


def show(rows: list[Row]) -> str:
    """Return the table, a line for each number of learned constraints."""
    lines = []
    for constraints in sorted({row["constraints"] for row in rows}):
        some = [row for row in rows if row["constraints"] == constraints]
        reached = [100 * row["accuracy"] for row in some]
        spread = f" ± {stdev(reached):.1f}" if len(reached) > 1 else ""
        published = "{} ± {}".format(*KNAPSACK[constraints])
        seconds, reference = mean(row["seconds"] for row in some), 100 * mean(row["known"] for row in some)
        line = [constraints, f"{mean(reached):.1f}{spread}", f"{reference:.1f}", published, len(some)]
        lines.append([*line, some[0]["epochs"], f"{seconds:.0f}"])
    head = [
        "constraints",
        "accuracy %, surrogate",
        "prices known %",
        "published %, sentences",
        "runs",
        "epochs",
        "s a run",
    ]
    return table(head, lines)


def run(arguments: argparse.Namespace) -> list[Row]:
    """Learn every setting of the command line."""
    torch.set_num_threads(1)
    if arguments.quick:
        arguments.constraints, arguments.runs, arguments.epochs = "1", 1, 1
    record = Record.begin(arguments, ["constraints", "seed", "noise", "epochs"], {})
    for constraints in map(int, arguments.constraints.split(",")):
        for seed in range(arguments.runs):
            key = {"constraints": constraints, "seed": seed, "noise": arguments.noise, "epochs": arguments.epochs}
            if record.find(**key) is None:
                data = items(seed, arguments.noise)
                learned = learn(data, constraints, arguments.epochs, seed)
                row = record.add(key | learned | {"known": known(data, seed)})
                print(constraints, seed, row["curve"], f"{row['seconds']:.0f} s", flush=True)
    return record.rows


if __name__ == "__main__":
    asked = shared_parser(__doc__)
    asked.set_defaults(runs=3)
    asked.add_argument("--constraints", default="1,2,4,8")
    asked.add_argument("--noise", type=float, default=0.0)
    print(show(run(asked.parse_args())))
