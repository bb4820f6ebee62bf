"""A service of its own for a measurement: the API on a free port, with an empty database in a temporary folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.settings import Settings
from app.store.database import open_database, session
from app.store.keys import create_key
from app.store.migrate import migrate
from benchmarks.service.harness import ROOT, free_port

# Seconds for the API to answer: it imports torch first.
START = 60.0


@dataclass(frozen=True)
class Server:
    """A running API.

    Attributes:
        url: where it listens.
        key: of a tenant of its own.
        pid: of its process.
        data_dir: its database and files.
    """

    url: str
    key: str
    pid: int
    data_dir: Path


@contextmanager
def running(**settings: object) -> Iterator[Server]:
    """Start the API alone, no worker, with these settings (see `app.settings`); it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="certigap-server-") as folder:
        port = free_port()
        chosen = {"data_dir": folder, "keys": "on", "log_level": "warning", **settings}
        environment = {f"CERTIGAP_{name.upper()}": str(value) for name, value in chosen.items()}
        url = Settings(data_dir=Path(folder)).database
        migrate(url)
        engine = open_database(url)
        with session(engine) as s, s.begin():
            _, key = create_key(s, "measurement")
        engine.dispose()
        paths = os.pathsep.join([str(ROOT), str(ROOT / "encodings")])
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "uvicorn",
                "--factory",
                "app.main:create_app",
                "--port",
                str(port),
                "--no-access-log",
            ],
            env={**os.environ, **environment, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, process)
            yield Server(address, key, process.pid, Path(folder))
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise RuntimeError(f"the API did not start at {url}; see its messages above")
