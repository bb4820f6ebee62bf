"""Affine layer: h -> W h + b, with a full or a diagonal W."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proxies.errors import ProxyError
from proxies.layers.layer import Layer


class Affine(Layer):
    """W h + b.

    Args:
        weight: (n_out, n_in), or (n,) for a diagonal W.
        bias: (n_out,).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        if bias.shape != weight.shape[:1]:
            raise ProxyError(f"an affine layer has weight {tuple(weight.shape)} but bias {tuple(bias.shape)}")
        self.weight = nn.Parameter(torch.as_tensor(weight, dtype=torch.float64).clone())
        self.bias = nn.Parameter(torch.as_tensor(bias, dtype=torch.float64).clone())

    @property
    def matrix(self) -> Tensor:
        """(n_out, n_in) W in full."""
        return torch.diag(self.weight) if self.weight.ndim == 1 else self.weight

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        if self.weight.ndim == 1:
            return h * self.weight + self.bias
        return nn.functional.linear(h, self.weight, self.bias)

    def output_size(self, input_size: int) -> int:
        expected = self.weight.shape[-1]
        if input_size != expected:
            raise ProxyError(f"an affine layer takes {expected} values but gets {input_size}")
        return int(self.weight.shape[0])
