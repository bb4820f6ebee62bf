"""What the server answers. Fields that this version does not know are kept, so that a newer server can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from certigap.text import interval

Item = TypeVar("Item")

TERMINAL = ("succeeded", "failed", "canceled")


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="allow")


class Page(Answer, Generic[Item]):
    """A piece of a list.

    Attributes:
        next_cursor: asks for the next piece; None in the last.
    """

    data: Sequence[Item]
    next_cursor: str | None = None


class LayerSummary(Answer):
    """A layer of a proxy."""

    kind: str
    inputs: int
    outputs: int


class ProxySummary(Answer):
    """What the server's parser found in a model file.

    Attributes:
        problem: what the manifest names; None without a manifest.
        fingerprint: of the whole proxy; None where no problem is named.
    """

    layers: Sequence[LayerSummary]
    inputs: int
    outputs: int
    problem: Mapping[str, Any] | None = None
    fingerprint: str | None = None
    notes: Sequence[str] = ()


class Proxy(Answer):
    """An uploaded model file with its manifest."""

    id: str
    sha256: str
    format: str
    size: int
    manifest: Mapping[str, Any] | None = None
    summary: ProxySummary
    created_at: datetime


class ProblemSummary(Answer):
    """A problem in short: numbers of inputs and decisions, unit of the gap."""

    name: str
    inputs: int
    decisions: int
    unit: str
    fingerprint: str


class Problem(Answer):
    """A parametric problem."""

    id: str
    kind: str
    spec: Mapping[str, Any]
    summary: ProblemSummary
    created_at: datetime


class Job(Answer):
    """A job: what was asked, where it stands, and the bounds so far.

    Attributes:
        kind: verify, attack, bounds, evaluate, sweep or train.
        status: queued, running, canceling, succeeded, failed or canceled.
        termination: why it ended; verdict: what is now known.
        lower, upper: of the worst-case gap, in `unit` ("1" for a share); None where nothing is known.
        attempt: how often a worker began it.
        error: {code, message} of a failed job.
        request: what was asked, with the defaults.
    """

    id: str
    kind: str
    status: str
    termination: str | None = None
    verdict: str | None = None
    unit: str | None = None
    lower: float | None = None
    upper: float | None = None
    attempt: int = 0
    error: Mapping[str, Any] | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    request: Mapping[str, Any] = {}
    links: Mapping[str, Any] = {}

    @property
    def ended(self) -> bool:
        """Whether it has ended; a cancelled or failed job may be resumed."""
        return self.status in TERMINAL

    def _repr_html_(self) -> str:
        known = interval(self.lower, self.upper, self.unit)
        facts = " &middot; ".join(escape(fact) for fact in (self.kind, self.status, self.verdict, known) if fact)
        return f"<div><code>{escape(self.id)}</code> {facts}</div>"


class Event(Answer):
    """A moment of a job.

    Attributes:
        seq: counts from 1 without holes.
        at: when it was written.
        type: "status" or "progress".
        status: of a status event: what the job became.
        phase, seconds, counters: of a progress event: what runs, since when, and its counts.
        lower, upper: bounds so far.
    """

    seq: int
    at: datetime | None = None
    type: str
    status: str | None = None
    phase: str | None = None
    seconds: float | None = None
    lower: float | None = None
    upper: float | None = None
    unit: str | None = None
    counters: Mapping[str, float] = {}

    @property
    def ends(self) -> bool:
        """Whether the job ended with it, for now."""
        return self.type == "status" and self.status in TERMINAL


class Events(Answer):
    """Events after a sequence number.

    Attributes:
        ended: the job has ended, and these are its last events.
    """

    data: Sequence[Event]
    ended: bool = False


class Finding(Answer):
    """One claim of a certificate: it holds, it fails, or it was not checked and must be trusted."""

    claim: str
    standing: str
    detail: str = ""


class Check(Answer):
    """What the server's checker says of a certificate.

    Attributes:
        outcome: "refuted": a claim is false. "consistent": nothing was found against it, but the upper bound was not
            derived again. "proved": every claim was derived again; no certificate of today gets it.
        meaning: the outcome in words.
        seed: of the inputs that were tried; the same one tries them again.
        findings: one for each claim.
    """

    outcome: str
    meaning: str = ""
    seed: int
    findings: Sequence[Finding] = ()


class Solver(Answer):
    """A solver of the server."""

    name: str
    available: bool
    version: str | None = None
    capabilities: Sequence[str] = ()
    licence: str | None = None


class Result(Answer):
    """The result of a job; which fields there are depends on its kind."""

    # Type checkers shall take any field.
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class QpSolution(Answer):
    """Optima of a batch of quadratic programs; None in the rows of problems that have none.

    Attributes:
        status: of each problem: solved, infeasible, unbounded or max_iterations.
        z: (batch, n) optimal points.
        nu, lam: (batch, p) and (batch, m) multipliers of equalities and inequalities.
        slack: (batch, m) h - Gz.
        active: (batch, m) inequalities that hold with equality.
        polished: (batch,) whether the point solves the equations of its active set.
    """

    status: Sequence[str]
    z: Sequence[Sequence[float | None]]
    nu: Sequence[Sequence[float | None]]
    lam: Sequence[Sequence[float | None]]
    slack: Sequence[Sequence[float | None]]
    active: Sequence[Sequence[bool]]
    polished: Sequence[bool]


class QpGradients(QpSolution):
    """Optima, and gradients by each parameter that was given, shaped like it."""

    gradients: Mapping[str, Any]


class IlpSolution(Answer):
    """Optima of a batch of integer programs.

    Attributes:
        y: (batch, n) optimal points.
        value: (batch,) optimal values; None where a program is infeasible.
        feasible: (batch,).
    """

    y: Sequence[Sequence[float]]
    value: Sequence[float | None]
    feasible: Sequence[bool]


class IlpGradients(Answer):
    """Gradients by c, A and b, shaped like them; None where the method gives none."""

    gradients: Mapping[str, Any]


class MipValues(Answer):
    """Optimal values of a batch of mixed-integer programs; None where one is infinite or unknown.

    Attributes:
        outcome: of each program, such as solved, infeasible or unbounded.
        value: (batch,) the value, or the soft minimum where asked.
        lower, upper: (batch,) the minimum lies between them.
        x, y: (batch, n) and (batch, m) the best point, and the multipliers of its piece.
        shortfall: (batch, m) by how much the rows are missed at x.
        margin: (batch,) value of the second best assignment less that of the best; None where it is not known.
    """

    outcome: Sequence[str]
    value: Sequence[float | None]
    lower: Sequence[float | None]
    upper: Sequence[float | None]
    x: Sequence[Sequence[float | None]]
    y: Sequence[Sequence[float | None]]
    shortfall: Sequence[Sequence[float | None]]
    margin: Sequence[float | None]


class MipGradients(MipValues):
    """Values, and gradients by c, A and b, shaped like them."""

    gradients: Mapping[str, Any]
