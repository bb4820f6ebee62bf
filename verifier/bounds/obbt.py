"""Optimization-based bound tightening: the relaxation's own least and largest value of each open quantity.

Sources: Chen et al. 2024, A.3, eq. (18), (19); Gleixner et al. 2017 (a side that some solution attains needs no LP);
Neumaier and Shcherbina 2004 (every accepted bound is safe against rounding).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from encoding.bounds import Bounds
from encoding.formulation import GapModel, Target
from problems.interval import Interval
from solvers.linear_model import Vector
from solvers.registry import open_session
from solvers.safe_bound import SafeBound
from solvers.session import Session, Solution, Status
from verifier.budget import Budget

# A side counts as attained when some LP solution comes this close to it, relative to the interval's width.
ATTAINED = 1e-3
# A linear program that takes longer than this has stalled; its multipliers so far still give a valid bound.
LP_SECONDS = 20.0
# Called with (LPs solved, bounds so far as an upper bound of the objective).
OnLp = Callable[[int, float], None]


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


class Tightener:
    """One relaxation in one LP session, whose objective goes from quantity to quantity.

    Args:
        model: the formulation; its integrality is dropped.
        bounds: what its big-Ms were made of.
        solver: name of the LP solver.
    """

    def __init__(self, model: GapModel, bounds: Bounds, solver: str = "highs") -> None:
        self.model, self.bounds = model, bounds
        self.linear = model.linear.relaxed()
        self.lower = self.linear.column_lower.copy()
        self.upper = self.linear.column_upper.copy()
        self._session: Session = open_session(solver, self.linear)
        self._safe = SafeBound(self.linear.matrix)
        self._zero = np.zeros(self.linear.columns)
        self._seen_low = np.full(self.linear.columns, np.inf)
        self._seen_high = np.full(self.linear.columns, -np.inf)
        self.solved = 0

    def close(self) -> None:
        """Give back the LP session."""
        self._session.close()

    def objective_bound(self, budget: Budget) -> tuple[float, bool, Vector | None]:
        """Return (safe upper bound of the model's objective, whether the model is proven empty, the best point)."""
        linear = self.linear
        columns = np.flatnonzero(linear.cost)
        self._session.set_cost(columns, linear.cost[columns], linear.offset)
        # Its multipliers are wanted even where the time is up: a bound from none is that of the box.
        solution = self._solve(budget)
        value, empty = self._safe_minimum(linear.cost, solution, linear.offset)
        return self.model.gap_of(value), empty, solution.x

    def objective_within(self, column: int, limits: tuple[float, float], budget: Budget) -> float:
        """Return the objective's safe upper bound with one column within `limits`; -inf where proven empty."""
        index = np.array([column])
        old = self.lower[index], self.upper[index]
        self._move(index, np.array([limits[0]]), np.array([limits[1]]))
        value, empty, _ = self.objective_bound(budget)
        self._move(index, *old)
        return -np.inf if empty else value

    def _move(self, index: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        self.lower[index], self.upper[index] = lower, upper
        self._session.set_column_bounds(index, lower, upper)

    def run(self, budget: Budget, on_lp: OnLp | None = None) -> Tightened:
        """Tighten every target once, in order, using each new bound at once."""
        upper, empty, point = self.objective_bound(budget)
        if empty:
            return Tightened(self.bounds, upper, True, self.solved, True, point)
        finished = True
        for target in self.model.targets:
            for k in range(target.columns.size):
                if budget.spent:
                    finished = False
                    break
                if self._tighten_entry(target, k, budget):
                    return Tightened(self.bounds, -np.inf, True, self.solved, True, point)
                if on_lp is not None:
                    on_lp(self.solved, upper)
            self._store(target)
        last, empty, point = self.objective_bound(budget)
        return Tightened(self.bounds, min(upper, last), empty, self.solved, finished, point)

    def _tighten_entry(self, target: Target, k: int, budget: Budget) -> bool:
        """Tighten both sides of one column where that is of use; return whether the model is proven empty."""
        column = int(target.columns[k])
        low_goal, high_goal = float(target.low_goal[k]), float(target.high_goal[k])
        for side in (1.0, -1.0):
            low, high = float(self.lower[column]), float(self.upper[column])
            wanted_low, wanted_high = low < low_goal, high > high_goal
            if target.joint[k] and not (wanted_low and wanted_high):
                return False
            near = ATTAINED * (high - low)
            if side > 0 and (not wanted_low or self._seen_low[column] <= low + near):
                continue
            if side < 0 and (not wanted_high or self._seen_high[column] >= high - near):
                continue
            cost = self._zero.copy()
            cost[column] = side
            self._session.set_cost(np.array([column]), np.array([side]))
            value, empty = self._safe_minimum(cost, self._solve(budget), 0.0)
            if empty:
                return True
            if side > 0:
                self.lower[column] = min(max(low, value), high)
            else:
                self.upper[column] = max(min(high, -value), low)
            if (self.lower[column], self.upper[column]) != (low, high):
                index = np.array([column])
                self._move(index, self.lower[index], self.upper[index])
        return False

    def _solve(self, budget: Budget) -> Solution:
        self.solved += 1
        solution = self._session.solve(time_limit=min(budget.left, LP_SECONDS))
        if solution.x is not None and solution.status is Status.OPTIMAL:
            np.minimum(self._seen_low, solution.x, out=self._seen_low)
            np.maximum(self._seen_high, solution.x, out=self._seen_high)
        return solution

    def _safe_minimum(self, cost: Vector, solution: Solution, offset: float) -> tuple[float, bool]:
        """Return (a safe lower bound of cost'x + offset over the relaxation, whether it is proven empty)."""
        linear = self.linear
        limits = (linear.row_lower, linear.row_upper, self.lower, self.upper)
        # A positive bound of the zero objective leaves no feasible point.
        if solution.ray is not None and self._safe(self._zero, *limits, solution.ray) > 0:
            return np.inf, True
        duals = solution.row_duals
        if duals is None or solution.status is Status.INFEASIBLE:
            duals = np.zeros(linear.rows)
        return self._safe(cost, *limits, duals, offset), False

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
