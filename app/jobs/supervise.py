"""One attempt at a job: start its child, store what it says, end it when asked, and close the job.

Runs in a worker's thread. The database may go away meanwhile: what is to be written then waits for it.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
from dbos import DBOSClient
from obstore.exceptions import BaseError
from sqlalchemy import Engine
from sqlalchemy.exc import NoResultFound, OperationalError
from sqlalchemy.orm import Session

from app.folders import work_folder
from app.jobs import spread
from app.jobs.requests import most_seconds
from app.sandbox import Child, Limits, SandboxError, error_code, outcome
from app.settings import Settings
from app.store import jobs, objects, workers
from app.store.blobs import Blobs
from app.store.database import now, session
from app.store.jobs import Ending
from app.store.objects import as_json
from app.store.tables import Job, Problem, Proxy
from solvers.errors import CertigapError

# Seconds between two looks at whether the job still is ours and wanted.
LOOK = 0.2
# Seconds between two stored progress events that bring no better bound.
QUIET = 0.5
# Seconds beyond its own time limit after which a child is taken to hang.
OVERTIME = 120.0
# Seconds that writing waits for a lost database before the attempt is given up.
PATIENCE = 600.0
# Files a child may have open: pipes to its own workers among them.
OPEN_FILES = 4096
LOG = "log.txt"
# There where a GPU can be used; torch, which knows better, is not loaded here.
GPU = Path("/dev/nvidiactl")
# What the last message of a child has one of.
LAST = {"result", "refused", "memory", "defect"}
_FILES = {"result": "result.json", "certificate": "certificate.json", "report": "report.html"}

_Answer = TypeVar("_Answer")
logger = structlog.get_logger()


@dataclass(frozen=True)
class Place:
    """What a worker has: the database, the way into its queues, the blobs, the settings and its name."""

    engine: Engine
    queue: DBOSClient
    blobs: Blobs
    settings: Settings
    worker: str

    @property
    def shared(self) -> bool:
        """Whether there may be other workers."""
        return self.engine.dialect.name == "postgresql"

    def write(self, work: Callable[[Session], _Answer]) -> _Answer:
        """Do `work` in one transaction; while the database is away, wait and try again."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with session(self.engine) as s, s.begin():
                    return work(s)
            except OperationalError:
                if time.monotonic() > deadline:
                    raise
                logger.warning("database away, will try again")
                time.sleep(1.0)


class ChildDiedError(CertigapError, RuntimeError):
    """A job's process crashed or was killed; another attempt may do better."""


def run_job(place: Place, job_id: str, workflow: str) -> None:
    """Work on a job until it has ended or is no longer this worker's.

    Args:
        place: of this worker.
        job_id: the job.
        workflow: of the queue, that brought it here.

    Raises:
        OperationalError: the database stayed away; the job is then queued again, see `app.jobs.worker`.
    """
    reason = "its worker was lost"
    while True:
        job = place.write(lambda s: jobs.begin(s, job_id, workflow, place.worker))
        if job is None:
            return
        number, log = job.attempt, logger.bind(job=job_id, attempt=job.attempt)
        ending: Ending | None
        try:
            if job.status == "canceling":
                ending = Ending("canceled", "cancelled")
            elif job.attempt - job.first > place.settings.attempts:
                ending = _failed("attempts_exhausted", f"{reason}; it was tried {place.settings.attempts} times")
            else:
                log.info("job started", kind=job.kind)
                ending = _attempt(place, job)
        except ChildDiedError as error:
            reason = str(error)
            log.warning("child died", reason=reason)
            place.write(partial(jobs.log, job_id=job_id, text=f"certigap: {reason}; trying again\n"))
            continue
        except (OSError, BaseError) as error:
            log.error("storage", reason=str(error))
            # Not the whole sentence, which names places of this machine.
            why = getattr(error, "strerror", None) or type(error).__name__
            ending = _failed("storage", f"its files could not be stored ({why}); free some space and resume the job")
        except OperationalError:
            raise
        except Exception as error:
            log.exception("defect")
            ending = _failed("defect", f"a defect of ours, please report it: {type(error).__name__}: {error}")
        if ending is None:
            log.warning("attempt given up")
        elif place.write(partial(jobs.finish, job_id=job_id, attempt=number, ending=ending)):
            log.info("job ended", status=ending.status, termination=ending.termination)
        return


def run_part(place: Place, job_id: str, attempt: int, number: int) -> None:
    """Work on a part of another worker's search, and hand in what is left of it; whatever fails, the search goes on."""
    given = place.write(lambda s: spread.wanted(s, job_id, attempt, number))
    if given is None:
        return
    with work_folder() as folder:
        spec = {**_spec(place, place.write(lambda s: s.get_one(Job, job_id)), folder), "part": given}
        child = Child("app.jobs.parts:run", spec, _limits(place.settings), folder / LOG)
        deadline = time.monotonic() + given["seconds"] + spread.PATIENCE
        try:
            while time.monotonic() < deadline:
                message = child.listen(LOOK)
                if message is not None and message.keys() & LAST:
                    hand_in = partial(spread.hand_in, job_id=job_id, attempt=attempt, number=number)
                    place.write(partial(hand_in, outcome=outcome(message)))
                    return
        except (EOFError, SandboxError) as error:
            logger.warning("part lost", job=job_id, number=number, reason=str(error))
        finally:
            child.close()


def _limits(settings: Settings) -> Limits:
    return Limits(math.inf, settings.job_memory, settings.file_size, OPEN_FILES, gpu=GPU.exists())


def _attempt(place: Place, job: Job) -> Ending | None:
    with work_folder() as folder:
        try:
            spec = _spec(place, job, folder)
        except (FileNotFoundError, NoResultFound) as error:
            logger.error("file missing", job=job.id, reason=str(error))
            return _failed("file_missing", "its model or case file is gone from the service; upload it again")
        return _Attempt(place, job, folder, spec).run()


def _failed(code: str, message: str) -> Ending:
    return Ending("failed", "error", error={"code": code, "message": message})


def _spec(place: Place, job: Job, folder: Path) -> dict[str, Any]:
    """Return what the child needs, its files put into the folder.

    Raises:
        FileNotFoundError, NoResultFound: what it needs is gone.
    """
    stored, proxy, problem = place.write(lambda s: _stored(s, job))
    # Not within the transaction, which others wait for.
    files = objects.lay_out(place.blobs, proxy, problem, folder)
    return {**files, **stored, "cores": place.settings.processes, "spread": place.shared, "request": job.request}


def _stored(s: Session, job: Job) -> tuple[dict[str, Any], Proxy | None, Problem | None]:
    """Return what earlier attempts at a job left, and what the job is about."""
    proxy, problem = (job.request.get(name) for name in ("proxy", "problem"))
    nodes = {node.number: node.data for node in jobs.open_nodes(s, job.id)}
    known = {"nodes": nodes, "closed": job.closed, "upper": job.upper, "latent": job.latent}
    resumed = job.attempt > 1 and (nodes or job.upper is not None)
    return (
        {"frontier": known if resumed else None, "points": jobs.points(s, job.id)},
        s.get_one(Proxy, proxy) if proxy else None,
        s.get_one(Problem, problem) if problem else None,
    )


@dataclass
class _Attempt:
    """A running child and what is known of it."""

    place: Place
    job: Job
    folder: Path
    spec: dict[str, Any]
    stored: float = 0.0
    heard: dict[str, Any] = field(default_factory=dict)
    logged: int = 0
    lanes: int = 0

    def run(self) -> Ending | None:
        """Return how the job ended; None where it is no longer this attempt's.

        Raises:
            ChildDiedError: the child crashed or was killed.
        """
        child = Child("app.jobs.run:run", self.spec, _limits(self.place.settings), self.folder / LOG)
        try:
            return self._watch(child)
        finally:
            child.close()
            self._log()

    def _watch(self, child: Child) -> Ending | None:
        limit = most_seconds(self.job.request)
        began = looked = time.monotonic()
        asked: float | None = None
        while True:
            try:
                message = child.listen(LOOK)
            except EOFError:
                if asked is not None:
                    return self._cut_short()
                raise ChildDiedError(f"its process was ended by {_signal(child.exit_code)}") from None
            if message is not None and "started" not in message:
                if message.keys() & LAST:
                    return self._last(message, asked is not None)
                if not self._store(message):
                    return None
            moment = time.monotonic()
            if moment - looked >= LOOK:
                looked = moment
                status, messages = self.place.write(self._look)
                for message in messages:
                    child.tell(message)
                self._log()
                if status is None:
                    return None
                if status == "canceling" and asked is None:
                    asked = moment
                    child.stop()
            if asked is not None and moment - asked > self.place.settings.grace:
                return self._cut_short()
            # One that has more to say only waits for us, who may have waited for the database.
            if message is None and moment - began > limit + OVERTIME:
                return _failed("watchdog", f"it did not end within {OVERTIME:.0f} s after its time limit")

    def _look(self, s: Session) -> tuple[str | None, list[dict[str, Any]]]:
        """Return the job's status while it is ours, and what other workers have for its search."""
        status = jobs.holds(s, self.job.id, self.job.attempt)
        if status is None or not self.place.shared:
            return status, []
        lanes = workers.cores_beside(s, self.place.worker)
        news = [] if lanes == self.lanes else [{"lanes": lanes}]
        self.lanes = lanes
        return status, [*news, *spread.collect(s, self.job)]

    def _store(self, message: dict[str, Any]) -> bool:
        """Write what the child said; False where the attempt was given up."""
        job, number = self.job.id, self.job.attempt
        if "part" in message:
            self.place.write(lambda s: spread.offer(self.place.queue, s, self.job, message["part"]))
            return True
        if "recall" in message:
            self.place.write(lambda s: spread.recall(s, self.job))
            return True
        if "nodes" in message:
            nodes = message["nodes"]
            added = {int(key): node for key, node in nodes["added"].items()}
            return self.place.write(lambda s: jobs.keep_nodes(s, job, number, added, nodes["dropped"], nodes["closed"]))
        if "latent" in message:
            found = {"lower": message["lower"], "latent": message["latent"]}
            return self.place.write(lambda s: jobs.take_bounds(s, job, number, **found) is not None)
        if "point" in message:
            event = {"type": "point", "phase": "sweep", "point": message["point"]}
            return self.place.write(lambda s: jobs.tell(s, job, number, event))
        event, bounds = message["event"], {key: message.get(key) for key in ("lower", "upper", "unit")}
        told = {key: value for key, value in bounds.items() if value is not None}
        news = (event["phase"], told) != (self.heard.get("phase"), self.heard.get("told"))
        if not news and time.monotonic() - self.stored < QUIET:
            return True
        self.heard, self.stored = {"phase": event["phase"], "told": told}, time.monotonic()
        return self.place.write(lambda s: jobs.tell(s, job, number, event, **told))

    def _last(self, message: dict[str, Any], asked: bool) -> Ending:
        try:
            found = outcome(message)
        except SandboxError as error:
            return _failed(error_code(getattr(error, "kind", type(error).__name__)), str(error))
        canceled = found["termination"] == "cancelled"
        if canceled and not asked:
            # Somebody ends all processes of this machine, say; nobody who owns the job wants it to end.
            raise ChildDiedError("its process was told to end from outside")
        return self._ended("canceled" if canceled else "succeeded", found)

    def _cut_short(self) -> Ending:
        """Return the ending of a job that was cancelled and could not say in time what it had."""
        file = self.folder / _FILES["result"]
        if not file.is_file() and self.job.kind in ("verify", "attack"):
            row = self.place.write(lambda s: s.get_one(Job, self.job.id))
            file.write_bytes(as_json(jobs.cut_short(row)))
        verdict = _read(file.read_bytes()).get("verdict") if file.is_file() else None
        return self._ended("canceled", {"termination": "cancelled", "verdict": verdict})

    def _ended(self, status: str, found: dict[str, Any]) -> Ending:
        """Store the files that the child left, and return the ending that names them."""
        tenant, blobs = self.job.tenant, self.place.blobs
        names = {
            key: blobs.put(tenant, (self.folder / file).read_bytes())
            for key, file in _FILES.items()
            if (self.folder / file).is_file()
        }
        trained = self.folder / "proxy.safetensors"
        if status == "succeeded" and trained.is_file():
            names["result"] = self._keep_proxy(trained.read_bytes(), found)
        return Ending(
            status,
            found["termination"],
            found.get("verdict"),
            result=names.get("result"),
            certificate=names.get("certificate"),
            report=names.get("report"),
        )

    def _keep_proxy(self, data: bytes, found: dict[str, Any]) -> str:
        """Store a trained proxy; returns the blob of a result that names it."""
        tenant, blobs = self.job.tenant, self.place.blobs
        sha256 = blobs.put(tenant, data)
        row = Proxy(
            # The same in every attempt.
            id=f"prx_{self.job.id.removeprefix('job_')}",
            tenant=tenant,
            sha256=sha256,
            manifest_sha256=self.job.id,
            format="safetensors",
            size=len(data),
            manifest=found["manifest"],
            summary=found["summary"],
            created_at=now(),
        )
        # An attempt that was given up must not change what the job's result names.
        self.place.write(lambda s: jobs.holds(s, self.job.id, self.job.attempt) and s.merge(row))
        result = (self.folder / "result.json").read_bytes()
        return blobs.put(tenant, as_json({"proxy": row.id, **_read(result)}))

    def _log(self) -> None:
        """Store what the child has printed since the last look."""
        file = self.folder / LOG
        if self.logged >= jobs.LONGEST_LOG or not file.is_file():
            return
        with file.open("rb") as opened:
            opened.seek(self.logged)
            text = opened.read(jobs.LONGEST_LOG)
        if text:
            self.logged += len(text)
            self.place.write(lambda s: jobs.log(s, self.job.id, text.decode(errors="replace")))


def _read(data: bytes) -> dict[str, Any]:
    return dict(json.loads(data))


def _signal(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"
