"""What every layer of a proxy is: a float64 torch module from (its input, the proxy's input) to its output."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class Layer(nn.Module):
    """One step of a proxy.

    A layer that needs only the previous one ignores the proxy's own input x; a repair layer may use both.

    Attributes:
        jumps: whether the output can jump, so that a witness must stay clear of equalities.
    """

    jumps: bool = False

    @abstractmethod
    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the layer's output ((batch, n_out)) for h ((batch, n_in)) and the proxy's input x ((batch, n_x))."""

    def climbable(self, h: Tensor, x: Tensor) -> Tensor:
        """Return forward(h, x), with slopes that a climb can follow where the layer itself has none."""
        return self.forward(h, x)

    def on_latent(self, matrix: Tensor, shift: Tensor) -> Layer:
        """Return the same layer for a proxy that reads w ((n_w,)) instead of x = matrix w + shift."""
        return self

    def output_size(self, input_size: int) -> int:
        """Return n_out for n_in = `input_size`; raises ProxyError where the layer cannot take that many."""
        return input_size
