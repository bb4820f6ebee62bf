"""A real service for tests: `certigap serve` in a process of its own, on a free port, with its data in a folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certigap import Client

ROOT = Path(__file__).parent.parent.parent
# Seconds for a service to come up on a busy machine.
START = 120


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[str]:
    """Give the address of a service that runs for as long as the context lasts.

    Args:
        folder: for its data and its log, serve.log.
        settings: further ones, such as keys="on".
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(ROOT), str(ROOT / "encodings"), str(ROOT / "client")])
    own = {f"CERTIGAP_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "app.cli.main", "serve", "--port", str(port), "--data-dir", str(folder / "data")]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": path, **own}, stdout=log, stderr=log, start_new_session=True
        )
    server = f"http://127.0.0.1:{port}"
    try:
        _wait(server, process, folder / "serve.log")
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(server: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START
    with Client(server, retries=0) as client:
        while not client.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.2)
