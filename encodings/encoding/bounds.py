"""What is known of a proxy's intermediate values over a domain: named intervals that only ever tighten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from problems.interval import Interval
from solvers.errors import CertigapError


class BoundsError(CertigapError, ArithmeticError):
    """Bounds that cannot be used."""


def input_key(layer: int) -> str:
    """Return the name of the values that enter latent layer `layer` (its pre-activations)."""
    return f"input[{layer}]"


def inner_key(layer: int) -> str:
    """Return the name of a layer's inner quantity: a hypersimplex's shift, a sort repair's score differences."""
    return f"inner[{layer}]"


@dataclass(frozen=True)
class Bounds:
    """Intervals by name; see `input_key`, `inner_key`, and the quantities that a problem adds (such as "flow").

    Attributes:
        intervals: the intervals; input[0] is the latent box on which they hold, and input[k] for k = number of layers
            bounds the decision.
        cutoff: if not None, they hold only where the gap is at least this, in the problem's unit.
        empty: two bounds of one quantity have no value in common: no input is in the box (and reaches the cutoff).
    """

    intervals: Mapping[str, Interval] = field(default_factory=dict)
    cutoff: float | None = None
    empty: bool = False

    @property
    def box(self) -> Interval:
        """The latent box."""
        return self.intervals[input_key(0)]

    def __getitem__(self, key: str) -> Interval:
        return self.intervals[key]

    def __contains__(self, key: str) -> bool:
        return key in self.intervals

    def tightened(self, key: str, interval: Interval) -> Bounds:
        """Return these bounds with `key` intersected with `interval`; marked as empty where the two are apart.

        Raises:
            BoundsError: a limit is not a number.
        """
        old = self.intervals.get(key)
        apart = old is not None and old.is_apart(interval)
        new = interval if old is None else old if apart else old.intersect(interval)
        if np.isnan(new.lower).any() or np.isnan(new.upper).any():
            raise BoundsError(f"a bound of {key} is not a number: the network's values overflow; scale its weights")
        return replace(self, intervals={**self.intervals, key: new}, empty=self.empty or apart)


def to_plain(bounds: Bounds) -> dict[str, dict[str, list[float]]]:
    """Return the intervals as plain lists, for JSON; infinite ends do not occur."""
    return {key: {"lower": i.lower.tolist(), "upper": i.upper.tolist()} for key, i in bounds.intervals.items()}


def from_plain(data: Mapping[str, Mapping[str, list[float]]], cutoff: float | None = None) -> Bounds:
    """Return bounds from `to_plain`."""
    intervals = {key: Interval(np.array(i["lower"]), np.array(i["upper"])) for key, i in data.items()}
    return Bounds(intervals, cutoff)
