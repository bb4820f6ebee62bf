"""Putting a job into the durable queue, from a process that runs none: the API."""

from __future__ import annotations

from dbos import DBOSClient, EnqueueOptions
from sqlalchemy.orm import Session

from app.store.tables import Job

# Work of one release goes on under the next one; see `worker.py` for what that asks of us.
APPLICATION_VERSION = "certigap-1"
WORKFLOW = "run_job"
QUEUES = ("cpu", "gpu", "gurobi")


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
