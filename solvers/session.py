"""A loaded model that can be changed and solved again: the interface that every solver adapter fills."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from solvers.linear_model import LinearModel, Vector


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
    """One model inside one solver. Not thread-safe; one thread inside the solver."""

    name: str
    capabilities: frozenset[Capability]

    def __init__(self, model: LinearModel, seed: int = 0) -> None:
        self.model = model
        self.seed = seed

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return the solver's version; raises SolverUnavailableError where it is not installed."""

    @abstractmethod
    def set_cost(self, columns: NDArray[np.int64], values: Vector, offset: float = 0.0) -> None:
        """Set the objective to `values` at `columns`, zero elsewhere, plus `offset`."""

    @abstractmethod
    def set_column_bounds(self, columns: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        """Replace the limits of `columns`."""

    @abstractmethod
    def set_row_bounds(self, rows: NDArray[np.int64], lower: Vector, upper: Vector) -> None:
        """Replace the limits of `rows`."""

    @abstractmethod
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
