"""Values, pieces, margins and uniqueness of elastic programs against enumeration and another solver of their pieces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from solvers import mip_pieces
from solvers.elastic_program import ElasticProgram
from solvers.lp_uniqueness import uniqueness
from solvers.mip_pieces import Outcome, Search, solve_pieces
from solvers.session import Solution, Status


def random_program(seed: int, hard: bool = False, equalities: int = 0) -> ElasticProgram:
    """Three integer columns, two continuous ones, four rows, the first of which may be equalities."""
    rng = np.random.default_rng(seed)
    integer = np.array([True, True, True, False, False])
    penalty = rng.uniform(1, 10, size=4)
    if hard:
        penalty[rng.random(4) < 0.5] = np.inf
    lower = np.array([0, -1, 0, -1, 0.0])
    upper = lower + np.array([1, 2, 1, 1.5, 2])
    return ElasticProgram(
        rng.normal(size=5),
        rng.normal(size=(4, 5)),
        rng.normal(size=4),
        lower,
        upper,
        integer,
        penalty,
        np.arange(4) < equalities,
    )


def two_sided(program: ElasticProgram) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Costs, rows and right sides of G v <= h for the matrix form."""
    model = program.model()
    matrix, equal = model.matrix.toarray(), program.equality
    return model.cost, np.concatenate([-matrix, matrix[equal]]), np.concatenate([-program.b, program.b[equal]])


def values_by_enumeration(program: ElasticProgram) -> list[float]:
    """The values of all integer assignments, infinite where infeasible, least first."""
    model = program.model()
    bounds = list(zip(model.column_lower, model.column_upper))
    sides = [
        range(int(low), int(high) + 1) if whole else [None]
        for low, high, whole in zip(program.lower, program.upper, program.integer)
    ]
    values = []
    for choice in itertools.product(*sides):
        box = [(v, v) if v is not None else limits for v, limits in zip(choice, bounds)] + bounds[len(choice) :]
        found = linprog(*two_sided(program), bounds=box)
        values.append(found.fun if found.status == 0 else np.inf)
    return sorted(values)


@pytest.mark.parametrize("equalities", [0, 2])
@pytest.mark.parametrize("seed", range(8))
def test_pieces_are_the_best_assignments(seed: int, equalities: int) -> None:
    program = random_program(seed, seed % 2 == 1, equalities)
    expected = values_by_enumeration(program)
    answer = solve_pieces(program, Search(pieces=4))
    if np.isinf(expected[0]):
        assert answer.outcome is Outcome.INFEASIBLE
        assert answer.pieces == ()
        return
    feasible = [value for value in expected[:4] if np.isfinite(value)]
    assert answer.outcome is Outcome.SOLVED
    assert [piece.value for piece in answer.pieces] == pytest.approx(feasible, abs=1e-6)
    second = expected[1] - expected[0]
    assert answer.margin == (np.inf if np.isinf(second) else pytest.approx(second, abs=1e-6))
    assert answer.lower <= answer.upper == answer.pieces[0].value
    for piece in answer.pieces:
        priced = np.where(np.isinf(program.penalty), 0, program.penalty)
        assert program.c @ piece.x + priced @ program.shortfall(piece.x) == pytest.approx(piece.value, abs=1e-6)


def test_every_assignment_is_found_once() -> None:
    """With more pieces asked for than there are, the search ends with all of them."""
    program = random_program(3)
    answer = solve_pieces(program, Search(pieces=30))
    assert answer.outcome is Outcome.SOLVED
    assert [piece.value for piece in answer.pieces] == pytest.approx(values_by_enumeration(program), abs=1e-6)
    assert len({tuple(piece.x[program.integer]) for piece in answer.pieces}) == len(answer.pieces) == 12


def one_column(**changes: object) -> ElasticProgram:
    """min x, x >= 0.5, x in [0, 3]."""
    parts = {
        "c": np.array([1.0]),
        "A": np.array([[1.0]]),
        "b": np.array([0.5]),
        "lower": np.zeros(1),
        "upper": np.full(1, 3.0),
        "integer": np.array([False]),
        "penalty": np.array([np.inf]),
        "equality": np.array([False]),
    }
    return ElasticProgram(**(parts | changes))


def test_an_equality_is_two_rows_with_one_multiplier() -> None:
    """At the same price for each side."""
    for seed in range(5):
        program = random_program(seed, equalities=4)
        doubled = ElasticProgram(
            program.c,
            np.concatenate([program.A, -program.A]),
            np.concatenate([program.b, -program.b]),
            program.lower,
            program.upper,
            program.integer,
            np.concatenate([program.penalty, program.penalty]),
            np.zeros(8, dtype=bool),
        )
        (one,), (two,) = (solve_pieces(each, Search()).pieces for each in (program, doubled))
        assert one.value == pytest.approx(two.value, abs=1e-7)
        assert one.unique_y
        assert one.y == pytest.approx(two.y[:4] - two.y[4:], abs=1e-6)


def test_outcomes_without_a_value() -> None:
    infeasible = solve_pieces(one_column(b=np.array([4.0])), Search())
    assert (infeasible.outcome, infeasible.lower, infeasible.upper) == (Outcome.INFEASIBLE, np.inf, np.inf)
    unbounded = solve_pieces(one_column(c=-np.ones(1), upper=np.full(1, np.inf)), Search())
    assert (unbounded.outcome, unbounded.lower, unbounded.upper) == (Outcome.UNBOUNDED, -np.inf, -np.inf)


def test_time_limit_gives_bounds_around_the_value() -> None:
    program = random_program(0)
    answer = solve_pieces(program, Search(time_limit=0.0))
    assert answer.outcome is Outcome.TIME_LIMIT
    assert answer.lower <= values_by_enumeration(program)[0] + 1e-9 <= answer.upper + 1e-6


def test_time_limit_of_the_further_pieces_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value is known, its margin is not."""
    limits = iter([np.inf, 0.0])
    solve = mip_pieces._solve

    def limited(model, search, deadline):
        return solve(model, search, next(limits))

    monkeypatch.setattr(mip_pieces, "_solve", limited)
    program = random_program(0)
    answer = solve_pieces(program, Search(pieces=2))
    assert answer.outcome is Outcome.TIME_LIMIT
    assert answer.lower == pytest.approx(answer.upper, abs=1e-6)
    assert answer.upper == pytest.approx(values_by_enumeration(program)[0], abs=1e-6)
    assert np.isnan(answer.margin)


def test_an_optimum_that_rounding_makes_worse_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a solver's binary of 1e-7 opens a large row: the bounds stay, and enclose the value."""
    program = random_program(0)
    pieces = solve_pieces(program, Search(pieces=2)).pieces
    bound, scale = pieces[0].value, program.scale
    wrong = Solution(Status.OPTIMAL, bound * scale, bound * scale, np.append(pieces[1].x, np.zeros(4)))
    monkeypatch.setattr(mip_pieces, "_solve", lambda *_: wrong)
    answer = solve_pieces(program, Search())
    assert answer.outcome is Outcome.FAILED
    assert answer.lower <= bound + 1e-9 < answer.upper == pytest.approx(pieces[1].value)


def widths(program: ElasticProgram, value: float) -> tuple[float, float]:
    """How far the optimal points and the optimal multipliers of a linear program spread, by linear programs."""
    n, m = program.c.size, program.b.size
    model = program.model()
    cost, rows, limits = two_sided(program)
    on_face, sides = np.concatenate([rows, cost[None]]), np.concatenate([limits, [value + 1e-9]])
    box = list(zip(model.column_lower, model.column_upper))
    dual_rows = np.concatenate([program.A.T, np.eye(n), -np.eye(n)], axis=1)
    dual_cost = np.concatenate([program.b, program.lower, -program.upper])
    dual_box = [*zip(program.least, program.penalty)] + [(0, None)] * (2 * n)
    spread = [0.0, 0.0]
    for k in range(n):
        ends = [linprog(sign * np.eye(model.columns)[k], on_face, sides, bounds=box).fun for sign in (1, -1)]
        spread[0] = max(spread[0], -sum(ends))
    for k in range(m):
        aim = np.eye(m + 2 * n)[k]
        args = -dual_cost[None], [-value + 1e-9], dual_rows, program.c, dual_box
        ends = [linprog(sign * aim, *args).fun for sign in (1, -1)]
        spread[1] = max(spread[1], -sum(ends))
    return spread[0], spread[1]


def test_uniqueness_is_that_of_the_optimal_faces() -> None:
    """Small integral data make ties of every kind."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        n, m = 3, 3
        program = ElasticProgram(
            rng.integers(-1, 3, n).astype(float),
            rng.integers(-1, 2, (m, n)).astype(float),
            rng.integers(-1, 3, m).astype(float),
            np.zeros(n),
            np.full(n, 2.0),
            np.zeros(n, dtype=bool),
            np.full(m, 2.0),
            np.arange(m) < rng.integers(0, 3),
        )
        (piece,) = solve_pieces(program, Search()).pieces
        primal, dual = widths(program, piece.value)
        told = uniqueness(*program_parts(program), piece.x, piece.y, 1e-6)
        assert (told.x, told.y) == (primal < 1e-5, dual < 1e-5) == (piece.unique_x, piece.unique_y)
        seen.add((told.x, told.y))
    assert len(seen) == 4


def program_parts(program: ElasticProgram) -> tuple[np.ndarray, ...]:
    return program.c, program.A, program.b, program.lower, program.upper, program.least, program.penalty
