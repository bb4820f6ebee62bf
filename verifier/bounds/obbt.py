"""Optimization-based bound tightening: the relaxation's own least and largest value of each open quantity.

Sources: Chen et al. 2024, A.3, eq. (18), (19); Gleixner et al. 2017 (a side that some solution attains needs no LP);
Neumaier and Shcherbina 2004 (every accepted bound is safe against rounding).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from encoding.bounds import Bounds
from encoding.formulation import GapModel, Target
from problems.interval import Interval
from solvers.linear_model import Vector
from solvers.registry import open_session
from solvers.safe_bound import SafeBound
from solvers.session import Session, Status
from verifier.budget import Budget

# A side counts as attained when some LP solution comes this close to it, relative to the interval's width.
ATTAINED = 1e-3
# A linear program that takes longer than this has stalled; its multipliers so far still give a valid bound.
LP_SECONDS = 20.0
# Seconds of tightening between two looks at the objective itself.
LOOK_SECONDS = 5.0
# Called with (LPs solved, a safe upper bound of the objective in the problem's unit); True ends the tightening.
OnLp = Callable[[int, float], bool]


@dataclass(frozen=True)
class Tightened:
    """What a round of tightening gave.

    Attributes:
        bounds: never looser than before; marked with the model's cutoff.
        upper: a safe upper bound of the model's objective, in the problem's unit.
        empty: proven: no input of the domain reaches the cutoff.
        solved: number of LPs.
        finished: whether every quantity had its turn.
        point: (n,) the relaxation's best point, or None.
    """

    bounds: Bounds
    upper: float
    empty: bool
    solved: int
    finished: bool
    point: Vector | None = None


@dataclass
class _Lane:
    """One LP session, with the columns whose limits it has yet to take over from the other lanes."""

    session: Session
    stale: set[int] = field(default_factory=set)


class Tightener:
    """One relaxation in one LP session or several, whose objective goes from quantity to quantity.

    Args:
        model: the formulation; its integrality is dropped.
        bounds: what its big-Ms were made of.
        solver: name of the LP solver.
        lanes: sessions that work side by side in threads, each on the next quantity, with every bound found so far.
            (The solver's share of the time is over 90 %, and it runs outside Python's lock.)
    """

    def __init__(self, model: GapModel, bounds: Bounds, solver: str = "highs", lanes: int = 1) -> None:
        self.model, self.bounds = model, bounds
        self.linear = model.linear.relaxed()
        self.lower = self.linear.column_lower.copy()
        self.upper = self.linear.column_upper.copy()
        self._lanes = [_Lane(open_session(solver, self.linear)) for _ in range(lanes)]
        self._lock = threading.Lock()
        self._safe = SafeBound(self.linear.matrix)
        self._zero = np.zeros(self.linear.columns)
        self._seen_low = np.full(self.linear.columns, np.inf)
        self._seen_high = np.full(self.linear.columns, -np.inf)
        self._empty = False
        self.solved = 0

    def close(self) -> None:
        """Give back the LP sessions."""
        for lane in self._lanes:
            lane.session.close()

    def objective_bound(self, budget: Budget) -> tuple[float, bool, Vector | None]:
        """Return (safe upper bound of the model's objective, whether the model is proven empty, the best point)."""
        linear = self.linear
        # Its multipliers are wanted even where the time is up: a bound from none is that of the box.
        value, empty, point = self._minimum(self._lanes[0], linear.cost, linear.offset, budget)
        return self.model.gap_of(value), empty, point

    def objective_within(self, column: int, limits: tuple[float, float], budget: Budget) -> float:
        """Return the objective's safe upper bound with one column within `limits`; -inf where proven empty."""
        old = float(self.lower[column]), float(self.upper[column])
        self._move(column, *limits)
        value, empty, _ = self.objective_bound(budget)
        self._move(column, *old)
        return -np.inf if empty else value

    def run(self, budget: Budget, on_lp: OnLp | None = None) -> Tightened:
        """Tighten every target once, in order, using each new bound at once.

        Args:
            budget: when spent, what is left keeps its bounds.
            on_lp: called after each quantity, by one thread at a time.
        """
        upper, self._empty, point = self.objective_bound(budget)
        look = time.monotonic() + LOOK_SECONDS
        left = iter([(target, k) for target in self.model.targets for k in range(target.columns.size)])
        finished = True

        def work(lane: _Lane) -> None:
            nonlocal finished, upper, look
            while finished and not self._empty:
                with self._lock:
                    entry = next(left, None)
                    now = time.monotonic()
                    looks, look = now >= look, now + LOOK_SECONDS if now >= look else look
                if entry is None:
                    return
                if budget.spent:
                    finished = False
                    return
                self._tighten_entry(lane, *entry, budget)
                if looks:
                    value, empty, _ = self._minimum(lane, self.linear.cost, self.linear.offset, budget)
                    self._empty = self._empty or empty
                    upper = min(upper, self.model.gap_of(value))
                if on_lp is not None:
                    with self._lock:
                        finished = finished and not on_lp(self.solved, upper)

        if len(self._lanes) == 1:
            work(self._lanes[0])
        else:
            with ThreadPoolExecutor(len(self._lanes)) as threads:
                list(threads.map(work, self._lanes))
        if self._empty:
            return Tightened(self.bounds, -np.inf, True, self.solved, True, point)
        for target in self.model.targets:
            self._store(target)
        last, empty, point = self.objective_bound(budget)
        return Tightened(self.bounds, min(upper, last), empty, self.solved, finished, point)

    def _tighten_entry(self, lane: _Lane, target: Target, k: int, budget: Budget) -> None:
        """Tighten both sides of one column where that is of use."""
        column = int(target.columns[k])
        low_goal, high_goal = float(target.low_goal[k]), float(target.high_goal[k])
        for side in (1.0, -1.0):
            low, high = float(self.lower[column]), float(self.upper[column])
            wanted_low, wanted_high = low < low_goal, high > high_goal
            if target.joint[k] and not (wanted_low and wanted_high):
                return
            near = ATTAINED * (high - low)
            if side > 0 and (not wanted_low or self._seen_low[column] <= low + near):
                continue
            if side < 0 and (not wanted_high or self._seen_high[column] >= high - near):
                continue
            cost = self._zero.copy()
            cost[column] = side
            value, empty, _ = self._minimum(lane, cost, 0.0, budget)
            with self._lock:
                if empty:
                    self._empty = True
                    return
                if side > 0 and value > low:
                    self._move(column, min(value, high), high)
                elif side < 0 and -value < high:
                    self._move(column, low, max(-value, low))

    def _move(self, column: int, lower: float, upper: float) -> None:
        self.lower[column], self.upper[column] = lower, upper
        for lane in self._lanes:
            lane.stale.add(column)

    def _minimum(self, lane: _Lane, cost: Vector, offset: float, budget: Budget) -> tuple[float, bool, Vector | None]:
        """Return (a safe lower bound of cost'x + offset over the relaxation, whether it is empty, the best point)."""
        linear = self.linear
        with self._lock:
            self.solved += 1
            # The bound holds for these limits, whatever the other lanes find meanwhile.
            lower, upper = self.lower.copy(), self.upper.copy()
            moved = np.fromiter(lane.stale, dtype=np.int64)
            lane.stale.clear()
        columns = np.flatnonzero(cost)
        if moved.size:
            lane.session.set_column_bounds(moved, lower[moved], upper[moved])
        lane.session.set_cost(columns, cost[columns], offset)
        solution = lane.session.solve(time_limit=min(budget.left, LP_SECONDS))
        if solution.x is not None and solution.status is Status.OPTIMAL:
            with self._lock:
                np.minimum(self._seen_low, solution.x, out=self._seen_low)
                np.maximum(self._seen_high, solution.x, out=self._seen_high)
        limits = (linear.row_lower, linear.row_upper, lower, upper)
        # A positive bound of the zero objective leaves no feasible point.
        if solution.ray is not None and self._safe(self._zero, *limits, solution.ray) > 0:
            return np.inf, True, None
        duals = solution.row_duals
        if duals is None or solution.status is Status.INFEASIBLE:
            duals = np.zeros(linear.rows)
        return self._safe(cost, *limits, duals, offset), False, solution.x

    def _store(self, target: Target) -> None:
        if not target.columns.size:
            return
        old = self.bounds[target.key]
        lower, upper = old.lower.copy(), old.upper.copy()
        lower[target.indices] = self.lower[target.columns]
        upper[target.indices] = self.upper[target.columns]
        self.bounds = self.bounds.tightened(target.key, Interval(lower, upper))


def mark_cutoff(bounds: Bounds, cutoff: float | None) -> Bounds:
    """Return bounds that say which cutoff they used; the largest one counts."""
    if cutoff is None or (bounds.cutoff is not None and bounds.cutoff >= cutoff):
        return bounds
    return replace(bounds, cutoff=cutoff)
