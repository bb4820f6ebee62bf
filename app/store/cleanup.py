"""What is kept no longer: results past their days, open parts that nobody resumes, the queue's ended workflows."""

from __future__ import annotations

from datetime import UTC, datetime

from dbos import DBOSClient
from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from app.store.blobs import Blobs
from app.store.database import now
from app.store.tables import TERMINAL, Job, JobEvent, JobLog, Proxy, SearchNode

DAY = 86_400.0
# Jobs and workflows that one round takes, so that nobody waits long for the database.
AT_ONCE = 200
# Days that the queue remembers what it handed out; the jobs' own rows say all that anybody asks for.
QUEUE_DAYS = 1.0


def expire(s: Session, blobs: Blobs, days: float) -> int:
    """Drop results, events, logs and open parts of jobs that ended more than `days` ago; the rows of the jobs stay.

    Returns:
        How many jobs were cleaned; as many as `AT_ONCE` where there may be more.
    """
    parts = (Job.result, Job.certificate, Job.report)
    # One that failed left no result, but events and a log.
    left = or_(*(part.is_not(None) for part in parts), select(JobEvent.job).where(JobEvent.job == Job.id).exists())
    old = (Job.status.in_(TERMINAL), Job.finished_at < now() - days * DAY, left)
    jobs = s.scalars(select(Job).where(*old).limit(AT_ONCE)).all()
    for job in jobs:
        names = {job.result, job.certificate, job.report} - {None}
        job.result = job.certificate = job.report = None
        s.flush()
        for name in names:
            if name is not None and not _used(s, job.tenant, name):
                blobs.delete(job.tenant, name)
        for table in (JobEvent, JobLog, SearchNode):
            s.execute(delete(table).where(table.job == job.id))
    return len(jobs)


def forget_workflows(queue: DBOSClient) -> int:
    """Drop what the queue remembers of workflows that ended some time ago, and return how many."""
    before = datetime.fromtimestamp(now() - QUEUE_DAYS * DAY, UTC).isoformat()
    ended = queue.list_workflows(
        status=["SUCCESS", "ERROR", "CANCELLED"],
        completed_before=before,
        limit=AT_ONCE,
        load_input=False,
        load_output=False,
    )
    queue.delete_workflows([workflow.workflow_id for workflow in ended])
    return len(ended)


def _used(s: Session, tenant: str, name: str) -> bool:
    """Whether another job or a proxy still has these bytes: equal results are stored once."""
    of_job = or_(Job.result == name, Job.certificate == name, Job.report == name)
    if s.scalar(select(Job.id).where(Job.tenant == tenant, of_job).limit(1)):
        return True
    return s.scalar(select(Proxy.id).where(Proxy.tenant == tenant, Proxy.sha256 == name).limit(1)) is not None
