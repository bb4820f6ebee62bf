"""`make demo`: start the service, verify a 57-bus proxy through the client, show what came out, stop the service."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certigap import Client, Event
from certigap.text import line

MODEL = Path(__file__).parent.parent / "benchmarks" / "proxies" / "dcopf-case57-raw.safetensors"
# Seconds for the service to come up.
PATIENCE = 120


@contextmanager
def service(folder: Path) -> Iterator[str]:
    """Give the address of a service with its data in `folder`, for as long as the context lasts."""
    log = folder / "serve.log"
    command = [sys.executable, "-m", "app.cli.main", "serve", "--port", "0", "--data-dir", str(folder / "data")]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        told = re.search(r"http://[^\s]+", log.read_text())
        if told is not None:
            with Client(told[0], retries=0) as client:
                if client.ready():
                    return told[0]
        time.sleep(0.2)
    sys.exit(f"the service did not start:\n{log.read_text()}")


class Phases:
    """Prints the first event of every phase, where there is no terminal on which a line could move."""

    def __init__(self) -> None:
        self._phase: str | None = None

    def __call__(self, event: Event) -> None:
        if event.phase not in (None, self._phase):
            self._phase = event.phase
            print(line(event), file=sys.stderr, flush=True)


def main() -> None:
    """Run the demo; certificate.json and report.html are written where it is called."""
    with tempfile.TemporaryDirectory(prefix="certigap-demo-") as folder, service(Path(folder)) as server:
        print(f"a service runs at {server}; it verifies {MODEL.name} on all loads within 5 %")
        with Client(server) as client:
            found = client.verify(MODEL, u=0.05, progress="auto" if sys.stderr.isatty() else Phases())
            certificate, report = found.save()
            claim = found.certificate()["claim"]
    print(f"{found.verdict}: {claim['statement']}")
    print(f"certificate: {certificate.resolve()}\nreport:      {report.resolve()}")


if __name__ == "__main__":
    main()
