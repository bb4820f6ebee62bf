"""The script that runs the peers of both layers: which command it runs for each, and where it stops."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def peers() -> Any:
    file = Path(__file__).parents[2] / "benchmarks" / "layers" / "peers.py"
    described = importlib.util.spec_from_file_location("peers", file)
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


def test_each_layer_has_a_process_and_a_file(peers: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran = []
    monkeypatch.setattr(peers.subprocess, "run", lambda words, **_: ran.append(words))
    peers.main(["--quick", "--folder", str(tmp_path / "new")])
    assert [words[2] for words in ran] == ["benchmarks.layers.qp_peers", "benchmarks.layers.ilp_peers"]
    assert [Path(words[-1]).name for words in ran] == ["qp_peers.json", "ilp_peers.json"]
    assert all(words[0] == sys.executable and Path(words[-1]).parent.is_dir() for words in ran)


@pytest.mark.slow
def test_both_scripts_are_found(peers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their own help comes back from their own processes."""
    run, said = subprocess.run, []

    def helped(words: list[str], **options: Any) -> None:
        said.append(run([*words, "--help"], capture_output=True, text=True, **options).stdout)

    monkeypatch.setattr(peers.subprocess, "run", helped)
    peers.main([])
    assert "QP layer" in said[0]
    assert "ILP layer" in said[1]


def test_a_failure_is_not_passed_over(peers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SCRIPTS", {"no_such_script": "Nothing"})
    with pytest.raises(subprocess.CalledProcessError):
        peers.main([])
