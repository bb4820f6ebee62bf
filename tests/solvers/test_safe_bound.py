"""The safe bound never exceeds the exact optimum, for any multipliers, and is tight at the optimal ones."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from solvers.highs import HighsSession
from solvers.linear_model import LinearModel
from solvers.safe_bound import SafeBound, gamma, safe_lower_bound

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)


def exact_bound(model: LinearModel, multipliers: np.ndarray) -> Fraction | None:
    """The bound of these multipliers in rational arithmetic, None where it is -inf."""
    matrix = model.matrix.toarray()
    y = [Fraction(v) for v in multipliers]
    total = Fraction(model.offset)
    for v, low, high in zip(y, model.row_lower, model.row_upper):
        side = low if v > 0 else high
        if v and np.isinf(side):
            return None
        total += v * Fraction(side) if v else 0
    for j in range(model.columns):
        reduced = Fraction(model.cost[j]) - sum(v * Fraction(matrix[i, j]) for i, v in enumerate(y))
        side = model.column_lower[j] if reduced > 0 else model.column_upper[j]
        if reduced and np.isinf(side):
            return None
        total += reduced * Fraction(side) if reduced else 0
    return total


@st.composite
def boxed_models(draw: st.DrawFn) -> tuple[LinearModel, np.ndarray]:
    """A model with decimal data and a feasible point of it; every column is boxed, every row kind occurs."""
    n, m = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    tenths = st.integers(-50, 50).map(lambda k: k / 10)

    def vector(size: int) -> np.ndarray:
        return np.array(draw(st.lists(tenths, min_size=size, max_size=size)))

    matrix = vector(m * n).reshape(m, n)
    point = vector(n)
    column_lower, column_upper = point - np.abs(vector(n)), point + np.abs(vector(n))
    activity = matrix @ point
    # The rounding of the activity must not make the point infeasible.
    row_lower, row_upper = activity - np.abs(vector(m)) - 1e-9, activity + np.abs(vector(m)) + 1e-9
    kinds = np.array(draw(st.lists(st.integers(0, 3), min_size=m, max_size=m)))
    row_lower = np.where(kinds % 2 == 1, -np.inf, row_lower)
    row_upper = np.where(kinds >= 2, np.inf, row_upper)
    integer = np.zeros(n, dtype=bool)
    offset = draw(tenths)
    model = LinearModel(
        vector(n), sparse.csr_array(matrix), row_lower, row_upper, column_lower, column_upper, integer, offset
    )
    return model, point


def cleaned(model: LinearModel, multipliers: np.ndarray) -> np.ndarray:
    """The multipliers that the bound documents to use."""
    y = np.where(np.isfinite(multipliers), multipliers, 0.0)
    y = np.where((y > 0) & np.isneginf(model.row_lower), 0.0, y)
    return np.where((y < 0) & np.isposinf(model.row_upper), 0.0, y)


@given(boxed_models(), st.data())
@settings(max_examples=300, deadline=None)
def test_any_multipliers_give_a_bound_below_the_exact_one(
    drawn: tuple[LinearModel, np.ndarray], data: st.DataObject
) -> None:
    model, point = drawn
    y = np.array(data.draw(st.lists(ANY_FLOAT, min_size=model.rows, max_size=model.rows)))
    bound = safe_lower_bound(model, y)
    value = sum(Fraction(c) * Fraction(v) for c, v in zip(model.cost, point)) + Fraction(model.offset)
    assert bound == -np.inf or Fraction(bound) <= value
    exact = exact_bound(model, cleaned(model, y))
    assert exact is not None
    assert bound == -np.inf or Fraction(bound) <= exact


@given(boxed_models(), st.floats(0, 1e-3))
@settings(max_examples=200, deadline=None)
def test_perturbed_optimal_multipliers_stay_below_the_optimum(
    drawn: tuple[LinearModel, np.ndarray], noise: float
) -> None:
    model, _ = drawn
    solution = HighsSession(model).solve()
    y = solution.row_duals
    # The rational bound of the very same multipliers is itself a lower bound of the optimum.
    tight = safe_lower_bound(model, y)
    assert tight == pytest.approx(solution.objective, abs=1e-5)
    assert Fraction(tight) <= exact_bound(model, cleaned(model, y))
    shaken = safe_lower_bound(model, y + noise * np.cos(np.arange(model.rows)))
    assert shaken <= solution.objective + 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_small_integer_data_loses_nothing_visible(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = 8, 5
    matrix = rng.integers(-5, 6, (m, n)).astype(float)
    activity = matrix @ rng.integers(-3, 4, n)
    model = LinearModel(
        rng.integers(-5, 6, n).astype(float),
        sparse.csr_array(matrix),
        activity - 2.0,
        activity + 1.0,
        np.full(n, -4.0),
        np.full(n, 4.0),
        np.zeros(n, dtype=bool),
    )
    y = rng.integers(-3, 4, m).astype(float)
    exact = exact_bound(model, y)
    bound = safe_lower_bound(model, y)
    assert Fraction(bound) <= exact
    assert bound == pytest.approx(float(exact), rel=1e-12)


def test_free_column_with_a_reduced_cost_gives_no_bound() -> None:
    free = LinearModel(
        np.array([1.0, 1.0]),
        sparse.csr_array(np.array([[1.0, 2.0]])),
        np.array([1.0]),
        np.array([np.inf]),
        np.array([0.0, -np.inf]),
        np.array([5.0, np.inf]),
        np.zeros(2, dtype=bool),
    )
    assert safe_lower_bound(free, np.array([0.25])) == -np.inf
    assert safe_lower_bound(free, np.array([np.nan])) == -np.inf


def test_free_column_that_nothing_uses_is_harmless() -> None:
    bound = SafeBound(sparse.csr_array(np.array([[1.0, 0.0]])))
    unlimited = np.array([0.0, -np.inf]), np.array([9.0, np.inf])
    value = bound(np.array([1.0, 0.0]), np.array([2.0]), np.array([np.inf]), *unlimited, np.array([1.0]), 3.0)
    assert value == pytest.approx(5.0)
    assert value <= 5.0


def test_multiplier_against_an_infinite_limit_is_dropped() -> None:
    bound = SafeBound(sparse.csr_array(np.array([[1.0]])))
    box = np.array([-1.0]), np.array([1.0])
    value = bound(np.array([1.0]), np.array([-np.inf]), np.array([0.5]), *box, np.array([7.0]))
    assert value == pytest.approx(-1.0)


def test_gamma_covers_the_sum() -> None:
    assert gamma(1) >= 2 * np.finfo(float).eps
    assert gamma(100) > gamma(10)
