"""The usual way to train a binarized network: gradients straight through rounded weights and signs.

Source: Hubara et al. 2016. Restarts keep what classifies most training samples right, the smaller loss deciding ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from encoding.bnn_model import Readout, margins
from problems.interval import Vector
from proxies.layers import Affine, Layer, Sign
from proxies.layers.binarized import WeightValues, binarize

RATE = 0.02


def network(inputs: int, hidden: Sequence[int], values: WeightValues, readout: Readout = "trained") -> list[Layer]:
    """Return affine layers that read a constant 1 last, at a random start, with signs between them."""
    layers: list[Layer] = []
    for before, units in pairwise((inputs, *hidden, 1)):
        start = torch.rand(units, before + 1, dtype=torch.float64) * 2 - 1
        layers += [binarize(Affine(start, torch.zeros(units)), values), Sign()]
    if readout == "sum":
        ones = torch.ones(1, hidden[-1] + 1)
        ones[0, -1] = 0.0
        layers[-2] = Affine(ones, torch.zeros(1))
    return layers[:-1]


def latent_weights(layers: Sequence[Layer]) -> list[nn.Parameter]:
    """Return the real weights that are trained."""
    return [
        layer.parametrizations.weight.original  # type: ignore[union-attr, misc]
        for layer in layers
        if parametrize.is_parametrized(layer)
    ]


def outputs(layers: Sequence[Layer], x: Tensor, margin: float) -> Tensor:
    """Return the margins ((n,)) as `encoding.bnn_model.margins` computes them, with slopes to follow."""
    h = x
    for k, layer in enumerate(layers):
        if isinstance(layer, Affine):
            h = layer(torch.cat([h, torch.ones_like(h[:, :1])], 1), h) + (margin if k == 0 else 1.0) / 2
        else:
            h = layer.climbable(h, h)
    return h[:, 0]


def weights_of(layers: Sequence[Layer]) -> list[Vector]:
    """Return the rounded weights of each layer."""
    return [layer.weight.detach().numpy().copy() for layer in layers if isinstance(layer, Affine)]


def loss_of(out: Tensor, labels: Tensor, size: float) -> Tensor:
    """Return the mean logistic loss of outputs ((n,)) in units of their usual size."""
    return nn.functional.softplus(-labels * out / size).mean()


def straight_through(
    x: Vector,
    labels: Vector,
    hidden: Sequence[int],
    values: WeightValues,
    margin: float,
    seed: int,
    steps: int,
    restarts: int,
) -> list[Vector]:
    """Return the weights of a network like those that the MIP trains; arguments as `training_model`'s."""
    torch.manual_seed(seed)
    given, wanted = torch.as_tensor(x), torch.as_tensor(labels)
    best: tuple[float, float] = (-1.0, 0.0)
    kept: list[Vector] = []
    for _ in range(restarts):
        layers = network(x.shape[1], hidden, values)
        latent = latent_weights(layers)
        optimiser = torch.optim.Adam(latent, lr=RATE)
        for step in range(steps + 1):
            loss = loss_of(outputs(layers, given, margin), wanted, hidden[-1] ** 0.5)
            if step % 10 == 0:
                found = weights_of(layers)
                reached = float((labels * margins(x, found, margin) > 0).mean()), -float(loss.detach())
                if reached > best:
                    best, kept = reached, found
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                for weight in latent:
                    weight.clamp_(-1.0, 1.0)
    return kept


def accuracy(x: Vector, labels: Vector, weights: Sequence[Vector], margin: float) -> float:
    """Return the percentage of samples that a network classifies right."""
    return 100 * float(np.mean(labels * margins(x, weights, margin) > 0))
