"""Exact encodings of the sort repair: items in descending score while they fit.

Source: Chen et al. 2024, App. B.1, eq. (21), (22), style "paper": a permutation matrix. The style "sign" is ours: two
binaries an item for the prefix rule (selected, and critical: the first that does not fit), and one a pair of items
whose order is open for the skip rule. Equal scores may be taken in any order, where the forward pass has one: an upper
bound covers all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
import torch
from numpy.typing import NDArray

from encoding.block import (
    Encoded,
    Value,
    add_binaries,
    add_columns,
    is_number,
    linear,
    reach,
    rows,
    transitive_reduction,
)
from encoding.floor import floor_of
from encoding.layers import Style, encode
from encoding.margin import margin_of
from problems.interval import Interval, Vector
from proxies.layers import SortRepair
from proxies.layers.sort_repair import certainly_before


@dataclass(frozen=True)
class _Items:
    """What both styles start from.

    Attributes:
        scores: (n,) values, with `limits`.
        weights: (n,).
        room: the capacity rounded down, between `least` and `most`.
        before: (n, n) true at [j, i] where item j certainly precedes item i.
    """

    scores: Sequence[Value]
    limits: Interval
    weights: Vector
    room: Value
    least: int
    most: int
    before: NDArray[np.bool_]

    @property
    def count(self) -> int:
        return int(self.weights.size)


@encode.register
def _(
    layer: SortRepair,
    block: pyo.Block,
    inputs: Sequence[Value],
    source: Sequence[Value],
    bounds: Mapping[str, Interval],
    style: Style = "sign",
) -> Encoded:
    limits, weights = bounds["input"], layer.weights.numpy()
    of_source, constant = layer.capacity_weight.numpy(), float(layer.capacity_constant)
    room, least, most = floor_of(block, of_source, source, constant, bounds["source"])
    inner = bounds["inner"]
    before = certainly_before(torch.as_tensor(inner.lower), torch.as_tensor(inner.upper), weights.size).numpy()
    items = _Items(inputs, limits, weights, room, least, most, before)
    if least >= weights.sum():
        return Encoded([1.0] * items.count)
    y = _selections(block, bounds["output"])
    if style == "paper":
        _permutation(block, items, y, layer.greedy == "skip")
    elif layer.greedy == "skip":
        _pairs(block, items, y)
    else:
        _threshold(block, items, y)
    # No targets: with selections in between, the relaxation says no more of the scores than their bounds do.
    return Encoded(y)


def _selections(block: pyo.Block, known: Interval) -> list[Value]:
    """Return a binary an item, or 0 or 1 where its interval rules out the other."""
    low, high = known.lower.tolist(), known.upper.tolist()
    # A binary is 1 where it is above one half, so no tolerance is needed.
    fixed = {i: float(low[i] > 0.5) for i in range(len(known)) if low[i] > 0.5 or high[i] < 0.5}
    binaries = add_binaries(block, "selected", [i for i in range(len(known)) if i not in fixed])
    return [fixed[i] if i in fixed else binaries[i] for i in range(len(known))]


def _add(row: pyo.ConstraintList, expression: Any) -> None:
    """Add expression >= 0, unless no variable is left in it."""
    if not is_number(expression):
        row.add(expression >= 0)


def _capacity_row(row: pyo.ConstraintList, items: _Items, y: Sequence[Value]) -> Any:
    """Add weights'y <= room; return weights'y."""
    taken = linear(items.weights, y)
    _add(row, items.room - taken)
    return taken


# ------------------------------------------------------------------------------------- prefix rule, 2n binaries


def _threshold(block: pyo.Block, items: _Items, y: Sequence[Value]) -> None:
    """Selected items score at least as much as the critical one, all others at most as much."""
    lower, upper, weights = items.limits.lower, items.limits.upper, items.weights
    all_may_fit = items.most >= weights.sum()
    first_weight = weights @ items.before  # (n,) what certainly precedes each item
    certain = np.array([is_number(v) and v == 1.0 for v in y])
    may_stop = ~certain & (first_weight <= items.most)
    k: dict[int, Any] = add_binaries(block, "critical", np.flatnonzero(may_stop).tolist())
    stops: Any = sum(k.values())
    row = rows(block, "rows")
    taken = _capacity_row(row, items, y)
    if not may_stop.any():
        for value in y:
            _add(row, value - 1)
        return
    # Without a critical item everything is taken: then the row below asks for no more than the total weight.
    slack = max(0.0, items.most + 1 - float(weights.sum()))
    beyond = taken + sum(float(weights[i]) * k[i] for i in k)
    _add(row, beyond - items.room - 1 + slack * (1 - stops))
    if all_may_fit:
        _add(row, 1 - stops)
    else:
        row.add(stops == 1)
    t_low, t_high = _threshold_range(items, may_stop, all_may_fit)
    margin = _margin(block, items)
    t = add_columns(block, "threshold", Interval(np.array([t_low]), np.array([t_high])))[0]
    for i, score in enumerate(items.scores):
        mine = k.get(i, 0.0)
        if not is_number(y[i]):
            _add(row, 1 - y[i] - mine)
        if all_may_fit:
            _add(row, y[i] + stops - 1)
        if lower[i] < t_high:
            _add(row, score - t + reach(t_high, lower[i]) * (1 - y[i] - mine))
        if upper[i] > t_low:
            _add(row, t - score + reach(upper[i], t_low) * y[i])
        if margin > 0:
            _add(row, score - t - margin + (t_high - float(lower[i]) + margin) * (1 - y[i]))
            _add(row, t - score - margin + (float(upper[i]) - t_low + margin) * (y[i] + mine))
    for a, b in zip(*np.nonzero(transitive_reduction(items.before))):
        _add(row, y[a] - y[b] - k.get(int(b), 0.0))


def _margin(block: pyo.Block, items: _Items) -> float:
    """Return by how much two scores must differ to count as different."""
    return margin_of(block) * float(items.limits.upper.max() - items.limits.lower.min())


def _threshold_range(items: _Items, may_stop: NDArray[np.bool_], all_may_fit: bool) -> tuple[float, float]:
    """Return valid limits of the critical item's score.

    All that score as much as it, itself included, weigh more than the room; all that score more weigh at most that.
    Where everything may fit, the threshold must also be free to lie below every score.
    """
    lower, upper, weights = items.limits.lower, items.limits.upper, items.weights
    high = float(upper[may_stop].max())
    order = np.argsort(-upper, kind="stable")
    place = int(np.searchsorted(np.cumsum(weights[order]), items.least + 1))
    high = min(high, float(upper[order[min(place, items.count - 1)]]))
    if all_may_fit:
        low = float(lower.min())
        return low, max(low, high)
    low = float(lower[may_stop].min())
    order = np.argsort(-lower, kind="stable")
    # The first item (by lower limit) that does not fit: above its limit the others do, and below it they do not.
    place = int(np.searchsorted(np.cumsum(weights[order]), items.most, side="right"))
    low = max(low, float(lower[order[min(place, items.count - 1)]]))
    return min(low, high), high


# ----------------------------------------------------------------------------- skip rule, a binary an open pair


def _pairs(block: pyo.Block, items: _Items, y: Sequence[Value]) -> None:
    """A rejected item does not fit beside the selected ones that precede it."""
    lower, upper, weights, before = items.limits.lower, items.limits.upper, items.weights, items.before
    open_pairs = [(a, b) for a in range(items.count) for b in range(a) if not (before[a, b] or before[b, a])]
    margin = _margin(block, items)
    block.earlier = pyo.Var(open_pairs, domain=pyo.Binary)
    row = rows(block, "rows")
    _capacity_row(row, items, y)
    order: dict[tuple[int, int], Any] = {}
    for a, b in open_pairs:
        first = block.earlier[a, b]  # 1: a precedes b
        difference = items.scores[a] - items.scores[b]
        _add(row, difference - margin + (reach(upper[b], lower[a]) + margin) * (1 - first))
        _add(row, -difference - margin + (reach(upper[a], lower[b]) + margin) * first)
        order[a, b], order[b, a] = first, 1 - first
    block.both = pyo.Var(list(order), bounds=(0, 1))
    for i in range(items.count):
        if is_number(y[i]) and (y[i] == 1.0 or weights[i] > items.most):
            continue
        ahead: Any = float(weights[i])
        for j in range(items.count):
            if before[j, i]:
                ahead = ahead + float(weights[j]) * y[j]
            elif (j, i) in order:
                both = block.both[j, i]
                _add(row, y[j] - both)
                _add(row, order[j, i] - both)
                ahead = ahead + float(weights[j]) * both
        _add(row, ahead - items.room - 1 + (items.most + 1 - float(weights[i])) * y[i])


# ------------------------------------------------------------------------------- the paper's permutation matrix


def _permutation(block: pyo.Block, items: _Items, y: Sequence[Value], skip: bool) -> None:
    """Eq. (21), (22): place[i, j] = 1 where item i is at place j; its product with the choice there is linearised."""
    n, weights = items.count, items.weights
    lower, upper = items.limits.lower, items.limits.upper
    everyone = range(n)
    block.place = pyo.Var(everyone, everyone, domain=pyo.Binary)
    block.taken_at = pyo.Var(everyone, domain=pyo.Binary)
    block.both = pyo.Var(everyone, everyone, bounds=(0, 1))
    low, high = -np.sort(-lower), -np.sort(-upper)  # The j-th largest score is between the j-th largest limits.
    ranked = add_columns(block, "ranked", Interval(low, high))
    row = rows(block, "rows")
    _capacity_row(row, items, y)
    lightest = np.cumsum(np.sort(weights))
    margin = _margin(block, items)
    reached: Any = 0.0
    for j in everyone:
        row.add(sum(block.place[i, j] for i in everyone) == 1)
        row.add(sum(block.place[j, i] for i in everyone) == 1)
        row.add(sum(block.both[i, j] for i in everyone) == block.taken_at[j])
        row.add(sum(block.both[j, i] for i in everyone) == y[j])
        for i, score in enumerate(items.scores):
            away = 1 - block.place[i, j]
            _add(row, ranked[j] - score + reach(upper[i], low[j]) * away if upper[i] > low[j] else 0.0)
            _add(row, score - ranked[j] + reach(high[j], lower[i]) * away if high[j] > lower[i] else 0.0)
            row.add(block.both[i, j] <= block.place[i, j])
        here = sum(float(weights[i]) * block.place[i, j] for i in everyone)
        taken_here = sum(float(weights[i]) * block.both[i, j] for i in everyone)
        least = float(lightest[0] if skip else lightest[j])
        row.add(reached + here >= items.room + 1 - max(0.0, items.most + 1 - least) * block.taken_at[j])
        reached = reached + (taken_here if skip else here)
        if j:
            _add(row, ranked[j - 1] - ranked[j] - margin)
            if not skip:
                row.add(block.taken_at[j - 1] >= block.taken_at[j])
