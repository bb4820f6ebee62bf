"""Models in a solver's units: exact in and out, outward where something is left out, whole in every solver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from solvers.errors import SolverFailedError
from solvers.linear_model import LinearModel
from solvers.pyomo_catalogue import find_solver
from solvers.registry import open_session
from solvers.safe_bound import safe_lower_bound
from solvers.scaling import scale
from solvers.session import Capability, Status, check_kept
from tests.solvers.test_sessions import ADAPTERS, model_of, solver

__all__ = ["ADAPTERS", "find_solver", "solver"]


def in_other_units(model: LinearModel, columns: np.ndarray, rows: np.ndarray) -> LinearModel:
    """The same model with x = 2^columns x' and rows times 2^rows; integers keep their unit."""
    columns = np.where(model.integer, 0, columns)
    unit, of_row = np.ldexp(1.0, columns), np.ldexp(1.0, rows)
    matrix = sparse.csr_array(sparse.diags_array(of_row) @ model.matrix @ sparse.diags_array(unit))
    return replace(
        model,
        cost=model.cost * unit,
        matrix=matrix,
        row_lower=model.row_lower * of_row,
        row_upper=model.row_upper * of_row,
        column_lower=model.column_lower / unit,
        column_upper=model.column_upper / unit,
    )


def mixed(seed: int) -> LinearModel:
    """Three binaries and five boxed columns, rows of every kind that hold at some point."""
    rng = np.random.default_rng(seed)
    integer = np.arange(8) < 3
    lower, upper = np.where(integer, 0.0, -rng.random(8)), np.where(integer, 1.0, 1 + rng.random(8))
    matrix = rng.normal(size=(6, 8)) * (rng.random((6, 8)) < 0.7)
    activity = matrix @ np.where(integer, rng.integers(0, 2, 8), lower + rng.random(8) * (upper - lower))
    low, high = activity - rng.random(6), activity + rng.random(6)
    low[0], high[1] = -np.inf, np.inf
    low[2] = high[2] = activity[2]
    model = model_of(rng.normal(size=8), matrix, np.stack([low, high], 1), np.stack([lower, upper], 1), offset=2.0)
    return replace(model, integer=integer)


@pytest.mark.parametrize("relaxed", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_answer_is_the_same_in_any_units(solver: str, seed: int, relaxed: bool) -> None:
    model = mixed(seed).relaxed() if relaxed else mixed(seed)
    with open_session("highs", model) as session:
        expected = session.solve(mip_gap=0.0).objective
    rng = np.random.default_rng(100 + seed)
    for reach in (30, 60):
        other = in_other_units(model, rng.integers(-reach, reach, 8), rng.integers(-reach, reach, 6))
        with open_session(solver, other) as session:
            found = session.solve(mip_gap=0.0)
            honest = Capability.DUAL_BOUND in session.capabilities
        assert found.status is Status.OPTIMAL
        assert found.objective == pytest.approx(expected, abs=2e-5)
        assert found.x is not None
        assert ((found.x >= other.column_lower) & (found.x <= other.column_upper)).all() or not relaxed
        if honest:
            assert found.dual_bound == pytest.approx(expected, abs=2e-5)
        if found.row_duals is not None:
            assert safe_lower_bound(other, found.row_duals) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("integer", [False, True])
def test_a_coefficient_that_solvers_drop_counts(solver: str, integer: bool) -> None:
    """y = 1e-10 x with x up to 1e10: without the coefficient y would be 0. The model of a standardising network."""
    columns = [(0, 1), (-5, 5), (0, 1e10)]
    model = model_of([0.1, -1, 0], [[0, 1, -1e-10], [-1e10, 0, 1]], [(0, 0), (-np.inf, 0)], columns)
    model = replace(model, integer=np.array([integer, False, False]))
    with open_session(solver, model) as session:
        found = session.solve(mip_gap=0.0)
    assert found.objective == pytest.approx(-0.9, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-18, 1e-6))
def test_what_is_left_out_moves_the_sides_outward(seed: int, small: float) -> None:
    rng = np.random.default_rng(seed)
    model = mixed(seed % 7)
    dense = model.matrix.toarray()
    dense[rng.random(dense.shape) < 0.4] *= small
    model = replace(model, matrix=sparse.csr_array(dense))
    scaled = scale(model, 2.0**-29)
    # Any point of the model is one of the solver's.
    x = model.column_lower + rng.random((200, 8)) * (model.column_upper - model.column_lower)
    x[:, model.integer] = np.round(x[:, model.integer])
    activity = x @ dense.T
    inside = ((activity >= model.row_lower) & (activity <= model.row_upper)).all(1)
    for point in x[inside]:
        assert scaled.model.violation(scaled.to_solver(point)) <= 1e-9
    assert (np.abs(scaled.model.matrix.data) >= 2.0**-29).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 12))
def test_a_column_far_from_zero_is_counted_from_its_middle(seed: int, power: int) -> None:
    """z = (x - mean) / std with a mean that is large against std."""
    rng = np.random.default_rng(seed)
    mean, std = 10.0**power * rng.uniform(0.5, 2), 1.0
    columns = [(-4, 4), (mean - std, mean + std)]
    model = model_of([1, 0], [[1, -1 / std]], [(-mean / std, -mean / std)], columns)
    with open_session("highs", model) as session:
        found = session.solve()
    # What is left of a double's digits at the mean.
    assert found.objective == pytest.approx(-1.0, abs=1e-6 + 1e-14 * mean)
    assert found.dual_bound <= -1.0 + 1e-6 + 1e-14 * mean


def test_moderate_models_keep_their_units() -> None:
    model = mixed(0)
    assert (scale(model, 2.0**-29).model.matrix != model.matrix).nnz == 0


def test_numbers_that_are_none_and_models_that_were_changed_are_refused() -> None:
    model = mixed(0)
    with pytest.raises(SolverFailedError, match="cost"):
        scale(replace(model, cost=np.full(8, np.nan)), 1e-9)
    with pytest.raises(SolverFailedError, match="row limit"):
        scale(replace(model, row_lower=np.full(6, np.nan)), 1e-9)
    with pytest.raises(SolverFailedError, match="took 3 of the model's 4"):
        check_kept("HiGHS 1.0", 4, 3)


def test_limits_outside_of_those_that_left_entries_out_are_refused() -> None:
    model = model_of([1, 1], [[1, 1e-14]], [(0, 1)], [(0, 1), (0, 1)])
    with open_session("highs", model) as session, pytest.raises(SolverFailedError, match="load the wider model"):
        session.set_column_bounds(np.array([1]), np.array([0.0]), np.array([1e14]))
