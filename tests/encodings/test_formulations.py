"""Compact, paper-style and bilevel formulations have one optimum: that of a fine search over one latent coordinate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from encoding.bilevel import bilevel_model
from encoding.bounds import Bounds
from encoding.compact import compact_model
from encoding.formulation import GapModel
from encoding.layers import Style
from encoding.problem import missing_rows
from problems.dcopf import DcOpf
from problems.domain import Domain
from problems.grid import Grid
from problems.interval import Vector
from proxies.layers import Layer
from proxies.proxy import Proxy, latent_layers
from solvers.highs import HighsSession
from solvers.scip import ScipSession
from solvers.session import Status
from verifier.bounds.over_domain import proxy_bounds

Setting = tuple[Proxy, DcOpf, Domain, list[Layer], Bounds]
CASES = [("case5", 0), ("case5", 1), ("congested", 0), ("congested", 1), ("congested", 2), ("short_of_power", 3)]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def setting(request: pytest.FixtureRequest, make_proxy: Callable[..., Proxy]) -> Setting:
    """A random proxy on a grid, over the loads' common factor alone."""
    name, seed = request.param
    problem = DcOpf(request.getfixturevalue(name), noise=0.0)
    proxy = make_proxy(problem, seed, hidden=(5,))
    return prepared(proxy, problem, problem.domain(0.2))


def prepared(proxy: Proxy, problem: DcOpf, domain: Domain) -> Setting:
    layers = latent_layers(proxy, domain)
    return proxy, problem, domain, layers, proxy_bounds(layers, problem, domain)


def gap(proxy: Proxy, problem: DcOpf, domain: Domain, latent: Vector, ratio: float = 0.0) -> float:
    """c(x, pi(x)) - (1 + ratio) Phi(x), by the forward pass and the problem's own solve."""
    x = domain.to_input(latent)
    batch = torch.as_tensor(x)[None]
    with torch.no_grad():
        cost = float(problem.objective(batch, proxy(batch))[0])
    return cost - (1 + ratio) * problem.solve(x)[0]


def brute_force(proxy: Proxy, problem: DcOpf, domain: Domain, ratio: float = 0.0) -> float:
    """The largest gap on a grid of alpha that is refined around its best points."""
    centre, low, high = domain.centre, domain.box.lower[0], domain.box.upper[0]
    for cut in domain.cuts:
        ends = np.sort(np.array([cut.lower, cut.upper]) / cut.coefficients[0])
        low, high = max(low, ends[0]), min(high, ends[1])

    def at(alpha: float) -> float:
        w = centre.copy()
        w[0] = alpha
        return gap(proxy, problem, domain, domain.project(w), ratio)

    alphas = np.linspace(low, high, 241)
    values = np.array([at(a) for a in alphas])
    best = float(values.max())
    for a in alphas[np.argsort(-values)[:3]]:
        width, middle = (high - low) / 240, a
        for _ in range(4):
            fine = np.clip(np.linspace(middle - width, middle + width, 13), low, high)
            near = np.array([at(f) for f in fine])
            middle, width = fine[near.argmax()], width / 6
            best = max(best, float(near.max()))
    return best


def optimum(model: GapModel) -> tuple[float, Vector]:
    with HighsSession(model.linear) as session:
        solution = session.solve(mip_gap=1e-9)
    assert solution.status is Status.OPTIMAL
    assert solution.x is not None
    return model.gap_of(solution.objective), model.latent_of(solution.x)


def test_every_formulation_has_the_brute_force_optimum(setting: Setting) -> None:
    proxy, problem, domain, layers, bounds = setting
    expected = brute_force(proxy, problem, domain)
    assert expected > 1.0
    styles: tuple[Style, ...] = ("sign", "paper")
    for build in (compact_model, bilevel_model):
        for style in styles:
            value, latent = optimum(build(layers, problem, domain, bounds, style))
            assert value == pytest.approx(expected, rel=2e-5, abs=0.1), (build.__name__, style)
            assert value == pytest.approx(gap(proxy, problem, domain, domain.project(latent)), rel=2e-5, abs=0.1)


def test_optional_rows_may_come_one_by_one(setting: Setting) -> None:
    _, problem, domain, layers, bounds = setting
    expected = optimum(compact_model(layers, problem, domain, bounds))[0]
    kept: set[int] = set()
    values = []
    while True:
        model = compact_model(layers, problem, domain, bounds, kept=kept)
        with HighsSession(model.linear) as session:
            x = session.solve(mip_gap=1e-9).x
        assert x is not None
        values.append(model.gap_of(float(model.linear.cost @ x + model.linear.offset)))
        missing = set(missing_rows(problem, domain, model.latent_of(x), model.optimum.of(x))) - kept
        if not missing:
            break
        kept |= missing
    assert values[-1] == pytest.approx(expected, rel=2e-5, abs=0.1)
    assert min(values) >= expected - 2e-5 * abs(expected) - 0.1
    assert values == sorted(values, reverse=True) or np.diff(values).max() < 0.1


def test_interval_bounds_give_the_same_optimum(setting: Setting) -> None:
    _, problem, domain, layers, bounds = setting
    loose = proxy_bounds(layers, problem, domain, "interval")
    tight = optimum(compact_model(layers, problem, domain, bounds))[0]
    assert optimum(compact_model(layers, problem, domain, loose))[0] == pytest.approx(tight, rel=1e-5, abs=0.1)


def test_a_ratio_and_a_cutoff_change_the_model_as_they_say(setting: Setting) -> None:
    proxy, problem, domain, layers, bounds = setting
    best = optimum(compact_model(layers, problem, domain, bounds))[0]
    value, latent = optimum(compact_model(layers, problem, domain, bounds, ratio=0.5))
    assert value == pytest.approx(gap(proxy, problem, domain, domain.project(latent), 0.5), rel=2e-5, abs=0.5)
    assert value <= best
    kept = optimum(compact_model(layers, problem, domain, bounds, cutoff=0.9 * best))[0]
    assert kept == pytest.approx(best, rel=1e-5, abs=0.1)
    with HighsSession(compact_model(layers, problem, domain, bounds, cutoff=1.1 * best + 10).linear) as session:
        assert session.solve().status is Status.INFEASIBLE


@pytest.mark.parametrize("seed", range(3))
def test_bilevel_multipliers_exist_at_every_input(congested: Grid, make_proxy: Callable[..., Proxy], seed: int) -> None:
    """Valid dual big-Ms: fixed at any input, the bilevel model is feasible and its gap is the true one."""
    problem = DcOpf(replace(congested, rating=congested.rating * (0.6 + 0.2 * seed)), price=[1500.0, 40.0, 5.0][seed])
    proxy, _, domain, layers, bounds = prepared(make_proxy(problem, seed), problem, problem.domain(0.2))
    model = bilevel_model(layers, problem, domain, bounds)
    assert (model.latent.columns >= 0).all()
    overloads = 0.0
    for w in [*domain.sample(3, seed), *domain.corners(3, seed)]:
        # HiGHS 1.15.1 calls one of these models infeasible; see the test below.
        with ScipSession(model.linear) as session:
            session.set_column_bounds(model.latent.columns, w, w)
            solution = session.solve(mip_gap=1e-9)
        assert solution.status is Status.OPTIMAL
        expected = gap(proxy, problem, domain, w)
        assert model.gap_of(solution.objective) == pytest.approx(expected, rel=1e-5, abs=0.05)
        x = domain.to_input(w)
        best = torch.as_tensor(problem.solve(x)[1])[None]
        overloads += float(problem.overloads(torch.as_tensor(x)[None], best).sum())
    assert overloads > 0.0


@pytest.mark.parametrize("fixed", [5, 4])
def test_both_formulations_bear_generators_that_cannot_move(
    case5: Grid, make_proxy: Callable[..., Proxy], fixed: int
) -> None:
    """One dispatch, or one for each total: nothing can be decided, so no input has a gap."""
    share = case5.load.sum() / case5.pmax.sum()
    at = share * case5.pmax
    grid = replace(case5, rating=case5.rating * 0.3, pmin=at.copy(), pmax=np.where(np.arange(5) < fixed, at, 9.0))
    problem = DcOpf(grid)
    domain = problem.domain(0.1)
    _, _, domain, layers, bounds = prepared(make_proxy(problem, 0), problem, domain)
    for build in (compact_model, bilevel_model):
        assert optimum(build(layers, problem, domain, bounds))[0] == pytest.approx(0.0, abs=1.0)


def test_highs_does_not_call_a_feasible_model_infeasible(congested: Grid, make_proxy: Callable[..., Proxy]) -> None:
    """HiGHS 1.15.1 with presolve does, for a model with a point that violates nothing by more than 1e-15."""
    problem = DcOpf(replace(congested, rating=congested.rating * 0.8), price=40.0)
    _, _, domain, layers, bounds = prepared(make_proxy(problem, 1), problem, problem.domain(0.2))
    model = bilevel_model(layers, problem, domain, bounds)
    lower, upper = model.linear.column_lower.copy(), model.linear.column_upper.copy()
    lower[model.latent.columns] = upper[model.latent.columns] = domain.sample(3, 1)[2]
    linear = replace(model.linear, column_lower=lower, column_upper=upper)
    with ScipSession(linear) as session:
        x = session.solve(mip_gap=1e-9).x
    assert x is not None
    x[linear.integer] = np.round(x[linear.integer])
    assert linear.violation(x) <= 1e-12
    with HighsSession(linear) as session:
        assert session.solve().status is not Status.INFEASIBLE


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_formulations_agree_with_noise_on_every_load(case5: Grid, make_proxy: Callable[..., Proxy], seed: int) -> None:
    problem = DcOpf(replace(case5, rating=case5.rating * 0.8))
    proxy, _, domain, layers, bounds = prepared(make_proxy(problem, seed, hidden=(4,)), problem, problem.domain(0.2))
    value, latent = optimum(compact_model(layers, problem, domain, bounds))
    for model in (
        compact_model(layers, problem, domain, bounds, "paper"),
        bilevel_model(layers, problem, domain, bounds),
    ):
        assert optimum(model)[0] == pytest.approx(value, rel=2e-5)
    assert value == pytest.approx(gap(proxy, problem, domain, domain.project(latent)), rel=2e-5)
    sampled = [gap(proxy, problem, domain, w) for w in [*domain.sample(300, 0), *domain.corners(300, 0)]]
    assert value >= max(sampled) - 1e-5 * value
