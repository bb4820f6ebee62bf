"""The best choice of a knapsack, exact to the rounding of sums of values.

Nemhauser and Ullmann's list of choices that no other one beats in both weight and value, cut down by Dantzig's bound;
where the list grows too long, Bellman's recursion over all capacities, whose cost does not depend on the values.

Source: Nemhauser and Ullmann 1969; Dantzig 1957; Bellman 1957; Kellerer, Pferschy and Pisinger 2004, sections 2.3, 3.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from problems.deadline import Deadline
from problems.interval import Vector

Index = NDArray[np.int64]

# More than the rounding of any sum here, relative.
ROUNDING = 1e-11
# A choice in the list costs about as much as this many entries of the table.
ENTRIES_A_CHOICE = 64
# Below this room the table is faster than any list.
SMALL_ROOM = 100_000
# Entries of the table that are worked on at once: a quarter of a megabyte, for the processor's cache.
BLOCK = 2**15


def best_choice(values: Vector, weights: Index, room: int, deadline: Deadline) -> Vector:
    """Return the choice ((n,), 0 or 1) with the largest value among those that weigh no more than `room`.

    Args:
        values: (n,) finite; items without a positive value are left out.
        weights: (n,) positive.
        room: not negative.
        deadline: checked all the time.

    Raises:
        SolveTimeoutError: the deadline has passed.
    """
    chosen = np.zeros(values.size)
    useful = np.flatnonzero((values > 0) & (weights <= room))
    if weights[useful].sum() <= room:
        chosen[useful] = 1.0
        return chosen
    # By a power of two, so exactly: no sum can overflow, and no quotient vanish.
    scaled = np.ldexp(values[useful], -int(np.frexp(values[useful].max())[1]))
    # The best by weight first, so that few choices can still become the best one.
    order = np.argsort(-scaled / weights[useful], kind="stable")
    useful = useful[order]
    items = scaled[order], weights[useful], room
    taken = None if room < SMALL_ROOM else _by_list(*items, room // ENTRIES_A_CHOICE, deadline)
    if taken is None:
        taken = _by_table(*items, deadline)
    chosen[useful[taken]] = 1.0
    return chosen


@dataclass(frozen=True)
class _Sums:
    """Sums of the items in order, each from the first: what a divided knapsack of the later ones is worth."""

    value: Vector
    weight: Index
    density: Vector

    def limits(self, values: Vector, weights: Index, room: int, after: int) -> tuple[Vector, Vector]:
        """Return what choices among the items before `after` can at least, and at most, become worth."""
        reach = self.weight[after] + room - weights
        whole = np.searchsorted(self.weight, reach, side="right") - 1
        lower = values + (self.value[whole] - self.value[after])
        return lower, lower + (reach - self.weight[whole]) * self.density[whole]


def _by_list(values: Vector, weights: Index, room: int, most: int, deadline: Deadline) -> NDArray[np.bool_] | None:
    """Return which items the best choice takes ((n,)); None once the list is longer than `most`.

    Args:
        values, weights: (n,) both positive, in order of falling density.
        room, most, deadline: as above.
    """
    count = values.size
    sums = _Sums(
        np.concatenate([[0.0], np.cumsum(values)]),
        np.concatenate([[0], np.cumsum(weights)]),
        np.append(values / weights, 0.0),
    )
    slack = ROUNDING * float(sums.value[-1])
    weight, value = np.zeros(1, dtype=np.int64), np.zeros(1)
    # For each item and choice: twice the position of the choice that it came from, plus 1 where it takes the item.
    origins = []
    for k in range(count):
        deadline.check()
        fits = int(np.searchsorted(weight, room - weights[k], side="right"))
        both_weight = np.concatenate([weight, weight[:fits] + weights[k]])
        both_value = np.concatenate([value, value[:fits] + values[k]])
        origin = np.concatenate([2 * np.arange(weight.size), 2 * np.arange(fits) + 1])
        order = np.argsort(both_weight, kind="stable")  # Two runs, which it merges.
        weight, value = both_weight[order], both_value[order]
        keep = np.ones(weight.size, dtype=bool)
        keep[1:] = value[1:] > np.maximum.accumulate(value)[:-1]
        lower, upper = sums.limits(value, weight, room, k + 1)
        keep &= upper >= lower.max() - slack
        weight, value, origin = weight[keep], value[keep], origin[order[keep]]
        if weight.size > most:
            return None
        origins.append(origin)
    taken, at = np.zeros(count, dtype=bool), int(value.argmax())
    for k in range(count - 1, -1, -1):
        at, taken[k] = divmod(int(origins[k][at]), 2)
    return taken


def _by_table(values: Vector, weights: Index, room: int, deadline: Deadline) -> NDArray[np.bool_]:
    """Return which items the best choice takes ((n,)): 8 bytes a unit of room, and a bit a unit and item."""
    best = np.zeros(room + 1)
    starts = range(0, room + 1, BLOCK)
    better = np.zeros((values.size, -(-(room + 1) // 8)), dtype=np.uint8)
    for k, (value, weight) in enumerate(zip(values.tolist(), weights.tolist())):
        # From the end, so that what lies `weight` before has not changed yet.
        for start in reversed(starts):
            deadline.check()
            end = min(start + BLOCK, room + 1)
            first = max(start, weight)
            if first >= end:
                break
            with_item = best[first - weight : end - weight] + value
            block = np.zeros(end - start, dtype=bool)
            np.greater(with_item, best[first:end], out=block[first - start :])
            better[k, start // 8 : -(-end // 8)] = np.packbits(block)
            np.maximum(best[first:end], with_item, out=best[first:end])
    taken = np.zeros(values.size, dtype=bool)
    for k in range(values.size - 1, -1, -1):
        taken[k] = bool(better[k, room // 8] >> (7 - room % 8) & 1)
        room -= int(weights[k]) if taken[k] else 0
    return taken
