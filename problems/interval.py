"""Element-wise lower and upper limits, tightened only by intersection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from problems.errors import ContradictionError
from solvers.safe_bound import gamma

Vector = NDArray[np.float64]
# Limits of one quantity that cross by less than this share of them do so by rounding.
APART = 1e-9


@dataclass(frozen=True)
class Interval:
    """A box: lower <= value <= upper, entry by entry ((n,) each)."""

    lower: Vector
    upper: Vector

    def __len__(self) -> int:
        return int(self.lower.size)

    @property
    def width(self) -> Vector:
        """(n,) upper minus lower."""
        return self.upper - self.lower

    @property
    def magnitude(self) -> Vector:
        """(n,) the largest absolute value inside."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))

    def intersect(self, other: Interval) -> Interval:
        """Return the common part; an end that is not a number says nothing.

        Where rounding lets the two cross (see `is_apart`), the point between stands for it.

        Raises:
            ContradictionError: an entry has no value in both.
        """
        if self.is_apart(other):
            raise ContradictionError("two bounds of one value have nothing in common: please report this")
        lower = np.fmax(self.lower, other.lower)
        upper = np.fmin(self.upper, other.upper)
        middle = lower / 2 + upper / 2
        crossed = lower > upper
        return Interval(np.where(crossed, middle, lower), np.where(crossed, middle, upper))

    def is_apart(self, other: Interval) -> bool:
        """Whether an entry has no value in both, by more than rounding on the scale of its limits."""
        lower, upper = np.fmax(self.lower, other.lower), np.fmin(self.upper, other.upper)
        return bool((lower - upper > APART * np.fmax(np.abs(lower), np.abs(upper))).any())

    def contains(self, values: Vector, tolerance: float = 0.0) -> NDArray[np.bool_]:
        """Return for each row of `values` ((..., n)) whether all entries are inside, give or take `tolerance`."""
        return np.all((values >= self.lower - tolerance) & (values <= self.upper + tolerance), axis=-1)


def affine_range(coefficients: Vector, box: Interval, constant: float) -> tuple[float, float]:
    """Return the limits of coefficients'w + constant over a box, rounded outward unless the quantity is one entry of w.

    Args:
        coefficients: (n_w,).
        box: (n_w,) limits of w.
        constant: added.
    """
    used = coefficients[coefficients != 0]
    low = float(np.minimum(coefficients * box.lower, coefficients * box.upper).sum()) + constant
    high = float(np.maximum(coefficients * box.lower, coefficients * box.upper).sum()) + constant
    if used.size == 1 and used[0] == 1.0 and constant == 0.0:
        return low, high
    error = gamma(coefficients.size + 2) * (float(np.abs(coefficients) @ box.magnitude) + abs(constant))
    return low - error, high + error


def difference(a: float, b: float) -> tuple[float, float]:
    """Return limits of a - b: the same number twice where it is exact, else the two floats around it."""
    found = float(a) - float(b)
    if found + b == a and a - found == b:
        return found, found
    return float(np.nextafter(found, -np.inf)), float(np.nextafter(found, np.inf))
