"""The value function Phi exactly, by warm linear programs whose row limits follow the input, with its slopes.

Source: Chen et al. 2024, Theorem 5.1: Phi is convex where x only moves right-hand sides, and the multipliers of any
input give an affine function that is nowhere above it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue

import numpy as np
import pyomo.environ as pyo
from scipy import sparse

from encoding.block import is_number
from encoding.compact import add_latent
from encoding.problem import encode_optimum
from problems.deadline import Deadline
from problems.domain import Domain
from problems.interval import Interval
from problems.parametric import ParametricProblem
from solvers.errors import SolverFailedError
from solvers.highs import HighsSession
from solvers.linear_model import Vector
from solvers.pyomo_bridge import compile_model
from solvers.registry import open_session
from solvers.safe_bound import SafeBound, safe_lower_bound, usable
from solvers.session import Status


def value_range(problem: ParametricProblem, domain: Domain, seconds: float = np.inf) -> tuple[float, float]:
    """Return safe limits of Phi over the domain, in the problem's unit; the upper one may be inf.

    They are safe, and wider, where `seconds` do not suffice.
    """
    deadline = Deadline(problem.name, seconds)
    low, high = problem.value_range(domain, seconds=deadline.left)
    return _relaxed_value(problem, domain, deadline) if np.isinf(low) else low, high


def _relaxed_value(problem: ParametricProblem, domain: Domain, deadline: Deadline) -> float:
    """Return a safe lower bound of Phi over the domain, by one linear program; any multipliers give one."""
    model = pyo.ConcreteModel()
    model.latent_block, model.optimum = pyo.Block(), pyo.Block()
    decision = encode_optimum(problem, model.optimum, domain, add_latent(model.latent_block, domain))
    model.cost = pyo.Objective(expr=decision.cost)
    linear = compile_model(model).linear.relaxed()
    with open_session("highs", linear) as session:
        duals = session.solve(time_limit=deadline.left).row_duals
    return safe_lower_bound(linear, np.zeros(linear.rows) if duals is None else duals) * problem.objective_scale


# A coordinate that cannot move gets this much room, so that the multipliers also say how Phi would change along it.
STILL_ROOM = 1e-9


@dataclass(frozen=True)
class ValueCut:
    """An affine function of the latent vector that is nowhere above Phi, in the box or out of it.

    Attributes:
        at: (n_w,) the latent vector w0 that it was made at.
        value: Phi(w0), rounded downward.
        slope: (n_w,); the function is value + slope'(w - w0).
    """

    at: Vector
    value: float
    slope: Vector

    def __call__(self, latent: Vector) -> Vector:
        """Return the cut at `latent` ((..., n_w))."""
        return self.value + (latent - self.at) @ self.slope


# Phi and the multipliers of its linear program; inf and None where that has none, or was not solved.
Answer = tuple[float, Vector | None]


class ValueFunction:
    """Phi(T w + t) of one problem over one domain, for latent vectors w of its box.

    Every answer depends on its latent vector alone, not on what was asked before or on who solves it: degenerate
    programs have several multipliers, and each solve starts from the basis that is optimal in the middle of the box.

    Args:
        problem: a problem whose encoded optimum is a linear program.
        domain: gives T, t and which branches can matter.
        seconds: for the first linear program; where they do not suffice the others start from nothing.

    Attributes:
        solves: linear programs solved so far.
    """

    def __init__(self, problem: ParametricProblem, domain: Domain, seconds: float = np.inf) -> None:
        box = domain.box
        room = np.where(box.width > 0, 0.0, STILL_ROOM * (1 + box.magnitude))
        wide = replace(domain, box=Interval(box.lower - room, box.upper + room), cuts=())
        model = pyo.ConcreteModel()
        model.latent_block, model.optimum = pyo.Block(), pyo.Block()
        latent = add_latent(model.latent_block, wide)
        decision = encode_optimum(problem, model.optimum, wide, latent)
        model.cost = pyo.Objective(expr=decision.cost)
        compiled = compile_model(model)
        linear = compiled.linear
        columns = compiled.columns(latent)
        self._moving = np.flatnonzero(columns >= 0)
        columns = columns[columns >= 0]
        others = np.setdiff1d(np.arange(linear.columns), columns)
        matrix = linear.matrix.tocsc()
        self._of_latent = sparse.csr_array(matrix[:, columns])
        self._linear = replace(
            linear,
            cost=linear.cost[others],
            matrix=sparse.csr_array(matrix[:, others]),
            column_lower=linear.column_lower[others],
            column_upper=linear.column_upper[others],
            integer=linear.integer[others],
        )
        if self._linear.integer.any():
            raise SolverFailedError(f"the problem {problem.name} is not a linear program; its value has no multipliers")
        # The upper limits of auxiliary columns (overloads) only say what the box implies: multipliers that lean on
        # them would be wrong outside it.
        own = np.isin(others, compiled.columns([y for y in decision.values if not is_number(y)]))
        self._solved = replace(self._linear, column_upper=np.where(own, self._linear.column_upper, np.inf))
        self._rows = np.arange(linear.rows)
        self._safe = SafeBound(self._linear.matrix)
        self._middle = (box.lower + box.upper) / 2
        self.size, self.unit = domain.size, problem.objective_scale
        self.solves = 0
        self._name = problem.name
        self._sessions = [self._open(Deadline(self._name, seconds))]

    def value(self, latent: Vector, seconds: float = np.inf) -> float:
        """Return Phi at the latent vector ((n_w,)), in the problem's unit; inf where P(x) is infeasible.

        It is inf as well where the solver gave up its linear program, or `seconds` do not suffice: no value is known
        there.
        """
        self.solves += 1
        return self._answers(self._limits(latent[None]), 1, Deadline(self._name, seconds))[0][0]

    def cut(self, latent: Vector) -> ValueCut:
        """Return the tangent of Phi at the latent vector ((n_w,)); its value is rounded to be nowhere above Phi.

        Raises:
            SolverFailedError: P(x) is infeasible, or its linear program was not solved.
        """
        (cut,) = self.cuts(latent[None])
        if cut is None:
            raise SolverFailedError("P(x) has no optimum at this input, so Phi has no tangent there")
        return cut

    def cuts(self, latents: Vector, workers: int = 1, seconds: float = np.inf) -> list[ValueCut | None]:
        """Return the tangents of Phi at many latent vectors.

        Args:
            latents: (batch, n_w).
            workers: threads, each with its own linear program; HiGHS gives Python's lock back while it solves.
            seconds: for all of them together.

        Returns:
            A tangent for each row, in order and the same for any number of workers; None where `value` is inf.
        """
        self.solves += len(latents)
        limits = self._limits(latents)
        answers = self._answers(limits, max(1, min(workers, len(latents))), Deadline(self._name, seconds))
        return [self._tangent(w, *limit, *answer) for w, limit, answer in zip(latents, zip(*limits), answers)]

    def _answers(self, limits: tuple[Vector, Vector], workers: int, deadline: Deadline) -> list[Answer]:
        """Solve for many row limits ((batch, rows)), in order, in so many threads."""
        if workers == 1:
            return [self._solve(self._sessions[0], *limit, deadline) for limit in zip(*limits)]
        self._sessions += [self._open(deadline) for _ in range(workers - len(self._sessions))]
        idle: SimpleQueue[HighsSession] = SimpleQueue()
        for session in self._sessions[:workers]:
            idle.put(session)

        def work(lower: Vector, upper: Vector) -> Answer:
            session = idle.get()
            try:
                return self._solve(session, lower, upper, deadline)
            finally:
                idle.put(session)

        with ThreadPoolExecutor(workers) as threads:
            return list(threads.map(work, *limits))

    def _open(self, deadline: Deadline) -> HighsSession:
        session = HighsSession(self._solved)
        ((lower,), (upper,)) = self._limits(self._middle[None])
        session.set_row_bounds(self._rows, lower, upper)
        session.solve(time_limit=deadline.left)
        session.keep_basis()
        return session

    def _tangent(
        self, latent: Vector, lower: Vector, upper: Vector, value: float, duals: Vector | None
    ) -> ValueCut | None:
        if duals is None:
            return None
        # The same multipliers in the slope and in the value: else the tangent would not be one.
        duals = usable(duals, lower, upper)
        slope = np.zeros(self.size)
        slope[self._moving] = -(self._of_latent.T @ duals) * self.unit
        linear = self._linear
        safe = self._safe(linear.cost, lower, upper, linear.column_lower, linear.column_upper, duals, linear.offset)
        return ValueCut(np.array(latent, dtype=np.float64), min(value, safe * self.unit), slope)

    def _limits(self, latents: Vector) -> tuple[Vector, Vector]:
        """Return the row limits ((batch, rows) each) at latent vectors ((batch, n_w))."""
        moved = (self._of_latent @ latents[:, self._moving].T).T
        return self._linear.row_lower - moved, self._linear.row_upper - moved

    def _solve(self, session: HighsSession, lower: Vector, upper: Vector, deadline: Deadline) -> Answer:
        if deadline.left <= 0.0:
            return np.inf, None
        session.restart()
        session.set_row_bounds(self._rows, lower, upper)
        solution = session.solve(time_limit=deadline.left)
        if solution.status is not Status.OPTIMAL:
            return np.inf, None
        return solution.objective * self.unit, solution.row_duals
