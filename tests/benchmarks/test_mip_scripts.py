"""The benchmark scripts of MIP values and dual functions: one short run of each, and what their programs are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bnn import chvatal, data, dual_function, dual_instances, dual_training, mip_gradient
from benchmarks.bnn.mip_programs import KINDS, SMALL, network, perturbed
from solvers.mip_pieces import Search, solve_pieces


def test_gradient_script_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, kinds = tmp_path / "rows.json", "knapsack 12;mixed 5 + 3, equalities"
    monkeypatch.setattr("sys.argv", ["mip_gradient", "--kinds", kinds, "--programs", "5", "--json", str(path)])
    mip_gradient.main()
    rows = json.loads(path.read_text())["rows"]
    assert [row["kind"] for row in rows] == kinds.split(";")
    assert all(row["compared"] == 5 and row["match %"] == 100 for row in rows)


def test_dual_function_script_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.json"
    options = ["--kinds", "mixed 5 + 3", "--programs", "1", "--perturbations", "10", "--json", str(path)]
    monkeypatch.setattr("sys.argv", ["dual_function", *options])
    dual_function.main()
    (row,) = json.loads(path.read_text())["rows"]
    assert row["worst z - F at home"] <= 1e-6
    assert row["passed %"] == 100
    assert [gap["valid %"] for gap in row["gaps"]] == [100] * len(dual_function.SIZES)
    for gap in row["gaps"]:
        assert 0 <= gap["z - leaves, LP %"] <= gap["z - F %"] + 1e-6
    assert "mixed 5 + 3" in capsys.readouterr().out


def test_dual_training_script_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.json"
    monkeypatch.setattr("sys.argv", ["dual_training", "--quick", "--perturbations", "2", "--json", str(path)])
    dual_training.main()
    rows = json.loads(path.read_text())["rows"]
    assert [row["objective"] for row in rows] == ["min-weight", "min-hinge"]
    for row in rows:
        assert row["train %"] == 100
        assert 0 <= row["z - F %"] <= 1e-4
        assert row["valid"] == row["perturbed"] == row["asked"] == 8
        assert all(row[name] >= 0 for name in dual_training.CHANGED)
    assert capsys.readouterr().out.count("| 8 of 8 |") == 4


def test_dual_training_script_says_what_it_did_not_close(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", "heart-like (generated)", "--samples", "4,6", "--hidden", "1", "--objectives", "min-weight"]
    monkeypatch.setattr("sys.argv", ["dual_training", *options, "--seconds", "0"])
    dual_training.main()
    assert "| 4 | 1 | 48 | 68 | - | - | - | - | the value was not found in time |" in capsys.readouterr().out


def test_changed_samples_are_those_of_a_program_written_for_them() -> None:
    given = data.split("heart-like (generated)", 2, 0)
    change = np.random.default_rng(0).normal(size=given.x.shape)
    first = dual_training.training_program(given.x, given.labels, 2, "min-weight")
    second = dual_training.training_program(given.x + change, given.labels, 2, "min-weight")
    moved = first.with_samples(change)
    assert moved.A[first.sums] == pytest.approx(second.program.A[first.sums])
    assert (np.delete(moved.A, first.sums.ravel(), 0) == np.delete(first.program.A, first.sums.ravel(), 0)).all()
    assert first.program.equality[first.sums].all()
    assert np.isfinite(first.program.penalty).sum() == first.sums.size


def test_chvatal_script_measures() -> None:
    row = chvatal.study(3, 4, 2)
    assert row["closed"] == 2
    assert row["valid %"] == 100
    assert 0 < float(row["F / value %"]) <= 100


def test_a_network_program_is_the_training_of_that_network() -> None:
    """Its best point is a network whose hinge loss, computed without the program, is the value; no other is better."""
    samples, hidden, features = 5, 2, 3
    program = network(np.random.default_rng(3), samples, hidden, features)
    (best,) = solve_pieces(program, Search()).pieces
    data = program.A[: 2 * samples * hidden : 2 * hidden, :features]
    score = -program.A[2 * samples * hidden :, hidden * features : hidden * features + samples * hidden]
    output = np.stack([score[i, i * hidden : (i + 1) * hidden] for i in range(samples)])  # -2 label out / hidden

    def loss(weights: np.ndarray) -> float:
        inputs = data @ weights.reshape(hidden, features).T
        if (np.abs(inputs) < 0.1).any():
            return np.inf
        hinge = np.maximum(0, 1 + (output * np.sign(inputs)).sum(axis=1) / 2)
        return float(hinge.sum() + program.c[: hidden * features] @ weights)

    every = np.array(np.meshgrid(*[[-1, 0, 1]] * (hidden * features))).reshape(hidden * features, -1).T
    assert min(loss(weights) for weights in every) == pytest.approx(best.value, abs=1e-6)


def test_kinds_are_small_where_they_say_so_and_perturbations_keep_zeros() -> None:
    rng = np.random.default_rng(0)
    assert set(SMALL) <= set(KINDS)
    for make in KINDS.values():
        program = make(rng)
        other = perturbed(program, rng, 0.1)
        assert ((other.A == 0) == (program.A == 0)).all()
        assert (other.A != program.A).any()


def test_instances_script_shows_falling_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dual_instances, "FRESH", 20)
    sharp, tight = (dual_instances.study("covering 12", way, 0.1, (0, 3)) for way in ("sharpen", "tighten"))
    assert sharp["z - F % after 0"] == tight["z - F % after 0"] > sharp["z - F % after 3"] > 0
    assert tight["leaves"] > sharp["leaves"]
