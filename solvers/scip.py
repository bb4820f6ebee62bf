"""SCIP, optional: free, in a wheel (Apache licence)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverUnavailableError
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

_STATUS = {
    "optimal": Status.OPTIMAL,
    "gaplimit": Status.OPTIMAL,
    "infeasible": Status.INFEASIBLE,
    "unbounded": Status.UNBOUNDED,
    "timelimit": Status.TIME_LIMIT,
    "nodelimit": Status.NODE_LIMIT,
    "totalnodelimit": Status.NODE_LIMIT,
    "stallnodelimit": Status.NODE_LIMIT,
    "userinterrupt": Status.INTERRUPTED,
}
_EITHER = "inforunbd"


class ScipSession(Session):
    """A model loaded into SCIP.

    SCIP throws its search away before a model can change, so every solve starts from the beginning; only
    feasible points found before are offered to the next MIP solve.
    """

    name = "scip"
    capabilities = frozenset(Capability) - {Capability.WARM_RESOLVE}

    def _load(self, model: LinearModel) -> None:
        pyscipopt = load_pyscipopt()
        self._parts = pyscipopt.scip
        self._scip = pyscipopt.Model()
        self._scip.hideOutput()
        self._is_mip = bool(model.integer.any())
        self._scip.setParams({"randomization/randomseedshift": self.seed, "lp/threads": 1})
        if not self._is_mip:
            self._keep_the_linear_program()
        self._build(model)
        self._handler = _new_handler(pyscipopt)
        self._scip.includeEventhdlr(self._handler, "certigap", "reports progress")

    def _keep_the_linear_program(self) -> None:
        # The duals of the rows exist only if one simplex run on the untouched rows finds the optimum.
        off = self._parts.PY_SCIP_PARAMSETTING.OFF
        self._scip.setPresolve(off)
        self._scip.setHeuristics(off)
        self._scip.setSeparating(off)
        self._scip.disablePropagation()
        self._scip.setParam("limits/maxorigsol", 0)

    def _build(self, model: LinearModel) -> None:
        scip = self._scip
        lower, upper = self._limits(model.column_lower, model.column_upper)
        self._x = [
            scip.addVar(lb=low, ub=high, obj=float(cost), vtype="I" if integer else "C")
            for low, high, cost, integer in zip(lower, upper, model.cost, model.integer)
        ]
        scip.addObjoffset(float(model.offset))
        row_lower, row_upper = self._limits(model.row_lower, model.row_upper)
        indptr, indices, data = model.matrix.indptr, model.matrix.indices, model.matrix.data
        self._rows = []
        for row, (low, high) in enumerate(zip(row_lower, row_upper)):
            entries = range(indptr[row], indptr[row + 1])
            body = self._parts.Expr({self._parts.Term(self._x[indices[k]]): float(data[k]) for k in entries})
            self._rows.append(scip.addCons(self._parts.ExprCons(body, lhs=low, rhs=high)))
        kept = sum(len(scip.getValsLinear(row)) for row in self._rows)
        check_kept("SCIP", model.matrix.nnz, kept)

    def _limits(self, *vectors: Vector) -> tuple[list[float], ...]:
        infinity = self._scip.infinity()
        return tuple(np.clip(np.asarray(v, dtype=np.float64), -infinity, infinity).tolist() for v in vectors)

    @classmethod
    def version(cls) -> str:
        scip = load_pyscipopt().Model
        return f"{scip().getMajorVersion()}.{scip().getMinorVersion()}.{scip().getTechVersion()}"

    def _set_cost(self, columns: NDArray[np.int64], values: Vector, offset: float) -> None:
        term = self._parts.Term
        entries = {term(self._x[column]): float(value) for column, value in zip(columns, values)}
        self._scip.setObjective(self._parts.Expr({**entries, term(): float(offset)}))

    def _set_column_bounds(self, columns: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        for column, low, high in zip(columns, *self._limits(lower, upper)):
            self._scip.chgVarLb(self._x[column], low)
            self._scip.chgVarUb(self._x[column], high)

    def _set_row_bounds(self, rows: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        for row, low, high in zip(rows, *self._limits(lower, upper)):
            self._scip.chgLhs(self._rows[row], low)
            self._scip.chgRhs(self._rows[row], high)

    def _solve(
        self,
        *,
        time_limit: float,
        start: Vector | None,
        mip_gap: float,
        heuristics: bool,
        on_progress: OnProgress | None,
    ) -> Solution:
        scip = self._scip
        scip.setParams({"limits/time": min(max(0.0, time_limit), scip.infinity()), "limits/gap": mip_gap})
        if self._is_mip:
            settings = self._parts.PY_SCIP_PARAMSETTING
            scip.setHeuristics(settings.DEFAULT if heuristics else settings.OFF)
        if start is not None and self._is_mip:
            self._offer(start)
        watch = Watch(on_progress) if on_progress is not None and self._is_mip else None
        self._handler.watch = watch
        try:
            scip.optimize()
            solution = self._tell_apart() if scip.getStatus() == _EITHER else self._read()
        finally:
            # A model can be changed only in this state.
            scip.freeTransform()
            self._handler.watch = None
        if watch is not None:
            watch.raise_again()
        return solution

    def _offer(self, point: Vector) -> None:
        known = np.flatnonzero(~np.isnan(point))
        whole = known.size == point.size
        candidate = self._scip.createSol() if whole else self._scip.createPartialSol()
        for column in known:
            self._scip.setSolVal(candidate, self._x[column], float(point[column]))
        self._scip.addSol(candidate)

    def _tell_apart(self) -> Solution:
        """Solve without objective: a feasible model was unbounded."""
        scip = self._scip
        scip.freeTransform()
        objective = scip.getObjective()
        scip.setObjective(self._parts.Expr({self._parts.Term(): 0.0}))
        scip.optimize()
        status = _STATUS.get(scip.getStatus(), Status.FAILED)
        scip.freeTransform()
        scip.setObjective(objective)
        if status is Status.INFEASIBLE:
            return Solution(status, np.inf, np.inf)
        return Solution(Status.UNBOUNDED if status is Status.OPTIMAL else status, np.inf, -np.inf)

    def _read(self) -> Solution:
        scip = self._scip
        status = _STATUS.get(scip.getStatus(), Status.FAILED)
        nodes, iterations = int(scip.getNTotalNodes()), int(scip.getNLPIterations())
        if status is Status.INFEASIBLE:
            return Solution(status, np.inf, np.inf, nodes=nodes, iterations=iterations)
        if status in (Status.UNBOUNDED, Status.FAILED):
            return Solution(status, np.inf, -np.inf, nodes=nodes, iterations=iterations)
        best = scip.getBestSol() if scip.getNSols() else None
        x = None if best is None else np.array([scip.getSolVal(best, column) for column in self._x])
        objective = np.inf if best is None else float(scip.getSolObjVal(best))
        if self._is_mip:
            bound, duals = _finite_or(scip.getDualbound(), -np.inf), None
        elif status is Status.OPTIMAL:
            bound, duals = objective, np.array([scip.getDualSolVal(row) for row in self._rows])
        else:
            bound, duals = -np.inf, None
        return Solution(status, objective, bound, x, duals, nodes=nodes, iterations=iterations)

    def close(self) -> None:
        self._scip.freeProb()


def load_pyscipopt() -> Any:
    """Return the pyscipopt module; raises SolverUnavailableError where it is not installed."""
    try:
        import pyscipopt
    except ImportError as error:
        raise SolverUnavailableError(
            "SCIP is not installed: pip install 'certigap-server[scip]', or use --solver highs"
        ) from error
    return pyscipopt


def _new_handler(pyscipopt: Any) -> Any:
    kinds = pyscipopt.SCIP_EVENTTYPE
    events = kinds.NODESOLVED | kinds.BESTSOLFOUND | kinds.LPSOLVED

    class Handler(pyscipopt.Eventhdlr):
        watch: Watch | None = None

        def eventinit(self) -> None:
            if self.watch is not None:
                self.model.catchEvent(events, self)

        def eventexit(self) -> None:
            if self.watch is not None:
                self.model.dropEvent(events, self)

        def eventexec(self, event: Any) -> None:
            model = self.model
            if self.watch is None:
                return
            incumbent = _finite_or(model.getPrimalbound(), np.inf)
            bound = _finite_or(model.getDualbound(), -np.inf)
            if self.watch(Progress(self.watch.seconds(), incumbent, bound, int(model.getNTotalNodes()))):
                model.interruptSolve()

    return Handler()


def _finite_or(value: float, otherwise: float) -> float:
    # SCIP writes 1e20 for infinity.
    return float(value) if abs(value) < 1e20 else otherwise
