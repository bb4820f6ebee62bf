"""A batch of integer programs min c'y, A y <= b, y integer in a box, and what makes a point feasible."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxies.errors import IntegerProgramError

# A row may be exceeded by this share of |b| + sum |a_j| max(|lower_j|, |upper_j|): enough for numbers such as
# 0.15 + 0.85 that float64 or float32 cannot hold, far less than any difference that is meant.
FEASIBILITY = {torch.float64: 1e-9, torch.float32: 1e-6}
# Integers beyond this are not exact once they are multiplied; numbers beyond the second overflow.
LARGEST, LARGEST_NUMBER = 2.0**31, 1e30


@dataclass(frozen=True)
class Programs:
    """A batch of integer programs; where a parameter has no batch axis, all programs share it.

    Attributes:
        c: (B, n) or (n,) costs.
        A: (B, m, n) or (m, n) rows.
        b: (B, m) or (m,) right sides.
        lower, upper: (n,) the box, integral.
    """

    c: Tensor
    A: Tensor
    b: Tensor
    lower: Tensor
    upper: Tensor

    @classmethod
    def of(cls, c: Tensor, A: Tensor, b: Tensor, lower: Tensor | float, upper: Tensor | float) -> Programs:
        """Check the parameters and return them without their gradients; scalar limits hold for every variable.

        Raises:
            IntegerProgramError: the shapes do not fit, the kinds of numbers differ, a number is not finite, or a
                limit of the box is not an integer.
        """
        if c.dtype not in FEASIBILITY or not c.dtype == A.dtype == b.dtype:
            raise IntegerProgramError(f"c, A and b are {c.dtype}, {A.dtype}, {b.dtype}; make all float64 or float32")
        if not (c.ndim in (1, 2) and A.ndim in (2, 3) and b.ndim in (1, 2)):
            raise IntegerProgramError(
                "c, A and b need 1, 2 and 1 axes, and one more in front where they differ by program"
            )
        if A.shape[-2:] != (b.shape[-1], c.shape[-1]) or c.shape[-1] == 0:
            shapes = f"{tuple(c.shape)}, {tuple(A.shape)}, {tuple(b.shape)}"
            raise IntegerProgramError(
                f"c, A and b have shapes {shapes}; the last axes must be (n,), (m, n) and (m,), n > 0"
            )
        sizes = {part.shape[0] for part, axes in ((c, 1), (A, 2), (b, 1)) if part.ndim > axes}
        if len(sizes) > 1:
            raise IntegerProgramError(f"c, A and b are batches of different sizes: {sorted(sizes)}")
        for name, part in (("c", c), ("A", A), ("b", b)):
            if not bool((part.abs() <= LARGEST_NUMBER).all()):
                raise IntegerProgramError(f"{name} holds a number that is not finite, or beyond {LARGEST_NUMBER:.0e}")
        limits = []
        for name, limit in (("lower", lower), ("upper", upper)):
            given = torch.as_tensor(limit, dtype=c.dtype, device=c.device).detach()
            if given.shape not in ((), c.shape[-1:]):
                raise IntegerProgramError(
                    f"{name} has shape {tuple(given.shape)}; it must be () or {tuple(c.shape[-1:])}"
                )
            if not bool(((given == given.round()) & (given.abs() <= LARGEST)).all()):
                raise IntegerProgramError(f"{name} must be integers of at most {LARGEST:.0f}; round it inward")
            limits.append(given.expand(c.shape[-1]))
        if bool((limits[0] > limits[1]).any()):
            raise IntegerProgramError("a lower limit is above its upper one: the box is empty")
        return cls(c.detach(), A.detach(), b.detach(), limits[0], limits[1])

    @property
    def batch(self) -> int:
        """How many programs there are; one where all parameters are shared."""
        sizes = (part.shape[0] for part, axes in ((self.c, 1), (self.A, 2), (self.b, 1)) if part.ndim > axes)
        return next(sizes, 1)

    @property
    def right_side(self) -> Tensor:
        """b with its tolerance, in float64, shaped as the broadcast of A's rows and b: what "feasible" means.

        A point y is feasible if, for every row, the float64 sum of a_j y_j is at most this.
        """
        A, b = self.A.double(), self.b.double()
        size = A.abs() @ torch.maximum(self.lower.abs(), self.upper.abs()).double() + b.abs()
        return b + FEASIBILITY[self.c.dtype] * size
