"""Exact local search around an input: fix most integers, free the promising ones, solve the small MILP.

Within one pattern of integers the gap is linear, and the linear program follows its ridges exactly, which gradient
steps cannot; the reduced costs of the fixed integers say which of them would pay to move. (Moving single coordinates
to the ends of their ranges, with a line search along alpha, was tried instead and found nothing more.)
"""

from __future__ import annotations

import numpy as np

from encoding.bounds import Bounds
from problems.interval import Vector
from solvers.registry import open_session
from solvers.session import Solution, Status
from verifier.attack import Candidate
from verifier.budget import Budget
from verifier.task import Task

# Integers that are freed at first, and by how much more when a neighbourhood holds nothing better.
FREED, GROWTH, MOST_FREED = 12, 2, 48
# Seconds for one small MILP; it is a heuristic and may be cut off.
STEP_SECONDS = 1.0
# An improvement below this share is rounding.
WORTH = 1e-6


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
        self._missing = task.missing
        self._solver = solver
        self._open()

    def _open(self) -> None:
        self.model = self._build()
        linear = self.model.linear
        self._integers = np.flatnonzero(linear.integer)
        # Most are binaries; a rounded capacity has other limits.
        self._limits = linear.column_lower[self._integers], linear.column_upper[self._integers]
        self._latent = self.model.latent.columns[self.model.latent.columns >= 0]
        self._lp = open_session(self._solver, linear.relaxed())
        self._milp = open_session(self._solver, linear)

    def _learn(self, x: Vector) -> bool:
        """Take in the optional rows that a point violates; return whether there were any."""
        if self.kept is None:
            return False
        missing = self._missing(self.model, x) - self.kept
        if missing:
            self.kept |= missing
            self.close()
            self._open()
        return bool(missing)

    def close(self) -> None:
        """Give back both sessions."""
        self._lp.close()
        self._milp.close()

    def improve(self, start: Vector, budget: Budget) -> Candidate | None:
        """Climb from a latent vector ((n_w,)); return the best input found with its objective, or None."""
        x = self._complete(start, budget)
        best: Candidate | None = None
        freed = FREED
        while x is not None and not budget.spent:
            pattern = np.round(x[self._integers])
            local = self._within(pattern, budget)
            if local is None or local.x is None or local.row_duals is None:
                break
            latent = self.model.latent_of(local.x)
            if self._learn(local.x):
                x = self._complete(latent, budget)
                continue
            value = self.model.gap_of(local.objective)
            if best is None or value > best.gap:
                best = Candidate(latent, value)
            found = self._around(pattern, local, freed, budget)
            if found is None or found.x is None:
                break
            if self.model.gap_of(found.objective) > value + WORTH * abs(value):
                x, freed = found.x, FREED
            elif freed >= min(MOST_FREED, self._integers.size):
                break
            else:
                freed *= GROWTH
        return best

    def value_at(self, latent: Vector, budget: Budget) -> float | None:
        """Return the model's objective at a latent vector, in the problem's unit; None where the solver proves none."""
        x = self._complete(latent, budget, proven=True)
        while x is not None and self._learn(x):
            x = self._complete(latent, budget, proven=True)
        return None if x is None else self.model.gap_of(float(self.model.linear.cost @ x + self.model.linear.offset))

    def _complete(self, latent: Vector, budget: Budget, proven: bool = False) -> Vector | None:
        """Return the model's best point at a fixed latent vector; where `proven`, only one that is proven to be."""
        w = latent[self.model.latent.columns >= 0]
        linear = self.model.linear
        self._bound_integers(self._milp, *self._limits)
        self._milp.set_column_bounds(self._latent, w, w)
        solution = self._milp.solve(time_limit=min(STEP_SECONDS, budget.left))
        self._milp.set_column_bounds(self._latent, linear.column_lower[self._latent], linear.column_upper[self._latent])
        return None if proven and solution.status is not Status.OPTIMAL else solution.x

    def _within(self, pattern: Vector, budget: Budget) -> Solution | None:
        self._bound_integers(self._lp, pattern, pattern)
        solution = self._lp.solve(time_limit=min(STEP_SECONDS, budget.left))
        return solution if solution.status is Status.OPTIMAL else None

    def _around(self, pattern: Vector, local: Solution, freed: int, budget: Budget) -> Solution | None:
        """Solve with the integers free whose reduced cost promises most."""
        assert local.row_duals is not None
        linear = self.model.linear
        reduced = linear.cost - linear.matrix.T @ local.row_duals
        low, high = self._limits
        rise = np.where(pattern < high, -reduced[self._integers], -np.inf)
        fall = np.where(pattern > low, reduced[self._integers], -np.inf)
        promise = np.maximum(rise, fall)
        chosen = np.argsort(-promise)[:freed]
        lower, upper = pattern.copy(), pattern.copy()
        lower[chosen], upper[chosen] = low[chosen], high[chosen]
        self._bound_integers(self._milp, lower, upper)
        return self._milp.solve(time_limit=min(STEP_SECONDS, budget.left), mip_gap=1e-3, start=local.x)

    def _bound_integers(self, session: object, lower: Vector, upper: Vector) -> None:
        session.set_column_bounds(self._integers, lower, upper)  # type: ignore[attr-defined]
