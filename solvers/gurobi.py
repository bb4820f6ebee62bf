"""Gurobi, optional: the licence inside the package stops at 2000 columns and 2000 rows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.gurobi_licence import (
    FREE_LIMIT,
    is_limited,
    licence_errors,
    load_gurobipy,
    start_environment,
    too_large,
)
from solvers.linear_model import LinearModel, Vector
from solvers.session import (
    Capability,
    OnProgress,
    Progress,
    Session,
    Solution,
    Status,
    Watch,
    check_kept,
)

# Gurobi's own share of the time for heuristics.
HEURISTICS = 0.05

_STATUS = {
    "OPTIMAL": Status.OPTIMAL,
    "INFEASIBLE": Status.INFEASIBLE,
    "UNBOUNDED": Status.UNBOUNDED,
    "CUTOFF": Status.CUTOFF,
    "TIME_LIMIT": Status.TIME_LIMIT,
    "NODE_LIMIT": Status.NODE_LIMIT,
    "SOLUTION_LIMIT": Status.NODE_LIMIT,
    "INTERRUPTED": Status.INTERRUPTED,
}


class GurobiSession(Session):
    """A model loaded into Gurobi.

    Gurobi has no row with two different limits, so such a row is stored twice: as `<=`, and as its twin `>=`.
    Twins count in the size that the free licence limits.
    """

    name = "gurobi"
    capabilities = frozenset(Capability)
    smallest = 2.0**-40  # Gurobi drops entries below 1e-13.

    def _load(self, model: LinearModel) -> None:
        self._grb = load_gurobipy().GRB
        self._is_mip = bool(model.integer.any())
        with licence_errors(model.columns, model.rows):
            self._env = start_environment({"Threads": 1, "Seed": self.seed})
            self._model = load_gurobipy().Model(env=self._env)
            self._x = self._model.addMVar(
                model.columns,
                lb=model.column_lower,
                ub=model.column_upper,
                obj=model.cost,
                vtype=np.where(model.integer, "I", "C"),
            )
            self._model.ObjCon = model.offset
            senses, rhs = _one_sided(model.row_lower, model.row_upper)
            self._rows = self._model.addMConstr(model.matrix, self._x, senses, rhs)
            self._twins: dict[int, Any] = {}
            self._set_twins(np.arange(model.rows), model.row_lower, model.row_upper)
            self._model.update()
            of_twins = np.diff(model.matrix.indptr)[list(self._twins)]
            check_kept("Gurobi", model.matrix.nnz + int(of_twins.sum()), self._model.NumNZs)
            if max(self._model.NumVars, self._model.NumConstrs) > FREE_LIMIT and is_limited(self._env):
                raise too_large(self._model.NumVars, self._model.NumConstrs)

    @classmethod
    def version(cls) -> str:
        return ".".join(str(part) for part in load_gurobipy().gurobi.version())

    def _set_cost(self, columns: NDArray[np.int64], values: Vector, offset: float) -> None:
        cost = np.zeros(self.loaded.columns)
        cost[columns] = values
        self._x.Obj = cost
        self._model.ObjCon = float(offset)

    def _set_column_bounds(self, columns: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        some = self._x[np.asarray(columns, dtype=np.int64)]
        some.LB = np.asarray(lower, dtype=np.float64)
        some.UB = np.asarray(upper, dtype=np.float64)

    def _set_row_bounds(self, rows: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
        senses, rhs = _one_sided(low, high)
        some = self._rows[np.asarray(rows, dtype=np.int64)]
        self._model.setAttr("Sense", some.tolist(), senses.tolist())
        some.RHS = rhs
        self._set_twins(np.asarray(rows, dtype=np.int64), low, high)
        self._model.update()

    def _set_twins(self, rows: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        needed = np.isfinite(lower) & np.isfinite(upper) & (lower != upper)
        missing = np.array([row not in self._twins for row in rows.tolist()], dtype=bool) & needed
        if missing.any():
            added = self._model.addMConstr(self.loaded.matrix[rows[missing]], self._x, ">", lower[missing])
            self._twins.update(zip(rows[missing].tolist(), added.tolist()))
        for row, need, low, new in zip(rows.tolist(), needed, lower, missing):
            if row in self._twins and not new:
                self._twins[row].RHS = float(low) if need else -self._grb.INFINITY

    def _solve(
        self,
        *,
        time_limit: float,
        start: Vector | None,
        mip_gap: float,
        heuristics: bool,
        on_progress: OnProgress | None,
    ) -> Solution:
        model = self._model
        model.Params.MIPGap = mip_gap
        model.Params.Heuristics = HEURISTICS if heuristics else 0.0
        if start is not None and self._is_mip:
            self._x.Start = np.where(np.isnan(start), self._grb.UNDEFINED, start)
        watch = Watch(on_progress) if on_progress is not None and self._is_mip else None
        began = time.monotonic()
        try:
            self._run(time_limit, watch)
            if model.Status == self._grb.INF_OR_UNBD:
                # Without dual reductions presolve tells the two apart.
                model.Params.DualReductions = 0
                self._run(max(0.0, time_limit - (time.monotonic() - began)), watch)
        finally:
            model.Params.DualReductions = 1
        return self._read()

    def _run(self, time_limit: float, watch: Watch | None) -> None:
        self._model.Params.TimeLimit = min(max(0.0, time_limit), self._grb.INFINITY)
        with licence_errors(self._model.NumVars, self._model.NumConstrs):
            self._model.optimize(None if watch is None else _callback(self._grb.Callback, watch))
        if watch is not None:
            watch.raise_again()

    def _read(self) -> Solution:
        model, codes = self._model, self._grb.Status
        status = next((ours for code, ours in _STATUS.items() if getattr(codes, code) == model.Status), Status.FAILED)
        x = np.array(self._x.X) if model.SolCount > 0 else None
        objective = float(model.ObjVal) if x is not None else np.inf
        if status is Status.INFEASIBLE:
            bound = np.inf
        elif self._is_mip:
            bound = -np.inf if status in (Status.UNBOUNDED, Status.FAILED) else _finite_or(model.ObjBound, -np.inf)
        else:
            bound = objective if status is Status.OPTIMAL else -np.inf
        duals = None if self._is_mip or status is not Status.OPTIMAL else self._row_duals()
        return Solution(status, objective, bound, x, duals, nodes=int(model.NodeCount), iterations=int(model.IterCount))

    def _row_duals(self) -> Vector:
        duals = np.array(self._rows.Pi, dtype=np.float64).reshape(self.loaded.rows)
        for row, twin in self._twins.items():
            duals[row] += twin.Pi
        return duals

    def close(self) -> None:
        self._model.dispose()
        self._env.dispose()


def _one_sided(lower: Vector, upper: Vector) -> tuple[NDArray[np.str_], Vector]:
    senses = np.where(lower == upper, "=", np.where(np.isfinite(upper), "<", ">"))
    return senses, np.where(senses == ">", lower, upper)


def _callback(codes: Any, watch: Watch) -> Any:
    def call(model: Any, where: int) -> None:
        if where == codes.MIP:
            incumbent = _finite_or(model.cbGet(codes.MIP_OBJBST), np.inf)
            bound = _finite_or(model.cbGet(codes.MIP_OBJBND), -np.inf)
            if watch(Progress(watch.seconds(), incumbent, bound, int(model.cbGet(codes.MIP_NODCNT)))):
                model.terminate()

    return call


def _finite_or(value: float, otherwise: float) -> float:
    # Gurobi writes 1e100 for infinity.
    return float(value) if abs(value) < 1e100 else otherwise
