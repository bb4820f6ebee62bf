"""The knapsack table: its figures on one shipped proxy, what it leaves out, and its refusal of contradictions."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """Import a benchmark script as it is run: with its own folder on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module


@pytest.fixture(scope="module")
def rows(script: Any, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Ten items at u = 1 %, in both styles; read back from the file that the run wrote."""
    file = tmp_path_factory.mktemp("table") / "rows.json"
    asked = ["--proxies", "10", "--u", "1", "--solvers", "highs", "--time-limit", "30", "--workers", "1"]
    table = script("knapsack_table")
    table.run(table.parser().parse_args([*asked, "--json", str(file)]))
    found: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
    return found


def test_both_styles_agree_and_hold_at_samples(script: Any, rows: list[dict[str, Any]]) -> None:
    table = script("knapsack_table")
    ours, paper = rows
    assert (ours["style"], paper["style"]) == ("threshold", "paper")
    assert ours["closed"]
    assert paper["closed"]
    assert table.contradictions(rows) == []
    assert ours["lower"] == pytest.approx(paper["lower"], rel=2 * table.TOLERANCE)
    loaded = script("record").load_shipped("10", "knapsack")
    domain = loaded.problem.domain(0.01)
    x = domain.to_input(np.concatenate([domain.sample(100, 0), domain.corners(100, 1)]))
    with torch.no_grad():
        cost = loaded.problem.objective(torch.as_tensor(x), loaded.proxy(torch.as_tensor(x))).numpy()
    gaps = cost - np.array([loaded.problem.solve(row)[0] for row in x])
    assert gaps.max() <= min(ours["upper"], paper["upper"])
    text = table.show(rows)
    assert "CONTRADICTION" not in text
    assert "| 0.0 | 0.4 |" in text  # The published gap and seconds of this instance.


def test_a_bound_below_what_was_attained_is_told(script: Any, rows: list[dict[str, Any]]) -> None:
    table = script("knapsack_table")
    ours, paper = rows
    wrong = {**paper, "upper": 0.5 * ours["lower"]}
    assert "CONTRADICTION" in table.show([ours, wrong])
    assert "CONTRADICTION" in table.show([ours, {**wrong, "lower": 0.0, "u": 20}])
    # Bounds on fewer inputs, and none at all, contradict nothing.
    assert table.contradictions([ours, {**wrong, "lower": 0.0, "u": 0}, {**paper, "upper": None}]) == []


def test_an_open_row_and_a_missing_solver_are_shown_as_such(script: Any, rows: list[dict[str, Any]]) -> None:
    table = script("knapsack_table")
    late = {**rows[0], "u": 20, "closed": False, "termination": "time_limit", "upper": None}
    cells = dict(zip([*table.HEAD, "parts"], table.line(late)))
    assert cells["upper"] == cells["upper/lower"] == cells["bound gap %"] == "-"
    assert cells["s"].endswith(" *")
    assert table.line(late)[-1] == "-"
    gone = {"proxy": "50", "u": 20, "style": "paper", "asked": "gurobi", "refused": "Gurobi is not installed"}
    assert len(table.line(gone)) == len(table.HEAD) + len(table.PAPER_HEAD) == len(table.line(late))
    assert "t.o." in table.line(gone)
    assert "gurobi: Gurobi is not installed" in table.show([gone])
    assert "solved by HiGHS" in table.show([{**rows[0], "asked": "gurobi", "solver": "HiGHS 1"}])


def test_large_permutation_matrices_are_left_out(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table = script("knapsack_table")
    monkeypatch.setattr(table, "attempt", lambda *_: {"refused": "not tried"})
    found = table.run(table.parser().parse_args(["--u", "1", "--solvers", "highs"]))
    tried = {style: {table.items_of(row["proxy"]) for row in found if row["style"] == style} for style in table.STYLES}
    assert tried == {"threshold": {10, 50, 80, 200, 500}, "paper": {10, 50, 80}}


def test_the_published_table_is_whole(script: Any) -> None:
    published = script("published").KNAPSACK
    assert set(published) == {(items, u) for items in ("10", "50", "80") for u in (1, 5, 10, 20)}
    # What was closed has a time, what was not has none.
    assert all((row.gap == 0) == (row.seconds is not None) for row in published.values())
