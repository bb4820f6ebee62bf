"""Exact local search around inputs: move single integers while that pays, cross the best, free the promising ones.

Within one pattern of integers the gap is linear, and the linear program follows its ridges exactly, which gradient
steps cannot; the reduced costs of the fixed integers say which of them would pay to move. (Moving single coordinates
to the ends of their ranges, with a line search along alpha, was tried instead and found nothing more.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoding.bounds import Bounds
from problems.interval import Vector
from solvers.registry import open_session
from solvers.session import Session, Solution, Status
from verifier.attack import Candidate
from verifier.budget import Budget
from verifier.model_check import limits_at
from verifier.task import Task

# Integers that are moved alone, those that promise most, before a pattern counts as the best of its neighbours.
MOVED = 48
# A crossing frees the integers in which the patterns of so many of the best peaks differ.
CROSSED = 3
# Integers that are freed at first, and by how much more when a neighbourhood holds nothing better.
FREED, GROWTH, MOST_FREED = 12, 2, 48
# Seconds for one small MILP; it is a heuristic and may be cut off.
STEP_SECONDS = 1.0
# An improvement below this share is rounding.
WORTH = 1e-6


@dataclass(frozen=True)
class _Top:
    """The best point within one pattern: the integers, the gap, all columns, and the multipliers of the rows."""

    pattern: Vector
    gap: float
    x: Vector
    duals: Vector


class Polisher:
    """One formulation in two sessions: with its integers fixed as an LP, and with some of them free as a MILP.

    Args:
        task: builds the formulation, without cutoff.
        bounds: of the whole domain.
        goal: see `Task.build`; for a relative gap it gives the ratio.
        kept: optional rows to begin with; None for all of them.
        solver: name of a MILP solver.

    Attributes:
        kept: the optional rows that points have shown to matter.
    """

    def __init__(self, task: Task, bounds: Bounds, goal: float, kept: set[int] | None, solver: str = "highs") -> None:
        self.kept = kept
        self._build = lambda: task.build(task.domain, bounds, goal, cutoff=False, kept=self.kept, clear=True)
        self._task = task
        self._solver = solver
        self._tops: list[_Top] = []
        self._open()

    def _open(self) -> None:
        self.model = self._build()
        linear = self.model.linear
        self._integers = np.flatnonzero(linear.integer)
        # Most are binaries; a rounded capacity has other limits.
        self._limits = linear.column_lower[self._integers], linear.column_upper[self._integers]
        self._lp = open_session(self._solver, linear.relaxed())
        self._milp = open_session(self._solver, linear)

    def _learn(self, x: Vector) -> bool:
        """Take in the optional rows that a point violates; return whether there were any."""
        if self.kept is None:
            return False
        missing = self._task.missing(self.model, x) - self.kept
        if missing:
            self.kept |= missing
            self.close()
            self._open()
        return bool(missing)

    def close(self) -> None:
        """Give back both sessions."""
        self._lp.close()
        self._milp.close()

    def climb(self, start: Vector, budget: Budget) -> Candidate | None:
        """Move single integers from a latent vector ((n_w,)) while that pays; return where it ends, or None."""
        return self._climb(self._complete(start, budget).x, budget)

    def cross(self, budget: Budget) -> Candidate | None:
        """Solve with the integers free in which the best patterns of the climbs differ; climb on from there."""
        best: list[_Top] = []
        for top in sorted(self._tops, key=lambda top: -top.gap):
            if len(best) < CROSSED and not (best and best[-1].gap <= _more(top.gap)):
                best.append(top)
        if len(best) < 2 or budget.spent:
            return None
        patterns = np.stack([top.pattern for top in best])
        return self._climb(self._free(patterns.min(axis=0), patterns.max(axis=0), None, budget), budget)

    def improve(self, start: Vector, budget: Budget) -> Candidate | None:
        """Climb from a latent vector ((n_w,)) and through small MILPs; return the best input found, or None."""
        best: Candidate | None = None
        top, freed = self._top(self._complete(start, budget).x, budget), FREED
        while top is not None:
            here = self._candidate(top)
            if best is None or here.gap > best.gap:
                best = here
            x = None if budget.spent else self._around(top, freed, budget)
            if x is None:
                break
            if self.model.gap_of(float(self.model.linear.cost @ x + self.model.linear.offset)) > _more(here.gap):
                top, freed = self._top(x, budget), FREED
            elif freed >= min(MOST_FREED, self._integers.size):
                break
            else:
                freed *= GROWTH
        return best

    def value_at(self, latent: Vector, budget: Budget) -> float | None:
        """Return the model's objective at a latent vector, in the problem's unit.

        It is -inf where the model has no point there, None where the solver proves neither. A model that stays clear
        of equalities may have no point at an input that counts: that says nothing.
        """
        found = self._complete(latent, budget)
        while found.status is Status.OPTIMAL and found.x is not None and self._learn(found.x):
            found = self._complete(latent, budget)
        if found.status is Status.INFEASIBLE and not self._task.jumps:
            return -np.inf
        return self.model.gap_of(found.objective) if found.status is Status.OPTIMAL else None

    def _complete(self, latent: Vector, budget: Budget) -> Solution:
        """Return the model's best point at a fixed latent vector."""
        everything = np.arange(self.model.linear.columns)
        self._milp.set_column_bounds(everything, *limits_at(self._task, self.model, latent))
        solution = self._milp.solve(time_limit=min(STEP_SECONDS, budget.left))
        self._milp.set_column_bounds(everything, self.model.linear.column_lower, self.model.linear.column_upper)
        return solution

    def _candidate(self, top: _Top) -> Candidate:
        return Candidate(self.model.latent_of(top.x), top.gap)

    def _climb(self, x: Vector | None, budget: Budget) -> Candidate | None:
        top = self._top(x, budget)
        if top is None:
            return None
        self._tops.append(top)
        return self._candidate(top)

    def _top(self, x: Vector | None, budget: Budget) -> _Top | None:
        """Return the best pattern that moves of single integers reach from a point, with all rows that it needs."""
        top = None if x is None else self._within(np.round(x[self._integers]), budget)
        while top is not None:
            while (better := self._neighbour(top, budget)) is not None:
                top = better
            if budget.spent or not self._learn(top.x):
                break
            # Optional rows have no integers: the pattern stays what it was.
            top = self._within(top.pattern, budget)
        return top

    def _neighbour(self, here: _Top, budget: Budget) -> _Top | None:
        """Return the first pattern that is better by a move of one integer, those that promise most tried first."""
        promise, move = self._promise(here)
        for k in np.argsort(-promise)[:MOVED]:
            if promise[k] <= 0 or budget.spent:
                break
            pattern = here.pattern.copy()
            pattern[k] += move[k]
            found = self._within(pattern, budget)
            if found is not None and found.gap > _more(here.gap):
                return found
        return None

    def _within(self, pattern: Vector, budget: Budget) -> _Top | None:
        self._bound_integers(self._lp, pattern, pattern)
        solution = self._lp.solve(time_limit=min(STEP_SECONDS, budget.left))
        if solution.status is not Status.OPTIMAL or solution.x is None or solution.row_duals is None:
            return None
        return _Top(pattern, self.model.gap_of(solution.objective), solution.x, solution.row_duals)

    def _promise(self, here: _Top) -> tuple[Vector, Vector]:
        """Return what the reduced costs promise for a move of every integer, and the move, up or down."""
        linear = self.model.linear
        reduced = (linear.cost - linear.matrix.T @ here.duals)[self._integers]
        low, high = self._limits
        rise = np.where(here.pattern < high, -reduced, -np.inf)
        fall = np.where(here.pattern > low, reduced, -np.inf)
        return np.maximum(rise, fall), np.where(rise >= fall, 1.0, -1.0)

    def _around(self, here: _Top, freed: int, budget: Budget) -> Vector | None:
        """Solve with the integers free whose reduced cost promises most."""
        chosen = np.argsort(-self._promise(here)[0])[:freed]
        low, high = self._limits
        lower, upper = here.pattern.copy(), here.pattern.copy()
        lower[chosen], upper[chosen] = low[chosen], high[chosen]
        return self._free(lower, upper, here.x, budget)

    def _free(self, lower: Vector, upper: Vector, start: Vector | None, budget: Budget) -> Vector | None:
        self._bound_integers(self._milp, lower, upper)
        return self._milp.solve(time_limit=min(STEP_SECONDS, budget.left), mip_gap=1e-3, start=start).x

    def _bound_integers(self, session: Session, lower: Vector, upper: Vector) -> None:
        session.set_column_bounds(self._integers, lower, upper)


def spread(found: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates so that each lies far from those before it; the first stays where it is."""
    if not found:
        return []
    latents = np.stack([candidate.latent for candidate in found])
    width = np.ptp(latents, axis=0)
    scaled = latents / np.where(width > 0, width, 1.0)
    order, far = [0], np.full(len(found), np.inf)
    while len(order) < len(found):
        far = np.minimum(far, np.abs(scaled - scaled[order[-1]]).sum(axis=1))
        far[order] = -np.inf
        order.append(int(np.argmax(far)))
    return [found[k] for k in order]


def _more(gap: float) -> float:
    """Return what a gap must exceed to be better than this one by more than rounding."""
    return gap + WORTH * abs(gap)
