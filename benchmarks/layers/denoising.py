"""OptNet's denoising experiment: 1D signals by total variation, by learnt QP layers and by a network (Table 1).

Usage: python benchmarks/layers/denoising.py [--train 8000] [--epochs 18] [--length 50] [--methods "pure QP layer"]
       [--threads 1] [--quick] [--json FILE]

Signals are piecewise constant: 1 to 9 pieces in 100 samples (1 to 4 in our 50), heights 10 to 100, noise 10, as in the
authors' code. The layer is min_z 1/2 |z - y|^2 + lambda |D z|_1 as a quadratic program in (z, t): -t <= D z <= t.
Learnt are D, the right-hand sides and the affine map from the signal to the linear term, which holds y and lambda:
"tuned" from total variation; or D alone, "pure" from a random one. Fewer signals than the authors' 10,000.
Source: Amos and Kolter 2017, section 4.2, Table 1; their code for the data and for what is learnt.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
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
LOWEST, HIGHEST, NOISE = 10, 100, 10.0
BATCH = 100
# Curvature of t, which has none of its own: it makes the program strictly convex and moves z by about as much.
SMALL = 1e-4
# Adam's first steps: the affine map multiplies signals of size 50, so its entries take small ones.
TUNING_RATE, PURE_RATE, NETWORK_RATE = 1e-3, 1e-2, 1e-3


def signals(count: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return noisy and clean signals ((count, length))."""
    rng = np.random.default_rng(seed)
    clean = np.empty((count, length))
    for signal in clean:
        pieces = rng.integers(1, max(length // 10, 2))
        ends = np.sort(rng.choice(length - 2, pieces - 1, replace=False)) + 1
        heights = rng.integers(LOWEST, HIGHEST, pieces)
        signal[:] = heights[np.searchsorted(ends, np.arange(length), side="right")]
    noisy = clean + NOISE * rng.standard_normal(clean.shape)
    return torch.as_tensor(noisy), torch.as_tensor(clean)


def differences(length: int) -> Tensor:
    """Return the (length - 1, length) matrix of total variation."""
    return torch.eye(length, dtype=torch.float64)[:-1] - torch.eye(length, dtype=torch.float64)[1:]


class Denoiser(nn.Module):
    """The QP layer in (z, t), started at total variation with the weight lambda.

    Args:
        D: (rows, length) where to start.
        weight: lambda.
        samples: size of the training set, for the layer's memory of active sets.
        affine: learn the map to the linear term and the right-hand sides as well as D.
    """

    def __init__(self, D: Tensor, weight: float, samples: int, affine: bool = False) -> None:
        super().__init__()
        rows, self.length = D.shape
        self.D = nn.Parameter(D.clone())
        start = torch.cat([-torch.eye(self.length), torch.zeros(rows, self.length)]).double()
        constant = torch.cat([torch.zeros(self.length), torch.full((rows,), weight)]).double()
        self.matrix = nn.Parameter(start, requires_grad=affine)
        self.constant = nn.Parameter(constant, requires_grad=affine)
        self.h = nn.Parameter(torch.zeros(2 * rows, dtype=torch.float64), requires_grad=affine)
        curvature = torch.cat([torch.ones(self.length), torch.full((rows,), SMALL)]).double()
        self.layer = QPLayer(cache=ActiveSetCache(samples, 2 * rows), Q=torch.diag(curvature))

    def forward(self, y: Tensor, sample: Tensor | None = None) -> Tensor:
        eye = torch.eye(len(self.D), dtype=torch.float64)
        G = torch.cat([torch.cat([self.D, -eye], 1), torch.cat([-self.D, -eye], 1)])
        return self.layer(sample, q=y @ self.matrix.mT + self.constant, G=G, h=self.h)[:, : self.length]


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
    D = differences(noisy.shape[1])
    return min(weights, key=lambda weight: error(Denoiser(D, weight, 0), noisy, clean))


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the methods that are asked for, and return their rows and those of earlier runs in the same file."""
    kept = begin(arguments, ["method"])
    kept.resume()
    asked = [word.strip() for word in arguments.methods.split(",")] if arguments.methods else list(PUBLISHED)
    length, epochs = arguments.length, arguments.epochs
    noisy, clean = signals(arguments.train, length, arguments.seed)
    test = signals(max(arguments.train // 4, BATCH), length, arguments.seed + 1)

    def add(method: str, model: nn.Module, rate: float, epochs: int) -> None:
        if method not in asked:
            return
        began = time.perf_counter()
        epoch = train(model, noisy, clean, epochs, rate, arguments.seed) if epochs else None
        errors = {"train": error(model, noisy, clean), "test": error(model, *test)}
        kept.add({"method": method, **errors, "best_epoch": epoch, "seconds": time.perf_counter() - began})

    weight = tune_weight(noisy[: 3 * BATCH], clean[: 3 * BATCH], [2.0 * 1.25**step for step in range(14)])
    kept.facts |= {"weight": weight}
    D = differences(length)
    add("total variation", Denoiser(D, weight, 0), 0.0, 0)
    add("QP layer tuned from TV", Denoiser(D, weight, len(noisy), affine=True), TUNING_RATE, epochs)
    add("pure QP layer", Denoiser(0.3 * torch.randn_like(D), weight, len(noisy)), PURE_RATE, epochs)
    sizes = (length, 2 * length, length)
    network = nn.Sequential(nn.Linear(*sizes[:2]), nn.ReLU(), nn.Linear(*sizes[1:])).double()
    add("fully connected", network, NETWORK_RATE, 10 * epochs)
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
    command.add_argument("--train", type=int, default=8000)
    command.add_argument("--epochs", type=int, default=18)
    command.add_argument("--length", type=int, default=50)
    command.add_argument("--methods", help="some of the table's methods; rows of the others stay in the file")
    arguments = command.parse_args(argv)
    if arguments.quick:
        arguments.train, arguments.epochs, arguments.length = 100, 1, 20
    print(show(run(arguments)))


if __name__ == "__main__":
    main()
