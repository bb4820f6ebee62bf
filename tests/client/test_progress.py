"""What somebody who waits sees."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import certigap
from certigap import Event, UsageError
from certigap.progress import shown
from certigap.text import amount, interval, line

EVENT = Event(
    seq=1, type="progress", phase="search", seconds=1.5, lower=1234.5, upper=9e9, unit="$/h", counters={"open": 3.0}
)


def test_numbers_for_people() -> None:
    assert amount(1234.5, "$/h") == "1,234 $/h"
    assert amount(0.0321, "1") == "3.21 %"
    assert amount(None, "$/h") == amount(float("inf"), "1") == "unknown"
    assert interval(None, None, None) == ""
    assert interval(1.0, None, "value") == "gap at least 1 value"
    assert line(EVENT).split() == [
        "1.5",
        "s",
        "search",
        "gap",
        "between",
        "1,234",
        "$/h",
        "and",
        "9,000,000,000",
        "$/h",
        "open",
        "3",
    ]
    assert line(Event(seq=1, type="status", status="queued")).split() == ["queued"]


@pytest.mark.parametrize("display", ["rich", "tqdm"])
def test_displays_write_to_stderr_only(display: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with shown(display, "job_1") as show:
        show(EVENT)
    out, err = capsys.readouterr()
    assert out == ""
    assert "search" in err
    assert "job_1" in err


def test_auto_is_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    for display in ("auto", None):
        with shown(display, "job_1") as show:  # type: ignore[arg-type]
            show(EVENT)
    assert capsys.readouterr() == ("", "")


def test_auto_takes_a_plain_line_where_nothing_is_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for package in ("rich", "tqdm"):
        monkeypatch.setitem(sys.modules, package, None)
    with shown("auto", "job_1") as show:
        show(EVENT)
    assert capsys.readouterr().err.startswith("\rjob_1")
    with pytest.raises(UsageError, match="pip install tqdm"), shown("tqdm", "job_1"):
        pass


def test_a_notebook_shows_one_line_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    module = types.ModuleType("IPython.display")
    module.HTML = lambda text: text  # type: ignore[attr-defined]
    module.display = lambda html, display_id: types.SimpleNamespace(update=told.append)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    with shown("auto", "<job>") as show:
        show(EVENT)
    assert "search" in told[0]
    assert "&lt;job&gt;" in told[0]


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, certigap; heavy = {'torch', 'numpy', 'scipy', 'tqdm', 'app', 'proxies', 'verifier'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    place = Path(certigap.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
