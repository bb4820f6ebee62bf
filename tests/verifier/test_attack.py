"""Every candidate of the attack is a point of the domain whose gap an independent replay confirms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from problems.dcopf import DcOpf
from problems.grid import Grid
from proxies.proxy import Proxy, latent_layers
from verifier.attack import Attack, AttackOptions, Candidate, _Climb
from verifier.budget import Budget
from verifier.cut_store import CutStore, CutStoreError
from verifier.known_values import KnownTangents, known_values
from verifier.paper_attack import paper_climb
from verifier.replay import ULPS, is_sound, replay
from verifier.sampling import sampled_gaps
from verifier.value_function import ValueFunction

OPTIONS = AttackOptions(starts=32, rounds=3, steps=15, exact=6, seconds=60.0)
GRIDS = ["congested", "case5", "short_of_power"]


def attack_on(proxy: Proxy, problem: DcOpf, u: float = 0.2) -> Attack:
    domain = problem.domain(u)
    return Attack(latent_layers(proxy, domain), problem, domain, known_values(problem, domain))


@pytest.mark.parametrize("ratio", [0.0, 0.3])
@pytest.mark.parametrize("changes", [{}, {"regions": 3}, {"style": "paper", "paper_cuts": 100}], ids=str)
@pytest.mark.parametrize("name", GRIDS)
def test_candidates_replay_and_lie_in_the_domain(
    request: pytest.FixtureRequest, make_proxy: Callable[..., Proxy], name: str, changes: dict, ratio: float
) -> None:
    problem = DcOpf(request.getfixturevalue(name))
    proxy = make_proxy(problem, 3)
    attack = attack_on(proxy, problem)
    seen: list[Candidate] = []
    valued = attack._value
    attack._value = lambda *a, **k: seen.extend(found := valued(*a, **k)) or found  # type: ignore[method-assign]
    better: list[Candidate] = []
    best = attack.run(replace(OPTIONS, **changes), Budget(60.0), ratio, better.append)
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
        assert float(attack.known.cuts(w)) <= value * (1 + 1e-8)


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


@pytest.mark.parametrize("style", ["ours", "paper"])
def test_the_same_seed_finds_the_same_with_any_number_of_workers(
    congested: Grid, make_proxy: Callable[..., Proxy], style: Literal["ours", "paper"]
) -> None:
    problem = DcOpf(congested)
    proxy, domain = make_proxy(problem, 0), problem.domain(0.2)
    attacks = [
        Attack(latent_layers(proxy, domain), problem, domain, known_values(problem, domain), workers=n) for n in (1, 3)
    ]
    options = replace(OPTIONS, style=style, paper_cuts=100)
    first, second = (attack.run(options, Budget(60.0)) for attack in attacks)
    assert attacks[0].known.cuts.to_npz() == attacks[1].known.cuts.to_npz()
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.latent, second.latent)
    assert first.gap == second.gap


def test_a_spent_budget_still_values_the_first_points(congested: Grid, make_proxy: Callable[..., Proxy]) -> None:
    problem = DcOpf(congested)
    best = attack_on(make_proxy(problem, 0), problem).run(OPTIONS, Budget(0.0))
    assert best is not None


def test_known_tangents_are_used_and_left_as_they_are(congested: Grid, make_proxy: Callable[..., Proxy]) -> None:
    problem = DcOpf(congested)
    proxy, domain = make_proxy(problem, 0), problem.domain(0.2)
    function = ValueFunction(problem, domain)
    known = CutStore(problem, domain)
    known.add(cut for cut in function.cuts(domain.sample(50, 5)) if cut is not None)
    count = len(known)
    attack = Attack(latent_layers(proxy, domain), problem, domain, mine := known_values(problem, domain, known))
    assert len(mine) == count
    attack.run(OPTIONS, Budget(60.0))
    assert len(known) == count <= len(mine)
    assert isinstance(mine, KnownTangents)
    np.testing.assert_array_equal(mine.cuts.affine()[1][:count], known.affine()[1])
    other = DcOpf(congested, price=20.0)
    with pytest.raises(CutStoreError):
        known_values(other, domain, known)


@pytest.mark.parametrize(("name", "u"), [("congested", 0.2), ("short_of_power", 0.4)])
def test_every_start_stays_in_its_own_region(
    request: pytest.FixtureRequest, make_proxy: Callable[..., Proxy], name: str, u: float
) -> None:
    """With a cut through the domain too: regions that it leaves empty are left out."""
    problem = DcOpf(request.getfixturevalue(name))
    attack = attack_on(make_proxy(problem, 1), problem, u)
    attack.run(replace(OPTIONS, rounds=1), Budget(60.0))
    parts = attack._parts(5)
    box = attack.domain.box
    assert len(parts) == 5 if name == "congested" else 1 < len(parts) < 5
    assert all(part.box.width[0] == pytest.approx(box.width[0] / 5) for part in parts)
    assert all((part.box.width[1:] == box.width[1:]).all() for part in parts)
    starts = [part.sample(4, 0) for part in parts]
    climb = _Climb(attack, parts, [4] * len(parts), 0.0)
    points = torch.as_tensor(np.concatenate(starts))
    ours = climb.by_signs(climb.surrogate, points.numpy(), OPTIONS, Budget(60.0))[0]
    paper = paper_climb(climb.surrogate, climb.project, points, torch.as_tensor(box.width), Budget(60.0))[0].numpy()
    for climbed in (ours, paper):
        for k, w in enumerate(climbed):
            assert parts[k // 4].contains(w, 1e-12)


def test_the_papers_schedule_is_kept_to_the_letter() -> None:
    """On the objective -|w|: steps shrink after 10 iterations without improvement, a start ends after 20 of them."""
    asked: list[np.ndarray] = []

    def objective(w: torch.Tensor) -> torch.Tensor:
        asked.append(w.detach().numpy().copy())
        return -w.abs().sum(-1)

    def project(w: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        return w.clamp(-1.0, 1.0)

    starts = torch.tensor([[0.0625], [0.95]], dtype=torch.float64)
    width = torch.tensor([2.0], dtype=torch.float64)
    best_w, best = paper_climb(objective, project, starts, width, Budget(60.0), 0.125)
    steps = np.abs(np.diff([w[0, 0] for w in asked if len(w) == 2]))
    # The first start jumps about 0, where steps of 0.25 never improve: ten of those, then steps of 0.025.
    np.testing.assert_array_equal(steps[:10], 0.25)
    np.testing.assert_allclose(steps[10:12], 0.025)
    assert (np.abs(best_w.numpy()) <= np.abs(starts.numpy())).all()
    np.testing.assert_array_equal(best.numpy(), -np.abs(best_w.numpy()[:, 0]))
    assert len(asked) <= 501
    assert np.abs(np.concatenate(asked)).max() <= 1.0

    flat: list[int] = []

    def constant(w: torch.Tensor) -> torch.Tensor:
        flat.append(len(w))
        return 0.0 * w.sum(-1)

    paper_climb(constant, project, starts, width, Budget(60.0), 0.125)
    assert flat == [2] * 21

    def rising(w: torch.Tensor) -> torch.Tensor:
        flat.append(len(w))
        return w.sum(-1)

    flat.clear()
    paper_climb(rising, lambda w, which: w, starts, width, Budget(60.0), 0.125)
    assert flat == [2] * 501


def test_the_papers_style_adds_no_tangents_on_the_way(congested: Grid, make_proxy: Callable[..., Proxy]) -> None:
    problem = DcOpf(congested)
    attack = attack_on(make_proxy(problem, 0), problem)
    options = replace(OPTIONS, style="paper", paper_cuts=150)
    attack.run(options, Budget(60.0))
    expected = CutStore(problem, attack.domain)
    sampled = ValueFunction(problem, attack.domain).cuts(attack.domain.sample(150, OPTIONS.seed))
    expected.add(cut for cut in sampled if cut is not None)
    assert attack.known.cuts.to_npz() == expected.to_npz()
    solves = attack.known.function.solves
    assert solves <= 150 + OPTIONS.exact
    attack.run(options, Budget(60.0), 0.2)
    assert attack.known.function.solves <= solves + OPTIONS.exact
    assert attack.known.cuts.to_npz() == expected.to_npz()


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
    function = attack.known.function
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
