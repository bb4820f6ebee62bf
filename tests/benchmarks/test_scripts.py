"""The benchmark scripts: their inner functions on one small proxy, and their refusal to call a wrong bound right."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from proxies.load import LoadedProxy
from verifier.attack import AttackOptions
from verifier.options import VerifyOptions

NAME = "case57-raw"
QUICK = VerifyOptions(tolerance=0.01, time_limit=30.0, rounds=1, attack=AttackOptions(starts=16, rounds=1, steps=10))
# The attack's polish takes a share of the time limit, whatever is left to find.
NO_ATTACK = replace(QUICK, attack=AttackOptions(rounds=0))
SHORT = 20.0


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """Import a benchmark script as it is run: with its own folder on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module


@pytest.fixture(scope="module")
def loaded(script: Any) -> LoadedProxy:
    return script("record").load_shipped(NAME)


@pytest.fixture(scope="module")
def row(script: Any, loaded: LoadedProxy) -> dict[str, Any]:
    """One row of the tables, certified quickly; tests change copies of it."""
    measured = script("dcopf_tables").measure(loaded, 1, QUICK)
    return {"proxy": NAME, "u": 1, "time_limit": 30.0, "workers": 1, **measured}


def test_tables_hold_every_figure(script: Any, loaded: LoadedProxy, row: dict[str, Any]) -> None:
    tables = script("dcopf_tables")
    alone = tables.milp_alone(loaded, 1, QUICK, row["attack_lower"])
    start = tables.warm_start(loaded, 1, QUICK)
    assert "missing" not in start
    row = script("record").plain({**row, "milp_alone": alone, "warm_start": start})
    assert 0 < row["lower"] <= row["upper"] <= 1.02 * row["lower"]
    assert 0 < row["attack_lower"] <= row["lower"] * (1 + 1e-9)
    assert row["milp_alone"]["lower"] == pytest.approx(row["lower"], rel=0.02)
    text = tables.show([row], tables.bilevel_ratios())
    for title in ("Table 2", "Tables 4 and 7", "Table 5"):
        assert title in text
    assert "142.29" in text  # The published objective of this instance.
    assert "both closed 3 times; no two intervals" in text
    row["milp_alone"]["upper"] = 0.9 * row["lower"]
    assert "CONTRADICTION" in tables.agreement([row])


def test_timeouts_are_shown_as_such(script: Any, row: dict[str, Any]) -> None:
    tables = script("dcopf_tables")
    late = {**row, "closed": False, "termination": "time_limit", "upper": None}
    late["milp_alone"] = {**late, "reach_seconds": None}
    cells = tables.line(late)
    assert cells[3] == "-"
    assert cells[6].endswith(" *")
    assert "t.o." in tables.show([late], {})


def test_published_figures_agree_with_each_other(script: Any) -> None:
    published = script("published")
    for key, (_, compact) in published.SECONDS.items():
        assert published.ATTACK[key].compact_seconds == pytest.approx(compact, abs=0.06)
    for key, start in published.START.items():
        assert start.pga == pytest.approx(published.ATTACK[key].pga, abs=0.02)
        assert start.nominal == published.ATTACK[key].compact
    for key, after in published.OPEN.items():
        assert 1000 * after.compact_primal == pytest.approx(published.ATTACK[key].compact, abs=10)


def test_a_resumed_record_keeps_its_rows(script: Any, tmp_path: Path) -> None:
    record = script("record")
    first = record.Record(tmp_path / "rows.json", {"json": tmp_path}, ["proxy", "u"])
    first.add({"proxy": NAME, "u": 1, "upper": float("inf")})
    first.add({"proxy": NAME, "u": 2, "upper": 3.0})
    again = record.Record(tmp_path / "rows.json", {}, ["proxy", "u"])
    again.resume()
    again.add({"proxy": NAME, "u": 1, "upper": 2.0})
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [(entry["u"], entry["upper"]) for entry in rows] == [(1, 2.0), (2, 3.0)]
    assert str(tmp_path) not in (tmp_path / "rows.json").read_text()


def test_ablation_compares_with_the_default(script: Any, loaded: LoadedProxy) -> None:
    ablation = script("ablation")
    rows = []
    for variant in (ablation.DEFAULT, "one MILP", "paper's clamp and hypersimplex"):
        key = {"proxy": NAME, "u": 1, "variant": variant, "time_limit": 30.0}
        rows.append({**key, **ablation.measure(loaded, 1, variant, NO_ATTACK)})
    assert all(entry["closed"] for entry in rows)
    assert ablation.contradictions(rows) == []
    found = {variant: (mean, late) for variant, mean, _, late in ablation.means(rows)}
    assert found[ablation.DEFAULT] == (1.0, 0)
    # A time-out counts as the limit, and a lower gap than one that was attained is told.
    rows[1] |= {"closed": False, "termination": "time_limit", "seconds": 1.0, "upper": 0.5 * rows[0]["lower"]}
    mean, late = {variant: (mean, late) for variant, mean, _, late in ablation.means(rows)}["one MILP"]
    assert (mean, late) == (pytest.approx(30.0 / rows[0]["seconds"]), 1)
    assert len(ablation.contradictions(rows)) == 1
    assert "CONTRADICTION" in ablation.show(rows)


def test_ablation_resumes(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ablation = script("ablation")
    asked = [
        "--proxies",
        NAME,
        "--u",
        "1",
        "--variants",
        "no attack",
        "--json",
        str(tmp_path / "rows.json"),
        "--resume",
    ]
    first = ablation.run(ablation.parser().parse_args(asked))
    monkeypatch.setattr(ablation, "measure", lambda *_: pytest.fail("a row was measured twice"))
    assert ablation.run(ablation.parser().parse_args(asked)) == first


def test_every_ablation_names_known_options(script: Any) -> None:
    ablation = script("ablation")
    for variant, changes in ablation.VARIANTS.items():
        assert "," not in variant
        replace(QUICK, **changes)


def test_a_true_bound_holds_and_a_wrong_one_breaks(script: Any, row: dict[str, Any]) -> None:
    hold = script("bounds_hold")
    climb = AttackOptions(starts=16, rounds=1, steps=10)
    held = hold.measure(row, 3000, 1000, 1, climb)
    assert held["violations"] == []
    assert held["evaluated"] >= 3000
    assert held["largest"] <= held["largest_bound"] <= row["upper"]
    broken = hold.measure({**row, "upper": 0.9 * row["lower"]}, 1000, 1000, 1, climb)
    assert broken["violations"]
    assert all(found["gap"] > 0.9 * row["lower"] for found in broken["violations"])


def test_tangents_never_hide_a_gap(script: Any, loaded: LoadedProxy) -> None:
    hold = script("bounds_hold")
    domain = loaded.problem.domain(0.2)
    points = domain.sample(200, 3)
    trial = hold.Trial(loaded, domain, upper=0.0)
    cost = trial._cost(points)
    exact = np.array([cost[k] - trial.known.function.value(w) for k, w in enumerate(points)])
    trial.upper = float(np.quantile(exact, 0.5))
    trial.hold(points)
    # Half of the points exceed this wrong bound; all of them are found, and none besides.
    assert len(trial.tally.violations) == (exact > trial.upper * (1 + 1e-9)).sum()
    assert trial.tally.largest == pytest.approx(exact.max())


def test_the_question_with_our_own_network_is_ours(script: Any, loaded: LoadedProxy) -> None:
    peers = script("against_peers")
    question = peers.Question.of(loaded, 0.01)
    alike = peers.through_session(question, peers.ours_alike, "highs", SHORT)
    ours = peers.through_session(question, peers.ours_crown, "highs", SHORT)
    assert alike["closed"]
    assert ours["closed"]
    assert alike["lower"] == pytest.approx(ours["lower"], rel=peers.AGREEMENT)
    assert alike["replayed"] == pytest.approx(alike["lower"], abs=peers.PRICED_TOLERANCE * alike["cost"])


@pytest.mark.parametrize("peer", ["omlt", "pyscipopt-ml", "gurobi-machinelearning"])
def test_peers_find_the_same_optimum(script: Any, loaded: LoadedProxy, peer: str) -> None:
    peers: ModuleType = script("against_peers")
    if peers.installed(peer) is None:
        pytest.skip(f"pip install {peer}")
    question = peers.Question.of(loaded, 0.01)
    ours = peers.through_session(question, peers.ours_crown, "highs", SHORT)
    key = {"proxy": NAME, "u": 1}
    rows = [{**key, "solver": "highs", "encoding": "ours", **ours}]
    for encoding, (solver, solve) in peers.entries(peer).items():
        if encoding.startswith(peer):
            rows.append({**key, "solver": solver, "encoding": encoding, **peers.measure(question, solve, SHORT)})
    assert all(entry.get("closed") for entry in rows), [entry.get("refused") for entry in rows]
    assert peers.disagreements(rows) == []
    rows[0]["lower"] *= 1.1
    assert any("DISAGREE" in text for text in peers.disagreements(rows))
