"""`certigap serve`: database, API and workers with one command; a part that dies is started again."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import make_url, select
from sqlalchemy.exc import SQLAlchemyError

from app.cli.worker import SettingsError, read_settings
from app.settings import Settings
from app.store.database import open_database, session
from app.store.keys import create_key
from app.store.migrate import migrate
from app.store.tables import ApiKey
from solvers.errors import CertigapError
from solvers.lifetime import die_with_parent

# Seconds between two looks at the parts; and after a start before a part that died at once is started again.
LOOK, REST = 0.2, 1.0
# Seconds that the parts get to end in order.
PATIENCE = 10.0


class ServiceError(CertigapError, RuntimeError):
    """The service cannot start."""


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "",
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the database and the files.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes beside the API.")] = 1,
) -> None:
    """Run the service: prints its URL, and works until Ctrl-C. Everything else is set by CERTIGAP_... variables."""
    chosen = {"host": host or None, "port": port, "data_dir": data_dir}
    settings = read_settings(**{name: value for name, value in chosen.items() if value is not None})
    with _alone(settings, workers):
        try:
            migrate(settings.database)
            key = _first_key(settings)
        except SQLAlchemyError as error:
            raise ServiceError(f"the database cannot be used: {error.__cause__ or error}") from error
        settings = settings.model_copy(update={"port": settings.port or _free_port(settings.host)})
        _check_port(settings)
        where = f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{settings.port}"
        database = make_url(settings.database).render_as_string(hide_password=True)
        print(f"certigap serves at {where} (database {database}, files in {settings.blobs})", flush=True)
        if not settings.asks_for_keys:
            print("keys are off: whoever reaches this address may use it", flush=True)
        if key is not None:
            print(f"the first key, shown this once: {key}", flush=True)
        _Supervisor(settings, workers).run()


@contextmanager
def _alone(settings: Settings, workers: int) -> Iterator[None]:
    """Make sure that no other `serve` has this folder: its SQLite file is for one, and so are its workers' slots.

    Raises:
        ServiceError: another one does.
    """
    if make_url(settings.database).get_backend_name() != "sqlite" and workers == 0:
        # Nothing of the folder is used; it need not even be there.
        yield
        return
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (settings.data_dir / "lock").open("w")
    except OSError as error:
        raise ServiceError(f"{settings.data_dir} cannot be written ({error.strerror}); choose --data-dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError(
                f"another server works on {settings.data_dir}; stop it, or choose another --data-dir"
            ) from None
        yield


def _first_key(settings: Settings) -> str | None:
    """Return a new key where keys are asked for and nobody has one yet."""
    if not settings.asks_for_keys:
        return None
    engine = open_database(settings.database)
    try:
        with session(engine) as s, s.begin():
            return None if s.scalar(select(ApiKey.id).limit(1)) else create_key(s, "default")[1]
    finally:
        engine.dispose()


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _check_port(settings: Settings) -> None:
    """Raise a SettingsError where the address cannot be listened on."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise SettingsError(
                f"{settings.host}:{settings.port} cannot be listened on ({error.strerror}); choose another --port"
            ) from error


@dataclass
class _Part:
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = -REST


@dataclass
class _Supervisor:
    """Keeps the parts running."""

    settings: Settings
    workers: int
    parts: list[_Part] = field(default_factory=list)

    def run(self) -> None:
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        listen = ["--host", self.settings.host, "--port", str(self.settings.port)]
        api = [
            "-m",
            "uvicorn",
            "app.main:create_app",
            "--factory",
            "--no-access-log",
            "--log-level",
            "warning",
            # Manifests in headers may have 64 kB.
            "--h11-max-incomplete-event-size",
            "131072",
            # Who follows a job takes up the stream again: nobody waits for it to end.
            "--timeout-graceful-shutdown",
            "3",
            *listen,
        ]
        # Nobody else has this folder, so a worker of the same slot that came before is dead.
        place = hashlib.sha256(str(self.settings.data_dir.absolute()).encode()).hexdigest()[:8]
        slots = [f"{socket.gethostname()}-{place}-{k}" for k in range(self.workers)]
        self.parts = [_Part([sys.executable, *api])]
        self.parts += [_Part([sys.executable, "-m", "app.cli.main", "worker"], {"CERTIGAP_SLOT": s}) for s in slots]
        try:
            while not stop.is_set():
                for part in self.parts:
                    self._keep(part)
                stop.wait(LOOK)
        finally:
            self._end()

    def _keep(self, part: _Part) -> None:
        if part.process is not None and part.process.poll() is None:
            return
        if part.process is not None and time.monotonic() - part.started < REST:
            return
        if part.process is not None:
            code = part.process.returncode
            print(f"certigap: {part.command[2]} ended with code {code}; started again", file=sys.stderr, flush=True)
        part.started = time.monotonic()
        part.process = subprocess.Popen(
            part.command, env={**self._environment(), **part.environment}, preexec_fn=_own_group
        )

    def _environment(self) -> dict[str, str]:
        told = {
            "CERTIGAP_DATA_DIR": str(self.settings.data_dir.absolute()),
            "CERTIGAP_DATABASE_URL": self.settings.database,
            "CERTIGAP_BLOBS_URL": self.settings.blobs,
            "CERTIGAP_HOST": self.settings.host,
            "CERTIGAP_PORT": str(self.settings.port),
        }
        return {**os.environ, **told}

    def _end(self) -> None:
        running = [part.process for part in self.parts if part.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + PATIENCE
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _own_group() -> None:
    """In a new part: Ctrl-C is for the supervisor, and without it no part lives."""
    os.setpgrp()
    die_with_parent()
