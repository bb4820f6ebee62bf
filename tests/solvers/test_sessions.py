"""Every adapter keeps the contract of Session, checked against enumeration, safe bounds and fresh solves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse

from solvers.errors import SolverUnavailableError
from solvers.linear_model import LinearModel
from solvers.pyomo_catalogue import find_solver
from solvers.registry import open_session
from solvers.safe_bound import safe_lower_bound
from solvers.session import Capability, Progress, Session, Status

ADAPTERS = ["highs", "gurobi", "scip", "pyomo:appsi_highs", "pyomo:glpk", "pyomo:cbc"]
_MODULES = {"gurobi": "gurobipy", "scip": "pyscipopt"}


@pytest.fixture(params=ADAPTERS)
def solver(request: pytest.FixtureRequest) -> str:
    name = request.param
    if name in _MODULES:
        pytest.importorskip(_MODULES[name], reason=f"{name} IS NOT TESTED: its package is not installed")
    if name.startswith("pyomo:"):
        try:
            find_solver(name.removeprefix("pyomo:"))
        except SolverUnavailableError as error:
            pytest.skip(f"{name} IS NOT TESTED: {error}")
    return name


def model_of(cost, matrix, rows, columns, integer=False, offset=0.0) -> LinearModel:
    """A model from lists: `rows` and `columns` are pairs (lower, upper)."""
    n = len(cost)
    row, column = (np.array(pairs, dtype=float).reshape(-1, 2) for pairs in (rows, columns))
    return LinearModel(
        np.array(cost, dtype=float),
        sparse.csr_array(np.array(matrix, dtype=float).reshape(-1, n)),
        row[:, 0],
        row[:, 1],
        column[:, 0],
        column[:, 1],
        np.full(n, integer),
        offset,
    )


def random_model(seed: int, integer: bool) -> LinearModel:
    """Integer data, all columns boxed, and rows of every kind that hold at some integer point."""
    rng = np.random.default_rng(seed)
    n, m = (5, 5) if integer else (12, 8)
    matrix = rng.integers(-4, 5, (m, n)) * (rng.random((m, n)) < 0.7)
    activity = matrix @ rng.integers(0, 4, n)
    slack = rng.integers(0, 4, (2, m))
    lower, upper = activity - slack[0] - 0.0, activity + slack[1] + 0.0
    lower[0], upper[1] = -np.inf, np.inf
    lower[2] = upper[2] = activity[2]
    lower[3], upper[3] = -np.inf, np.inf
    cost = rng.integers(-5, 6, n)
    return model_of(cost, matrix, np.stack([lower, upper], 1), np.tile([0.0, 3.0], (n, 1)), integer, float(seed))


def market_split(seed: int = 0, n: int = 40) -> LinearModel:
    """Minimise the violation of subset-sum equations, a problem that branch and bound cannot finish here."""
    rng = np.random.default_rng(seed)
    m = 5
    weights = rng.integers(0, 100, (m, n))
    target = np.floor(weights.sum(1) / 2)
    columns = np.vstack([np.tile([0.0, 1.0], (n, 1)), np.tile([0.0, np.inf], (2 * m, 1))])
    return model_of(
        np.r_[np.zeros(n), np.ones(2 * m)],
        np.hstack([weights, np.eye(m), -np.eye(m)]),
        np.stack([target, target], 1),
        columns,
        True,
        100.0,
    )


def assert_same(session: Session, model: LinearModel) -> None:
    """The session's solve agrees with a fresh HiGHS session on `model`."""
    warm = session.solve(mip_gap=0.0)
    fresh = open_session("highs", model).solve(mip_gap=0.0)
    assert warm.status is fresh.status
    assert warm.objective == pytest.approx(fresh.objective, abs=1e-6)
    if warm.x is not None and warm.status is Status.OPTIMAL:
        assert model.violation(warm.x) < 1e-6
        assert model.cost @ warm.x + model.offset == pytest.approx(warm.objective, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_linear_optimum_is_proved_by_its_row_duals(solver: str, seed: int) -> None:
    model = random_model(seed, integer=False)
    with open_session(solver, model) as session:
        solution = session.solve()
    assert solution.status is Status.OPTIMAL
    assert model.violation(solution.x) < 1e-6
    assert solution.dual_bound == pytest.approx(solution.objective, abs=1e-6)
    assert solution.objective == pytest.approx(model.cost @ solution.x + model.offset)
    assert safe_lower_bound(model, solution.row_duals) == pytest.approx(solution.objective, abs=1e-6)


def test_row_dual_is_the_derivative_by_the_row_limit(solver: str) -> None:
    # Both sides of a two-sided row, an equation and a one-sided row, at unique optima.
    for cost, sign in ((2.0, 1.0), (-2.0, -1.0)):
        with open_session(solver, model_of([cost], [[1]], [(1, 4)], [(-9, 9)])) as session:
            assert session.solve().row_duals == pytest.approx([2.0 * sign])
    model = model_of([1, 3], [[1, 1], [1, -1]], [(4, 4), (-np.inf, 2)], [(0, 9), (0, 9)])
    with open_session(solver, model) as session:
        assert session.solve().row_duals == pytest.approx([2.0, -1.0])


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_solves_after_changes_agree_with_fresh_ones(solver: str, seed: int, integer: bool) -> None:
    model = random_model(seed, integer)
    rng = np.random.default_rng(100 + seed)
    cost, offset = model.cost.copy(), model.offset
    limits = [v.copy() for v in (model.row_lower, model.row_upper, model.column_lower, model.column_upper)]
    with open_session(solver, model) as session:
        assert_same(session, model)
        for step in range(9):
            kind = step % 3
            if kind == 0:
                columns = rng.choice(model.columns, 3, replace=False)
                cost, offset = np.zeros(model.columns), float(step)
                cost[columns] = rng.integers(-5, 6, 3)
                session.set_cost(columns, cost[columns], offset)
            elif kind == 1:
                columns = rng.choice(model.columns, 2, replace=False)
                limits[2][columns] = rng.integers(-1, 2, 2)
                limits[3][columns] = limits[2][columns] + rng.integers(0, 3, 2)
                session.set_column_bounds(columns, limits[2][columns], limits[3][columns])
            else:
                rows = rng.choice(model.rows, 4, replace=False)
                low = rng.integers(-6, 4, 4).astype(float)
                high = low + np.array([0, 3, np.inf, 5])
                low[3] = -np.inf
                limits[0][rows], limits[1][rows] = low, high
                session.set_row_bounds(rows, low, high)
            now = LinearModel(cost, model.matrix, *limits, model.integer, offset)
            assert_same(session, now)


@pytest.mark.parametrize("integer", [False, True])
def test_infeasible_has_an_infinite_dual_bound(solver: str, integer: bool) -> None:
    contradiction = model_of([1, 1], [[1, 1], [1, 1]], [(5, np.inf), (-np.inf, 3)], [(0, np.inf)] * 2, integer)
    crossed = model_of([1, 1], [[1, 1]], [(0, 9)], [(0, 1)] * 2, integer)
    for model, change in ((contradiction, False), (crossed, True)):
        with open_session(solver, model) as session:
            if change:
                session.set_row_bounds(np.array([0]), np.array([3.0]), np.array([4.0]))
            solution = session.solve()
        assert solution.status is Status.INFEASIBLE
        assert solution.x is None
        assert (solution.objective, solution.dual_bound) == (np.inf, np.inf)


@pytest.mark.parametrize("integer", [False, True])
def test_unbounded_is_not_called_infeasible(solver: str, integer: bool) -> None:
    for matrix, row in (([[1, -1]], (0, np.inf)), ([[1, -1]], (-np.inf, 3.5))):
        with open_session(solver, model_of([-1, -1], matrix, [row], [(0, np.inf)] * 2, integer)) as session:
            solution = session.solve()
            # Pyomo loses what GLPK says of an unbounded MIP; a failure claims nothing.
            lost = solver == "pyomo:glpk" and integer
            assert solution.status is (Status.FAILED if lost else Status.UNBOUNDED)
            assert solution.dual_bound == -np.inf
            # The session still works: the objective is what it was.
            session.set_column_bounds(np.arange(2), np.zeros(2), np.full(2, 2.0))
            again = session.solve(mip_gap=0.0)
            assert (again.status, again.objective) == (Status.OPTIMAL, pytest.approx(-4.0))


@pytest.mark.parametrize("integer", [False, True])
def test_models_without_entries(solver: str, integer: bool) -> None:
    with open_session(solver, model_of([-1, 2], [], [], [(0, 9), (1, 5)], integer, 4.0)) as session:
        solution = session.solve()
        assert (solution.status, solution.objective) == (Status.OPTIMAL, pytest.approx(-3.0))
    with open_session(solver, model_of([1, 0], [[0, 0]], [(1, 2)], [(0, 9)] * 2, integer)) as session:
        assert session.solve().status is Status.INFEASIBLE


@pytest.mark.parametrize(
    ("rows", "status", "bound"),
    [([], Status.OPTIMAL, 3.0), ([(0, 1)], Status.OPTIMAL, 3.0), ([(1, 2)], Status.INFEASIBLE, np.inf)],
)
def test_highs_answers_models_without_columns(rows: list[tuple[float, float]], status: Status, bound: float) -> None:
    limits, none = np.array(rows, dtype=float).reshape(-1, 2), np.zeros(0)
    matrix = sparse.csr_array((len(rows), 0))
    model = LinearModel(none, matrix, limits[:, 0], limits[:, 1], none, none, np.zeros(0, dtype=bool), 3.0)
    with open_session("highs", model) as session:
        solution = session.solve()
    assert (solution.status, solution.dual_bound) == (status, bound)


@pytest.mark.parametrize("seed", range(8))
def test_integer_optimum_agrees_with_enumeration(solver: str, seed: int) -> None:
    model = random_model(seed, integer=True)
    points = np.array(list(itertools.product(range(4), repeat=model.columns)), dtype=float)
    activity = points @ model.matrix.toarray().T
    inside = ((activity >= model.row_lower) & (activity <= model.row_upper)).all(1)
    best = (points[inside] @ model.cost).min() + model.offset
    with open_session(solver, model) as session:
        solution = session.solve(mip_gap=0.0)
        assert solution.status is Status.OPTIMAL
        assert solution.objective == pytest.approx(best, abs=1e-6)
        assert solution.dual_bound <= best + 1e-6
        assert model.violation(solution.x) < 1e-6
        assert solution.row_duals is None
        if Capability.DUAL_BOUND in session.capabilities:
            assert solution.dual_bound == pytest.approx(best, abs=1e-6)
        else:
            assert solution.dual_bound == -np.inf


@pytest.mark.parametrize("time_limit", [0.0, 0.02, 0.5])
def test_dual_bound_holds_when_time_is_up(solver: str, time_limit: float) -> None:
    model = market_split()
    with open_session(solver, model) as session:
        solution = session.solve(time_limit=time_limit, mip_gap=0.0)
    assert solution.status is Status.TIME_LIMIT
    assert solution.dual_bound <= solution.objective
    # Any feasible point is above a dual bound: draw many, the slacks repair them.
    rng = np.random.default_rng(1)
    items = rng.integers(0, 2, (20_000, 40))
    excess = items @ model.matrix.toarray()[:, :40].T - model.row_lower
    assert solution.dual_bound <= np.abs(excess).sum(1).min() + 100.0


@pytest.mark.parametrize("whole", [True, False])
def test_start_is_used(solver: str, whole: bool) -> None:
    model = market_split()
    rng = np.random.default_rng(2)
    items = rng.integers(0, 2, 40).astype(float)
    excess = model.matrix.toarray()[:, :40] @ items - model.row_lower
    start = np.r_[items, np.maximum(-excess, 0), np.maximum(excess, 0)]
    assert model.violation(start) == 0
    value = model.cost @ start + model.offset
    if not whole:
        start[40:] = np.nan
    seen: list[Progress] = []

    def watch(progress: Progress) -> bool:
        seen.append(progress)
        return np.isfinite(progress.incumbent)

    with open_session(solver, model) as session:
        if Capability.MIP_START not in session.capabilities:
            pytest.skip(f"{solver} takes no start")
        solution = session.solve(start=start, on_progress=watch, time_limit=30.0)
    assert solution.status is Status.INTERRUPTED
    assert solution.objective <= value + 1e-6
    with pytest.raises(ValueError, match="start"), open_session(solver, model) as session:
        session.solve(start=np.zeros(3))


def test_progress_is_reported_and_can_stop_the_solve(solver: str) -> None:
    seen: list[Progress] = []

    def stop_at_third(progress: Progress) -> bool:
        seen.append(progress)
        return len(seen) >= 3

    with open_session(solver, market_split()) as session:
        if Capability.INTERRUPT not in session.capabilities:
            pytest.skip(f"{solver} cannot be interrupted")
        solution = session.solve(on_progress=stop_at_third, time_limit=60.0, mip_gap=0.0)
        assert solution.status is Status.INTERRUPTED
        assert len(seen) >= 3
        assert all(p.dual_bound <= p.incumbent and p.nodes >= 0 and p.seconds >= 0 for p in seen)
        assert solution.dual_bound <= solution.objective
        # The interruption does not outlive the solve.
        assert session.solve(time_limit=0.2, mip_gap=0.0).status is Status.TIME_LIMIT


def test_error_in_progress_reaches_the_caller(solver: str) -> None:
    def fail(progress: Progress) -> bool:
        raise KeyError("mine")

    with open_session(solver, market_split()) as session:
        if Capability.PROGRESS not in session.capabilities:
            pytest.skip(f"{solver} reports no progress")
        with pytest.raises(KeyError, match="mine"):
            session.solve(on_progress=fail, time_limit=60.0)


@pytest.mark.parametrize("seed", range(5))
def test_heuristics_change_no_optimum_and_can_be_asked_for_again(solver: str, seed: int) -> None:
    with open_session(solver, random_model(seed, integer=True)) as session:
        found = [session.solve(heuristics=heuristics, mip_gap=0.0) for heuristics in (False, True, False)]
    assert len({solution.status for solution in found}) == 1
    assert np.ptp([solution.objective for solution in found]) <= 1e-6 * (1 + abs(found[0].objective))


def test_same_seed_gives_the_same_point(solver: str) -> None:
    model = random_model(5, integer=True)
    points = [open_session(solver, model, seed=3).solve().x for _ in range(2)]
    assert np.array_equal(*points)
