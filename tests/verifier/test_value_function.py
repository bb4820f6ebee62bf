"""The value function is the problem's own optimum, and every stored tangent is nowhere above it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from problems.dcopf import DcOpf
from problems.errors import InputError
from problems.grid import Grid
from solvers.highs import HighsSession
from solvers.session import Solution, Status
from verifier.value_function import ValueFunction, value_range

VARIANTS = [
    {},
    {"shunts": True},
    {"angle_limits": True},
    {"noise": 0.0},
    {"price": 20.0},
    {"thermal": "hard"},
]


@pytest.fixture(params=VARIANTS, ids=str)
def problem(request: pytest.FixtureRequest, congested: Grid) -> DcOpf:
    grid = replace(congested, shunt=0.01 * np.arange(14.0), angle_max=congested.angle_max * 0.05)
    if request.param.get("thermal") == "hard":
        grid = replace(grid, rating=grid.rating * 0.8)
    return DcOpf(grid, **request.param)


def exact(problem: DcOpf, x: np.ndarray) -> float:
    try:
        return problem.solve(x)[0]
    except InputError:
        return np.inf


def test_values_are_the_problems_optimum(problem: DcOpf) -> None:
    domain = problem.domain(0.2)
    function = ValueFunction(problem, domain)
    values = []
    for w in [*domain.sample(25, 0), *domain.corners(25, 0), domain.centre]:
        values.append(function.value(w))
        assert values[-1] == pytest.approx(exact(problem, domain.to_input(w)), rel=1e-7)
    assert np.isfinite(values).any()
    assert np.isinf(values).any() == (problem.thermal == "hard")


def test_tangents_touch_at_their_point_and_are_below_everywhere(problem: DcOpf) -> None:
    domain = problem.domain(0.2)
    function = ValueFunction(problem, domain)
    latent = np.concatenate([domain.sample(60, 1), domain.corners(60, 1)])
    values = np.array([function.value(w) for w in latent])
    finite = np.flatnonzero(np.isfinite(values))
    cuts = [function.cut(latent[k]) for k in finite[::6]]
    for k, cut in zip(finite[::6], cuts):
        assert cut(latent[k]) == pytest.approx(values[k], rel=1e-8)
        assert cut(latent[k]) <= values[k]
    below = np.stack([cut(latent) for cut in cuts])
    assert (below[:, finite] <= values[finite] * (1 + 1e-9) + 1e-6).all()
    assert len({tuple(np.round(cut.slope, 3)) for cut in cuts}) > 1 or problem.thermal == "hard"
    # The hull of the tangents is convex and close to Phi where Phi was never asked.
    assert np.median(1 - below[:, finite].max(0) / values[finite]) < 0.05


def test_the_least_value_is_below_all(problem: DcOpf) -> None:
    domain = problem.domain(0.2)
    least = value_range(problem, domain)[0]
    values = [exact(problem, domain.to_input(w)) for w in [*domain.sample(50, 2), *domain.corners(50, 2)]]
    assert least <= min(values)
    assert least >= 0.5 * min(values)


def test_the_least_value_heeds_the_cuts_of_the_domain(short_of_power: Grid) -> None:
    problem = DcOpf(short_of_power)
    domain = problem.domain(0.2)
    least = value_range(problem, domain)[0]
    values = [problem.solve(domain.to_input(w))[0] for w in [*domain.sample(50, 2), *domain.corners(50, 2)]]
    assert least <= min(values)
    assert least > value_range(problem, replace(domain, cuts=()))[0] - 1e-9


def test_one_function_serves_every_part_of_its_domain(congested: Grid) -> None:
    """Also a part with coordinates that cannot move any more."""
    problem = DcOpf(congested)
    domain = problem.domain(0.2)
    function = ValueFunction(problem, domain)
    part = domain.split(0)[1].split(3)[0]
    for w in part.sample(5, 0):
        assert function.value(w) == pytest.approx(ValueFunction(problem, part).value(w), rel=1e-9)
    still = DcOpf(congested, noise=0.0).domain(0.2)
    for w in still.sample(5, 0):
        assert ValueFunction(problem, still).value(w) == pytest.approx(function.value(w), rel=1e-9)
        # Its tangent knows what the coordinates that stand still would change, and so holds where they move.
        cut = ValueFunction(problem, still).cut(w)
        assert all(cut(v) <= function.value(v) * (1 + 1e-9) for v in domain.sample(20, 1))


@pytest.mark.parametrize("thermal", ["soft", "hard"])
def test_tangents_do_not_depend_on_the_workers_nor_on_the_order(congested: Grid, thermal: str) -> None:
    problem = DcOpf(replace(congested, rating=congested.rating * 0.8), thermal)
    domain = problem.domain(0.2)
    latent = np.concatenate([domain.sample(30, 1), domain.corners(30, 1)])
    one = ValueFunction(problem, domain).cuts(latent)
    function = ValueFunction(problem, domain)
    three = function.cuts(latent, 3)
    backward = function.cuts(latent[::-1], 2)[::-1]
    assert function.solves == 2 * len(latent)
    for w, cut, *others in zip(latent, one, three, backward):
        assert (cut is None) == (function.value(w) == np.inf)
        for other in others:
            assert (other is None) == (cut is None)
            if cut is not None and other is not None:
                assert (cut.value, cut.slope.tolist(), cut.at.tolist()) == (
                    other.value,
                    other.slope.tolist(),
                    w.tolist(),
                )


def test_a_tangent_made_in_a_small_box_holds_in_a_large_one(congested: Grid) -> None:
    problem = DcOpf(congested)
    wide = problem.domain(0.4)
    values = [(v, ValueFunction(problem, wide).value(v)) for v in wide.corners(40, 3)]
    for narrow in (problem.domain(0.0), problem.domain(0.05)):
        for cut in ValueFunction(problem, narrow).cuts(narrow.corners(20, 2)):
            assert cut is not None
            assert all(cut(v) <= value * (1 + 1e-8) for v, value in values)


def test_an_input_that_cannot_be_served_has_an_infinite_value(short_of_power: Grid) -> None:
    problem = DcOpf(short_of_power)
    domain = problem.domain(0.2)
    function = ValueFunction(problem, domain)
    assert function.value(domain.box.upper) == np.inf
    # The session survives: the next input is priced as before.
    assert function.value(domain.centre) == pytest.approx(problem.solve(domain.to_input(domain.centre))[0], rel=1e-8)


def test_without_time_no_value_is_known_and_the_next_one_is_right(congested: Grid) -> None:
    problem = DcOpf(congested)
    domain = problem.domain(0.2)
    function, late = ValueFunction(problem, domain), ValueFunction(problem, domain, seconds=0.0)
    points = domain.sample(6, 0)
    assert function.value(points[0], seconds=0.0) == np.inf
    assert function.cuts(points, 2, seconds=0.0) == [None] * 6
    for w in points:
        assert late.value(w) == pytest.approx(function.value(w), rel=1e-9)


def test_a_linear_program_that_is_broken_off_has_no_value(congested: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = DcOpf(congested)
    domain = problem.domain(0.2)
    function = ValueFunction(problem, domain)
    solve, asked = HighsSession.solve, []

    def late(self: HighsSession, *, time_limit: float, **options: object) -> Solution:
        asked.append(time_limit)
        return replace(solve(self, **options), status=Status.TIME_LIMIT)

    monkeypatch.setattr(HighsSession, "solve", late)
    assert function.value(domain.centre, seconds=30.0) == np.inf
    assert function.cuts(domain.sample(2, 0), seconds=30.0) == [None, None]
    assert len(asked) == 3
    assert all(0 < limit <= 30.0 for limit in asked)


def test_limits_of_the_value_are_safe_without_time(problem: DcOpf) -> None:
    domain = problem.domain(0.2)
    assert value_range(problem, domain, seconds=0.0)[0] <= value_range(problem, domain)[0]
