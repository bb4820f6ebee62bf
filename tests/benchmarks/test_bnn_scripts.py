"""The benchmark scripts of binarized networks: their data, a gradient through the MIP, and one short run of each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.bnn import data, embedding, end_to_end, heart, robustness, training, verification
from proxies.layers.mip_value import MipOptions

GENERATED = "heart-like (generated)"


def test_a_split_is_scaled_by_its_training_samples_and_shares_none() -> None:
    given = data.split(GENERATED, 10, 0)
    assert given.x.shape == (20, 13)
    assert len(given.test_x) == data.GENERATED - 20
    assert given.labels.sum() == 0
    assert given.x.min() == -1.0
    assert given.x.max() == 1.0
    rows = {tuple(row) for row in given.x.tolist()}
    assert not rows & {tuple(row) for row in given.test_x.tolist()}
    assert not np.array_equal(given.x, data.split(GENERATED, 10, 1).x)


@pytest.mark.parametrize("name", ["digits 3 or 8", "breast cancer"])
def test_the_tables_of_scikit_learn_have_two_classes(name: str) -> None:
    pytest.importorskip("sklearn")
    x, labels = data.DATA[name]()
    assert len(x) == len(labels) > 300
    assert set(labels) == {1.0, -1.0}


def test_the_gradient_through_the_mip_is_that_of_differences() -> None:
    rng = np.random.default_rng(1)
    labels = np.where(np.arange(6) % 2 == 0, 1.0, -1.0)
    program = embedding.ElasticTraining(labels, 2, (1,), 1.0, MipOptions())
    point = torch.as_tensor(rng.random((6, 2)) * 1.6 - 0.8).requires_grad_(True)
    value, weights, proven = program(point)
    assert proven
    assert weights is not None
    assert float(value.detach()) > 0.1
    value.backward()
    assert point.grad is not None
    way = torch.as_tensor(rng.normal(size=(6, 2)))
    step = 1e-5
    with torch.no_grad():
        ends = [float(program(point + side * step * way)[0]) for side in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((point.grad * way).sum()), rel=1e-4)


def test_heart_script_compares_the_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("STEPS", 20), ("RESTARTS", 1)):
        monkeypatch.setattr(heart, name, value)
    file = tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", ["heart", "--quick", "--json", str(file)])
    heart.main()
    rows = {row["way"]: row for row in json.loads(file.read_text())["rows"]}
    assert set(rows) == {way for way in heart.WAYS if "120 s" not in way}
    assert rows["MIP, 30 s"]["train"] == rows["MIP, 30 s"]["bound"] >= rows["units from random weights, 30 s"]["train"]
    assert rows["units from straight-through, 30 s"]["train"] >= rows["straight-through"]["train"]


def test_training_through_the_mip_lowers_its_value() -> None:
    given = data.split(GENERATED, 3, 0)
    begin = embedding.start(given.x, 2, 0)
    found = embedding.through_the_mip(given.x, given.labels, begin, (1,), 5, 0.2, 1.0, 1.0, MipOptions())
    assert found.values[-1] < found.values[0]
    assert found.correct(given.x, given.labels) == max(found.accuracies)
    usual = embedding.past_the_mip(given.x, given.labels, begin, (1,), 60, 0.05, 1, 0)
    assert usual.correct(given.x, given.labels) >= 60


SHORT = {
    training: ["--data", GENERATED, "--samples", "8", "--hidden", "1", "--time-limit", "5"],
    end_to_end: ["--data", GENERATED, "--quick", "--time-limit", "2"],
    robustness: ["--classifiers", f"{GENERATED}: 4 sign", "--u", "2", "--samples", "1", "--steps", "50"],
    verification: ["--items", "4", "--networks", "4 sign,4 ReLU", "--u", "5", "--steps", "50", "--time-limit", "10"],
}


def test_a_classifier_is_trained_on_other_samples_than_it_is_asked_about() -> None:
    found = robustness.trained(f"{GENERATED}: 8 sign", 300)
    assert found.accuracy > 60
    told = robustness.scores(found.network, torch.as_tensor(found.x))[:, 0].detach().numpy()
    assert np.array_equal(told >= 0, found.classes == 1)
    assert len(found.x) == round(found.accuracy / 100 * robustness.TESTED * data.GENERATED)
    assert found.x.min() >= 0
    assert found.x.max() <= 1


@pytest.mark.parametrize("script", SHORT, ids=lambda script: script.__name__.split(".")[-1])
def test_a_script_prints_its_table_and_writes_its_rows(
    script: object, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PER_CLASS", 3), ("HIDDEN", (1,)), ("USUAL_STEPS", 20), ("RESTARTS", 1)):
        monkeypatch.setattr(end_to_end, name, value)
    for name, value in (("STEPS", 20), ("RESTARTS", 1)):
        monkeypatch.setattr(training, name, value)
    file = tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", ["script", *SHORT[script], "--json", str(file)])  # type: ignore[index]
    script.main()  # type: ignore[attr-defined]
    rows = json.loads(file.read_text())["rows"]
    printed = capsys.readouterr().out
    assert printed.count("\n| ") >= len(rows)
    assert len(rows) == (2 if script is verification else 1)
