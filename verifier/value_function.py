"""The value function Phi exactly, by one warm linear program whose row limits follow the input, with its slopes.

Source: Chen et al. 2024, Theorem 5.1: Phi is convex where x only moves right-hand sides, and the multipliers of any
input give an affine function that is nowhere above it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyomo.environ as pyo
from scipy import sparse

from encoding.compact import add_latent
from encoding.problem import encode_optimum
from problems.domain import Domain
from problems.parametric import ParametricProblem
from solvers.errors import SolverFailedError
from solvers.linear_model import Vector
from solvers.pyomo_bridge import compile_model
from solvers.registry import open_session
from solvers.safe_bound import SafeBound, safe_lower_bound
from solvers.session import Status


def least_value(problem: ParametricProblem, domain: Domain) -> float:
    """Return a safe lower bound of Phi over the domain, in the problem's unit."""
    model = pyo.ConcreteModel()
    model.latent_block, model.optimum = pyo.Block(), pyo.Block()
    decision = encode_optimum(problem, model.optimum, domain, add_latent(model.latent_block, domain))
    model.cost = pyo.Objective(expr=decision.cost)
    linear = compile_model(model).linear.relaxed()
    with open_session("highs", linear) as session:
        duals = session.solve().row_duals
    return safe_lower_bound(linear, np.zeros(linear.rows) if duals is None else duals) * problem.objective_scale


@dataclass(frozen=True)
class ValueCut:
    """An affine function of the latent vector that is nowhere above Phi: value + slope'(w - at)."""

    at: Vector
    value: float
    slope: Vector

    def __call__(self, latent: Vector) -> Vector:
        """Return the cut at `latent` ((..., n_w))."""
        return self.value + (latent - self.at) @ self.slope


class ValueFunction:
    """Phi(T w + t) of one problem over one domain, for latent vectors w of its box.

    Args:
        problem: a problem whose encoded optimum is a linear program.
        domain: gives T, t and which branches can matter.
        solver: name of the LP solver.
    """

    def __init__(self, problem: ParametricProblem, domain: Domain, solver: str = "highs") -> None:
        model = pyo.ConcreteModel()
        model.latent_block, model.optimum = pyo.Block(), pyo.Block()
        wide = replace(domain, cuts=())
        latent = add_latent(model.latent_block, wide)
        decision = encode_optimum(problem, model.optimum, wide, latent)
        model.cost = pyo.Objective(expr=decision.cost)
        compiled = compile_model(model)
        linear = compiled.linear
        moving = [k for k, w in enumerate(latent) if not isinstance(w, float)]
        columns = compiled.columns([latent[k] for k in moving])
        self._moving = np.array(moving, dtype=np.int64)[columns >= 0]
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
        self._session = open_session(solver, self._linear)
        self._rows = np.arange(linear.rows)
        self._safe = SafeBound(self._linear.matrix)
        self.size, self.unit = domain.size, problem.objective_scale
        self.solves = 0

    def value(self, latent: Vector) -> float:
        """Return Phi at the latent vector ((n_w,)), in the problem's unit; inf where P(x) is infeasible."""
        return self._solve(latent)[0]

    def cut(self, latent: Vector) -> ValueCut:
        """Return the tangent of Phi at the latent vector; its value is rounded to be nowhere above Phi."""
        value, duals = self._solve(latent)
        if duals is None:
            raise SolverFailedError("P(x) has no optimum at this input, so Phi has no tangent there")
        slope = np.zeros(self.size)
        slope[self._moving] = -(self._of_latent.T @ duals) * self.unit
        lower, upper = self._limits(latent)
        linear = self._linear
        safe = self._safe(linear.cost, lower, upper, linear.column_lower, linear.column_upper, duals, linear.offset)
        return ValueCut(np.array(latent, dtype=np.float64), min(value, safe * self.unit), slope)

    def _limits(self, latent: Vector) -> tuple[Vector, Vector]:
        moved = self._of_latent @ latent[self._moving]
        return self._linear.row_lower - moved, self._linear.row_upper - moved

    def _solve(self, latent: Vector) -> tuple[float, Vector | None]:
        self.solves += 1
        self._session.set_row_bounds(self._rows, *self._limits(latent))
        solution = self._session.solve()
        if solution.status is Status.INFEASIBLE:
            return np.inf, None
        if solution.status is not Status.OPTIMAL:
            raise SolverFailedError(f"the value function's linear program ended as {solution.status.value}")
        return solution.objective * self.unit, solution.row_duals
