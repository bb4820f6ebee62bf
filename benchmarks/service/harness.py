"""A whole service of our own for a benchmark or a test: its database, its processes, and how to kill them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).parent.parent.parent
# Seconds for a service, or a database, to answer after a start.
PATIENCE = 120.0


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's server programs; None where it is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Postgres:
    """A PostgreSQL server of our own, in a folder.

    Args:
        folder: is made; a server never runs as root, so then it belongs to the user `nobody`.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        programs = postgres_programs()
        assert programs is not None, "PostgreSQL is not installed: apt-get install postgresql"
        self._programs = programs
        self.folder.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "certigap", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        """For CERTIGAP_DATABASE_URL."""
        return f"postgresql+psycopg://certigap@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-c", "max_connections=200"]
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), *settings]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **_not_root())
        deadline = time.monotonic() + PATIENCE
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9 the server and all of its processes."""
        assert self.process is not None
        for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
            _kill(process.pid)
        self.process.wait()

    def close(self) -> None:
        """Stop the server."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(PATIENCE)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **_not_root())


@dataclass
class Service:
    """`certigap serve` with its parts.

    Args:
        folder: for its data.
        database: URL; "" for SQLite.
        workers: beside the API.
        settings: further CERTIGAP_ variables, by their name without it.
    """

    folder: Path
    database: str = ""
    workers: int = 1
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the API."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        where = ["--port", str(self.port), "--data-dir", str(self.folder), "--workers", str(self.workers)]
        self.process = self._run("serve", *where)
        self.wait_ready()

    def another_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker that nobody starts again, as on another machine; the caller ends it."""
        return self._run("worker")

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        told = {f"CERTIGAP_{name.upper()}": value for name, value in self.settings.items()}
        told["CERTIGAP_DATA_DIR"] = str(self.folder)
        if self.database:
            told["CERTIGAP_DATABASE_URL"] = self.database
        path = os.pathsep.join([str(ROOT), str(ROOT / "encodings"), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", *command],
            env={**os.environ, **told, "PYTHONPATH": path},
            stdout=(self.folder / "serve.log").open("ab"),
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )

    def wait_ready(self) -> None:
        """Wait until the API answers that it is ready."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "serve.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the service does not answer"
            time.sleep(0.1)

    def part(self, name: str) -> list[int]:
        """Return the process ids of a part: "api", "worker", or "child" for those that run jobs."""
        assert self.process is not None
        parts = psutil.Process(self.process.pid).children()
        found: dict[str, list[int]] = {"api": [], "worker": [], "child": []}
        for process in parts:
            kind = "worker" if "worker" in _command(process) else "api"
            found[kind].append(process.pid)
            if kind == "worker":
                found["child"] += _job_children(process)
        return found[name]

    def log(self) -> str:
        """Return what the service printed."""
        return (self.folder / "serve.log").read_text(errors="replace")

    def close(self) -> None:
        """Stop it as Ctrl-C does."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)


def upload(client: httpx.Client, name: str) -> str:
    """Upload a shipped proxy and return its id."""
    data = (ROOT / "benchmarks" / "proxies" / f"{name}.safetensors").read_bytes()
    answer = client.post("/v1/proxies", content=data, headers={"Content-Type": "application/octet-stream"})
    answer.raise_for_status()
    return str(answer.json()["id"])


def submit(client: httpx.Client, kind: str, proxy: str, key: str | None = None, **body: Any) -> str:
    """Submit a job, with an idempotency key where one is given, and return its id."""
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = client.post("/v1/jobs", json={"kind": kind, "proxy": proxy, **body}, headers=headers)
    answer.raise_for_status()
    return str(answer.json()["id"])


def kill(pids: Sequence[int]) -> None:
    """kill -9, whoever still lives."""
    for pid in pids:
        _kill(pid)


def _job_children(worker: psutil.Process) -> list[int]:
    """Return the leaders of the sessions that a worker's fork server started."""
    try:
        below = worker.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [process.pid for process in below if _leads_session(process.pid)]


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _not_root() -> dict[str, Any]:
    return {"user": "nobody"} if os.geteuid() == 0 else {}
