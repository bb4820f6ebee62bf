"""A loaded model that can be changed and solved again: the interface that every solver adapter fills."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverFailedError
from solvers.linear_model import LinearModel, Vector
from solvers.scaling import scale


class Capability(Enum):
    """What a session can do beyond solving."""

    MIP = "mip"
    ROW_DUALS = "row_duals"
    DUAL_BOUND = "dual_bound"
    MIP_START = "mip_start"
    PROGRESS = "progress"
    INTERRUPT = "interrupt"
    WARM_RESOLVE = "warm_resolve"


class Status(Enum):
    """Why a solve ended."""

    OPTIMAL = "optimal"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    TIME_LIMIT = "time_limit"
    NODE_LIMIT = "node_limit"
    INTERRUPTED = "interrupted"
    CUTOFF = "cutoff"
    FAILED = "failed"


@dataclass(frozen=True)
class Progress:
    """A moment of a running MIP solve: its incumbent and dual bound (both for the minimisation)."""

    seconds: float
    incumbent: float
    dual_bound: float
    nodes: int


@dataclass(frozen=True)
class Solution:
    """What one solve gave.

    Attributes:
        status: why it ended.
        objective: value of `x`, infinite where there is none.
        dual_bound: no feasible point has a lower objective, as the solver claims (see `solvers.safe_bound`
            for a claim that needs no trust); -inf where the solver knows none.
        x: (n,) the best point, or None.
        row_duals: (m,) multipliers of a linear model, d objective / d row activity, or None.
        ray: (m,) multipliers that prove a linear model infeasible (see `SafeBound`, with a cost of zero), or None.
        nodes, iterations: work done.
    """

    status: Status
    objective: float
    dual_bound: float
    x: Vector | None = None
    row_duals: Vector | None = None
    ray: Vector | None = None
    nodes: int = 0
    iterations: int = 0


# Return True to stop the solve.
OnProgress = Callable[[Progress], bool]

# Relative distance of incumbent and dual bound at which a MIP counts as solved, unless the caller says.
MIP_GAP = 1e-4


class Watch:
    """Calls `on_progress` from inside a solver and keeps what it raises, since some solvers swallow it."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._began = time.monotonic()
        self._raised: BaseException | None = None

    def seconds(self) -> float:
        """Return the seconds since the solve began."""
        return time.monotonic() - self._began

    def __call__(self, progress: Progress) -> bool:
        """Return whether the solve should stop."""
        if self._raised is None:
            try:
                return bool(self._on_progress(progress))
            except BaseException as error:
                self._raised = error
        return True

    def raise_again(self) -> None:
        """Raise what `on_progress` raised, if anything."""
        if self._raised is not None:
            raise self._raised


class Session(ABC):
    """One model inside one solver. Not thread-safe; one thread inside the solver.

    The solver gets the model in units that suit it (`solvers.scaling`); whoever uses a session sees the model's own.
    An adapter fills the methods whose names begin with an underscore, all of them in the solver's units.

    Attributes:
        model: the model as it was given.
        loaded: the model as the solver has it.
        smallest: the solver keeps every matrix entry of at least this size.
    """

    name: str
    capabilities: frozenset[Capability]
    # The usual threshold of solvers (HiGHS, SCIP); an adapter whose solver keeps smaller entries says so.
    smallest: float = 2.0**-29

    def __init__(self, model: LinearModel, seed: int = 0) -> None:
        self.model = model
        self.seed = seed
        self._scaled = scale(model, self.smallest)
        self._objective = model.cost, model.offset
        self._unit = self._scaled.cost
        self._load(self.loaded)

    @property
    def loaded(self) -> LinearModel:
        return self._scaled.model

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return the solver's version; raises SolverUnavailableError where it is not installed."""

    def set_cost(self, columns: NDArray[np.int64], values: Vector, offset: float = 0.0) -> None:
        """Set the objective to `values` at `columns`, zero elsewhere, plus `offset`."""
        cost = np.zeros(self.model.columns)
        cost[columns] = values
        self._objective = cost, float(offset)
        scaled, constant, self._unit = self._scaled.objective(columns, values, float(offset))
        self._set_cost(np.asarray(columns, dtype=np.int64), scaled, constant)

    def set_column_bounds(self, columns: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        """Replace the limits of `columns`, within those that the model was loaded with."""
        low, high = self._scaled.column_limits(columns, lower, upper)
        self._set_column_bounds(np.asarray(columns, dtype=np.int64), low, high)

    def set_row_bounds(self, rows: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        """Replace the limits of `rows`."""
        low, high = self._scaled.row_limits(rows, lower, upper)
        self._set_row_bounds(np.asarray(rows, dtype=np.int64), low, high)

    def solve(
        self,
        *,
        time_limit: float = np.inf,
        start: Vector | None = None,
        mip_gap: float = MIP_GAP,
        heuristics: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Solution:
        """Solve the model as it stands, warm where the solver can.

        Args:
            time_limit: seconds for this solve.
            start: (n,) a point to start a MIP from; entries that are NaN are left to the solver.
            mip_gap: relative distance of incumbent and dual bound at which to stop.
            heuristics: look for feasible points also apart from the tree; without, a MIP's bound moves faster. Pyomo's
                solvers do as they please.
            on_progress: called now and then during a MIP solve; returns True to stop it.
        """
        if start is not None:
            start = self._scaled.to_solver(check_point(start, self.model.columns, "start"))
        watch = None if on_progress is None else self._translated(on_progress)
        found = self._solve(
            time_limit=time_limit, start=start, mip_gap=mip_gap, heuristics=heuristics, on_progress=watch
        )
        return self._in_own_units(found)

    def _translated(self, on_progress: OnProgress) -> OnProgress:
        def call(progress: Progress) -> bool:
            incumbent, bound = (self._value(value) for value in (progress.incumbent, progress.dual_bound))
            return on_progress(replace(progress, incumbent=incumbent, dual_bound=bound))

        return call

    def _in_own_units(self, found: Solution) -> Solution:
        scaled, (cost, offset) = self._scaled, self._objective
        x = None if found.x is None else scaled.to_original(found.x)
        return replace(
            found,
            objective=self._value(found.objective) if x is None else float(cost @ x) + offset,
            dual_bound=self._value(found.dual_bound),
            x=x,
            row_duals=None if found.row_duals is None else scaled.multipliers(found.row_duals, self._unit),
            ray=None if found.ray is None else scaled.multipliers(found.ray, 0),
        )

    def _value(self, value: float) -> float:
        with np.errstate(over="ignore"):
            return float(np.ldexp(value, -self._unit))

    @abstractmethod
    def _load(self, model: LinearModel) -> None:
        """Pass `model` to the solver, and make sure that the solver has it as it is (see `check_kept`)."""

    @abstractmethod
    def _set_cost(self, columns: NDArray[np.int64], values: Vector, offset: float) -> None: ...

    @abstractmethod
    def _set_column_bounds(self, columns: NDArray[np.int64], lower: Vector, upper: Vector) -> None: ...

    @abstractmethod
    def _set_row_bounds(self, rows: NDArray[np.int64], lower: Vector, upper: Vector) -> None: ...

    @abstractmethod
    def _solve(
        self,
        *,
        time_limit: float,
        start: Vector | None,
        mip_gap: float,
        heuristics: bool,
        on_progress: OnProgress | None,
    ) -> Solution: ...

    def close(self) -> None:  # noqa: B027 (a solver may hold nothing)
        """Give back what the solver holds."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def check_point(point: Sequence[float] | Vector, size: int, what: str) -> Vector:
    """Return `point` as a float vector of `size` entries, or raise ValueError naming `what`."""
    vector = np.asarray(point, dtype=np.float64)
    if vector.shape != (size,):
        raise ValueError(f"{what} has shape {vector.shape}; the model needs ({size},)")
    return vector


def check_kept(solver: str, entries: int, kept: int) -> None:
    """Refuse a model that `solver` has changed when it took it: its answers would be those of another one.

    Raises:
        SolverFailedError: it has not all `entries` of the matrix.
    """
    if kept != entries:
        raise SolverFailedError(
            f"{solver} took {kept} of the model's {entries} matrix entries, so its answers would be those of another "
            "model; use another solver, or scale the network's numbers"
        )
