"""Any solver that Pyomo can call, as a Session: slower than the adapters, for solvers that have none here."""

from __future__ import annotations

import io
import logging
import math
import time
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pyomo.version
from numpy.typing import NDArray
from pyomo.common.log import LoggingIntercept
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.opt import SolverStatus, TerminationCondition

from solvers.errors import SolverFailedError, SolverLimitError
from solvers.linear_model import LinearModel, Vector
from solvers.pyomo_catalogue import HONEST_BOUND, NO_TIME_LIMIT, OPTIONS, capabilities_of, find_solver
from solvers.safe_bound import SafeBound
from solvers.session import Capability, OnProgress, Session, Solution, Status

_STATUS = {
    TerminationCondition.optimal: Status.OPTIMAL,
    TerminationCondition.globallyOptimal: Status.OPTIMAL,
    TerminationCondition.infeasible: Status.INFEASIBLE,
    TerminationCondition.maxTimeLimit: Status.TIME_LIMIT,
    TerminationCondition.maxIterations: Status.NODE_LIMIT,
    TerminationCondition.maxEvaluations: Status.NODE_LIMIT,
    TerminationCondition.userInterrupt: Status.INTERRUPTED,
}
# Pyomo's GLPK interface calls an infeasible linear model unbounded, so both are told apart by a second solve.
_EITHER = {TerminationCondition.unbounded, TerminationCondition.infeasibleOrUnbounded}


class PyomoSession(Session):
    """A model that a solver of Pyomo's `SolverFactory` solves from the beginning each time.

    The dual bound is the solver's own where its Pyomo interface is known to report it. Elsewhere it is -inf
    for a MIP, and for a linear model what `solvers.safe_bound` proves from the multipliers.

    Args:
        model: the model.
        seed: passed on where the solver is known to take one.
        solver: name in Pyomo's `SolverFactory`.

    Raises:
        SolverUnavailableError: Pyomo does not know the solver, or its executable or package is missing.
    """

    def __init__(self, model: LinearModel, seed: int = 0, solver: str = "appsi_highs") -> None:
        self.name = f"pyomo:{solver}"
        self._solver_name = solver
        self._honest = solver in HONEST_BOUND
        self.capabilities = capabilities_of(solver)
        self._solver = find_solver(solver)
        super().__init__(model, seed)

    def _load(self, model: LinearModel) -> None:
        self._is_mip = bool(model.integer.any())
        self._cost, self._offset = np.array(model.cost, dtype=np.float64), float(model.offset)
        self._lower, self._upper = np.array(model.column_lower), np.array(model.column_upper)
        self._row_lower, self._row_upper = np.array(model.row_lower), np.array(model.row_upper)
        self._row_size = np.diff(model.matrix.indptr)
        self._build()

    def _build(self) -> None:
        model, linear = pyo.ConcreteModel(), self.loaded
        model.x = pyo.Var(range(linear.columns), domain=pyo.Reals)
        for column in np.flatnonzero(linear.integer):
            model.x[column].domain = pyo.Integers
        model.row = pyo.Constraint(pyo.RangeSet(0, linear.rows - 1))
        if not self._is_mip:
            model.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
        self._pyomo = model
        self._x = [model.x[column] for column in range(linear.columns)]
        model.cost = pyo.Objective(expr=self._linear(np.arange(linear.columns), self._cost, self._offset))
        self._set_column_bounds(np.arange(linear.columns), self._lower, self._upper)
        self._set_row_bounds(np.arange(linear.rows), self._row_lower, self._row_upper)

    def _linear(self, columns: NDArray[Any], values: Vector, constant: float = 0.0) -> Any:
        keep = np.flatnonzero(values)
        return LinearExpression(
            constant=constant,
            linear_coefs=[float(values[k]) for k in keep],
            linear_vars=[self._x[columns[k]] for k in keep],
        )

    @classmethod
    def version(cls) -> str:
        return f"pyomo {pyomo.version.version}"

    def _set_cost(self, columns: NDArray[np.int64], values: Vector, offset: float) -> None:
        self._cost = np.zeros(self.loaded.columns)
        self._cost[columns] = values
        self._offset = float(offset)
        self._pyomo.cost.set_value(self._linear(np.arange(self.loaded.columns), self._cost, self._offset))

    def _set_column_bounds(self, columns: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        self._lower[columns], self._upper[columns] = lower, upper
        for column, low, high in zip(columns, lower, upper):
            self._x[column].setlb(_finite(low))
            self._x[column].setub(_finite(high))

    def _set_row_bounds(self, rows: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        self._row_lower[rows], self._row_upper[rows] = lower, upper
        matrix = self.loaded.matrix
        for row, low, high in zip(rows, lower, upper):
            row = int(row)
            if row in self._pyomo.row:
                del self._pyomo.row[row]
            if self._row_size[row] and not (np.isinf(low) and np.isinf(high)):
                entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
                body = self._linear(matrix.indices[entries], matrix.data[entries])
                self._pyomo.row[row] = (_finite(low), body, _finite(high)) if low != high else body == float(low)

    def _solve(
        self,
        *,
        time_limit: float,
        start: Vector | None,
        mip_gap: float,
        heuristics: bool,
        on_progress: OnProgress | None,
    ) -> Solution:
        if time_limit <= 0:
            # Pyomo reads a limit of zero as none.
            return Solution(Status.TIME_LIMIT, np.inf, -np.inf)
        if self._is_plainly_infeasible():
            return Solution(Status.INFEASIBLE, np.inf, np.inf)
        began = time.monotonic()
        condition = self._run(time_limit, mip_gap)
        late = time.monotonic() - began >= time_limit
        if condition not in _EITHER:
            status = _STATUS.get(condition, Status.FAILED)
            return self._read(Status.TIME_LIMIT if late and status is Status.FAILED else status)
        cost, offset = self._cost, self._offset
        every = np.arange(self.loaded.columns)
        self._set_cost(every, np.zeros(self.loaded.columns), 0.0)
        condition = self._run(max(1e-3, time_limit - (time.monotonic() - began)), mip_gap)
        self._set_cost(every, cost, offset)
        # Without objective nothing is unbounded.
        status = Status.INFEASIBLE if condition in _EITHER else _STATUS.get(condition, Status.FAILED)
        if status is Status.INFEASIBLE:
            return Solution(status, np.inf, np.inf)
        return Solution(Status.UNBOUNDED if status is Status.OPTIMAL else status, np.inf, -np.inf)

    def _is_plainly_infeasible(self) -> bool:
        """Return whether limits cross or an empty row excludes zero: Pyomo accepts neither."""
        empty = (self._row_size == 0) & ((self._row_lower > 0) | (self._row_upper < 0))
        crossed = (self._row_lower > self._row_upper).any() or (self._lower > self._upper).any()
        return bool(empty.any() or crossed)

    def _run(self, time_limit: float, mip_gap: float) -> TerminationCondition:
        values = {"seed": self.seed, "gap": mip_gap, "seconds": min(time_limit, NO_TIME_LIMIT)}
        options = {key: values.get(value, value) for key, value in OPTIONS.get(self._solver_name, {}).items()}
        keywords: dict[str, Any] = {"load_solutions": False, "options": options}
        if np.isfinite(time_limit):
            # GLPK takes whole seconds.
            keywords["timelimit"] = math.ceil(time_limit) if self._solver_name == "glpk" else time_limit
        try:
            with LoggingIntercept(io.StringIO(), "pyomo", logging.WARNING):
                self._results = self._solver.solve(self._pyomo, **keywords)
        except NotImplementedError:
            if self._pyomo.component("dual") is None:
                raise
            # Some interfaces refuse to solve where duals are asked for.
            self._pyomo.del_component("dual")
            self.capabilities -= {Capability.ROW_DUALS}
            return self._run(time_limit, mip_gap)
        except Exception as error:
            if "license" in str(error).lower():
                raise SolverLimitError(
                    f"{self.name} refuses by its licence a model of {self.loaded.columns} columns and "
                    f"{self.loaded.rows} rows ({error}): install a licence, or use --solver highs"
                ) from error
            raise SolverFailedError(f"{self.name} stopped: {error}") from error
        return self._results.solver.termination_condition

    def _read(self, status: Status) -> Solution:
        if status is Status.INFEASIBLE:
            return Solution(status, np.inf, np.inf)
        x = self._point() if status is not Status.FAILED and len(self._results.solution) else None
        objective = np.inf if x is None else float(self._cost @ x + self._offset)
        if self._is_mip:
            known = self._honest and status is not Status.FAILED
            return Solution(status, objective, self._claimed_bound() if known else -np.inf, x)
        duals = self._row_duals() if status is Status.OPTIMAL else None
        if status is Status.OPTIMAL and self._honest:
            return Solution(status, objective, objective, x, duals)
        return Solution(status, objective, -np.inf if duals is None else self._proved_bound(duals), x, duals)

    def _point(self) -> Vector | None:
        for variable in self._x:
            variable.set_value(None)
        self._results.solver.status = SolverStatus.ok
        self._pyomo.solutions.load_from(self._results)
        # Pyomo leaves out a column that no row and no cost uses.
        nearest = np.clip(0.0, self._lower, self._upper)
        return np.array([n if v.value is None else v.value for v, n in zip(self._x, nearest)], dtype=np.float64)

    def _row_duals(self) -> Vector | None:
        found = self._pyomo.component("dual")
        if found is None or (len(found) == 0 and len(self._pyomo.row)):
            return None
        duals = np.zeros(self.loaded.rows)
        for row, constraint in self._pyomo.row.items():
            duals[row] = found.get(constraint, 0.0)
        return duals

    def _claimed_bound(self) -> float:
        bound = self._results.problem.lower_bound
        # Gurobi and SCIP write infinity as 1e100 and 1e20; +inf is for infeasible models only.
        return float(bound) if isinstance(bound, (int, float)) and abs(bound) < 1e20 else -np.inf

    def _proved_bound(self, duals: Vector) -> float:
        safe, limits = (
            SafeBound(self.loaded.matrix),
            (self._row_lower, self._row_upper, self._lower, self._upper),
        )
        return safe(self._cost, *limits, duals, self._offset)


def _finite(limit: float) -> float | None:
    return float(limit) if np.isfinite(limit) else None
