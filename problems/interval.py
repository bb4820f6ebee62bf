"""Element-wise lower and upper limits, tightened only by intersection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


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
        """Return the common part; where rounding makes the two cross by a hair, the point between them."""
        lower = np.maximum(self.lower, other.lower)
        upper = np.minimum(self.upper, other.upper)
        middle = (lower + upper) / 2
        crossed = lower > upper
        return Interval(np.where(crossed, middle, lower), np.where(crossed, middle, upper))

    def contains(self, values: Vector, tolerance: float = 0.0) -> NDArray[np.bool_]:
        """Return for each row of `values` ((..., n)) whether all entries are inside, give or take `tolerance`."""
        return np.all((values >= self.lower - tolerance) & (values <= self.upper + tolerance), axis=-1)
