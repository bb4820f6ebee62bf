"""Affine layer: h -> W h + b, with a full or a diagonal W."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proxies.errors import ProxyError
from proxies.layers.layer import Layer
from solvers.safe_bound import UNDERFLOW, gamma


class Affine(Layer):
    """W h + b.

    A layer that stands for several in a row (see `after`) computes the same only up to rounding: `rounding` bounds the
    distance of every float64 evaluation of those layers, one by one and in any order of summation, from the exact
    W h + b of this one.

    Args:
        weight: (n_out, n_in), or (n,) for a diagonal W.
        bias: (n_out,).
    """

    # Where it stands for several: their absolute weights and biases multiplied out, their numbers of terms added, and
    # which outputs are constants of the last.
    _several: tuple[Tensor, Tensor, int, Tensor] | None = None

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

    @property
    def _reach(self) -> tuple[Tensor, Tensor, int, Tensor]:
        if self._several is not None:
            return self._several
        weight, terms = self.matrix.detach(), 1 if self.weight.ndim == 1 else self.weight.shape[1]
        return weight.abs(), self.bias.detach().abs(), terms, (weight == 0).all(-1)

    def after(self, before: Affine) -> Affine:
        """Return one layer that stands for `before` and then this one."""
        weight, bias, terms, constant = self._reach
        earlier, earlier_bias, earlier_terms, _ = before._reach
        with torch.no_grad():
            times = self.weight[:, None] * before.matrix if self.weight.ndim == 1 else self.weight @ before.matrix
            both = Affine(times, self(before.bias[None], before.bias)[0])
            both._several = weight @ earlier, weight @ earlier_bias + bias, terms + earlier_terms + 2, constant
        return both

    def rounding(self, magnitude: Tensor, more: int = 0) -> Tensor:
        """Return the bound ((..., n_out)), with room for the evaluation of an enclosure of W h + b as well.

        Args:
            magnitude: (..., n_in) the largest absolute values of the inputs.
            more: terms of further sums that are made with the weights.

        Source: Higham 2002, section 3.1.
        """
        weight, bias, terms, constant = self._reach
        error = 2 * gamma(terms + more + 4) * (magnitude @ weight.to(magnitude).T + bias.to(magnitude)) + UNDERFLOW
        return torch.where(constant.to(magnitude.device), 0.0, error)

    def exact_at(self, h: Tensor, known: Tensor) -> Tensor:
        """Return which outputs ((batch, n_out)) are free of rounding in every order of summation.

        They are where all terms are whole multiples of one power of two and together below 2^53 of them, as in a
        network of whole numbers.

        Args:
            h: (batch, n_in) the inputs.
            known: (batch, n_in) which of them are that and nothing else; the others may not matter to the output.
        """
        if self._several is not None:
            return torch.zeros(len(h), len(self.bias), dtype=torch.bool, device=h.device)
        weight, bias = self.matrix.detach().to(h), self.bias.detach().to(h)
        used = (weight != 0) & (h != 0)[:, None]
        last = _last_bit(weight) + _last_bit(h)[:, None]
        unit = torch.minimum(last.masked_fill(~used, _NO_BIT).amin(-1), _last_bit(bias))
        size = (weight * h[:, None]).abs().sum(-1) + bias.abs()
        counted = ~((weight != 0) & ~known[:, None]).any(-1)
        return counted & (size.log2() < unit + 52)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        if self.weight.ndim == 1:
            return h * self.weight + self.bias
        return nn.functional.linear(h, self.weight, self.bias)

    def output_size(self, input_size: int) -> int:
        expected = self.weight.shape[-1]
        if input_size != expected:
            raise ProxyError(f"an affine layer takes {expected} values but gets {input_size}")
        return int(self.weight.shape[0])


_NO_BIT = 10**6


def _last_bit(x: Tensor) -> Tensor:
    """Return the exponent of the last bit of each number that is not 0; a large one for 0."""
    mantissa, exponent = torch.frexp(x)
    whole = (mantissa * 2.0**53).to(torch.int64)
    place = (whole & -whole).to(torch.float64).log2()
    return torch.where(x == 0, float(_NO_BIT), place + exponent - 53)
