"""OptNet's MNIST experiment on scikit-learn's 8x8 digits: a small network with and without a QP layer.

Usage: python benchmarks/layers/digits.py [--epochs 40] [--threads 1] [--quick] [--json FILE]

Not MNIST: 1797 images of 8x8 pixels that come with scikit-learn, 1438 of them for training. The networks are the
paper's with 100 hidden units for 600: 64-100-10-10 and softmax, or 64-100-10, a QP layer and softmax. The layer is
min_z 1/2 z'(LL' + 1e-4 I)z + x'z, G z <= G z0 + s0, with ten variables and ten inequalities; L, G, z0 and s0 are
learnt and x is what the layer before it gives. What the paper shows: errors are similar, and gradients pass through.
Source: Amos and Kolter 2017, appendix A, figure 6.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from qp_record import begin, parser, table
from torch import Tensor, nn

from proxies.layers.qp import QPLayer

PIXELS, HIDDEN, CLASSES = 64, 100, 10
BATCH = 64
# Keeps Q positive definite, whatever L learns.
CURVATURE = 1e-4


class QPHead(nn.Module):
    """The QP layer before the softmax; z0 is strictly feasible, whatever is learnt."""

    def __init__(self) -> None:
        super().__init__()
        eye = torch.eye(CLASSES, dtype=torch.float64)
        self.L = nn.Parameter(torch.tril(torch.rand(CLASSES, CLASSES, dtype=torch.float64)) / CLASSES + eye)
        self.G = nn.Parameter(torch.rand(CLASSES, CLASSES, dtype=torch.float64) * 2 - 1)
        self.z0 = nn.Parameter(torch.zeros(CLASSES, dtype=torch.float64))
        self.log_s0 = nn.Parameter(torch.zeros(CLASSES, dtype=torch.float64))
        self.layer = QPLayer()

    def forward(self, scores: Tensor) -> Tensor:
        half = torch.tril(self.L)
        Q = half @ half.mT + CURVATURE * torch.eye(CLASSES, dtype=torch.float64)
        return self.layer(Q=Q, q=scores, G=self.G, h=self.G @ self.z0 + self.log_s0.exp())


def digits(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return training and test images ((count, 64), 0 to 1) and classes."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    x, label = torch.as_tensor(images)[order] / 16, torch.as_tensor(classes)[order]
    cut = 4 * len(order) // 5 + 1
    return (x[:cut], label[:cut]), (x[cut:], label[cut:])


def network(head: nn.Module) -> nn.Module:
    """Return the network up to its scores, with `head` as its last layer."""
    return nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES), nn.ReLU(), head).double()


def learn(kept: Any, name: str, model: nn.Module) -> None:
    """Train by Adam on the cross-entropy, with a row for each epoch."""
    data, test = digits(kept.command["seed"])
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    draw = torch.Generator().manual_seed(kept.command["seed"])
    began = time.perf_counter()
    for epoch in range(1, kept.command["epochs"] + 1):
        for part in torch.randperm(len(data[0]), generator=draw).split(BATCH):
            loss = nn.functional.cross_entropy(model(data[0][part]), data[1][part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        row: dict[str, Any] = {"network": name, "epoch": epoch}
        for side, (x, label) in (("train", data), ("test", test)):
            with torch.no_grad():
                scores = model(x)
            row[f"{side}_loss"] = float(nn.functional.cross_entropy(scores, label))
            row[f"{side}_error"] = float((scores.argmax(-1) != label).double().mean())
        kept.add(row | {"seconds": time.perf_counter() - began})


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train both networks and return a row for every epoch."""
    kept = begin(arguments, ["network", "epoch"], ["scikit-learn"])
    for name in ("fully connected", "with a QP layer"):
        torch.manual_seed(arguments.seed)
        head = QPHead() if name == "with a QP layer" else nn.Linear(CLASSES, CLASSES)
        learn(kept, name, network(head))
    return list(kept.rows)


def show(rows: Sequence[dict[str, Any]]) -> str:
    """Return each network's last epoch."""
    last = {row["network"]: row for row in rows}
    lines = []
    for name, row in last.items():
        losses = [f"{row[key]:.3f}" for key in ("train_loss", "test_loss")]
        errors = [f"{100 * row[key]:.1f}" for key in ("train_error", "test_error")]
        lines.append([name, row["epoch"], *losses, *errors, f"{row['seconds']:.0f}"])
    return table(["network", "epochs", "train loss", "test loss", "train error %", "test error %", "s"], lines)


def main(argv: Sequence[str] | None = None) -> None:
    command = parser(__doc__)
    command.add_argument("--epochs", type=int, default=40)
    arguments = command.parse_args(argv)
    if arguments.quick:
        arguments.epochs = 2
    print(show(run(arguments)))


if __name__ == "__main__":
    main()
