"""Adam for a handful of free numbers. torch's own imports torch's compiler first, which takes longer than most answers.

Source: Kingma and Ba 2015, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# The method's usual decay rates, and what keeps its quotient finite.
FIRST, SECOND, TINY = 0.9, 0.999, 1e-8


class Adam:
    """Moves numbers against their gradients, in place.

    Args:
        numbers: leaves of autograd.
        rate: the length of a first step.
    """

    def __init__(self, numbers: Sequence[Tensor], rate: float) -> None:
        self._numbers, self._rate = list(numbers), rate
        self._means = [torch.zeros_like(number) for number in self._numbers]
        self._squares = [torch.zeros_like(number) for number in self._numbers]
        self._steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Take a step along the gradients that the numbers hold, and clear them."""
        self._steps += 1
        for number, mean, square in zip(self._numbers, self._means, self._squares):
            if number.grad is None:
                continue
            mean.lerp_(number.grad, 1 - FIRST)
            square.lerp_(number.grad**2, 1 - SECOND)
            size = (square / (1 - SECOND**self._steps)).sqrt() + TINY
            number -= self._rate / (1 - FIRST**self._steps) * mean / size
            number.grad = None
