"""The tables of the service. Times are seconds since 1970; JSON columns hold plain data.

A row that a tenant owns carries the tenant's id, and every query asks for it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]

ACTIVE = ("queued", "running", "canceling")
TERMINAL = ("succeeded", "failed", "canceled")


class Table(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {Json: JSON, dict[str, float]: JSON}  # noqa: RUF012


class Tenant(Table):
    """Who owns things.

    Attributes:
        limits: what differs from the settings' quotas and rates, by name.
    """

    __tablename__ = "tenants"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    limits: Mapped[dict[str, float]] = mapped_column(default=dict)
    created_at: Mapped[float] = mapped_column(Float)


class ApiKey(Table):
    """A key, of which only a keyed digest is stored."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(Float)
    revoked_at: Mapped[float | None] = mapped_column(Float)


class Setting(Table):
    """What the service itself remembers, such as the pepper of its keys."""

    __tablename__ = "settings"
    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class Proxy(Table):
    """An uploaded model file with its manifest.

    Attributes:
        sha256: of the file's bytes, and the name of its blob.
        format: "onnx" or "safetensors".
        manifest: the one that counts; None where there is none, and a job then names the problem.
        summary: what the parser found: layers, sizes, fingerprint.
    """

    __tablename__ = "proxies"
    __table_args__ = (UniqueConstraint("tenant", "sha256", "manifest_sha256"),)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    sha256: Mapped[str] = mapped_column(String(64))
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    format: Mapped[str] = mapped_column(String(20))
    size: Mapped[int] = mapped_column(Integer)
    manifest: Mapped[Json | None] = mapped_column()
    summary: Mapped[Json] = mapped_column()
    created_at: Mapped[float] = mapped_column(Float)


class Problem(Table):
    """A parametric problem.

    Attributes:
        spec: a PGLib name, a knapsack instance, or nothing but the kind where a case file was uploaded.
        sha256: of the uploaded case file, and the name of its blob; None where the spec says all.
    """

    __tablename__ = "problems"
    __table_args__ = (UniqueConstraint("tenant", "spec_sha256"),)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    spec_sha256: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str | None] = mapped_column(String(64))
    spec: Mapped[Json] = mapped_column()
    summary: Mapped[Json] = mapped_column()
    created_at: Mapped[float] = mapped_column(Float)


class Job(Table):
    """A job: what was asked, where it stands, and the bounds so far.

    Attributes:
        request: the body as validated, the proxy's and the problem's ids in it.
        status: queued, running, canceling, succeeded, failed or canceled.
        cancel_at: when somebody asked to cancel.
        attempt: how often a worker began it. Only the latest attempt may write: an older one has been given up.
        first: attempts that were made before the user queued it, or that were not the job's fault.
        worker: the executor of the latest attempt.
        workflow: of the queue, that brings the job to a worker; a job that is queued again gets another.
        lower, upper: the best bounds so far; they never get worse. None where nothing is known.
        latent: the input that attains `lower`, for a resumed attempt.
        closed: what no input outside of the search's open parts exceeds; None before the search.
        result, certificate, report: names of blobs.
        error: {code, message} of a failed job.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index("jobs_by_tenant", "tenant", "id"), Index("jobs_by_status", "status"))
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    kind: Mapped[str] = mapped_column(String(20))
    queue: Mapped[str] = mapped_column(String(20))
    request: Mapped[Json] = mapped_column()
    status: Mapped[str] = mapped_column(String(20))
    termination: Mapped[str | None] = mapped_column(String(20))
    verdict: Mapped[str | None] = mapped_column(String(20))
    unit: Mapped[str | None] = mapped_column(String(20))
    lower: Mapped[float | None] = mapped_column(Float)
    upper: Mapped[float | None] = mapped_column(Float)
    latent: Mapped[list[float] | None] = mapped_column(JSON)
    closed: Mapped[float | None] = mapped_column(Float)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    first: Mapped[int] = mapped_column(Integer, default=0)
    worker: Mapped[str | None] = mapped_column(String(80))
    workflow: Mapped[str | None] = mapped_column(String(80))
    result: Mapped[str | None] = mapped_column(String(64))
    certificate: Mapped[str | None] = mapped_column(String(64))
    report: Mapped[str | None] = mapped_column(String(64))
    error: Mapped[Json | None] = mapped_column()
    created_at: Mapped[float] = mapped_column(Float)
    started_at: Mapped[float | None] = mapped_column(Float)
    cancel_at: Mapped[float | None] = mapped_column(Float)
    finished_at: Mapped[float | None] = mapped_column(Float)


class JobEvent(Table):
    """A moment of a job; `seq` counts from 1 without holes."""

    __tablename__ = "job_events"
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    data: Mapped[Json] = mapped_column()


class JobLog(Table):
    """A piece of what a job printed; `offset` counts characters from 0."""

    __tablename__ = "job_log"
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    offset: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str] = mapped_column(Text)


class SearchNode(Table):
    """A part of the domain that is still open: what a resumed search goes on from."""

    __tablename__ = "search_nodes"
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    upper: Mapped[float | None] = mapped_column(Float)
    data: Mapped[str] = mapped_column(Text)


class SearchPart(Table):
    """A part that another worker works on for a while.

    Attributes:
        given: the part, as the search's process gave it.
        outcome: what became of it; None until then.
    """

    __tablename__ = "search_parts"
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    given: Mapped[Json] = mapped_column()
    outcome: Mapped[Json | None] = mapped_column()
    created_at: Mapped[float] = mapped_column(Float)


class Idempotency(Table):
    """A key that a caller gave with a POST, and the job that it made; None while that is in flight."""

    __tablename__ = "idempotency"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    job: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[float] = mapped_column(Float)


class Worker(Table):
    """An executor and its last sign of life.

    Attributes:
        cores: parts of other workers' searches that it can work on at once.
    """

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    queues: Mapped[str] = mapped_column(String(80))
    cores: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[float] = mapped_column(Float)
    seen_at: Mapped[float] = mapped_column(Float)
