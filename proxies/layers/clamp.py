"""Clamp layer: h -> min(max(h, lower), upper). Source: Chen et al. 2024, eq. (11)."""

from __future__ import annotations

import torch
from torch import Tensor

from proxies.errors import ProxyError
from proxies.layers.layer import Layer


class Clamp(Layer):
    """min(max(h, lower), upper), entry by entry.

    Args:
        lower, upper: (n,) limits; -inf and inf for none.
    """

    lower: Tensor
    upper: Tensor

    def __init__(self, lower: Tensor, upper: Tensor) -> None:
        super().__init__()
        self.register_buffer("lower", torch.as_tensor(lower, dtype=torch.float64).clone())
        self.register_buffer("upper", torch.as_tensor(upper, dtype=torch.float64).clone())
        if self.lower.shape != self.upper.shape or bool((self.lower > self.upper).any()):
            raise ProxyError("a clamp layer needs as many lower as upper limits, none above its upper one")

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(h, self.lower), self.upper)

    def output_size(self, input_size: int) -> int:
        if input_size != self.lower.numel():
            raise ProxyError(f"a clamp layer takes {self.lower.numel()} values but gets {input_size}")
        return input_size
