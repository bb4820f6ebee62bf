"""SortRepair layer: items are taken in descending score while they fit.

Source: Chen et al. 2024, section 7.2, App. B.1; "skip" is the usual greedy variant.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from proxies.errors import ProxyError
from proxies.layers.layer import Layer

# What happens at an item that does not fit: "prefix" stops there, "skip" leaves it out and goes on.
Greedy = Literal["prefix", "skip"]
# Totals of integer weights up to here are exact in float64.
LARGEST_EXACT = 2.0**50
# Width of the soft threshold that climbs follow, in standard deviations of the scores.
SOFTNESS = 0.1


class SortRepair(Layer):
    """Scores to a 0/1 choice of items within a capacity that is an affine function of the proxy's input.

    Items with equal scores are taken in the order of their index.

    Args:
        weights: (n,) positive integers.
        capacity_weight: (n_x,); the capacity is capacity_weight'x + capacity_constant.
        capacity_constant: scalar.
        greedy: see `Greedy`.

    Raises:
        ProxyError: the weights are not positive integers, or `greedy` is no such rule.
    """

    weights: Tensor
    capacity_weight: Tensor
    capacity_constant: Tensor
    skips: Tensor
    jumps = True

    def __init__(
        self,
        weights: Tensor,
        capacity_weight: Tensor,
        capacity_constant: Tensor | float = 0.0,
        greedy: Greedy = "prefix",
    ) -> None:
        super().__init__()
        if greedy not in ("prefix", "skip"):
            raise ProxyError(f'a sort repair layer is greedy by "prefix" or "skip", not {greedy!r}')
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float64).clone())
        self.register_buffer("capacity_weight", torch.as_tensor(capacity_weight, dtype=torch.float64).clone())
        self.register_buffer("capacity_constant", torch.as_tensor(capacity_constant, dtype=torch.float64).clone())
        # A buffer, so that a proxy's fingerprint sees the rule.
        self.register_buffer("skips", torch.tensor(greedy == "skip"))
        whole = (self.weights == self.weights.floor()) & (self.weights >= 1)
        if self.weights.ndim != 1 or not bool(whole.all()) or float(self.weights.sum()) > LARGEST_EXACT:
            raise ProxyError("a sort repair layer needs positive integer weights, one an item")

    @property
    def greedy(self) -> Greedy:
        """What happens at an item that does not fit."""
        return "skip" if bool(self.skips) else "prefix"

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the choice ((batch, n) of 0 and 1) for scores h ((batch, n)); it has no gradient."""
        capacity = (x @ self.capacity_weight + self.capacity_constant).detach()
        return sort_repair(h.detach(), capacity, self.weights, self.greedy)

    def climbable(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the choice with the slopes of a soft threshold at the score of the last item taken."""
        chosen = self.forward(h, x)
        last = h.detach().masked_fill(chosen == 0, torch.inf).amin(-1, keepdim=True)
        spread = h.detach().std(-1, unbiased=False, keepdim=True)
        soft = torch.sigmoid((h - last.nan_to_num(posinf=0.0)) / (SOFTNESS * spread + torch.finfo(h.dtype).tiny))
        return chosen + soft - soft.detach()

    def on_latent(self, matrix: Tensor, shift: Tensor) -> SortRepair:
        weight, constant = self.capacity_weight @ matrix, self.capacity_weight @ shift + self.capacity_constant
        return SortRepair(self.weights, weight, constant, self.greedy)

    def output_size(self, input_size: int) -> int:
        if input_size != self.weights.numel():
            raise ProxyError(f"a sort repair layer takes {self.weights.numel()} values but gets {input_size}")
        return input_size


def sort_repair(scores: Tensor, capacity: Tensor, weights: Tensor, greedy: Greedy = "prefix") -> Tensor:
    """Take items in descending score, ties by index, while they fit.

    Args:
        scores: (batch, n).
        capacity: (batch,) in the unit of the weights.
        weights: (n,) positive integers.
        greedy: "prefix" stops at the first item that does not fit, "skip" goes on with the next.

    Returns:
        (batch, n) 1 for every item taken, else 0.
    """
    order = scores.sort(dim=-1, descending=True, stable=True).indices
    sorted_weights = weights.to(capacity)[order]
    if greedy == "prefix":
        fits = sorted_weights.cumsum(-1) <= capacity[:, None]
    else:
        fits = torch.zeros_like(sorted_weights, dtype=torch.bool)
        # Totals are kept, not rests: a total of integers is exact, the rest of a real capacity is not.
        total = torch.zeros_like(capacity)
        for place in range(sorted_weights.shape[-1]):
            weight = sorted_weights[:, place]
            fits[:, place] = total + weight <= capacity
            total = total + weight * fits[:, place]
    return torch.zeros_like(scores).scatter(-1, order, fits.to(scores))


def pairs(count: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return the items a < b of every pair ((count (count - 1) / 2,) each): difference k is score a[k] - score b[k]."""
    first, second = torch.triu_indices(count, count, 1, device=device)
    return first, second


def certainly_before(lower: Tensor, upper: Tensor, count: int) -> Tensor:
    """Return which items precede which for all score differences within limits.

    Args:
        lower, upper: (..., m) limits of the differences, see `pairs`.
        count: n items.

    Returns:
        (..., n, n) true at [j, i] where item j is taken before item i; with equal scores the lower index goes first.
    """
    first, second = pairs(count, lower.device)
    before = torch.zeros(*lower.shape[:-1], count, count, dtype=torch.bool, device=lower.device)
    before[..., first, second] = lower >= 0
    before[..., second, first] = upper < 0
    return before
