"""What somebody who waits sees."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import certigap
from certigap import Event, UsageError
from certigap.progress import shown
from certigap.text import interval, line, lower_amount, upper_amount
from verifier import rounding

EVENT = Event(
    seq=1, type="progress", phase="search", seconds=1.5, lower=1234.5, upper=9e9, unit="$/h", counters={"open": 3.0}
)


def test_numbers_for_people() -> None:
    assert (lower_amount(1234.5, "$/h"), upper_amount(1234.5, "$/h")) == ("1,234 $/h", "1,235 $/h")
    assert (lower_amount(0.0321, "1"), upper_amount(0.032101, "1")) == ("3.21 %", "3.211 %")
    assert upper_amount(None, "$/h") == lower_amount(float("inf"), "1") == "unknown"
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


@given(st.floats(allow_nan=False), st.sampled_from(["$/h", "value", "1"]))
@example(1e28, "value")
@example(1.7976931348623157e308, "1")
@example(-5e-324, "score")
def test_bounds_are_rounded_outward_as_on_the_server(value: float, unit: str) -> None:
    assert upper_amount(value, unit) == rounding.upper_amount(value, unit)
    assert lower_amount(value, unit) == rounding.lower_amount(value, unit)
    assert interval(value, value, unit)


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
