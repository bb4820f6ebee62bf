"""`make demo` does what it says, and leaves nothing running, also when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent.parent


def demo(folder: Path, mark: str) -> subprocess.Popen[str]:
    """Start the demo in a folder; its processes carry a mark in their environment."""
    path = os.pathsep.join(str(ROOT / part) for part in ("", "encodings", "client"))
    return subprocess.Popen(
        [sys.executable, str(ROOT / "docs" / "demo.py")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "DEMO_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


# Seconds in which everything ends: what children are forked from ends when it has heard of it, after its imports.
ENDING = 60


def left(mark: str) -> list[list[str]]:
    """Return the commands of the processes with a mark that do not end."""
    deadline = time.monotonic() + ENDING
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _marked(mark: str) -> list[list[str]]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DEMO_MARK") == mark:
                found.append(process.cmdline())
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_the_demo_certifies_and_cleans_up(tmp_path: Path) -> None:
    process = demo(tmp_path, str(tmp_path))
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert "certified: The gap never exceeds 2,905" in out
    assert "search" in err
    assert json.loads((tmp_path / "certificate.json").read_text())["claim"]["verdict"] == "certified"
    assert (tmp_path / "report.html").exists()
    assert left(str(tmp_path)) == []


@pytest.mark.slow
def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path) -> None:
    process = demo(tmp_path, str(tmp_path))
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(2)
    # As a terminal does: to all processes of its group.
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=120)
    assert left(str(tmp_path)) == []
