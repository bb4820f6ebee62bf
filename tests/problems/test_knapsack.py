"""The knapsack problem: two exact solves, its domain, its objective, and its instances."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from problems.errors import DomainError, InputError, InstanceError
from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack, read_knapsack, write_knapsack


def enumerated(problem: Knapsack, x: np.ndarray) -> float:
    """Phi(x) over all 2^n choices."""
    choices = np.array(list(product([0.0, 1.0], repeat=problem.items)))
    fits = choices @ problem.weights <= x[-1]
    return float(-(choices[fits] @ x[:-1]).max())


@given(st.integers(1, 9), st.integers(0, 2**32 - 1), st.floats(0.0, 1.2), st.booleans())
@settings(max_examples=60, deadline=None)
def test_both_solves_agree_with_enumeration(items: int, seed: int, tightness: float, whole: bool) -> None:
    problem = random_knapsack(items, seed, largest=12, tightness=tightness)
    x = problem.domain(0.5).to_input(problem.domain(0.5).sample(1, seed))[0]
    x = np.floor(x) if whole else x
    expected = enumerated(problem, x)
    for value, y in (problem.solve(x), problem.solve_by_milp(x)):
        assert value == pytest.approx(expected, abs=1e-9)
        batch = torch.as_tensor(x)[None], torch.as_tensor(y)[None]
        assert float(problem.objective(*batch)) == pytest.approx(value, abs=1e-9)
        assert float(problem.infeasibility(*batch)) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_both_solves_agree_on_80_items(seed: int) -> None:
    problem = random_knapsack(80, seed)
    domain = problem.domain(0.2)
    for x in domain.to_input(np.concatenate([domain.sample(2, seed), domain.corners(2, seed)])):
        assert problem.solve(x)[0] == pytest.approx(problem.solve_by_milp(x)[0], rel=1e-12)


@given(st.integers(1, 9), st.integers(0, 2**32 - 1), st.floats(0.0, 1.2))
@settings(max_examples=60, deadline=None)
def test_the_floor_is_below_the_value_by_less_than_one_item(items: int, seed: int, tightness: float) -> None:
    problem = random_knapsack(items, seed, largest=12, tightness=tightness)
    inputs = problem.domain(0.5).to_input(problem.domain(0.5).sample(4, seed))
    for x, floor in zip(inputs, problem.value_floor(torch.as_tensor(inputs)).tolist()):
        assert enumerated(problem, x) - x[:-1].max() - 1e-9 <= floor <= enumerated(problem, x) + 1e-9


def test_the_edge_of_the_capacity_counts_as_inside() -> None:
    problem = Knapsack("edge", np.array([3.0, 4.0]), np.array([2, 3]), 5.0)
    assert problem.solve(np.array([3.0, 4.0, 5.0]))[0] == -7.0
    assert problem.solve(np.array([3.0, 4.0, np.nextafter(5.0, 0.0)]))[0] == -4.0
    assert problem.solve(np.array([3.0, 4.0, 1.999]))[0] == 0.0
    assert problem.solve(np.array([3.0, 4.0, 1e300]))[0] == -7.0


def test_infeasibility_measures_weight_and_fractions() -> None:
    problem = Knapsack("two", np.array([3.0, 4.0]), np.array([2, 3]), 4.5)
    x = torch.tensor([[3.0, 4.0, 4.5]] * 4, dtype=torch.float64)
    y = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.25, 0.0], [-0.5, 1.0]], dtype=torch.float64)
    assert problem.infeasibility(x, y).tolist() == [0.0, 0.5, 0.25, 0.5]


def test_the_domain_is_the_box_of_inputs() -> None:
    problem = random_knapsack(6, 0)
    domain = problem.domain(0.2)
    np.testing.assert_allclose(domain.box.lower, 0.8 * problem.nominal)
    np.testing.assert_allclose(domain.box.upper, 1.2 * problem.nominal)
    w = domain.sample(3, 0)
    np.testing.assert_array_equal(domain.to_input(w), w)
    assert problem.domain(0.0).free.size == 0
    for u in (-0.1, 1.0, np.nan):
        with pytest.raises(DomainError):
            problem.domain(u)


def test_a_fingerprint_depends_on_every_number_and_not_on_the_name() -> None:
    problem = random_knapsack(5, 3)
    assert replace(problem, name="other").fingerprint() == problem.fingerprint()
    changed = [
        replace(problem, values=problem.values + np.eye(5)[2]),
        replace(problem, weights=problem.weights + np.eye(5, dtype=np.int64)[4]),
        replace(problem, capacity=problem.capacity + 0.5),
    ]
    assert len({p.fingerprint() for p in (problem, *changed)}) == 4


@pytest.mark.parametrize(
    ("x", "says"), [([1.0, 2.0], "shape"), ([1.0, np.nan, 3.0], "finite"), ([1.0, 1.0, -0.1], "capacity")]
)
def test_a_bad_input_is_refused(x: list[float], says: str) -> None:
    problem = Knapsack("two", np.array([3.0, 4.0]), np.array([2, 3]), 4.0)
    with pytest.raises(InputError, match=says):
        problem.solve(np.array(x))


@pytest.mark.parametrize(
    ("values", "weights", "capacity", "says"),
    [
        ([], [], 1.0, "values"),
        ([1.0], [1, 2], 1.0, "weights"),
        ([-1.0], [1], 1.0, "negative"),
        ([1.0], [0], 1.0, "positive integers"),
        ([1.0], [1.5], 1.0, "positive integers"),
        ([1.0], [np.nan], 1.0, "positive integers"),
        ([1.0], [1], -1.0, "capacity"),
        ([1.0], [1], np.inf, "capacity"),
        ([1.0], [10**12], 1e12, "coarser"),
    ],
)
def test_a_bad_instance_is_refused(values: list, weights: list, capacity: float, says: str) -> None:
    with pytest.raises(InstanceError, match=says):
        Knapsack("bad", np.array(values), np.array(weights), capacity)


def test_random_instances_repeat_and_json_keeps_them(tmp_path: Path) -> None:
    problem = random_knapsack(50, 7)
    assert problem.fingerprint() == random_knapsack(50, 7).fingerprint() != random_knapsack(50, 8).fingerprint()
    assert problem.capacity == np.floor(0.5 * problem.weights.sum())
    write_knapsack(problem, tmp_path / "k.json")
    again = read_knapsack(tmp_path / "k.json")
    assert (again.name, again.fingerprint()) == (problem.name, problem.fingerprint())
    with pytest.raises(InstanceError, match="at least 1"):
        random_knapsack(0, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "top level"),
        ('{"name": "a", "values": [1], "weights": [1.5], "capacity": 2}', r"weights\.0"),
        ('{"name": "a", "values": [1], "weights": [1]}', "capacity"),
        ('{"name": "a", "values": [1], "weights": [1], "capacity": 2, "colour": 3}', "colour"),
        ('{"name": "a", "values": [1, 2], "weights": [1], "capacity": 2}', "one of each"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InstanceError, match=says):
        read_knapsack(path)
    with pytest.raises(InstanceError, match="cannot be read"):
        read_knapsack(tmp_path / "missing.json")
