"""What the service answers: the shapes of its resources."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from app.store import tables

Status = Literal["queued", "running", "canceling", "succeeded", "failed", "canceled"]
Item = TypeVar("Item")


class LayerShape(BaseModel):
    """One layer of a proxy."""

    kind: str
    inputs: int
    outputs: int


class ProxySummary(BaseModel):
    """What was found in a model file.

    `fingerprint` is that of network and repair layers together; null where the file does not name a problem that is
    known here.
    """

    layers: list[LayerShape]
    inputs: int
    outputs: int
    problem: dict[str, Any] | None
    fingerprint: str | None
    notes: list[str]


class ProxyBody(BaseModel):
    """An uploaded proxy."""

    id: str
    sha256: str
    format: Literal["onnx", "safetensors"]
    size: int
    manifest: dict[str, Any] | None
    summary: ProxySummary
    created_at: datetime


class ProblemSummary(BaseModel):
    """A problem in numbers."""

    name: str
    inputs: int
    decisions: int
    unit: str
    fingerprint: str


class ProblemBody(BaseModel):
    """A parametric problem."""

    id: str
    kind: Literal["dcopf", "knapsack", "classification"]
    spec: dict[str, Any]
    summary: ProblemSummary
    created_at: datetime


class JobLinks(BaseModel):
    """Where a job's parts are."""

    self: str
    events: str
    result: str
    certificate: str
    report: str
    log: str


class JobError(BaseModel):
    """Why a job failed."""

    model_config = ConfigDict(extra="allow")
    code: str
    message: str


class JobBody(BaseModel):
    """A job: three separate fields say where it stands, why the engine stopped and what is now known."""

    id: str
    kind: str
    status: Status
    termination: str | None
    verdict: str | None
    unit: str | None
    lower: float | None = Field(description="Largest gap attained so far.")
    upper: float | None = Field(description="No gap is larger; null while nothing is known.")
    attempt: int
    error: JobError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    request: dict[str, Any]
    links: JobLinks


class EventBody(BaseModel):
    """A moment of a job; a status event tells its status, a progress event the engine's phase."""

    model_config = ConfigDict(extra="allow")
    seq: int
    at: datetime
    type: str


class Page(BaseModel, Generic[Item]):
    """Some of many, and how to ask for the next ones; null after the last."""

    data: list[Item]
    next_cursor: str | None


class Events(BaseModel):
    """Events after a sequence number, in order.

    `next_after` is what to ask for next; `ended` tells that the job has ended and these are its last events.
    """

    data: list[EventBody]
    next_after: int
    ended: bool


def moment(seconds: float) -> datetime:
    """Return a time of the database as one with a zone."""
    return datetime.fromtimestamp(seconds, UTC)


def proxy_body(row: tables.Proxy) -> ProxyBody:
    """Return a stored proxy as it is told."""
    return ProxyBody(
        id=row.id,
        sha256=row.sha256,
        format=row.format,
        size=row.size,
        manifest=row.manifest,
        summary=ProxySummary.model_validate(row.summary),
        created_at=moment(row.created_at),
    )


def problem_body(row: tables.Problem) -> ProblemBody:
    """Return a stored problem as it is told."""
    return ProblemBody(
        id=row.id,
        kind=row.spec["kind"],
        spec=row.spec,
        summary=ProblemSummary.model_validate(row.summary),
        created_at=moment(row.created_at),
    )


def job_body(row: tables.Job) -> JobBody:
    """Return a stored job as it is told."""
    home = f"/v1/jobs/{row.id}"
    parts = {part: f"{home}/{part}" for part in ("events", "result", "certificate", "report", "log")}
    return JobBody(
        id=row.id,
        kind=row.kind,
        status=row.status,
        termination=row.termination,
        verdict=row.verdict,
        unit=row.unit,
        lower=row.lower,
        upper=row.upper,
        attempt=row.attempt,
        error=None if row.error is None else JobError.model_validate(row.error),
        created_at=moment(row.created_at),
        started_at=None if row.started_at is None else moment(row.started_at),
        finished_at=None if row.finished_at is None else moment(row.finished_at),
        request=row.request,
        links=JobLinks(self=home, **parts),
    )


def event_body(row: tables.JobEvent) -> EventBody:
    """Return a stored event as it is told."""
    return EventBody.model_validate({**row.data, "seq": row.seq, "at": moment(row.at)})
