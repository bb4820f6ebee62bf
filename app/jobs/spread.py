"""Parts of a search on other machines: the workers' side, where the database carries parts and outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dbos import DBOSClient
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.jobs.queue import enqueue_part
from app.store.database import now
from app.store.tables import Job, SearchPart

# Seconds beyond a part's own after which its process is ended.
PATIENCE = 10.0


def offer(client: DBOSClient, s: Session, job: Job, part: Mapping[str, Any]) -> None:
    """Put a part of a job's search into the queue that every worker listens to."""
    row = SearchPart(
        job=job.id, attempt=job.attempt, number=part["number"], given=dict(part), outcome=None, created_at=now()
    )
    s.merge(row)
    enqueue_part(client, s, job, part["number"])


def collect(s: Session, job: Job) -> list[dict[str, Any]]:
    """Return the parts that are done, {number, outcome}, each once."""
    mine = (SearchPart.job == job.id, SearchPart.attempt == job.attempt)
    rows = s.scalars(select(SearchPart).where(*mine)).all()
    done = [row for row in rows if row.outcome is not None]
    for row in done:
        s.delete(row)
    return [{"number": row.number, "outcome": row.outcome} for row in done]


def recall(s: Session, job: Job) -> None:
    """Forget the parts of a job's attempt, and of earlier ones: nobody waits for them any more."""
    s.execute(delete(SearchPart).where(SearchPart.job == job.id, SearchPart.attempt <= job.attempt))


def wanted(s: Session, job_id: str, attempt: int, number: int) -> dict[str, Any] | None:
    """Return a part that is still to be done; None where nobody waits for it any more."""
    row = s.get(SearchPart, (job_id, attempt, number))
    return None if row is None or row.outcome is not None else row.given


def hand_in(s: Session, job_id: str, attempt: int, number: int, outcome: Mapping[str, Any]) -> None:
    """Store what became of a part, where somebody still waits for it."""
    row = s.get(SearchPart, (job_id, attempt, number))
    if row is not None:
        row.outcome = dict(outcome)
