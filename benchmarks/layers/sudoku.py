"""OptNet's mini-Sudoku experiment: a QP layer learns the rules of 4x4 Sudoku from solved puzzles (figure 5).

Usage: python benchmarks/layers/sudoku.py [--train 2000] [--test 500] [--epochs 15] [--width 64] [--threads 1]
       [--quick] [--json FILE]

All 288 grids are known; a puzzle hides cells of one while the solution stays unique. Grids of test puzzles are never
those of training puzzles, which the paper does not ask for. The layer is min_z 0.1/2 |z|^2 - x'z, A z = b, z >= 0 with
x the one-hot puzzle; A (random) and b = A z0 (z0 > 0 learnt, so that it stays feasible) are learnt by Adam on the mean
squared error. The comparison is a convolutional network (the paper's has ten layers of 512 filters). An error is a
puzzle with any wrong cell. The paper's figures are a plot without numbers: what its text says of them stands beside.
Source: Amos and Kolter 2017, section 4.4, figure 5; code of the authors' icml2017 branch for b = A z0.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from qp_record import begin, parser, table
from torch import Tensor, nn

from proxies.layers.qp import ActiveSetCache, QPLayer

# What section 4.4 says of figure 5, on 9000 training and 1000 test puzzles.
PUBLISHED = {"QP layer": "learns most of the hard constraints, generalises", "convolutional network": "over-fits"}
SIDE, CELLS, VALUES = 4, 16, 64
# Rows of A. The rules have rank 40; the authors took as many rows as these.
ROWS = 40
CURVATURE = 0.1
BATCH = 50


def grids() -> np.ndarray:
    """Return the 288 solved grids ((288, 16), values 0 to 3)."""
    rows = list(itertools.permutations(range(SIDE)))
    found = []
    for top in itertools.product(rows, repeat=2):
        for low in itertools.product(rows, repeat=2):
            grid = np.array([*top, *low])
            columns = all(len(set(column)) == SIDE for column in grid.T)
            if columns and all(len(set(grid[i : i + 2, j : j + 2].ravel())) == SIDE for i in (0, 2) for j in (0, 2)):
                found.append(grid.ravel())
    return np.array(found)


def puzzles(solved: np.ndarray, everything: np.ndarray, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return puzzles and solutions ((count, 64) one-hot, hidden cells zero), each with one solution alone."""
    rng = np.random.default_rng(seed)
    hidden, answers = [], []
    for _ in range(count):
        grid = solved[rng.integers(len(solved))]
        shown = np.ones(CELLS, dtype=bool)
        for cell in rng.permutation(CELLS)[: rng.integers(8, 13)]:
            shown[cell] = False
            if (everything[:, shown] == grid[shown]).all(1).sum() > 1:
                shown[cell] = True
        one_hot = np.eye(SIDE)[grid]
        answers.append(one_hot.ravel())
        hidden.append((one_hot * shown[:, None]).ravel())
    return torch.as_tensor(np.array(hidden)), torch.as_tensor(np.array(answers))


class Rules(nn.Module):
    """The QP layer: A random, b = A z0 from a learnt z0 > 0, nothing known about Sudoku."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.rand(ROWS, VALUES, dtype=torch.float64))
        self.log_start = nn.Parameter(torch.full((VALUES,), -math.log(SIDE), dtype=torch.float64))
        self.layer = QPLayer(
            cache=ActiveSetCache(samples, VALUES),
            Q=CURVATURE * torch.eye(VALUES, dtype=torch.float64),
            G=-torch.eye(VALUES, dtype=torch.float64),
            h=torch.zeros(VALUES, dtype=torch.float64),
        )

    def forward(self, x: Tensor, sample: Tensor | None = None) -> Tensor:
        return self.layer(sample, q=-x, A=self.A, b=self.A @ self.log_start.exp())


class Network(nn.Module):
    """Five convolutional layers of `width` 3x3 filters, then one that scores the values of every cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [SIDE, *[width] * 5]
        hidden = [part for size in sizes[:-1] for part in (nn.Conv2d(size, width, 3, padding=1), nn.ReLU())]
        self.layers = nn.Sequential(*hidden, nn.Conv2d(width, SIDE, 1)).double()

    def forward(self, x: Tensor) -> Tensor:
        image = x.view(-1, SIDE, SIDE, SIDE).permute(0, 3, 1, 2)
        return self.layers(image).permute(0, 2, 3, 1).reshape(-1, VALUES)


def wrong(model: nn.Module, x: Tensor, answer: Tensor) -> tuple[float, float]:
    """Return the mean squared error and the share of puzzles with a wrong cell."""
    with torch.no_grad():
        out = torch.cat([model(part) for part in x.split(BATCH)])
    cells = out.view(-1, CELLS, SIDE).argmax(-1) == answer.view(-1, CELLS, SIDE).argmax(-1)
    return float(((out - answer) ** 2).mean()), float((~cells.all(-1)).double().mean())


def train(model: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, answer: Tensor, draw: torch.Generator) -> None:
    """Take one epoch on the mean squared error."""
    for part in torch.randperm(len(x), generator=draw).split(BATCH):
        out = model(x[part], part) if isinstance(model, Rules) else model(x[part])
        loss = ((out - answer[part]) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def learn(kept: Any, method: str, model: nn.Module, rate: float, data: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Train for the epochs of the run, with a row for each: errors on training and test puzzles."""
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    draw = torch.Generator().manual_seed(kept.command["seed"])
    began = time.perf_counter()
    for epoch in range(1, kept.command["epochs"] + 1):
        train(model, optimiser, *data[0], draw)
        row: dict[str, Any] = {"method": method, "epoch": epoch}
        for name, (x, answer) in zip(("train", "test"), data):
            row[f"{name}_loss"], row[f"{name}_error"] = wrong(model, x, answer)
        kept.add(row | {"seconds": time.perf_counter() - began})


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train both models and return a row for every epoch."""
    kept = begin(arguments, ["method", "epoch"])
    everything = grids()
    mixed = np.random.default_rng(arguments.seed).permutation(everything)
    share = len(mixed) * arguments.train // (arguments.train + arguments.test)
    data = [
        puzzles(mixed[:share], everything, arguments.train, arguments.seed + 1),
        puzzles(mixed[share:], everything, arguments.test, arguments.seed + 2),
    ]
    learn(kept, "QP layer", Rules(arguments.train), 3e-2, data)
    learn(kept, "convolutional network", Network(arguments.width), 1e-3, data)
    return list(kept.rows)


def show(rows: Sequence[dict[str, Any]]) -> str:
    """Return each method's last epoch beside the paper's."""
    last = {row["method"]: row for row in rows}
    lines = []
    for method, row in last.items():
        losses = [f"{row[key]:.1e}" for key in ("train_loss", "test_loss")]
        errors = [f"{row[key]:.3f}" for key in ("train_error", "test_error")]
        lines.append([method, row["epoch"], *losses, *errors, PUBLISHED[method], f"{row['seconds']:.0f}"])
    head = ["method", "epochs", "train loss", "test loss", "train error", "test error", "paper", "s"]
    return table(head, lines)


def main(argv: Sequence[str] | None = None) -> None:
    command = parser(__doc__)
    command.add_argument("--train", type=int, default=2000)
    command.add_argument("--test", type=int, default=500)
    command.add_argument("--epochs", type=int, default=15)
    command.add_argument("--width", type=int, default=64)
    arguments = command.parse_args(argv)
    if arguments.quick:
        arguments.train, arguments.test, arguments.epochs, arguments.width = 200, 50, 2, 8
    print(show(run(arguments)))


if __name__ == "__main__":
    main()
