"""Exact choices by list and by table against all choices, at odd values, and within a limit of time."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import knapsack_choice
from problems.deadline import Deadline
from problems.errors import InputError, InstanceError, SolveTimeoutError
from problems.interval import Vector
from problems.knapsack import LARGEST_TOTAL_WEIGHT, Knapsack
from problems.knapsack_choice import best_choice
from problems.knapsack_instances import random_knapsack

ODD = (0.0, -0.0, 5e-324, 1e-310, 1e-100, 1e-12, 0.1, 1.0, 1.0 + 2**-52, 3.0, 1e12, 1e28, 1e69, 1e100, 1e308)
ODD_WEIGHTS = (1, 1, 2, 2, 3, 7, 100, 10**6, 10**9, 2**50)
ODD_CAPACITIES = (0.0, 0.5, 1.0, 1.999, 2.0, 5.0, 9.0, 1e6, 2.0**49, 2.0**50, 1e300, np.inf, np.nan)


def largest(values: Vector, weights: list[int], room: Fraction) -> Fraction:
    """The value of the best of all choices, in rational numbers."""
    every = product([0, 1], repeat=len(weights))
    worth = [Fraction(v) for v in values.tolist()]
    return max(
        sum((v for v, c in zip(worth, choice) if c), Fraction(0))
        for choice in every
        if sum(w * c for w, c in zip(weights, choice)) <= room
    )


@pytest.fixture(params=["list", "table"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make every solve take one of the two ways; the table in blocks of a few entries."""
    monkeypatch.setattr(knapsack_choice, "SMALL_ROOM", 0 if request.param == "list" else 10**18)
    monkeypatch.setattr(knapsack_choice, "ENTRIES_A_CHOICE", 1e-9)
    monkeypatch.setattr(knapsack_choice, "BLOCK", 16)
    return str(request.param)


@pytest.mark.parametrize("seed", range(150))
def test_both_ways_find_the_best_choice(way: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 10))
    weights = rng.integers(1, int(rng.choice([2, 5, 20, 60])), count, endpoint=True)
    kinds: list[Callable[[], Vector]] = [
        lambda: rng.random(count),
        lambda: rng.integers(-1, 4, count).astype(float),  # Ties, and values that are not positive.
        lambda: weights + 3.0,
        lambda: 1.0 * weights,
        lambda: rng.choice(ODD[:-1], count),
    ]
    values = kinds[seed % len(kinds)]()
    room = int(rng.integers(0, weights.sum() + 2))
    chosen = best_choice(values, weights, room, Deadline("p", np.inf))
    assert set(chosen.tolist()) <= {0.0, 1.0}
    assert weights @ chosen <= room
    best = largest(values, weights.tolist(), Fraction(room))
    assert abs(sum((Fraction(v) for v in values[chosen > 0].tolist()), Fraction(0)) - best) <= best / 10**11


@pytest.mark.parametrize("kind", ["any", "strong", "sums", "even"])
def test_both_ways_agree_where_the_capacity_is_large(kind: str) -> None:
    rng = np.random.default_rng(1)
    weights = rng.integers(1, 20_000, 30)
    weights = 2 * weights if kind == "even" else weights
    values = {"any": rng.random(30), "strong": weights + 2_000.0}.get(kind, 1.0 * weights)
    order = np.argsort(-values / weights, kind="stable")
    values, weights, deadline = values[order], weights[order], Deadline("p", np.inf)
    room = int(weights.sum() // 2)
    listed = knapsack_choice._by_list(values, weights, room, room + 1, deadline)
    assert listed is not None
    tabled = knapsack_choice._by_table(values, weights, room, deadline)
    assert values[listed].sum() == pytest.approx(values[tabled].sum(), rel=1e-12)
    assert max(weights[listed].sum(), weights[tabled].sum()) <= room
    assert knapsack_choice._by_list(values, weights, room, 0, deadline) is None


@pytest.mark.parametrize("seed", range(200))
def test_an_odd_instance_is_refused_or_solved_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 7))
    values = rng.choice(ODD, count) if seed % 4 else np.full(count, rng.choice(ODD))
    weights = [ODD_WEIGHTS[k] for k in rng.integers(len(ODD_WEIGHTS) if seed % 3 else 6, size=count)]
    capacity = float(rng.choice(ODD_CAPACITIES))
    try:
        problem = Knapsack("odd", values, np.array(weights), capacity)
    except InstanceError:
        return
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        domain = problem.domain(0.2)
        low, high = problem.value_range(domain)
        for w in np.concatenate([domain.sample(2, seed), domain.corners(2, seed), domain.centre[None]]):
            x = domain.to_input(w)
            value, choice = problem.solve(x)
            best = largest(x[:-1], weights, Fraction(float(x[-1])))
            assert abs(Fraction(value) + best) <= best / 10**11
            assert low <= value <= high
            batch = torch.as_tensor(x)[None], torch.as_tensor(choice)[None]
            assert float(problem.infeasibility(*batch)[0]) == 0.0
            assert float(problem.objective(*batch)[0]) == pytest.approx(value, rel=1e-12)
            assert float(problem.value_floor(batch[0])[0]) <= value * (1 - 1e-12)


@pytest.mark.parametrize(
    ("values", "weights", "capacity", "says"),
    [
        ([np.nan], [1], 1.0, "item values must be finite"),
        ([np.inf], [1], 1.0, "item values must be finite"),
        ([1e308, 1.0], [1, 1], 1.0, "largest item value is 1e.308; use a unit"),
        ([5e-324, 0.0], [1, 1], 1.0, "largest item value is 4.94066e-324; use a unit"),
        ([1.0, 1.0], [2**50, 1], 1.0, "weigh 1.13e.15 in all, more than 1.13e.15; use a coarser unit"),
        ([1.0, 1.0], [1e308, 1e308], 1.0, "weigh inf in all"),
        ([1.0], [1], np.nan, "the capacity is nan"),
        ([1.0], [1], 1e300, "the capacity is 1e.300; it must be finite, not negative, and at most"),
    ],
)
def test_numbers_out_of_range_are_refused(values: list, weights: list, capacity: float, says: str) -> None:
    with pytest.raises(InstanceError, match=says):
        Knapsack("bad", np.array(values), np.array(weights), capacity)
    assert LARGEST_TOTAL_WEIGHT == 2**50


def test_an_input_whose_values_overflow_is_refused() -> None:
    with pytest.raises(InputError, match="so large that their sum"):
        Knapsack("two", np.ones(2), np.ones(2), 1.0).solve(np.array([1e308, 1e308, 1.0]))


def test_a_solve_ends_when_its_time_is_spent(way: str) -> None:
    problem = random_knapsack(30, 0)
    with pytest.raises(SolveTimeoutError, match="knapsack30-0: 0 s do not suffice for an exact solve; allow more time"):
        problem.solve(problem.nominal, seconds=0.0)
    with pytest.raises(SolveTimeoutError):
        problem.solve(problem.nominal, seconds=1e-7)
    assert issubclass(SolveTimeoutError, TimeoutError)
    assert problem.solve(problem.nominal, seconds=1e9)[0] == problem.solve(problem.nominal)[0]


class Turns(Deadline):
    """A deadline that passes after so many checks."""

    def __init__(self, checks: int) -> None:
        super().__init__("p", np.inf)
        self.checks = checks

    def check(self) -> None:
        self.checks -= 1
        if self.checks < 0:
            raise self.passed()


def test_the_time_is_looked_at_all_along(way: str) -> None:
    problem = random_knapsack(20, 0)
    room = int(problem.capacity)
    for checks in (0, 1, 10):
        with pytest.raises(SolveTimeoutError):
            best_choice(problem.values, problem.weights, room, Turns(checks))
    best_choice(problem.values, problem.weights, room, Turns(10**6))


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_limits_of_the_value_hold_without_time(items: int, seed: int) -> None:
    problem = random_knapsack(items, seed, largest=12)
    domain = problem.domain(0.3)
    low, high = problem.value_range(domain, seconds=0.0)
    exact = problem.value_range(domain)
    assert low * (1 + 1e-12) <= exact[0] <= exact[1] <= high == 0.0
    assert low >= exact[0] - 1.3 * 12  # By less than one item.
