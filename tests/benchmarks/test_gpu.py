"""The device benchmark runs on a machine without CUDA, says so, and writes what it measured."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def test_the_quick_benchmark_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    file = tmp_path / "gpu.json"
    runpy.run_path(str(SCRIPT))["main"](["--quick", "--json", str(file)])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "no CUDA device: only the processor's part is run"
    facts = json.loads(file.read_text())
    assert facts["machine"]["cuda"] is None
    (row,) = facts["rows"]
    assert row["device"] == "cpu"
    assert row["attack"]["gap"] > 0
    assert row["bounds"]["disagreement"] == 0.0
    assert row["bounds"]["output_width"] > 0
