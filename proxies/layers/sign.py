"""Sign layer: h -> 1 where h >= 0, else -1; so sign(0) = 1.

Source: Hubara et al. 2016 (binarized neural networks): the activation, and the straight-through gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proxies.layers.layer import Layer

# Rows are read as whole numbers up to here: their sums with signs are exact in float64, in any order.
LARGEST_EXACT = 2.0**50
# A bias this close to a tie, without being on it, may fall on either side by rounding.
NEAR_TIE = 1e-9


class Sign(Layer):
    """1 where h >= 0, else -1, entry by entry."""

    jumps = True

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the signs ((batch, n) of 1 and -1) of h ((batch, n)); they have no gradient."""
        return torch.where(h >= 0, 1.0, -1.0).to(h)

    def climbable(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the signs with the slopes of tanh(h / s), where s is the root mean square of each row."""
        size = h.detach().square().mean(-1, keepdim=True).sqrt() + torch.finfo(h.dtype).tiny
        soft = torch.tanh(h / size)
        return self.forward(h, x) + soft - soft.detach()


def off_ties(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Move pre-activations away from 0 where all inputs are signs, without changing a single output sign.

    Where the weights of a row are whole numbers, or all of one size a (which is divided out), the pre-activation is the
    bias plus a whole number of known parity: the bias moves to the middle of the two values around 0, so that none is
    closer to 0 than 1. Every other row stays as it is.

    Args:
        weight: (m, n).
        bias: (m,).

    Returns:
        Weight and bias with sign(weight s + bias) as before for every s in {-1, 1}^n.
    """
    largest = weight.abs().amax(1, keepdim=True)
    of_one_size = ((weight == 0) | (weight.abs() == largest)).all(1, keepdim=True) & (largest > 0)
    unit = torch.where(of_one_size, largest, 1.0)
    w, b = weight / unit, bias / unit[:, 0]
    total = w.abs().sum(1)
    above = torch.remainder(b + total, 2.0)  # The least pre-activation that is not negative, were there no rounding.
    clear = (above > NEAR_TIE) & (above < 2.0 - NEAR_TIE)
    usable = (w == w.round()).all(1) & (total + b.abs() < LARGEST_EXACT) & (clear | (b == b.round()))
    moved = (b - above + 1.0).round()
    return torch.where(usable[:, None], w, weight), torch.where(usable, moved, bias)
