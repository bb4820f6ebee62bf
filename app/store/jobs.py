"""Jobs in the database: who may change what, and when.

Bounds never get worse, a job ends once, and only its latest attempt writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel
from sqlalchemy import CursorResult, Delete, Update, delete, func, select, update
from sqlalchemy.orm import Session

from app.store.database import new_id, now
from app.store.tables import ACTIVE, TERMINAL, Job, JobEvent, JobLog, SearchNode, SearchPart

# A job's log is cut after so many characters: a flood must not fill the database.
LONGEST_LOG = 1_000_000
# Parameters of one query; SQLite takes 32 766.
_ASKED_AT_ONCE = 1000


@dataclass(frozen=True)
class Ending:
    """How a job ended.

    Attributes:
        status: "succeeded", "failed" or "canceled".
        error: {code, message}, of a failed job.
        result, certificate, report: names of blobs, where there are such.
    """

    status: str
    termination: str | None = None
    verdict: str | None = None
    error: Mapping[str, Any] | None = None
    result: str | None = None
    certificate: str | None = None
    report: str | None = None


def create(s: Session, tenant: str, request: BaseModel, queue: str) -> Job:
    """Add a queued job; the caller enqueues it in the same transaction."""
    kind = str(request.kind)  # type: ignore[attr-defined]
    body = request.model_dump(mode="json")
    job = Job(id=new_id("job"), tenant=tenant, kind=kind, queue=queue, request=body, status="queued", created_at=now())
    s.add(job)
    s.flush()
    _say(s, job.id, {"type": "status", "status": "queued"})
    return job


def find(s: Session, tenant: str, job: str) -> Job | None:
    """Return a tenant's job."""
    return s.scalar(select(Job).where(Job.id == job, Job.tenant == tenant))


def page(s: Session, tenant: str, status: str | None, after: str | None, limit: int) -> Sequence[Job]:
    """Return a tenant's jobs, newest first, that are older than the id `after`."""
    query = select(Job).where(Job.tenant == tenant).order_by(Job.id.desc()).limit(limit)
    if status is not None:
        query = query.where(Job.status == status)
    if after is not None:
        query = query.where(Job.id < after)
    return s.scalars(query).all()


def count_active(s: Session, tenant: str | None = None) -> int:
    """Return how many jobs are queued or running, of one tenant or of all."""
    query = select(func.count()).select_from(Job).where(Job.status.in_(ACTIVE))
    return s.scalar(query if tenant is None else query.where(Job.tenant == tenant)) or 0


def ask_cancel(s: Session, job: Job) -> bool:
    """Ask to end a job: one that still waits ends here, a running one when its worker hears of it.

    Returns:
        Whether this changed anything; a job that has ended or is being cancelled stays as it is.
    """
    changed = changes(
        s, update(Job).where(Job.id == job.id, Job.status == "running").values(status="canceling", cancel_at=now())
    )
    if changed:
        s.refresh(job)
        return True
    changed = changes(
        s,
        update(Job)
        .where(Job.id == job.id, Job.status == "queued")
        .values(status="canceled", termination="cancelled", cancel_at=now(), finished_at=now()),
    )
    s.refresh(job)
    if changed:
        _say(s, job.id, {"type": "status", "status": "canceled"})
    return bool(changed)


def resume(s: Session, job: Job) -> bool:
    """Queue a cancelled or failed job, or one that met its time limit, again: it goes on from its open parts.

    Returns:
        Whether it is queued now; the caller enqueues it in the same transaction.
    """
    unfinished = job.status in ("canceled", "failed") or job.termination == "time_limit"
    if job.status not in TERMINAL or not unfinished:
        return False
    changed = changes(
        s,
        update(Job)
        .where(Job.id == job.id, Job.status == job.status)
        .values(
            status="queued",
            termination=None,
            verdict=None,
            error=None,
            cancel_at=None,
            finished_at=None,
            first=Job.attempt,
            result=None,
            certificate=None,
            report=None,
        ),
    )
    s.refresh(job)
    if changed:
        _say(s, job.id, {"type": "status", "status": "queued"})
    return bool(changed)


def begin(s: Session, job_id: str, workflow: str | None, worker: str) -> Job | None:
    """Start the next attempt at a job; None where it has ended meanwhile, or was queued again as another workflow."""
    changed = changes(
        s,
        update(Job)
        .where(Job.id == job_id, Job.workflow == workflow, Job.status.in_(ACTIVE))
        .values(attempt=Job.attempt + 1, worker=worker, started_at=func.coalesce(Job.started_at, now())),
    )
    if not changed:
        return None
    s.execute(update(Job).where(Job.id == job_id, Job.status == "queued").values(status="running"))
    job = s.get_one(Job, job_id, populate_existing=True)
    _say(s, job_id, {"type": "status", "status": job.status, "attempt": job.attempt})
    return job


def hand_back(s: Session, job: Job, blame: bool) -> None:
    """Take a job from its worker; the caller enqueues it again in the same transaction.

    Args:
        s: the transaction.
        job: one that has not ended.
        blame: whether the job may be why its worker was lost.
    """
    # Whatever the old attempt still says is not heard.
    job.attempt += 1
    job.first += 1 if blame else 2
    if job.status == "running":
        job.status = "queued"
        _say(s, job.id, {"type": "status", "status": "queued"})


def holds(s: Session, job_id: str, attempt: int) -> str | None:
    """Return the status of a job whose latest attempt is this one; None for an attempt that was given up."""
    return s.scalar(select(Job.status).where(Job.id == job_id, Job.attempt == attempt, Job.status.in_(ACTIVE)))


def tell(
    s: Session,
    job_id: str,
    attempt: int,
    event: Mapping[str, Any],
    lower: float | None = None,
    upper: float | None = None,
    unit: str | None = None,
) -> bool:
    """Append an event and take in bounds where they are better; False for an attempt that was given up."""
    job = take_bounds(s, job_id, attempt, lower, upper)
    if job is None:
        return False
    job.unit = unit or job.unit
    _say(s, job_id, {**event, "lower": job.lower, "upper": job.upper, "unit": job.unit})
    return True


def take_bounds(
    s: Session,
    job_id: str,
    attempt: int,
    lower: float | None = None,
    upper: float | None = None,
    latent: Sequence[float] | None = None,
) -> Job | None:
    """Take in bounds where they are better, and what attains the lower one; None for an attempt that was given up."""
    mine = (Job.id == job_id, Job.attempt == attempt, Job.status.in_(ACTIVE))
    job = s.scalar(select(Job).where(*mine).with_for_update())
    if job is None:
        return None
    if latent is not None and lower is not None and (job.latent is None or job.lower is None or lower >= job.lower):
        job.latent = list(latent)
    if lower is not None and (job.lower is None or lower > job.lower):
        job.lower = lower
    if upper is not None and (job.upper is None or upper < job.upper):
        job.upper = upper
    if job.lower is not None and job.upper is not None and job.upper < job.lower:
        job.upper = job.lower  # What is attained counts: where both meet they differ by rounding.
    return job


def keep_nodes(
    s: Session, job_id: str, attempt: int, added: Mapping[int, Any], dropped: Sequence[int], closed: float
) -> bool:
    """Store the open parts of a search: `added` by number as {upper, data}; False for an attempt given up."""
    mine = (Job.id == job_id, Job.attempt == attempt, Job.status.in_(ACTIVE))
    if not changes(s, update(Job).where(*mine).values(closed=closed)):
        return False
    if dropped:
        s.execute(delete(SearchNode).where(SearchNode.job == job_id, SearchNode.number.in_(dropped)))
    for number, node in added.items():
        s.merge(SearchNode(job=job_id, number=number, upper=node["upper"], data=node["data"]))
    return True


def open_nodes(s: Session, job_id: str) -> Sequence[SearchNode]:
    """Return the stored open parts of a job's search."""
    return s.scalars(select(SearchNode).where(SearchNode.job == job_id).order_by(SearchNode.number)).all()


def points(s: Session, job_id: str) -> list[Any]:
    """Return the points of a sweep that earlier attempts found, in order."""
    mine = (JobEvent.job == job_id, JobEvent.data["type"].as_string() == "point")
    return [data["point"] for data in s.scalars(select(JobEvent.data).where(*mine).order_by(JobEvent.seq))]


def log(s: Session, job_id: str, text: str) -> None:
    """Append to what a job printed."""
    last = s.scalar(select(JobLog).where(JobLog.job == job_id).order_by(JobLog.offset.desc()).limit(1))
    offset = 0 if last is None else last.offset + len(last.text)
    if text and offset < LONGEST_LOG:
        s.add(JobLog(job=job_id, offset=offset, text=text[: LONGEST_LOG - offset]))


def read_log(s: Session, job_id: str, offset: int) -> str:
    """Return what a job printed, from a character on."""
    pieces = s.scalars(select(JobLog).where(JobLog.job == job_id).order_by(JobLog.offset)).all()
    return "".join(piece.text for piece in pieces)[offset:]


def finish(s: Session, job_id: str, attempt: int, ending: Ending) -> bool:
    """End a job, once; False where it has ended already or the attempt was given up."""
    changed = changes(
        s,
        update(Job)
        .where(Job.id == job_id, Job.attempt == attempt, Job.status.in_(ACTIVE))
        .values(
            status=ending.status,
            termination=ending.termination,
            verdict=ending.verdict,
            error=None if ending.error is None else dict(ending.error),
            result=ending.result,
            certificate=ending.certificate,
            report=ending.report,
            finished_at=now(),
        ),
    )
    if not changed:
        return False
    if ending.status == "succeeded" and ending.termination == "error":
        # The engine found its own bounds to be wrong: none may stay.
        s.execute(update(Job).where(Job.id == job_id).values(upper=None, closed=None))
    if ending.status == "succeeded" and ending.termination != "time_limit":
        s.execute(delete(SearchNode).where(SearchNode.job == job_id))  # Nobody can resume it.
    s.execute(delete(SearchPart).where(SearchPart.job == job_id))
    _say(s, job_id, {"type": "status", "status": ending.status, "verdict": ending.verdict})
    return True


def cut_short(job: Job) -> dict[str, Any]:
    """Return the result of a cancelled job that could not say what it had: the bounds in its row."""
    told = {"lower": job.lower, "upper": job.upper, "unit": job.unit, "termination": "cancelled"}
    return {**told, "verdict": "unknown" if job.upper is None else "bounded"}


def events_after(s: Session, job_id: str, seq: int, limit: int = 1000) -> Sequence[JobEvent]:
    """Return a job's events after a sequence number, in order."""
    query = select(JobEvent).where(JobEvent.job == job_id, JobEvent.seq > seq).order_by(JobEvent.seq).limit(limit)
    return s.scalars(query).all()


def changes(s: Session, statement: Update | Delete) -> int:
    """Return how many rows a statement changed."""
    return cast(CursorResult[Any], s.execute(statement)).rowcount


def latest_events(s: Session, job_ids: Sequence[str]) -> dict[str, int]:
    """Return the sequence number of each job's latest event."""
    found: dict[str, int] = {}
    for first in range(0, len(job_ids), _ASKED_AT_ONCE):
        some = job_ids[first : first + _ASKED_AT_ONCE]
        query = select(JobEvent.job, func.max(JobEvent.seq)).where(JobEvent.job.in_(some)).group_by(JobEvent.job)
        found |= dict(s.execute(query).tuples().all())
    return found


def count_by_status(s: Session) -> dict[str, int]:
    """Return how many jobs have each status; a status without jobs is counted too."""
    found = dict(s.execute(select(Job.status, func.count()).group_by(Job.status)).tuples().all())
    return {status: found.get(status, 0) for status in (*ACTIVE, *TERMINAL)}


def _say(s: Session, job_id: str, data: Mapping[str, Any]) -> None:
    last = s.scalar(select(func.max(JobEvent.seq)).where(JobEvent.job == job_id)) or 0
    s.add(JobEvent(job=job_id, seq=last + 1, at=now(), data=dict(data)))
    s.flush()
