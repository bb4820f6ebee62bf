"""What the engine says while it works (Event) and when it stops (Result)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from encoding.bounds import Bounds
from problems.interval import Vector
from solvers.linear_model import ModelSize
from solvers.safe_bound import gamma
from verifier.cut_store import CutStore


class Termination(Enum):
    """Why a verification ended."""

    OPTIMAL = "optimal"
    TIME_LIMIT = "time_limit"
    NODE_LIMIT = "node_limit"
    THRESHOLD_DECIDED = "threshold_decided"
    CANCELLED = "cancelled"
    ERROR = "error"


class Verdict(Enum):
    """What is now known."""

    CERTIFIED = "certified"
    FALSIFIED = "falsified"
    BOUNDED = "bounded"
    UNKNOWN = "unknown"


def settles(verdict: Verdict, termination: Termination) -> bool:
    """Return whether the bounds may be read as an answer.

    Not where the work came to its end without a verdict: something speaks against the bounds, or a threshold lies
    between them.
    """
    return verdict is not Verdict.BOUNDED or termination not in (Termination.OPTIMAL, Termination.THRESHOLD_DECIDED)


@dataclass(frozen=True)
class Event:
    """A moment of a running verification.

    Attributes:
        phase: "attack", "bounds", "tightening", "search" or "done".
        seconds: since the start.
        lower, upper: the certified interval so far, in the result's unit.
        counters: such as LPs solved, neurons still open, nodes.
    """

    phase: str
    seconds: float
    lower: float
    upper: float
    counters: Mapping[str, float] = field(default_factory=dict)


OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Witness:
    """An input that attains the lower bound, as replayed through the proxy and an independent exact solve.

    Attributes:
        latent: (n_w,) w.
        input: (n_x,) x = T w + t, in the problem's units.
        decision: (n_y,) pi(x).
        optimum: (n_y,) an optimal decision.
        proxy_cost, optimal_cost: c(x, pi(x)) and Phi(x).
        infeasibility: how far pi(x) is outside Y(x).
        attained: c(x, pi(x)) - Phi(x) is at least this in every float64 evaluation of pi and c at x, in any order of
            summation; a little below `gap` as a rule, far below where the decision hangs on a tie.
    """

    latent: Vector
    input: Vector
    decision: Vector
    optimum: Vector
    proxy_cost: float
    optimal_cost: float
    infeasibility: float
    attained: float

    @property
    def gap(self) -> float:
        """c(x, pi(x)) - Phi(x)."""
        return self.proxy_cost - self.optimal_cost

    @property
    def relative_gap(self) -> float:
        """gap / |Phi(x)|; NaN where Phi(x) is 0."""
        return self.gap / abs(self.optimal_cost) if self.optimal_cost != 0 else float("nan")

    def least(self, relative: bool) -> float:
        """`attained`, or its share of |Phi(x)|, rounded downward; NaN where that is 0."""
        if not relative:
            return self.attained
        share = self.attained / abs(self.optimal_cost) if self.optimal_cost != 0 else float("nan")
        return share - gamma(self.decision.size) * abs(share)


@dataclass(frozen=True)
class LayerStability:
    """How many units of a layer have a fixed state: before tightening (bounds alone) and after."""

    layer: str
    units: int
    stable_before: int
    stable_after: int


@dataclass(frozen=True)
class Result:
    """The certified interval of the worst-case gap, and everything that a report or certificate tells of it.

    Attributes:
        lower: what the witness attains in every order of summation, in `unit`; where none was found, the problem's
            `least_gap`.
        upper: no input has a larger gap; inf where nothing is known.
        unit: of both: the problem's unit, or "1" for a relative gap.
        verdict, termination: what is known, and why it ended.
        witness: attains `lower`; None where no gap was attained.
        seconds: wall clock by phase, and "total".
        size_before, size_after: of the MILP with bounds from back-substitution alone, and as solved.
        stability: by layer.
        events: the whole story, for plots.
        notes: what the user must know: fall-backs, inputs left out, a witness that did not replay.
        solver: name and version of what gave the upper bound.
        nodes: of the MILP solver, in all.
        parts: of the domain that the search worked on.
        lps: linear programs solved to tighten bounds.
        bounds: the tightest bounds of the proxy that were used; None where none were made.
        cuts: the attack's tangents of Phi, for a later call; None where there was no attack and none were given.
    """

    lower: float
    upper: float
    unit: str
    verdict: Verdict
    termination: Termination
    witness: Witness | None
    seconds: Mapping[str, float]
    size_before: ModelSize | None
    size_after: ModelSize | None
    stability: tuple[LayerStability, ...]
    events: tuple[Event, ...]
    notes: tuple[str, ...]
    solver: str
    nodes: int = 0
    parts: int = 0
    lps: int = 0
    bounds: Bounds | None = None
    cuts: CutStore | None = None

    @property
    def relative(self) -> float:
        """The relative gap at the witness; NaN without one."""
        return self.witness.relative_gap if self.witness is not None else float("nan")

    @property
    def closed(self) -> float:
        """upper - lower as a share of the larger of the two: 0 when the interval is a point, 1 where none is known."""
        size = max(abs(self.lower), abs(self.upper))
        return (self.upper - self.lower) / size if np.isfinite(size) and size > 0 else 1.0
