"""An embedding in front of a binarized network: trained through the value of the network's training MIP, or past it.

The embedding is tanh(E x + f). Through the MIP: the value of training the network on the embedded samples to the least
hinge loss, with elastic sums in the first layer, is a function of the embedded samples, and its gradient moves them.
Past it: gradients straight through the network's signs and rounded weights.

Source: MATH 9, "Taming binarized neural networks and mixed-integer programs".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from encoding.bnn_model import margins, training_model
from problems.interval import Vector
from proxies.layers.mip_value import MipOptions, MipValue
from proxies.straight_through import LOOK, BinarizedNetwork, clip

# The largest margin that sums of the first layer (of 3 terms, half of it on either side) are asked to clear, and the
# price of missing it by one. A higher price leaves samples that are far off without a gradient, a lower one makes
# weights of 0 a cheap answer.
LARGEST_MARGIN, PENALTY = 3.0, 1.0
# Where straight-through training puts its thresholds: half of this below 0.
USUAL_MARGIN = 1.0
# A value that is 0 up to the solver's tolerance.
NOTHING = 1e-6


class ElasticTraining:
    """The training MIP of a network with ternary weights as a function of its samples.

    Args:
        labels: (n,) of 1 and -1.
        features: of a sample, each within [-1, 1].
        hidden: widths.
        margin: what a sum of the first layer must clear.
        options: how to solve.
    """

    def __init__(
        self, labels: Vector, features: int, hidden: Sequence[int], margin: float, options: MipOptions
    ) -> None:
        shape = np.zeros((len(labels), features))
        self._model = training_model(
            shape, labels, hidden, objective="min-hinge", margin=margin, readout="sum", reach=1.0
        )
        linear, sums = self._model.linear, self._model.sums
        above, below = (np.flatnonzero(np.isfinite(limit)) for limit in (linear.row_lower, linear.row_upper))
        dense = linear.matrix.toarray()
        self._rows = torch.as_tensor(np.concatenate([dense[above], -dense[below]]))
        self._sides = torch.as_tensor(np.concatenate([linear.row_lower[above], -linear.row_upper[below]]))
        self._cost = torch.as_tensor(linear.cost)
        # Each sum is an equality: one row from above, with the coefficient -x, and one from below, with x.
        places = [np.searchsorted(above, sums), above.size + np.searchsorted(below, sums)]
        columns = np.broadcast_to(self._model.weights[0][None, :, :-1], (*sums.shape, features))
        self._index = tuple(
            torch.as_tensor(np.stack(part)) for part in ([p[:, :, None] + 0 * columns for p in places], [columns] * 2)
        )
        penalty = np.full(len(self._sides), np.inf)
        penalty[np.concatenate([place.ravel() for place in places])] = PENALTY
        box = (linear.column_lower, linear.column_upper, linear.integer, penalty)
        self._value = MipValue(*(torch.as_tensor(part) for part in box), options)

    def __call__(self, embedded: Tensor) -> tuple[Tensor, tuple[Vector, ...] | None, bool]:
        """Return the value at embedded samples ((n, features)), the best network's weights, and whether it is proven.

        The value carries its gradient. Where time ran out, it is that of the best network found. Where the solver
        failed, it is NaN and there are no weights.
        """
        given = embedded[:, None, :].expand(self._index[0].shape[1:])
        rows = self._rows.index_put(self._index, torch.stack([-given, given]))
        found = self._value(self._cost[None], rows[None], self._sides[None])
        known = not bool(found.value.isnan().any())
        weights = self._model.weights_at(found.x[0].numpy()) if known else None
        return found.value[0], weights, bool(found.solved.all())


@dataclass(frozen=True)
class Embedded:
    """An embedding with the network behind it, and how it was found.

    Attributes:
        matrix, shift: (p, d) and (p,).
        weights: of the network.
        margin: that its first layer's sums were to clear.
        values, accuracies: of the MIP and of its best network, in percent of the training samples, step by step.
        unproven: solves that ran out of time or failed.
    """

    matrix: Tensor
    shift: Tensor
    weights: tuple[Vector, ...]
    margin: float
    values: tuple[float, ...] = ()
    accuracies: tuple[float, ...] = ()
    unproven: int = 0

    def correct(self, x: Vector, labels: Vector) -> float:
        """Return the percentage of samples ((n, d)) that are classified right."""
        out = margins(embed(self.matrix, self.shift, x), self.weights, self.margin)
        return 100 * float((labels * out > 0).mean())


def embed(matrix: Tensor, shift: Tensor, x: Vector) -> Vector:
    """Return tanh(E x + f) ((n, p)) as numbers."""
    with torch.no_grad():
        return np.asarray(torch.tanh(torch.as_tensor(x) @ matrix.T + shift).numpy())


def start(x: Vector, features: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return a random projection whose outputs have about the size 1 on samples x ((n, d)), centred on them."""
    draw = torch.Generator().manual_seed(seed)
    matrix = torch.randn(features, x.shape[1], generator=draw, dtype=torch.float64)
    out = torch.as_tensor(x) @ matrix.T
    matrix = matrix / out.std(0, keepdim=True).T
    return matrix, -(torch.as_tensor(x) @ matrix.T).mean(0)


def through_the_mip(
    x: Vector,
    labels: Vector,
    begin: tuple[Tensor, Tensor],
    hidden: Sequence[int],
    steps: int,
    rate: float,
    margin: float,
    growth: float,
    options: MipOptions,
) -> Embedded:
    """Move the embedding down the MIP's value; return where most training samples are right.

    Of those points it is one with the largest margin, and of these the one of least value.

    Args:
        x, labels: (n, d) and (n,).
        begin: matrix (p, d) and shift (p,).
        hidden: widths of the network.
        steps, rate: of Adam.
        margin: that sums of the first layer are to clear at first.
        growth: where the value is 0, and so flat, the margin is multiplied by this; with 1 that is the end.
        options: of each solve.
    """
    matrix, shift = (part.clone().requires_grad_(True) for part in begin)
    program = ElasticTraining(labels, len(shift), hidden, margin, options)
    optimiser = torch.optim.Adam([matrix, shift], lr=rate)
    given = torch.as_tensor(x)
    best = (-1.0, 0.0, 0.0)
    kept: Embedded | None = None
    values: list[float] = []
    accuracies: list[float] = []
    unproven = 0
    for _ in range(steps):
        value, weights, proven = program(torch.tanh(given @ matrix.T + shift))
        unproven += not proven
        if weights is None:
            optimiser.step()  # On, by the last gradient.
            continue
        here = Embedded(matrix.detach().clone(), shift.detach().clone(), weights, margin)
        values.append(float(value.detach()))
        accuracies.append(here.correct(x, labels))
        if (reached := (accuracies[-1], margin, -values[-1])) > best:
            best, kept = reached, here
        if values[-1] <= NOTHING:
            margin *= growth
            if growth == 1 or margin > LARGEST_MARGIN:
                break
            program = ElasticTraining(labels, len(shift), hidden, margin, options)
            continue
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert kept is not None, "the solver found no network at all"
    return replace(kept, values=tuple(values), accuracies=tuple(accuracies), unproven=unproven)


def past_the_mip(
    x: Vector,
    labels: Vector,
    begin: tuple[Tensor, Tensor],
    hidden: Sequence[int],
    steps: int,
    rate: float,
    restarts: int,
    seed: int,
) -> Embedded:
    """Train embedding and network together, straight through; keep what gets most training samples right.

    Args:
        x, labels, begin, hidden, steps, rate: as `through_the_mip`.
        restarts: each from the same embedding and another network.
        seed: of the networks.
    """
    torch.manual_seed(seed)
    given, wanted = torch.as_tensor(x), torch.as_tensor(labels)
    best: tuple[float, float] = (-1.0, 0.0)
    kept: Embedded | None = None
    for _ in range(restarts):
        matrix, shift = (part.clone().requires_grad_(True) for part in begin)
        network = BinarizedNetwork(len(shift), hidden, "ternary", USUAL_MARGIN, summed=True)
        optimiser = torch.optim.Adam([matrix, shift, *network.latent()], lr=rate)
        for step in range(steps + 1):
            loss = network.loss(network(torch.tanh(given @ matrix.T + shift)), wanted)
            if step % LOOK == 0:
                weights = tuple(layer.numpy() for layer in network.weights())
                here = Embedded(matrix.detach().clone(), shift.detach().clone(), weights, USUAL_MARGIN)
                reached = here.correct(x, labels), -float(loss.detach())
                if reached > best:
                    best, kept = reached, here
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            clip(network)
    assert kept is not None
    return kept
