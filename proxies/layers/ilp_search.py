"""Exact depth-first branch and bound for batches of small integer programs min c'y, A y <= b, y in a box; compiled.

A node gets multipliers w from a dense dual simplex, warm from its parent. With r = c + A'w, every point costs at least
bound + sum |r_j| |y_j - base_j|, where base minimises r'y over the box: that narrows the box, and then carries a short
depth-first enumeration. Only a node that the enumeration does not exhaust is split.

Nothing depends on the simplex being accurate. Multipliers and proofs of infeasibility are evaluated from the original
data with a margin for rounding, and one function, `_consider`, decides whether a point is feasible.

All compiled code is in this one file because the compiler's cache notices changes of a function's own file only.

Sources: Balas 1965 (implicit enumeration); Geoffrion 1974 (Lagrangian bounds); Maros, Computational Techniques of the
Simplex Method, 2003 (dual ratio test with bound flips); Neumaier and Shcherbina 2004 (safe bounds).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
# Where a column of the relaxation stands, and how its solution ended.
AT_LOWER, AT_UPPER, BASIC = 0, 1, 2
SOLVED, EMPTY, STOPPED = 0, 1, 2
# Pivots on smaller numbers would spoil the inverse; violations below the second are none to the simplex.
PIVOT, PRIMAL = 1e-9, 1e-9
# Relative rounding error allowed to a sum of a few hundred products, far above what float64 makes of it.
ROUNDING = 1e-13
# Share of its size by which an interval is widened: only the test of a whole point decides.
SLACK = 1e-12
# A point counts as cheaper only beyond this share of sum |c_j| max(|lower_j|, |upper_j|): ties are not searched.
OBJECTIVE = 1e-11
# Values that an enumeration may try: at the root, and at least below it; doubled after success, halved after failure.
MOST_TRIES, FEWEST_TRIES = 2000, 5
# Deepest path; a deeper one ends the search as if the node limit were reached.
DEPTH = 200
# A coordinate of the relaxation further than this from an integer can be branched on.
FRACTIONAL = 1e-6


def search(
    c: Array, A: Array, b: Array, lower: Array, upper: Array, nodes: int, threads: int = 1
) -> tuple[Array, Array, Indices]:
    """Solve a batch.

    Args:
        c, A, b: (B or 1, n), (B or 1, m, n), (B or 1, m) finite; a first axis of 1 is shared.
        lower, upper: (n,) the box, integral and finite.
        nodes: values tried and relaxations solved for one program before the search gives it up.
        threads: how many share the batch.

    Returns:
        (B, n) best points found, (B,) their costs, infinite where there is none, and (B,) nodes spent, negative
        where the search gave up: else the point is optimal, or there is none.
    """
    batch = max(len(c), len(A), len(b))
    y, cost, spent = np.zeros((batch, lower.size)), np.full(batch, np.inf), np.zeros(batch, dtype=np.int64)

    def some(first: int) -> None:
        _search_some(c, A, b, lower, upper, nodes, first, threads, y, cost, spent)

    if threads <= 1 or batch <= 1:
        threads = 1
        some(0)
    else:
        threads = min(threads, batch)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(some, range(threads)))
    return y, cost, spent


class _Tree(NamedTuple):
    """The path from the root to a node; its first axis is the level. Every level but the last has a side to do."""

    low: Array  # (depth, n) the box.
    high: Array
    basis: Indices  # (depth, m) basic columns.
    where: Indices  # (depth, n + m) AT_LOWER, AT_UPPER or BASIC.
    inverse: Array  # (depth, m, m) of the basis.
    column: Indices  # (depth,) what a level was split on,
    side: Array  # (depth, 2) and the limits of that column on the side to do.


class _Scratch(NamedTuple):
    """Memory for one node."""

    x: Array  # (n + m,) the relaxation's point,
    d: Array  # (n + m,) its reduced costs,
    simplex: Array  # (4, n + m).
    reduced: Array  # (n,) reduced costs from the original data.
    enumeration: Array  # (3 m + 10, max(m, n) + 1).
    order: Indices  # (n,).


@njit(cache=True, nogil=True)
def _search_some(
    c: Array,
    A: Array,
    b: Array,
    lower: Array,
    upper: Array,
    nodes: int,
    first: int,
    stride: int,
    y: Array,
    cost: Array,
    spent: Indices,
) -> None:
    """Solve every `stride`-th program of a batch into y, cost and spent; see `search`."""
    m, n = A.shape[1], A.shape[2]
    depth = 2
    for j in range(n):
        depth = min(DEPTH, depth + int(min(upper[j] - lower[j], DEPTH)))
    tree = _Tree(
        np.empty((depth, n)),
        np.empty((depth, n)),
        np.empty((depth, m), np.int64),
        np.empty((depth, n + m), np.int64),
        np.empty((depth, m, m)),
        np.empty(depth, np.int64),
        np.empty((depth, 2)),
    )
    scratch = _Scratch(
        np.empty(n + m),
        np.empty(n + m),
        np.empty((4, n + m)),
        np.empty(n),
        np.empty((3 * m + 10, max(m, n) + 1)),
        np.empty(n, np.int64),
    )
    best = np.empty(n + 1)
    for k in range(first, y.shape[0], stride):
        tree.low[0], tree.high[0] = lower, upper
        best[n] = np.inf
        one = c[k if c.shape[0] > 1 else 0], A[k if A.shape[0] > 1 else 0], b[k if b.shape[0] > 1 else 0]
        spent[k] = _search_one(one[0], one[1], one[2], nodes, tree, scratch, best)
        cost[k] = best[n]
        if best[n] < np.inf:
            y[k] = best[:n]


@njit(cache=True, nogil=True)
def _search_one(c: Array, A: Array, b: Array, nodes: int, tree: _Tree, scratch: _Scratch, best: Array) -> int:
    """Solve one program, whose box is level 0 of the tree; return nodes spent, negative where it gave up."""
    m, n = A.shape
    low, high, x, d = tree.low, tree.high, scratch.x, scratch.d
    _slack_basis(tree.basis[0], tree.where[0], tree.inverse[0], n)
    size = 0.0
    for j in range(n):
        size += abs(c[j]) * max(abs(low[0, j]), abs(high[0, j]))
    margin = OBJECTIVE * size
    level, spent, tries = 0, 0, MOST_TRIES
    while level >= 0:
        lower, upper = low[level], high[level]
        basis, where, inverse = tree.basis[level], tree.where[level], tree.inverse[level]
        ended = _dual_simplex(c, A, b, lower, upper, basis, where, inverse, x, d, scratch.simplex, 10 * (m + n))
        spent += 1
        for j in range(n):
            # The point only guides; it may be off, or no number at all where the data are extreme.
            x[j] = min(x[j], upper[j]) if x[j] >= lower[j] else lower[j]
        weights = d[n:]
        closed = ended == EMPTY and _proves_infeasible(A, b, lower, upper, weights, scratch.reduced)
        if not closed:
            bound = _lagrangian_bound(c, A, b, lower, upper, weights, scratch.reduced)
            while not closed:
                before = float(best[n])
                closed = bound >= before - margin
                if closed:
                    break
                _narrow(lower, upper, scratch.reduced, before - margin - bound)
                most = max(1, min(tries, nodes - spent))
                tried = _enumerate(c, A, b, lower, upper, x, scratch, bound, margin, most, best)
                spent += abs(tried)
                closed = tried >= 0
                tries = min(2 * tries, MOST_TRIES) if closed else max(tries // 2, FEWEST_TRIES)
                if best[n] == before or spent >= nodes:
                    break
        if closed:
            level -= 1
            if level >= 0:
                j = tree.column[level]
                low[level, j], high[level, j] = tree.side[level, 0], tree.side[level, 1]
            continue
        if spent >= nodes or level + 1 >= low.shape[0]:
            return -spent
        j = _branching_column(lower, upper, where, x)
        below = min(max(np.floor(x[j]), lower[j]), upper[j] - 1.0)
        low[level + 1], high[level + 1] = lower, upper
        tree.basis[level + 1], tree.where[level + 1], tree.inverse[level + 1] = basis, where, inverse
        tree.column[level] = j
        if x[j] - below <= 0.5:
            high[level + 1, j] = below
            tree.side[level, 0], tree.side[level, 1] = below + 1.0, upper[j]
        else:
            low[level + 1, j] = below + 1.0
            tree.side[level, 0], tree.side[level, 1] = lower[j], below
        level += 1
    return spent


@njit(cache=True, nogil=True)
def _narrow(lower: Array, upper: Array, reduced: Array, gap: float) -> None:
    """Cut off the values whose reduced cost alone exceeds `gap`, which may be infinite."""
    for j in range(lower.size):
        r = reduced[j]
        if (upper[j] - lower[j]) * abs(r) > gap:
            steps = np.floor(gap / abs(r) * (1.0 + 1e-12) + 1e-12)
            if r > 0.0:
                upper[j] = lower[j] + steps
            else:
                lower[j] = upper[j] - steps


@njit(cache=True, nogil=True)
def _branching_column(lower: Array, upper: Array, where: Indices, x: Array) -> int:
    """Return the free column whose value is nearest to the middle between integers, or else the widest."""
    chosen, best = -1, FRACTIONAL
    for j in range(lower.size):
        part = abs(x[j] - np.rint(x[j]))
        if where[j] == BASIC and part > best and lower[j] < x[j] < upper[j]:
            chosen, best = j, part
    if chosen < 0:
        for j in range(lower.size):
            if lower[j] < upper[j] and (chosen < 0 or upper[j] - lower[j] > upper[chosen] - lower[chosen]):
                chosen = j
    return chosen


@njit(cache=True, nogil=True)
def _floor(value: float) -> float:
    """Round down, but not below an integer that rounding may have missed."""
    return float(np.floor(value + SLACK * (1.0 + abs(value))))


@njit(cache=True, nogil=True)
def _consider(c: Array, A: Array, b: Array, y: Array, best: Array) -> bool:
    """Put y in the place of `best` if it obeys every row and is cheaper; the one test of feasibility.

    Args:
        c, A, b, y: (n,), (m, n), (m,), (n,).
        best: (n + 1,) the best point and its cost, infinite where there is none; changed.

    Returns:
        Whether y obeys every row: its sum, from left to right in float64, is at most b.
    """
    m, n = A.shape
    for i in range(m):
        total = 0.0
        for j in range(n):
            total += A[i, j] * y[j]
        if not total <= b[i]:
            return False
    cost = 0.0
    for j in range(n):
        cost += c[j] * y[j]
    if cost < best[n]:
        best[:n] = y
        best[n] = cost
    return True


@njit(cache=True, nogil=True)
def _enumerate(
    c: Array,
    A: Array,
    b: Array,
    lower: Array,
    upper: Array,
    guess: Array,
    scratch: _Scratch,
    bound: float,
    margin: float,
    tries: int,
    best: Array,
) -> int:
    """Search a box until it is exhausted or `tries` values have been tried.

    Args:
        c, A, b: the program.
        lower, upper: (n,) the box, integral.
        guess: (n,) values near which to look first.
        scratch: holds the reduced costs that belong to the bound.
        bound: a number below the cost of every point of the box that obeys the rows.
        margin: points that are cheaper by less than this need not be found.
        tries: how many values may be tried.
        best: (n + 1,) the best known point and its cost; changed.

    Returns:
        Values tried, negative where the box was not exhausted.
    """
    m, n = A.shape
    reduced, order, work = scratch.reduced, scratch.order, scratch.enumeration
    rows = m + 1  # The last row says: cheaper than the best.
    y, price, up, down, low, high = work[0, :n], work[1], work[2], work[3], work[4], work[5]
    activity = work[6 : 6 + rows]  # (rows, n + 1) of what is fixed before a level.
    rest = work[6 + rows : 6 + 2 * rows]  # (rows, n + 1) least activity of what comes after a level.
    inverse = work[6 + 2 * rows : 6 + 3 * rows]  # (rows, n) one over the coefficient, zero where that is zero.
    room = work[6 + 3 * rows]  # (rows,) tolerances.
    for i in range(rows):
        activity[i, 0] = 0.0
    free = 0
    for j in range(n):
        y[j] = lower[j]
        if lower[j] < upper[j]:
            k = free
            while k > 0 and abs(reduced[order[k - 1]]) < abs(reduced[j]):
                order[k] = order[k - 1]
                k -= 1
            order[k] = j
            free += 1
        elif lower[j] != 0.0:
            for i in range(m):
                activity[i, 0] += A[i, j] * lower[j]
            activity[m, 0] += c[j] * lower[j]
    if free == 0:
        _consider(c, A, b, y, best)
        return 1
    for i in range(rows):
        size = abs(b[i]) if i < m else 0.0
        for j in range(n):
            size += abs(A[i, j] if i < m else c[j]) * max(abs(lower[j]), abs(upper[j]))
        room[i] = SLACK * size
        rest[i, free] = 0.0
        for k in range(free - 1, -1, -1):
            a = A[i, order[k]] if i < m else c[order[k]]
            rest[i, k] = rest[i, k + 1] + min(a * lower[order[k]], a * upper[order[k]])
            inverse[i, k] = 1.0 / a if a != 0.0 else 0.0
    price[0] = bound
    tried, level, fresh = 0, 0, True
    while level >= 0:
        j = order[level]
        if fresh:
            cutoff = best[n] - margin
            least, most = lower[j], upper[j]
            r = reduced[j]
            if r > 0.0 and (most - least) * r > cutoff - price[level]:
                most = least + _floor((cutoff - price[level]) / r)
            elif r < 0.0 and (least - most) * r > cutoff - price[level]:
                least = most - _floor((price[level] - cutoff) / r)
            for i in range(rows):
                left = (b[i] if i < m else cutoff) - activity[i, level] - rest[i, level + 1] + room[i]
                one = inverse[i, level]
                if one > 0.0:
                    most = min(most, _floor(left * one))
                elif one < 0.0:
                    least = max(least, -_floor(-left * one))
                elif left < 0.0:
                    most = -np.inf
            fresh = False
            if least > most:
                level -= 1
                continue
            low[level], high[level] = least, most
            if level == free - 1:
                # All rows allow the whole interval: the cheapest end comes first.
                start = least if c[j] > 0.0 else most
            else:
                start = min(max(np.rint(guess[j]), least), most)
            up[level], down[level] = start, start - 1.0
        # The next value, outward from the start.
        above, below = up[level] <= high[level], down[level] >= low[level]
        if not (above or below):
            level -= 1
            continue
        if above and (not below or up[level] - guess[j] <= guess[j] - down[level] or level == free - 1):
            value = up[level]
            up[level] += 1.0
        else:
            value = down[level]
            down[level] -= 1.0
        if tried == tries:
            return -tried
        tried += 1
        r = reduced[j]
        paid = price[level] + (r * (value - lower[j]) if r > 0.0 else r * (value - upper[j]))
        if paid >= best[n] - margin:
            continue
        y[j] = value
        if level == free - 1:
            if _consider(c, A, b, y, best):
                level -= 1
            continue
        for i in range(m):
            activity[i, level + 1] = activity[i, level] + A[i, j] * value
        activity[m, level + 1] = activity[m, level] + c[j] * value
        price[level + 1] = paid
        level += 1
        fresh = True
    return tried


@njit(cache=True, nogil=True)
def _slack_basis(basis: Indices, where: Indices, inverse: Array, n: int) -> None:
    """Make every slack basic."""
    m = basis.size
    where[:n] = AT_LOWER
    inverse[:] = 0.0
    for i in range(m):
        basis[i] = n + i
        where[n + i] = BASIC
        inverse[i, i] = 1.0


@njit(cache=True, nogil=True)
def _dual_simplex(
    c: Array,
    A: Array,
    b: Array,
    lower: Array,
    upper: Array,
    basis: Indices,
    where: Indices,
    inverse: Array,
    x: Array,
    d: Array,
    work: Array,
    pivots: int,
) -> int:
    """Improve the multipliers of a basis until the relaxation is solved, empty, or `pivots` have been made.

    Args:
        c, A, b, lower, upper: (n,), (m, n), (m,), (n,), (n,) the relaxation.
        basis, where, inverse: (m,), (n + m,), (m, m) the basis to start from and its inverse; changed.
        x: (n + m,) receives the point of the basis.
        d: (n + m,) receives reduced costs; those of the slacks are the multipliers, or, where the relaxation is
            empty, the weights of the rows that prove it.
        work: (4, n + m) scratch.
        pivots: how many at most.

    Returns:
        SOLVED, EMPTY or STOPPED.
    """
    m, n = A.shape
    alpha, column, ratio, shift = work[0], work[1], work[2], work[3]
    # Reduced costs and the point, from the inverse alone: errors of earlier updates do not add up.
    for i in range(m):
        price = 0.0
        for k in range(m):
            if basis[k] < n:
                price += c[basis[k]] * inverse[k, i]
        d[n + i] = -price
    for j in range(n):
        d[j] = c[j]
    for i in range(m):
        if d[n + i] != 0.0:
            for j in range(n):
                d[j] += d[n + i] * A[i, j]
    for i in range(m):
        shift[i] = b[i]
    for j in range(n):
        if where[j] != BASIC:
            if d[j] > 0.0:
                where[j] = AT_LOWER
            elif d[j] < 0.0:
                where[j] = AT_UPPER
            x[j] = lower[j] if where[j] == AT_LOWER else upper[j]
            if x[j] != 0.0:
                for i in range(m):
                    shift[i] -= A[i, j] * x[j]
    for i in range(m):
        if where[n + i] != BASIC:
            x[n + i] = 0.0
            d[n + i] = max(d[n + i], 0.0)
    for k in range(m):
        value = 0.0
        for i in range(m):
            value += inverse[k, i] * shift[i]
        x[basis[k]] = value
        d[basis[k]] = 0.0

    for _ in range(pivots):
        # The basic column that violates its limits most leaves.
        row, worst, sign = -1, PRIMAL, 1.0
        for k in range(m):
            j = basis[k]
            low, high = (lower[j], upper[j]) if j < n else (0.0, np.inf)
            if low - x[j] > worst:
                row, worst, sign = k, low - x[j], -1.0
            if x[j] - high > worst:
                row, worst, sign = k, x[j] - high, 1.0
        if row < 0:
            return SOLVED
        for j in range(n):
            alpha[j] = 0.0
        for i in range(m):
            weight = sign * inverse[row, i]
            alpha[n + i] = weight
            if weight != 0.0:
                for j in range(n):
                    alpha[j] += weight * A[i, j]
        # Ratio test: columns whose reduced cost would change sign flip to their other limit while that leaves the
        # row violated; the one at which it no longer does enters.
        for j in range(n + m):
            ratio[j] = np.inf
            if where[j] == AT_LOWER and alpha[j] > PIVOT and (j >= n or lower[j] < upper[j]):
                ratio[j] = max(d[j], 0.0) / alpha[j]
            elif where[j] == AT_UPPER and alpha[j] < -PIVOT and lower[j] < upper[j]:
                ratio[j] = min(d[j], 0.0) / alpha[j]
        slope, enter, flips = worst, -1, 0
        for i in range(m):
            shift[i] = 0.0
        while True:
            best = -1
            for j in range(n + m):
                if ratio[j] < np.inf and (
                    best < 0 or ratio[j] < ratio[best] or (ratio[j] == ratio[best] and abs(alpha[j]) > abs(alpha[best]))
                ):
                    best = j
            if best < 0:
                break
            if best < n:
                slope -= abs(alpha[best]) * (upper[best] - lower[best])
            if best >= n or slope <= 0.0:
                enter = best
                break
            ratio[best] = np.inf
            old = x[best]
            where[best] = AT_UPPER if where[best] == AT_LOWER else AT_LOWER
            x[best] = lower[best] if where[best] == AT_LOWER else upper[best]
            flips += 1
            for i in range(m):
                shift[i] += A[i, best] * (x[best] - old)
        if enter < 0:
            for i in range(m):
                d[n + i] = max(-alpha[n + i], 0.0)
            return EMPTY
        if flips > 0:
            for k in range(m):
                change = 0.0
                for i in range(m):
                    change += inverse[k, i] * shift[i]
                x[basis[k]] -= change
        for k in range(m):
            value = 0.0
            if enter < n:
                for i in range(m):
                    value += inverse[k, i] * A[i, enter]
            else:
                value = inverse[k, enter - n]
            column[k] = value
        if abs(column[row]) <= PIVOT:
            return STOPPED
        leave = basis[row]
        step = d[enter] / alpha[enter]
        for j in range(n + m):
            if where[j] != BASIC:
                d[j] -= step * alpha[j]
        d[enter] = 0.0
        d[leave] = -step * sign
        target = (lower[leave] if leave < n else 0.0) if sign < 0 else upper[leave]
        move = (x[leave] - target) / column[row]
        for k in range(m):
            x[basis[k]] -= move * column[k]
        x[leave] = target
        x[enter] += move
        basis[row] = enter
        where[enter] = BASIC
        where[leave] = AT_LOWER if sign < 0 else AT_UPPER
        for i in range(m):
            inverse[row, i] /= column[row]
        for k in range(m):
            if k != row and column[k] != 0.0:
                for i in range(m):
                    inverse[k, i] -= column[k] * inverse[row, i]
    return STOPPED


@njit(cache=True, nogil=True)
def _lagrangian_bound(
    c: Array, A: Array, b: Array, lower: Array, upper: Array, weights: Array, reduced: Array
) -> float:
    """Return a number below c'y for every y in the box with A y <= b, whatever the weights >= 0 are.

    Args:
        c, A, b, lower, upper: the relaxation.
        weights: (m,) multipliers of the rows.
        reduced: (n,) receives c + A'weights.
    """
    m, n = A.shape
    bound, size = 0.0, 0.0
    for j in range(n):
        reduced[j] = c[j]
        size += abs(c[j]) * max(abs(lower[j]), abs(upper[j]))
    for i in range(m):
        if weights[i] > 0.0:
            bound -= weights[i] * b[i]
            row = abs(b[i])
            for j in range(n):
                reduced[j] += weights[i] * A[i, j]
                row += abs(A[i, j]) * max(abs(lower[j]), abs(upper[j]))
            size += weights[i] * row
    for j in range(n):
        bound += min(reduced[j] * lower[j], reduced[j] * upper[j])
    return bound - ROUNDING * size


@njit(cache=True, nogil=True)
def _proves_infeasible(A: Array, b: Array, lower: Array, upper: Array, weights: Array, reduced: Array) -> bool:
    """Return whether no y in the box has weights'A y <= weights'b, beyond rounding; `reduced` ((n,)) is scratch."""
    return _lagrangian_bound(np.zeros(A.shape[1]), A, b, lower, upper, weights, reduced) > 0.0
