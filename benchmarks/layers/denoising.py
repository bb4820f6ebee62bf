"""OptNet's denoising experiment: 1D signals by total variation, by learnt QP layers and by a network (Table 1).

Usage: python benchmarks/layers/denoising.py [--train 10000] [--epochs 18] [--length 100] [--methods "pure QP layer"]
       [--threads 1] [--quick] [--json FILE]

Signals are piecewise constant: 1 to 9 pieces in 100 samples, heights 10 to 99, noise 10, as in the authors' code. A
tenth of the training signals is held out and chooses the epoch; the test signals are others, seen by nothing.

The layer is min_z 1/2 (z - a)'Q(z - a) + sum_i w_i |(D z - s)_i|; total variation has Q = I, a the signal, w = lambda,
s = 0 and D the differences. It is solved through its dual, a program with bounds alone: min_u 1/2 |K'D'u|^2 -
u'(D a - s), |u| <= w, z = a - KK'D'u, where KK' is Q's inverse. The program in (z, t), -t <= D z - s <= t, has the same
solution, twice the variables and a factor as large as all limits that hold with equality, which are most of them.

"Tuned" starts from total variation and learns K, D, s, w and the affine map from the signal to a. The authors' code
lets w depend on the signal too; linear in it, that cannot serve signals and their upside-down images alike. "Mirrored"
is shown each signal upright or reversed and upright or upside down, by a coin, in every epoch: the signals'
distribution has these symmetries. "Pure" starts from a random D and learns D alone.

Every learnt map that acts on signals is stored as its change, divided by the root of the signals' second moments:
neighbours in a signal are nearly equal, and Adam's equal steps would move the response to levels far more than that to
jumps.
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
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from proxies.layers.qp import qp_solve

# Train and test mean squared errors of the paper's Table 1.
PUBLISHED = {
    "fully connected": (18.5, 29.8),
    "pure QP layer": (52.9, 53.3),
    "total variation": (16.3, 16.5),
    "QP layer tuned from TV": (13.8, 14.4),
    "QP layer tuned from TV, mirrored": (13.8, 14.4),
}
LOWEST, HIGHEST, NOISE = 10, 100, 10.0
BATCH = 100
# Heights are drawn evenly from LOWEST to HIGHEST - 1; signals are centred before anything learnt acts on them.
MIDDLE = (LOWEST + HIGHEST - 1) / 2
# For weights that learning would make negative: a limit of the dual must not lie below its opposite.
LEAST = 1e-6
# A change of D acts on the output more than one of the other maps: its steps are smaller by this factor.
SMALLER = 0.3
# Adam's first steps.
TUNING_RATE, PURE_RATE, NETWORK_RATE = 1e-3, 1e-2, 1e-3
# Where the paper looks for lambda, and how finely we do.
WEIGHTS, FINENESS = (0.0, 100.0), 0.1


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


def whitening(noisy: Tensor) -> Tensor:
    """Return ((length, length)) the inverse root of the second moments of the centred signals, more than length."""
    centred = noisy - MIDDLE
    moments, directions = torch.linalg.eigh(centred.mT @ centred / len(centred))
    return (directions / moments.sqrt()) @ directions.mT


def total_variation(y: Tensor, D: Tensor, weight: float) -> Tensor:
    """Return min_z 1/2 |z - y|^2 + weight |D z|_1."""
    limits = torch.full((len(D),), weight, dtype=torch.float64)
    return denoise(y, D, torch.zeros(len(D), dtype=torch.float64), limits, torch.eye(y.shape[1], dtype=torch.float64))


def denoise(a: Tensor, D: Tensor, s: Tensor, w: Tensor, K: Tensor) -> Tensor:
    """Return min_z 1/2 (z - a)'(KK')^-1 (z - a) + sum_i w_i |(D z - s)_i|; a is (batch, length)."""
    eye, DK = torch.eye(len(D), dtype=torch.float64), D @ K
    w = w.clamp(min=LEAST)
    u = qp_solve(DK @ DK.mT, s - a @ D.mT, G=torch.cat([eye, -eye]), h=torch.cat([w, w], -1)).z
    return a - u @ DK @ K.mT


class Denoiser(nn.Module):
    """The learnt layer; see the file's docstring.

    Args:
        D: (rows, length) where to start.
        weight: lambda, where w starts; a starts at the signal, s at zero, K at the identity.
        whiten: (length, length) from `whitening`.
        everything: learn all that the layer has, not D alone.
    """

    def __init__(self, D: Tensor, weight: float, whiten: Tensor, everything: bool) -> None:
        super().__init__()
        rows, length = D.shape
        self.start, self.weight, self.whiten = D, weight, whiten

        def zeros(*shape: int, learnt: bool = everything) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape, dtype=torch.float64), requires_grad=learnt)

        self.D = zeros(rows, length, learnt=True)
        self.K, self.s = zeros(length, length), zeros(rows)
        self.to_a, self.a = zeros(length, length), zeros(length)
        self.w = zeros(rows)

    def forward(self, y: Tensor) -> Tensor:
        y = y - MIDDLE
        white = y @ self.whiten
        a = y + NOISE * (white @ self.to_a.mT + self.a)
        w = self.weight + NOISE * self.w
        D = self.start + SMALLER * NOISE * self.D @ self.whiten
        K = torch.eye(len(self.K), dtype=torch.float64) + NOISE * self.K @ self.whiten
        return denoise(a, D, self.s, w, K) + MIDDLE


def error(model: Callable[[Tensor], Tensor], noisy: Tensor, clean: Tensor) -> float:
    """Return the mean squared error of a model, batch by batch."""
    with torch.no_grad():
        parts = [((model(y) - x) ** 2).mean(-1) for y, x in zip(noisy.split(BATCH), clean.split(BATCH))]
    return float(torch.cat(parts).mean())


def train(
    model: nn.Module, noisy: Tensor, clean: Tensor, epochs: int, rate: float, seed: int, mirrored: bool = False
) -> int:
    """Minimise the mean squared error by Adam; keep the best weights on a tenth that is held out, and return their
    epoch."""
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    held = len(noisy) // 10
    best, best_epoch, weights = error(model, noisy[:held], clean[:held]), 0, _copy(model)
    for epoch in range(1, epochs + 1):
        for part in (held + torch.randperm(len(noisy) - held, generator=draw)).split(BATCH):
            y, x = mirror(noisy[part], clean[part], draw) if mirrored else (noisy[part], clean[part])
            loss = ((model(y) - x) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
        now = error(model, noisy[:held], clean[:held])
        if now < best:
            best, best_epoch, weights = now, epoch, _copy(model)
    model.load_state_dict(weights)
    return best_epoch


def mirror(noisy: Tensor, clean: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the signals, a random half of them reversed and a random half upside down."""
    backward, over = torch.rand(2, len(noisy), 1, generator=draw) < 0.5
    noisy, clean = (torch.where(backward, part.flip(-1), part) for part in (noisy, clean))
    noisy, clean = (torch.where(over, 2 * MIDDLE - part, part) for part in (noisy, clean))
    return noisy, clean


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def tune_weight(noisy: Tensor, clean: Tensor) -> float:
    """Return the lambda of total variation with the least error on these signals."""
    D = differences(noisy.shape[1])

    def of(weight: float) -> float:
        return error(lambda y: total_variation(y, D, weight), noisy, clean)

    return float(minimize_scalar(of, bounds=WEIGHTS, method="bounded", options={"xatol": FINENESS}).x)


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the methods that are asked for, and return their rows and those of earlier runs in the same file."""
    kept = begin(arguments, ["method"])
    kept.resume()
    asked = [word.strip() for word in arguments.methods.split(";")] if arguments.methods else list(PUBLISHED)
    length, epochs = arguments.length, arguments.epochs
    noisy, clean = signals(arguments.train, length, arguments.seed)
    test = signals(max(arguments.train // 4, BATCH), length, arguments.seed + 1)
    held = arguments.train // 10

    def add(method: str, model: Callable[[Tensor], Tensor], rate: float, epochs: int, mirrored: bool = False) -> None:
        if method not in asked:
            return
        began, epoch = time.perf_counter(), None
        if isinstance(model, nn.Module):
            epoch = train(model, noisy, clean, epochs, rate, arguments.seed, mirrored)
        errors = {"train": error(model, noisy[held:], clean[held:]), "test": error(model, *test)}
        kept.add({"method": method, **errors, "best_epoch": epoch, "seconds": time.perf_counter() - began})

    weight, D, whiten = tune_weight(noisy, clean), differences(length), whitening(noisy)
    best = tune_weight(*test)
    least = error(lambda y: total_variation(y, D, best), *test)
    kept.facts |= {"weight": weight, "weight_of_test": best, "least_test_error_of_total_variation": least}
    add("total variation", lambda y: total_variation(y, D, weight), 0.0, 0)
    for method, mirrored in (("QP layer tuned from TV", False), ("QP layer tuned from TV, mirrored", True)):
        add(method, Denoiser(D, weight, whiten, everything=True), TUNING_RATE, epochs, mirrored)
    add("pure QP layer", Denoiser(0.3 * torch.randn_like(D), weight, whiten, everything=False), PURE_RATE, epochs)
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
    command.add_argument("--train", type=int, default=10_000)
    command.add_argument("--epochs", type=int, default=18)
    command.add_argument("--length", type=int, default=100)
    command.add_argument(
        "--methods", help="some of the table's methods, between semicolons; rows of the others stay in the file"
    )
    arguments = command.parse_args(argv)
    if arguments.quick:
        arguments.train, arguments.epochs, arguments.length = 100, 1, 20
    print(show(run(arguments)))


if __name__ == "__main__":
    main()
