"""HiGHS, the default solver: free, in a wheel, no licence."""

from __future__ import annotations

import time
from typing import Any

import highspy
import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverFailedError
from solvers.linear_model import LinearModel, Vector
from solvers.session import Capability, OnProgress, Progress, Session, Solution, Status, check_kept

_STATUS = {
    highspy.HighsModelStatus.kOptimal: Status.OPTIMAL,
    highspy.HighsModelStatus.kInfeasible: Status.INFEASIBLE,
    highspy.HighsModelStatus.kUnbounded: Status.UNBOUNDED,
    highspy.HighsModelStatus.kTimeLimit: Status.TIME_LIMIT,
    highspy.HighsModelStatus.kInterrupt: Status.INTERRUPTED,
    highspy.HighsModelStatus.kSolutionLimit: Status.NODE_LIMIT,
    highspy.HighsModelStatus.kObjectiveBound: Status.CUTOFF,
}


# The bit of a presolve rule. In HiGHS 1.15.1 it was part of every case seen in which a MIP with a point that violates
# nothing was called infeasible; a wrong cut-off could as well give a wrong dual bound.
AGGREGATOR = 1 << 12
# HiGHS's own default, and the looser one at which it must confirm that a MIP is infeasible.
FEASIBILITY, LOOSE_FEASIBILITY = 1e-6, 1e-5
# HiGHS's own effort, and heuristics that run whatever the effort: RINS and RENS took half the time of MILPs that close
# within a hundred nodes.
HEURISTIC_EFFORT = 0.05
HEURISTICS = ["mip_heuristic_run_feasibility_jump", "mip_heuristic_run_rins", "mip_heuristic_run_rens"]
# Only an infeasibility found within this many nodes is doubted: all false ones were, and a long search is not repeated.
DOUBTED_NODES = 100
# HiGHS drops matrix entries up to this: the least value that it accepts for the option.
SMALL_ENTRY = 1e-12


class HighsSession(Session):
    """A model loaded into HiGHS.

    HiGHS keeps one scheduler per process: a second session with another thread count fails silently, so every
    session here uses one thread. Linear models are solved by its dual simplex also after a change of objective alone:
    the primal simplex was 3 times slower there, and was seen to cycle for ever.
    """

    name = "highs"
    capabilities = frozenset(Capability)
    smallest = 2 * SMALL_ENTRY

    def _load(self, model: LinearModel) -> None:
        self._highs = highspy.Highs()
        options: dict[str, Any] = {
            "output_flag": False,
            "threads": 1,
            "random_seed": self.seed,
            "presolve_rule_off": AGGREGATOR,
        }
        options["small_matrix_value"] = SMALL_ENTRY
        for key, value in options.items():
            self._highs.setOptionValue(key, value)
        if self._highs.passModel(_as_highs(model)) == highspy.HighsStatus.kError:
            raise SolverFailedError(
                "HiGHS does not accept the model; use another solver, or scale the network's numbers"
            )
        check_kept("HiGHS", model.matrix.nnz, self._highs.getNumNz())
        self._is_mip = bool(model.integer.any())
        self._cost_columns = np.flatnonzero(model.cost).astype(np.int32)
        self._kept_basis: highspy.HighsBasis | None = None

    @classmethod
    def version(cls) -> str:
        return str(highspy.Highs().version())

    def _set_cost(self, columns: NDArray[np.int64], values: Vector, offset: float) -> None:
        old = self._cost_columns
        self._highs.changeColsCost(old.size, old, np.zeros(old.size))
        new = np.asarray(columns, dtype=np.int32)
        self._highs.changeColsCost(new.size, new, np.asarray(values, dtype=np.float64))
        self._highs.changeObjectiveOffset(float(offset))
        self._cost_columns = new

    def _set_column_bounds(self, columns: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        index = np.asarray(columns, dtype=np.int32)
        self._highs.changeColsBounds(
            index.size, index, np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
        )

    def _set_row_bounds(self, rows: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        index = np.asarray(rows, dtype=np.int32)
        self._highs.changeRowsBounds(  # type: ignore[attr-defined]
            index.size, index, np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
        )

    def _solve(
        self,
        *,
        time_limit: float,
        start: Vector | None,
        mip_gap: float,
        heuristics: bool,
        on_progress: OnProgress | None,
    ) -> Solution:
        highs = self._highs
        if not self.loaded.columns:
            return self._constant()
        # HiGHS counts the limit of a linear model over the life of the session, that of a MIP from its start.
        used = 0.0 if self._is_mip else highs.getRunTime()
        highs.setOptionValue("time_limit", max(0.0, time_limit) + used)
        highs.setOptionValue("mip_rel_gap", mip_gap)
        highs.setOptionValue("mip_heuristic_effort", HEURISTIC_EFFORT if heuristics else 0.0)
        for name in HEURISTICS:
            highs.setOptionValue(name, heuristics)
        if start is not None:
            known = np.flatnonzero(~np.isnan(start)).astype(np.int32)
            highs.setSolution(known.size, known, start[known])
        began = time.monotonic()
        self._run(on_progress)
        infeasible = highs.getModelStatus() == highspy.HighsModelStatus.kInfeasible
        if self._is_mip and infeasible and highs.getInfo().mip_node_count <= DOUBTED_NODES:
            # HiGHS was seen to call MIPs infeasible that have a point without any violation: it must say so twice.
            highs.setOptionValue("mip_feasibility_tolerance", LOOSE_FEASIBILITY)
            highs.setOptionValue("presolve", "off")
            highs.setOptionValue("time_limit", max(0.0, time_limit - (time.monotonic() - began)))
            self._run(on_progress)
            highs.setOptionValue("mip_feasibility_tolerance", FEASIBILITY)
            highs.setOptionValue("presolve", "choose")
        if highs.getModelStatus() == highspy.HighsModelStatus.kUnboundedOrInfeasible:
            return self._tell_apart()
        return self._read()

    def keep_basis(self) -> None:
        """Keep the basis that the last solve of a linear model ended with, for `restart`."""
        basis = self._highs.getBasis()
        self._kept_basis = basis if basis.valid else None

    def restart(self) -> None:
        """Forget every solve since `keep_basis`: the next answer depends on the model and the kept basis alone."""
        self._highs.clearSolver()
        if self._kept_basis is not None:
            self._highs.setBasis(self._kept_basis)

    def _constant(self) -> Solution:
        """Return the answer of a model without columns: HiGHS does not look at its rows."""
        lp = self._highs.getLp()
        if (np.array(lp.row_lower_) > FEASIBILITY).any() or (np.array(lp.row_upper_) < -FEASIBILITY).any():
            return Solution(Status.INFEASIBLE, np.inf, np.inf)
        return Solution(Status.OPTIMAL, lp.offset_, lp.offset_, np.zeros(0), np.zeros(self.loaded.rows))

    def _tell_apart(self) -> Solution:
        """Solve without objective: a feasible model was unbounded. Its dual bound then is -inf, not +inf."""
        highs, every = self._highs, np.arange(self.loaded.columns, dtype=np.int32)
        cost = np.array(highs.getLp().col_cost_)
        highs.changeColsCost(every.size, every, np.zeros(every.size))
        highs.run()
        status = _STATUS.get(highs.getModelStatus(), Status.FAILED)
        highs.changeColsCost(every.size, every, cost)
        if status is Status.INFEASIBLE:
            return Solution(status, np.inf, np.inf)
        return Solution(Status.UNBOUNDED if status is Status.OPTIMAL else status, np.inf, -np.inf)

    def _run(self, on_progress: OnProgress | None) -> None:
        if on_progress is None or not self._is_mip:
            self._highs.run()
        else:
            self._run_watched(on_progress)

    def _run_watched(self, on_progress: OnProgress) -> None:
        began = time.monotonic()

        def watch(event: Any) -> None:
            data = event.data_out
            now = Progress(
                time.monotonic() - began,
                _finite_or(data.mip_primal_bound, np.inf),
                _finite_or(data.mip_dual_bound, -np.inf),
                int(data.mip_node_count),
            )
            if on_progress(now):
                event.interrupt()

        self._highs.cbMipInterrupt.subscribe(watch)
        try:
            self._highs.run()
        finally:
            self._highs.cbMipInterrupt.unsubscribe(watch)

    def _read(self) -> Solution:
        highs = self._highs
        status = _STATUS.get(highs.getModelStatus(), Status.FAILED)
        info, point = highs.getInfo(), highs.getSolution()
        has_point = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        x = np.array(point.col_value) if has_point else None
        objective = float(info.objective_function_value) if has_point else np.inf
        if self._is_mip:
            known = status is not Status.FAILED
            dual_bound = _finite_or(info.mip_dual_bound, -np.inf) if known else -np.inf
            dual_bound = np.inf if status is Status.INFEASIBLE else dual_bound
            return Solution(status, objective, dual_bound, x, nodes=max(0, int(info.mip_node_count)))
        duals = np.array(point.row_dual) if point.dual_valid else None
        bound = {Status.OPTIMAL: objective, Status.INFEASIBLE: np.inf}.get(status, -np.inf)
        ray = None
        if status is Status.INFEASIBLE:
            _, found, values = highs.getDualRay()  # type: ignore[attr-defined]
            ray = np.array(values) if found else None
        return Solution(status, objective, bound, x, duals, ray, iterations=int(info.simplex_iteration_count))

    def close(self) -> None:
        self._highs.clear()


def _finite_or(value: float, otherwise: float) -> float:
    return float(value) if abs(value) < highspy.kHighsInf else otherwise


def _as_highs(model: LinearModel) -> highspy.HighsLp:
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = model.columns, model.rows
    lp.col_cost_, lp.offset_ = model.cost, model.offset
    lp.col_lower_, lp.col_upper_ = model.column_lower, model.column_upper
    lp.row_lower_, lp.row_upper_ = model.row_lower, model.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = model.matrix.indptr.astype(np.int32)
    lp.a_matrix_.index_ = model.matrix.indices.astype(np.int32)
    lp.a_matrix_.value_ = model.matrix.data
    if model.integer.any():
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(flag)] for flag in model.integer]
    return lp
