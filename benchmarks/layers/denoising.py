"""OptNet's denoising experiment: 1D signals by total variation, by learnt QP layers and by a network (Table 1).

Usage: python benchmarks/layers/denoising.py [--train 500] [--epochs 30] [--threads 1] [--quick] [--json FILE]

Signals are piecewise constant with Gaussian noise, 100 samples long; the paper states neither the heights nor the noise
(its errors are "unimportant units"), so ours are named here and only ratios compare. The layer is
min_z 1/2 |z - y|^2 + lambda |D z|_1 as a quadratic program in (z, t): -t <= D z <= t. D and lambda are learnt: from the
differences of total variation ("tuned TV"), or from random entries ("pure").
Source: Amos and Kolter 2017, section 4.2, Table 1.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from qp_record import begin, parser, table
from torch import Tensor, nn

from proxies.layers.qp import ActiveSetCache, QPLayer

# Train and test mean squared errors of the paper's Table 1.
PUBLISHED = {
    "fully connected": (18.5, 29.8),
    "pure QP layer": (52.9, 53.3),
    "total variation": (16.3, 16.5),
    "QP layer tuned from TV": (13.8, 14.4),
}
LENGTH, PIECES, HEIGHT, NOISE = 100, 8, 30.0, 10.0
BATCH = 100
# Curvature of t, which has none of its own: it makes the program strictly convex and moves z by about as much.
SMALL = 1e-4


def signals(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return noisy and clean signals ((count, LENGTH))."""
    draw = torch.Generator().manual_seed(seed)
    heights = HEIGHT * torch.randn(count, PIECES, generator=draw, dtype=torch.float64)
    ends = torch.rand(count, LENGTH, generator=draw).argsort(-1)[:, : PIECES - 1].sort(-1).values.contiguous()
    piece = torch.searchsorted(ends, torch.arange(LENGTH).expand(count, -1).contiguous())
    clean = heights.gather(-1, piece)
    return clean + NOISE * torch.randn(count, LENGTH, generator=draw, dtype=torch.float64), clean


def differences(length: int) -> Tensor:
    """Return the (length - 1, length) matrix of total variation."""
    return torch.eye(length, dtype=torch.float64)[:-1] - torch.eye(length, dtype=torch.float64)[1:]


class Denoiser(nn.Module):
    """argmin_z 1/2 |z - y|^2 + lambda |D z|_1, with D and lambda learnt.

    Args:
        D: (rows, length) where to start.
        weight: lambda.
        samples: size of the training set, for the layer's memory of active sets.
    """

    def __init__(self, D: Tensor, weight: float, samples: int) -> None:
        super().__init__()
        rows, self.length = D.shape
        self.D = nn.Parameter(D.clone())
        self.log_weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64).log())
        curvature = torch.cat([torch.ones(self.length), torch.full((rows,), SMALL)]).double()
        self.layer = QPLayer(
            cache=ActiveSetCache(samples, 2 * rows),
            Q=torch.diag(curvature),
            h=torch.zeros(2 * rows, dtype=torch.float64),
        )

    def forward(self, y: Tensor, sample: Tensor | None = None) -> Tensor:
        eye = torch.eye(len(self.D), dtype=torch.float64)
        G = torch.cat([torch.cat([self.D, -eye], 1), torch.cat([-self.D, -eye], 1)])
        q = torch.cat([-y, self.log_weight.exp().expand(len(y), len(self.D))], 1)
        return self.layer(sample, q=q, G=G)[:, : self.length]


def error(model: Callable[[Tensor], Tensor], noisy: Tensor, clean: Tensor) -> float:
    """Return the mean squared error of a model, batch by batch."""
    with torch.no_grad():
        parts = [((model(y) - x) ** 2).mean(-1) for y, x in zip(noisy.split(BATCH), clean.split(BATCH))]
    return float(torch.cat(parts).mean())


def train(model: nn.Module, noisy: Tensor, clean: Tensor, epochs: int, rate: float, seed: int) -> int:
    """Minimise the mean squared error by Adam; keep the best weights on a tenth that is held out, and return their
    epoch."""
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    held = len(noisy) // 10
    best, best_epoch, weights = error(model, noisy[:held], clean[:held]), 0, _copy(model)
    for epoch in range(1, epochs + 1):
        for part in (held + torch.randperm(len(noisy) - held, generator=draw)).split(BATCH):
            out = model(noisy[part], part) if isinstance(model, Denoiser) else model(noisy[part])
            loss = ((out - clean[part]) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
        now = error(model, noisy[:held], clean[:held])
        if now < best:
            best, best_epoch, weights = now, epoch, _copy(model)
    model.load_state_dict(weights)
    return best_epoch


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def tune_weight(noisy: Tensor, clean: Tensor, weights: Sequence[float]) -> float:
    """Return the lambda of total variation with the least error on the training signals."""
    D = differences(LENGTH)
    return min(weights, key=lambda weight: error(Denoiser(D, weight, 0), noisy, clean))


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the four methods and return the rows."""
    kept = begin(arguments, ["method"])
    noisy, clean = signals(arguments.train, arguments.seed)
    test = signals(max(arguments.train // 4, BATCH), arguments.seed + 1)
    kept.facts |= {"noise_mse": NOISE**2, "length": LENGTH, "pieces": PIECES, "height": HEIGHT}

    def add(method: str, model: Any, began: float, **more: Any) -> None:
        kept.add(
            {
                "method": method,
                "train": error(model, noisy, clean),
                "test": error(model, *test),
                "seconds": time.perf_counter() - began,
                **more,
            }
        )

    began = time.perf_counter()
    grid = [2.0 * 1.3**step for step in range(12)]
    weight = tune_weight(noisy[: 2 * BATCH], clean[: 2 * BATCH], grid)
    add("total variation", Denoiser(differences(LENGTH), weight, 0), began, weight=weight)
    began = time.perf_counter()
    tuned = Denoiser(differences(LENGTH), weight, len(noisy))
    epoch = train(tuned, noisy, clean, arguments.epochs, 2e-3, arguments.seed)
    add("QP layer tuned from TV", tuned, began, best_epoch=epoch)
    began = time.perf_counter()
    pure = Denoiser(0.1 * torch.randn(LENGTH - 1, LENGTH, dtype=torch.float64), weight, len(noisy))
    epoch = train(pure, noisy, clean, arguments.epochs, 1e-2, arguments.seed)
    add("pure QP layer", pure, began, best_epoch=epoch)
    began = time.perf_counter()
    network = nn.Sequential(nn.Linear(LENGTH, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, LENGTH))
    network = network.double()
    epoch = train(network, noisy, clean, 4 * arguments.epochs, 1e-3, arguments.seed)
    add("fully connected", network, began, best_epoch=epoch)
    return list(kept.rows)


def show(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table beside the paper's, each error also as a share of total variation's."""
    base = next(row for row in rows if row["method"] == "total variation")
    published = PUBLISHED["total variation"]
    lines = []
    for row in rows:
        paper = PUBLISHED[row["method"]]
        shares = [row[key] / base[key] for key in ("train", "test")]
        theirs = [value / whole for value, whole in zip(paper, published)]
        errors = [f"{row['train']:.2f}", f"{row['test']:.2f}", *(f"{share:.2f}" for share in shares)]
        lines.append([row["method"], *errors, *paper, *(f"{share:.2f}" for share in theirs), f"{row['seconds']:.0f}"])
    head = ["method", "train MSE", "test MSE", "train / TV", "test / TV"]
    head += ["paper: train", "paper: test", "paper: train / TV", "paper: test / TV", "s"]
    return table(head, lines)


def main(argv: Sequence[str] | None = None) -> None:
    command = parser(__doc__)
    command.add_argument("--train", type=int, default=500)
    command.add_argument("--epochs", type=int, default=30)
    arguments = command.parse_args(argv)
    if arguments.quick:
        arguments.train, arguments.epochs = 100, 1
    print(show(run(arguments)))


if __name__ == "__main__":
    main()
