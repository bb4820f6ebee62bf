"""Putting a job into the durable queue, from a process that runs none: the API."""

from __future__ import annotations

from dbos import DBOSClient, EnqueueOptions
from dbos._serialization import DBOSPortableJSONSerializer
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.store.tables import Job

# Work of one release goes on under the next one; see `worker.py` for what that asks of us.
APPLICATION_VERSION = "certigap-1"
WORKFLOW = "run_job"
QUEUES = ("cpu", "gpu", "gurobi")


def open_queue(engine: Engine) -> DBOSClient:
    """Return what puts jobs into the queue of a database; it connects when used, and raises at once when it cannot."""
    return DBOSClient(
        system_database_engine=engine,
        serializer=DBOSPortableJSONSerializer(),
        lazy=True,
        retry_connection_errors=False,
    )


def enqueue(client: DBOSClient, s: Session, job: Job) -> None:
    """Put a job into its queue, within the transaction that made or resumed it."""
    options: EnqueueOptions = {
        "queue_name": job.queue,
        "workflow_name": WORKFLOW,
        # One workflow each time that the job is queued: a resumed job has had attempts.
        "workflow_id": f"{job.id}-{job.attempt}",
        "app_version": APPLICATION_VERSION,
        "priority": int(job.request.get("priority", 0)) + 1,
    }
    client.enqueue_in_transaction(s, options, job.id)
