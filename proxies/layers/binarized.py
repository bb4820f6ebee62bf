"""Affine layers whose weights are trained as -1 and 1, or -1, 0 and 1.

Source: Courbariaux et al. 2015 (BinaryConnect): real latent weights, rounded in the forward pass, and a gradient that
goes straight through the rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from proxies.layers.affine import Affine
from proxies.layers.layer import Layer
from proxies.layers.sign import Sign

# Which values weights may take: "binary" -1 and 1, "ternary" also 0.
WeightValues = Literal["binary", "ternary"]


class _Rounded(nn.Module):
    """Latent weights to the nearest allowed ones, with the gradient of the identity."""

    def __init__(self, values: WeightValues) -> None:
        super().__init__()
        self.values = values

    def forward(self, latent: Tensor) -> Tensor:
        clipped = latent.detach().clamp(-1.0, 1.0)
        rounded = torch.where(clipped >= 0, 1.0, -1.0).to(latent) if self.values == "binary" else clipped.round()
        # Zero in the forward pass, exactly: latent - latent.
        return rounded + (latent - latent.detach())


def binarize(layer: Affine, values: WeightValues) -> Affine:
    """Return the layer with its full weight ((n_out, n_in)) rounded to `values` wherever it is read; in place.

    The real weights, scaled to at most 1, become latent ones that an optimiser moves; the bias stays real.
    `Affine(layer.weight, layer.bias)` is the layer to keep after training.
    """
    with torch.no_grad():
        layer.weight.div_(layer.weight.abs().max())
    parametrize.register_parametrization(layer, "weight", _Rounded(values))
    return layer


def binarized_perceptron(reads: int, hidden: Sequence[int], writes: int, values: WeightValues) -> list[Layer]:
    """Return binarized affine layers with signs behind them, and a real affine layer last, at a random start.

    Args:
        reads: number of inputs, of about the size 1.
        hidden: widths of the hidden layers.
        writes: number of outputs.
        values: of the hidden layers' weights.
    """
    layers: list[Layer] = []
    size = reads
    for width in hidden:
        start = nn.Linear(size, width)
        # As wide as the sum of `size` inputs of size 1 is: the signs shall differ from unit to unit.
        bias = (2 * torch.rand(width) - 1) * size**0.5
        layers.extend((binarize(Affine(start.weight.detach(), bias), values), Sign()))
        size = width
    last = nn.Linear(size, writes)
    return [*layers, Affine(last.weight.detach(), last.bias.detach())]
