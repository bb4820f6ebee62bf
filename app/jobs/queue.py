"""Putting a job into the durable queue, from a process that runs none: the API."""

from __future__ import annotations

import secrets

from dbos import DBOSClient, EnqueueOptions
from dbos._serialization import DBOSPortableJSONSerializer
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.store.tables import Job

# Work of one release goes on under the next one: what a workflow does is one step, and the job's row is its memory.
APPLICATION_VERSION = "certigap-1"
WORKFLOW = "run_job"
PART_WORKFLOW = "run_part"
# Parts of searches have a queue of their own: who waits for them holds a slot in the others.
PARTS = "parts"
QUEUES = ("cpu", "gpu", "gurobi")
SERIALIZER = DBOSPortableJSONSerializer()


def open_queue(engine: Engine) -> DBOSClient:
    """Return what puts jobs into the queue of a database; it connects when used, and raises at once when it cannot."""
    return DBOSClient(
        system_database_engine=engine,
        serializer=SERIALIZER,
        lazy=True,
        retry_connection_errors=False,
    )


def enqueue(client: DBOSClient, s: Session, job: Job) -> None:
    """Put a job into its queue, within the transaction that made or resumed it."""
    job.workflow = f"{job.id}-{secrets.token_hex(4)}"
    options: EnqueueOptions = {
        "queue_name": job.queue,
        "workflow_name": WORKFLOW,
        "workflow_id": job.workflow,
        "app_version": APPLICATION_VERSION,
        "priority": int(job.request.get("priority", 0)) + 1,
    }
    client.enqueue_in_transaction(s, options, job.id)


def enqueue_part(client: DBOSClient, s: Session, job: Job, number: int) -> None:
    """Put a part of a job's search into the queue of parts."""
    options: EnqueueOptions = {
        "queue_name": PARTS,
        "workflow_name": PART_WORKFLOW,
        "workflow_id": f"{job.id}-{job.attempt}-{number}",
        "app_version": APPLICATION_VERSION,
    }
    client.enqueue_in_transaction(s, options, job.id, job.attempt, number)
