"""ReLU layer: h -> max(h, 0)."""

from __future__ import annotations

import torch
from torch import Tensor

from proxies.layers.layer import Layer


class Relu(Layer):
    """max(h, 0), entry by entry."""

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return torch.relu(h)
