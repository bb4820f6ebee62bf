"""Every candidate of the attack is a point of the domain whose gap an independent replay confirms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from problems.dcopf import DcOpf
from problems.grid import Grid
from proxies.proxy import Proxy, latent_layers
from verifier.attack import Attack, AttackOptions, Candidate
from verifier.budget import Budget
from verifier.replay import ULPS, is_sound, replay
from verifier.sampling import sampled_gaps
from verifier.value_function import ValueFunction

OPTIONS = AttackOptions(starts=32, rounds=3, steps=15, exact=6, seconds=60.0)
GRIDS = ["congested", "case5", "short_of_power"]


def attack_on(proxy: Proxy, problem: DcOpf, u: float = 0.2) -> Attack:
    domain = problem.domain(u)
    return Attack(latent_layers(proxy, domain), problem, domain, ValueFunction(problem, domain))


@pytest.mark.parametrize("ratio", [0.0, 0.3])
@pytest.mark.parametrize("name", GRIDS)
def test_candidates_replay_and_lie_in_the_domain(
    request: pytest.FixtureRequest, make_proxy: Callable[..., Proxy], name: str, ratio: float
) -> None:
    problem = DcOpf(request.getfixturevalue(name))
    proxy = make_proxy(problem, 3)
    attack = attack_on(proxy, problem)
    seen: list[Candidate] = []
    valued = attack._value
    attack._value = lambda *arguments: seen.extend(found := valued(*arguments)) or found  # type: ignore[method-assign]
    better: list[Candidate] = []
    best = attack.run(OPTIONS, Budget(60.0), ratio, better.append)
    assert len(seen) > 2
    for candidate in seen:
        assert attack.domain.contains(candidate.latent, ULPS * np.finfo(np.float64).eps)
        witness = replay(proxy, problem, attack.domain, candidate.latent)
        assert is_sound(witness, attack.domain)
        expected = witness.proxy_cost - (1 + ratio) * witness.optimal_cost
        assert candidate.gap == pytest.approx(expected, rel=1e-6, abs=1e-6 * witness.optimal_cost)
    assert best is better[-1] is max(seen, key=lambda candidate: candidate.gap)
    assert [c.gap for c in better] == sorted(c.gap for c in better)
    # Its tangents are nowhere above Phi, so its surrogate never hides a gap.
    for w in attack.domain.sample(20, 9):
        value = problem.solve(attack.domain.to_input(w))[0]
        assert max(float(cut(w)) for cut in attack.cuts) <= value * (1 + 1e-8)


@pytest.mark.parametrize("name", GRIDS)
def test_the_attack_beats_random_sampling(
    request: pytest.FixtureRequest, make_proxy: Callable[..., Proxy], name: str
) -> None:
    problem = DcOpf(request.getfixturevalue(name))
    proxy = make_proxy(problem, 5)
    attack = attack_on(proxy, problem)
    best = attack.run(OPTIONS, Budget(60.0))
    assert best is not None
    assert best.gap >= sampled_gaps(proxy, problem, attack.domain, 300).max()


def test_the_same_seed_finds_the_same(congested: Grid, make_proxy: Callable[..., Proxy]) -> None:
    problem = DcOpf(congested)
    proxy = make_proxy(problem, 0)
    first, second = (attack_on(proxy, problem).run(OPTIONS, Budget(60.0)) for _ in range(2))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.latent, second.latent)
    assert first.gap == second.gap


def test_a_spent_budget_still_values_the_first_points(congested: Grid, make_proxy: Callable[..., Proxy]) -> None:
    problem = DcOpf(congested)
    best = attack_on(make_proxy(problem, 0), problem).run(OPTIONS, Budget(0.0))
    assert best is not None


def test_candidates_of_an_earlier_ratio_do_not_linger(congested: Grid, make_proxy: Callable[..., Proxy]) -> None:
    """As `verify` uses it for a relative gap: one attack, run again with a larger ratio."""
    problem = DcOpf(congested)
    proxy = make_proxy(problem, 0)
    attack = attack_on(proxy, problem)
    attack.run(OPTIONS, Budget(60.0))
    attack.best = None
    better: list[Candidate] = []
    attack.run(OPTIONS, Budget(60.0), 0.5, better.append)
    for candidate in [*better, *attack.found]:
        witness = replay(proxy, problem, attack.domain, candidate.latent)
        expected = witness.proxy_cost - 1.5 * witness.optimal_cost
        assert candidate.gap == pytest.approx(expected, rel=1e-6, abs=1e-6 * witness.optimal_cost)


@pytest.mark.parametrize("starts", [1, 3])
def test_few_starts_suffice(congested: Grid, make_proxy: Callable[..., Proxy], starts: int) -> None:
    problem = DcOpf(congested)
    best = attack_on(make_proxy(problem, 0), problem).run(replace(OPTIONS, starts=starts), Budget(60.0))
    assert best is not None


@pytest.mark.parametrize("factor", [0.9, 0.1], ids=["often", "always"])
def test_inputs_whose_problem_is_infeasible_are_passed_over(
    congested: Grid, make_proxy: Callable[..., Proxy], factor: float
) -> None:
    """Hard limits: the first points (centre and upper corner) have no feasible dispatch, others do, or none does."""
    grid = replace(congested, rating=congested.rating * factor, load=congested.load * 1.3)
    problem = DcOpf(grid, "hard")
    attack = attack_on(make_proxy(problem, 0), problem)
    function = attack.value_function
    feasible = [np.isfinite(function.value(w)) for w in attack.domain.sample(50, 0)]
    assert any(feasible) == (factor > 0.5)
    assert not np.isfinite(function.value(attack.domain.centre))
    best = attack.run(OPTIONS, Budget(60.0))
    assert (best is not None) == (factor > 0.5)


def test_a_witness_outside_the_domain_does_not_count(congested: Grid, make_proxy: Callable[..., Proxy]) -> None:
    problem = DcOpf(congested)
    proxy, domain = make_proxy(problem, 0), problem.domain(0.2)
    outside = domain.box.upper + 0.1
    witness = replay(proxy, problem, domain, outside)
    np.testing.assert_array_equal(witness.latent, domain.box.upper)
    assert is_sound(witness, domain)
    assert not is_sound(replace(witness, latent=outside), domain)
    assert not is_sound(replace(witness, infeasibility=1e-3), domain)
    x = torch.as_tensor(witness.input)[None]
    with torch.no_grad():
        cost = float(problem.objective(x, proxy(x))[0])
    assert witness.gap == pytest.approx(cost - problem.solve(witness.input)[0], rel=1e-9)
