"""Chvatal functions: subadditive, nondecreasing, zero at zero, below the value at every right side; by enumeration."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.chvatal import ChvatalFunction, chvatal_function
from solvers.errors import SolverFailedError, UnsupportedModelError

ROWS, COLUMNS, LARGEST = 3, 4, 12
POINTS = np.array(list(itertools.product(range(LARGEST + 1), repeat=COLUMNS)), dtype=float)
ANY = st.lists(st.floats(-40, 40) | st.integers(-40, 40), min_size=ROWS, max_size=ROWS)


@cache
def made(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, ChvatalFunction]:
    """A covering program with b at most LARGEST, whose best x is then at most LARGEST, and its function."""
    rng = np.random.default_rng(seed)
    A = rng.integers(0, 9, (ROWS, COLUMNS)).astype(float)
    A[np.arange(ROWS), rng.integers(COLUMNS, size=ROWS)] += 1
    b, c = rng.integers(3, LARGEST + 1, ROWS).astype(float), rng.integers(1, 15, COLUMNS).astype(float)
    return c, A, b, chvatal_function(c, A, b)


def value(c: np.ndarray, A: np.ndarray, b: np.ndarray) -> float:
    activity = POINTS @ A.T
    costs = (POINTS @ c)[(activity >= b).all(axis=1)]
    return float(costs.min()) if costs.size else np.inf


@given(st.integers(0, 9), ANY, ANY)
@settings(max_examples=200, deadline=None)
def test_subadditive_and_nondecreasing(seed: int, u: list[float], v: list[float]) -> None:
    """In exact arithmetic; sums of floats are made exact by steps of an eighth."""
    *_, function = made(seed)
    left, right = (np.round(np.array(part) * 8) / 8 for part in (u, v))
    f_u, f_v, f_sum, f_more = function.exact(np.array([left, right, left + right, left + np.abs(right)]))
    assert f_sum <= f_u + f_v
    assert f_u <= f_more


@pytest.mark.parametrize("seed", range(10))
def test_zero_at_zero_and_feasible_at_every_column(seed: int) -> None:
    c, A, _, function = made(seed)
    assert function.exact(np.zeros((1, ROWS))) == [0]
    assert all(part <= cost for part, cost in zip(function.exact(A.T), map(Fraction, c)))


@pytest.mark.parametrize("seed", range(10))
def test_value_at_its_right_side_and_a_bound_at_all_others(seed: int) -> None:
    c, A, b, function = made(seed)
    assert function(b[None])[0] == pytest.approx(value(c, A, b))
    rng = np.random.default_rng(seed)
    others = rng.integers(0, LARGEST + 1, (30, ROWS)).astype(float)
    real = rng.uniform(0, LARGEST, (30, ROWS))
    for sides in (others, real):
        bounds = function(sides)
        assert all(bound <= value(c, A, side) for bound, side in zip(bounds, sides))


def test_bounds_of_other_rows_and_costs() -> None:
    """Columns where F(a_j) > c_j cost their excess times their limit, and without a limit there is no bound."""
    c, A, b, function = made(1)
    rng = np.random.default_rng(0)
    limit = np.full(COLUMNS, float(LARGEST))
    assert function.bounds(c, A, b[None])[0] == function(b[None])[0]
    finite = 0
    for _ in range(20):
        other_c, other_A = c + rng.normal(size=COLUMNS), A + rng.normal(size=A.shape)
        best = value(other_c, other_A, b)
        assert function.bounds(other_c, other_A, b[None], limit)[0] <= best
        alone = function.bounds(other_c, other_A, b[None])[0]
        assert alone <= best
        finite += bool(np.isfinite(alone))
    assert 0 < finite < 20


def test_fewer_cuts_give_a_lower_bound_that_is_valid() -> None:
    rng = np.random.default_rng(4)
    A, b, c = rng.integers(0, 9, (3, 4)) + 1.0, np.full(3, 11.0), rng.integers(1, 15, 4) + 0.5
    at = [chvatal_function(c, A, b, rounds=rounds)(b[None])[0] for rounds in (0, 1, 50)]
    assert at[0] < at[1] <= at[2] == pytest.approx(value(c, A, b))


def test_weights_that_are_not_needed_leave_no_steps() -> None:
    *_, function = made(0)
    used = {k for k, weight in enumerate(function.weights) if weight}
    for numerators, _ in function.steps:
        used |= {k for k, p in enumerate(numerators) if p}
    assert all(ROWS + k in used for k in range(len(function.steps)))


def test_large_numbers_are_exact() -> None:
    """A ceiling at 2^60 + 1/3 would be lost in floats."""
    function = ChvatalFunction(1, (((1,), 3),), (Fraction(0), Fraction(1)))
    assert function.exact(np.array([[3 * 2.0**60]])) == [2**60]
    assert replace(function, steps=(((2**70 + 1,), 2**70),)).exact(np.array([[1.0]])) == [2]


def test_unusable_programs_are_named() -> None:
    c, A, b, function = made(0)
    with pytest.raises(UnsupportedModelError, match="integral"):
        chvatal_function(c, A + 0.5, b)
    with pytest.raises(SolverFailedError, match="infeasible"):
        chvatal_function(c, -A, b)
    with pytest.raises(UnsupportedModelError, match="finite entries"):
        function(np.full((1, ROWS), np.nan))
