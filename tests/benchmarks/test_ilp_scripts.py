"""The ILP layer's benchmark scripts: their data, their tables, and one short run of each."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.layers import (
    assignment,
    ilp_ablation,
    ilp_learning,
    ilp_peers,
    ilp_study,
    ilp_tasks,
    knapsack_descriptions,
    random_constraints,
    set_covering,
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilp_tasks, "TRAIN", 64)
    monkeypatch.setattr(ilp_tasks, "TEST", 40)


def asked(folder: Path, **changes: object) -> SimpleNamespace:
    shared = {"runs": 2, "restarts": 2, "epochs": 2, "rate": 5e-4, "cooling": 0}
    shared |= {"quick": False, "resume": True, "json": folder / "rows.json"}
    return SimpleNamespace(**{**shared, **changes})


@pytest.mark.parametrize("kind", ["binary", "dense"])
@pytest.mark.parametrize("m", [1, 8])
def test_random_constraints_leave_a_corner(kind: ilp_tasks.Kind, m: int) -> None:
    for seed in range(10):
        A, b = ilp_tasks.random_rows(kind, m, seed)
        torch.testing.assert_close(A.norm(dim=1), torch.ones(m, dtype=torch.float64))
        corners = np.array(list(itertools.product(ilp_tasks.LIMITS[kind], repeat=16)))
        assert (corners @ A.numpy().T <= b.numpy()).all(1).any()


@pytest.mark.parametrize("m", [6, 10])
def test_every_element_to_cover_leaves_a_choice(m: int) -> None:
    for seed in range(10):
        A = ilp_tasks.covering_rows(m, seed)
        assert A.shape == (m, 2 * m)
        assert bool((A.sum(1) <= -2).all())
        assert bool((A.sum(0) <= -1).all() and (A.sum(0) >= -3).all())
        assert len({tuple(column) for column in A.T.tolist()}) == 2 * m


def test_set_covering_data_are_minimal_coverings() -> None:
    task = ilp_tasks.set_covering(5, 0)
    c, y = task.train
    assert y.shape == (64, 10)
    assert bool((c > 0).all())
    assert task.box_accuracy == 0.0
    # Without any one of its subsets, an optimal covering covers no longer; so no solution contains another.
    chosen = {tuple(row) for row in y.tolist()}
    assert not any(a != b and all(p <= q for p, q in zip(a, b)) for a in chosen for b in chosen)


def test_runs_in_one_batch_are_the_runs_alone() -> None:
    """Runs share no parameter: three at once learn what each learns alone."""
    tasks = [ilp_tasks.random_constraints("binary", 2, seed) for seed in range(3)]
    how = ilp_learning.Learning(epochs=1)
    together = ilp_learning.initial_constraints(tasks, how, 0)
    layer = ilp_learning.ILPLayer(0, 1)
    c, y = (torch.stack([task.train[k][:8] for task in tasks]) for k in (0, 1))
    solved, _ = ilp_learning.solve(layer, together, c)
    (solved - y).square().mean((1, 2)).sum().backward()
    for k in range(3):
        parts = together.normal[k], together.distance[k], together.origin[k]
        alone = ilp_learning.ConstraintModule(*(part[None] for part in parts))
        found, _ = ilp_learning.solve(layer, alone, c[k : k + 1])
        (found[0] - y[k]).square().mean().backward()
        torch.testing.assert_close(alone.normal.grad[0], together.normal.grad[k])
        torch.testing.assert_close(alone.origin.grad[0], together.origin.grad[k])


@pytest.mark.parametrize("origins", ["learned", "corner", "centre"])
def test_initial_constraints_are_the_same_for_all_origins(origins: ilp_learning.Origins) -> None:
    tasks = [ilp_tasks.random_constraints("dense", 2, 0)]
    first = ilp_learning.initial_constraints(tasks, ilp_learning.Learning(), 3)()
    other = ilp_learning.initial_constraints(tasks, ilp_learning.Learning(origins=origins), 3)()
    torch.testing.assert_close(first, other)


def test_tables_stand_beside_published_figures(tmp_path: Path) -> None:
    settings = {"kinds": "binary", "m": "1,2", "multiples": "1,2", "positive_costs": False}
    rows = random_constraints.run(asked(tmp_path, **settings))
    assert len(rows) == 4
    text = ilp_study.show(rows, random_constraints.published)
    assert "97.8 ± 0.7" in text
    assert "95.1 ± 1.6" in text
    assert random_constraints.run(asked(tmp_path, **settings)) == rows
    assert json.loads((tmp_path / "rows.json").read_text())["rows"] == rows
    faster = random_constraints.run(asked(tmp_path, **settings, rate=0.002, cooling=1))
    assert len(faster) == 8
    assert faster[-1]["variant"] == "signed costs, rate 0.002, cooled"
    covered = set_covering.run(asked(tmp_path, m="4", multiples="1", json=None))
    assert "100 ± 0.0" in ilp_study.show(covered, set_covering.published)


def test_the_rate_cools_at_the_end() -> None:
    still, cooled = ilp_learning.Learning(epochs=6, rate=1.0), ilp_learning.Learning(epochs=6, rate=1.0, cooling=3)
    assert [still.rate_in(epoch) for epoch in range(6)] == [1.0] * 6
    assert [cooled.rate_in(epoch) for epoch in range(6)] == [1.0, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_ablations_change_what_they_say(tmp_path: Path) -> None:
    rows = ilp_ablation.run(asked(tmp_path, tasks="binary,covering", m="1,4", json=None))
    variants = {row["variant"]: row["learning"] for row in rows}
    assert variants["hard minimum"]["tau"] == 0.0
    assert variants["canonical basis"]["basis"] == "canonical"
    assert variants["origin corner"]["origins"] == "corner"
    assert "59.0 ± 26.8" in ilp_study.show(rows, ilp_ablation.published)


def test_peers_agree(tmp_path: Path) -> None:
    peers = {"kinds": "binary", "m": "2", "sets": 1, "batch": 4, "few": 2, "peers": ",".join(ilp_peers.PEERS)}
    rows = ilp_peers.run(asked(tmp_path, **peers))
    assert rows[0]["solver"] == ilp_peers.OURS
    assert {row["solver"] for row in rows} >= {"highs", "enumeration"}
    assert all(row["dearer"] == row["outside"] == 0 for row in rows)
    assert "ILP layer" in ilp_peers.show(rows)


def test_a_wrong_answer_is_told() -> None:
    A, b = ilp_tasks.random_rows("binary", 2, 0)
    c = ilp_tasks.costs(np.random.default_rng(0), 6, 16, False)
    right, _ = ilp_peers.enumeration(c, A, b, 0.0, 1.0)
    corner = right[:1].repeat(6, 0)
    answers = {"right": [right], "one corner": [corner], "the box": [np.where(c.numpy() < 0, 1.0, 0.0)]}
    assert ilp_peers.accuracy([(c, A, b)], answers, "right")["dearer"] == 0
    assert ilp_peers.accuracy([(c, A, b)], answers, "one corner")["dearer"] == 5
    assert ilp_peers.accuracy([(c, A, b)], answers, "the box")["outside"] > 0


def test_knapsack_descriptions_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(knapsack_descriptions, "TRAIN", 32)
    monkeypatch.setattr(knapsack_descriptions, "TEST", 16)
    rows = knapsack_descriptions.run(asked(tmp_path, constraints="1,2", runs=1, epochs=1, noise=0.0))
    assert "64.7 ± 2.8" in knapsack_descriptions.show(rows)


def test_assignments_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(assignment, "TEST", 20)
    rows = assignment.run(asked(tmp_path, points="4", runs=1, steps=3))
    assert {row["constraints"] for row in rows} == {"learned", "known", "none"}
    assert "83.1" in assignment.show(rows)
    for points in (4, 7):
        views = assignment.Views(points, 0)
        _, _, match = views.draw(200)
        A, b = assignment.assignment_rows(points)
        assert bool((match @ A.T <= b).all())
        assert 0.7 * points < match.sum(-1).mean() < 0.95 * points
