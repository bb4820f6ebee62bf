"""Folders of jobs that were killed are removed; those of living ones are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from app import folders

HOLD = "from app.folders import work_folder\nwith work_folder() as folder:\n    print(folder, flush=True)\n    input()"


def test_what_a_killed_process_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(folders, "_NEW", -1.0)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    holder = subprocess.Popen([sys.executable, "-c", HOLD], env=environment, text=True, **pipes)  # type: ignore[call-overload]
    left = Path(holder.stdout.readline().strip())
    (left / "model.onnx").write_bytes(b"model")
    folders.drop_left()
    assert (left / "model.onnx").is_file()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert left.is_dir()
    with folders.work_folder() as mine:
        folders.drop_left()
        assert list(tmp_path.iterdir()) == [mine]
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder may not have locked it yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    Path(tempfile.mkdtemp(prefix="certigap-work-"))
    folders.drop_left()
    assert len(list(tmp_path.iterdir())) == 1
    later = time.time() + 100.0
    monkeypatch.setattr(time, "time", lambda: later)
    folders.drop_left()
    assert list(tmp_path.iterdir()) == []
