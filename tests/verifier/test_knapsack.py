"""Knapsack through the whole engine: every way of asking agrees with looking everywhere, and witnesses replay."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Literal

import numpy as np
import pytest
import torch

from encoding.bounds import inner_key, input_key
from encoding.layers import Style
from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack
from proxies.layers.sort_repair import Greedy, pairs
from proxies.proxy import latent_layers
from tests.encodings.test_knapsack import WAYS, gaps, looked_everywhere, narrowed, random_proxy
from tests.shipped import shipped
from verifier.attack import Attack, AttackOptions
from verifier.bounds.over_domain import proxy_bounds
from verifier.budget import Budget
from verifier.known_values import KnownDecisions, known_values
from verifier.options import OptionsError, VerifyOptions
from verifier.polish import Polisher
from verifier.replay import replay
from verifier.result import Result, Termination, Verdict
from verifier.sampling import sampled_gaps
from verifier.task import Task
from verifier.verify import verify

CLIMB = AttackOptions(starts=32, rounds=2, seconds=20.0)
QUICK = VerifyOptions(attack=CLIMB, rounds=1, time_limit=300.0)


def assert_replays(result: Result, problem: Knapsack, relative: bool = False) -> None:
    """The witness's numbers follow from its input alone, by the other exact solver."""
    witness = result.witness
    assert witness is not None
    value, _ = problem.solve_by_milp(witness.input)
    gap = witness.proxy_cost - value
    assert result.lower == pytest.approx(gap / abs(value) if relative else gap, rel=1e-9)
    assert problem.weights @ witness.decision <= witness.input[-1]


@pytest.mark.parametrize("seed", range(3))
def test_the_inputs_valued_first_are_better_than_as_many_hundreds_of_random_ones(seed: int) -> None:
    problem = random_knapsack(20, seed)
    domain, proxy = problem.domain(0.2), random_proxy(problem, seed, "prefix")
    attack = Attack(latent_layers(proxy, domain), problem, domain, known_values(problem, domain))
    best = attack.run(AttackOptions(rounds=0, starts=2, seconds=60.0), Budget(60.0))
    assert best is not None
    assert best.gap >= sampled_gaps(proxy, problem, domain, 400, seed=9).max()
    # What was ranked guides no climb, but a polish may begin there.
    assert attack.found[0].gap == best.gap


@pytest.mark.parametrize(("style", "greedy"), WAYS)
@pytest.mark.parametrize("seed", range(2))
def test_the_answer_is_that_of_looking_everywhere(style: Style, greedy: Greedy, seed: int) -> None:
    problem = random_knapsack(6, seed, largest=9)
    domain = narrowed(problem.domain(0.3), [0, 3, 6])
    proxy = random_proxy(problem, seed, greedy)
    expected = looked_everywhere(proxy, problem, domain, [0, 3, 6])
    result = verify(proxy, problem, domain, replace(QUICK, style=style))
    assert result.termination is Termination.OPTIMAL
    assert result.verdict is Verdict.CERTIFIED
    assert result.lower <= expected * (1 + 2e-3) + 2e-3
    assert result.upper >= expected - 1e-6
    assert_replays(result, problem)


@pytest.mark.parametrize("greedy", ["prefix", "skip"])
def test_the_search_gives_what_one_model_gives(greedy: Greedy) -> None:
    """Effort 1: the MILP solver gives up at once, and the domain is split until parts are settled."""
    problem = random_knapsack(4, 3, largest=9)
    proxy, domain = random_proxy(problem, 3, greedy), problem.domain(0.2)
    whole = verify(proxy, problem, domain, replace(QUICK, split=False))
    parts = verify(proxy, problem, domain, replace(QUICK, effort=1, rounds=0, workers=2))
    for result in (whole, parts):
        assert result.verdict is Verdict.CERTIFIED
        assert result.lower <= min(whole.upper, parts.upper)
        assert_replays(result, problem)


def test_a_relative_gap_is_a_share_of_the_best_value() -> None:
    problem = random_knapsack(6, 1, largest=20)
    proxy, domain = random_proxy(problem, 1), problem.domain(0.2)
    result = verify(proxy, problem, domain, replace(QUICK, measure="relative"))
    assert result.verdict is Verdict.CERTIFIED
    assert result.unit == "1"
    assert_replays(result, problem, relative=True)
    sampled = sampled_gaps(proxy, problem, domain, 2000, relative=True)
    assert 0 < sampled.max() <= result.upper <= 1.01
    low, high = problem.value_range(domain)
    values = [problem.solve(domain.to_input(w))[0] for w in [*domain.sample(200, 0), *domain.corners(200, 0)]]
    assert low <= min(values) <= max(values) <= high < 0


def test_a_relative_gap_of_nothing_is_refused() -> None:
    problem = Knapsack("too small", np.array([3.0, 4.0]), np.array([5, 6]), 2.0)
    with pytest.raises(OptionsError, match="absolute"):
        verify(random_proxy(problem, 0), problem, problem.domain(0.1), replace(QUICK, measure="relative"))


def test_a_threshold_is_decided_on_either_side() -> None:
    problem = random_knapsack(6, 2, largest=20)
    proxy, domain = random_proxy(problem, 2), problem.domain(0.2)
    largest = verify(proxy, problem, domain, QUICK)
    below = verify(proxy, problem, domain, replace(QUICK, threshold=0.9 * largest.lower))
    above = verify(proxy, problem, domain, replace(QUICK, threshold=1.1 * largest.upper))
    assert below.verdict is Verdict.FALSIFIED
    assert above.verdict is Verdict.CERTIFIED
    assert above.upper <= 1.1 * largest.upper


@pytest.mark.parametrize("u", [0.01, 0.2])
def test_both_styles_agree_on_ten_items(u: float) -> None:
    loaded = shipped("knapsack-10")
    domain = loaded.problem.domain(u)
    styles: tuple[Style, ...] = ("sign", "paper")
    results = [verify(loaded.proxy, loaded.problem, domain, replace(QUICK, style=style)) for style in styles]
    for result in results:
        assert isinstance(loaded.problem, Knapsack)
        assert result.verdict is Verdict.CERTIFIED
        assert result.lower <= min(other.upper for other in results)
        assert_replays(result, loaded.problem)


def test_a_capacity_that_is_just_whole_is_a_witness_that_replays() -> None:
    """Two items, one fits: the proxy takes the wrong one exactly where the capacity reaches 3."""
    problem = Knapsack("edge", np.array([1.0, 10.0]), np.array([1, 3]), 3.0)
    proxy = random_proxy(problem, 0)
    result = verify(proxy, problem, problem.domain(0.0), QUICK)
    expected = gaps(proxy, problem, problem.domain(0.0), problem.domain(0.0).centre[None])[0]
    assert result.lower == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_attack_beats_random_sampling(seed: int) -> None:
    problem = random_knapsack(12, seed)
    proxy, domain = random_proxy(problem, seed, hidden=8), problem.domain(0.2)
    known = known_values(problem, domain)
    assert isinstance(known, KnownDecisions)
    best = Attack(latent_layers(proxy, domain), problem, domain, known).run(replace(CLIMB, rounds=4), Budget(60.0))
    assert best is not None
    assert best.gap >= sampled_gaps(proxy, problem, domain, 200).max()
    assert replay(proxy, problem, domain, best.latent).gap == pytest.approx(best.gap, rel=1e-9)


@pytest.mark.parametrize("method", ["interval", "crown", "alpha"])
def test_score_differences_hold_every_sample_and_settle_more_than_the_scores_alone(method: str) -> None:
    problem = random_knapsack(8, 0)
    domain = problem.domain(0.05)
    layers = latent_layers(random_proxy(problem, 0), domain)
    bounds = proxy_bounds(layers, problem, domain, method)  # type: ignore[arg-type]
    last = len(layers) - 1
    first, second = (index.numpy() for index in pairs(8))
    h = torch.as_tensor(domain.sample(500, 1))
    with torch.no_grad():
        for layer in layers[:-1]:
            h = layer(h, h)
    difference = (h[:, first] - h[:, second]).numpy()
    found, alone = bounds[inner_key(last)], bounds[input_key(last)]
    assert (difference >= found.lower - 1e-12).all()
    assert (difference <= found.upper + 1e-12).all()
    apart = (alone.lower[first] > alone.upper[second]) | (alone.upper[first] < alone.lower[second])
    settled = (found.lower >= 0) | (found.upper < 0)
    assert (settled | ~apart).all()
    if method == "crown":
        assert settled.sum() > apart.sum()


def test_brute_force_over_all_corners_and_a_fine_grid_never_exceeds_the_bound() -> None:
    for seed, greedy in product(range(2), ("prefix", "skip")):
        problem = random_knapsack(4, 20 + seed, largest=9)
        proxy, domain = random_proxy(problem, seed, greedy), problem.domain(0.25)  # type: ignore[arg-type]
        result = verify(proxy, problem, domain, QUICK)
        axes = [np.linspace(low, high, 9) for low, high in zip(domain.box.lower, domain.box.upper)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 5)
        assert gaps(proxy, problem, domain, grid).max() <= result.upper + 1e-9


@pytest.mark.parametrize(("measure", "goal"), [("absolute", 0.0), ("relative", 0.25)])
def test_the_polisher_prices_an_input_as_its_replay_does(measure: Literal["absolute", "relative"], goal: float) -> None:
    """Also where the capacity takes many whole values, and with the ratio of a value that is negative."""
    problem = random_knapsack(5, 0, largest=9)
    proxy, domain = random_proxy(problem, 0), problem.domain(0.2)
    task = Task(proxy, problem, domain, replace(QUICK, measure=measure), problem.value_range(domain))
    polisher = Polisher(task, proxy_bounds(task.layers, problem, domain), goal, set())
    try:
        for latent in domain.sample(3, 3):
            witness = replay(proxy, problem, domain, latent)
            expected = witness.gap - (goal * abs(witness.optimal_cost) if measure == "relative" else 0.0)
            assert polisher.value_at(latent, Budget(60.0)) == pytest.approx(expected, rel=1e-6)
            better = polisher.improve(latent, Budget(5.0))
            assert better is not None
            assert better.gap >= expected - 1e-6
    finally:
        polisher.close()


def test_a_single_input_is_solved_and_never_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halving a point makes no part smaller: a large model of one must go to the MILP solver."""
    monkeypatch.setattr("verifier.node.FEW_BINARIES", 0)
    problem = random_knapsack(12, 3)
    proxy, domain = random_proxy(problem, 3), problem.domain(0.0)
    result = verify(proxy, problem, domain, replace(QUICK, rounds=0, time_limit=10.0))
    assert result.verdict is Verdict.CERTIFIED
    assert result.parts == 1
    assert result.lower == pytest.approx(gaps(proxy, problem, domain, domain.centre[None])[0], abs=1e-9)


def test_a_proxy_without_a_gap_closes_although_a_solver_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Task.claim
    monkeypatch.setattr(Task, "claim", lambda self, value, goal: claim(self, value, goal) * (1 + 1e-9))
    problem = Knapsack("one way", np.array([9.0, 1.0]), np.array([2, 3]), 2.5)
    proxy, domain = random_proxy(problem, 0, "skip"), problem.domain(0.1)
    result = verify(proxy, problem, domain, replace(QUICK, use_cutoff=False, time_limit=10.0))
    assert result.termination is Termination.OPTIMAL
    # What a solver's tolerances may hide, twice: a share of the largest value.
    assert 0 == result.lower <= result.upper <= 2.1e-5 * 9


def test_a_relative_gap_where_the_least_capacity_just_suffices() -> None:
    """The only item fits at every input, so the best value is never 0."""
    problem = Knapsack("just", np.array([4.0]), np.array([9]), 10.0)
    domain = problem.domain(0.1)
    assert domain.box.lower[-1] == 9
    assert problem.value_range(domain) == pytest.approx((-4.4, -3.6))
    result = verify(random_proxy(problem, 0), problem, domain, replace(QUICK, measure="relative"))
    assert result.verdict is Verdict.CERTIFIED


def test_where_nothing_fits_there_is_no_gap_and_no_relative_one() -> None:
    problem = Knapsack("too small", np.array([3.0, 4.0]), np.array([5, 6]), 2.0)
    proxy, domain = random_proxy(problem, 0), problem.domain(0.1)
    result = verify(proxy, problem, domain, QUICK)
    assert f"{result.lower:g} {result.upper:g}" == "0 0"
    assert (sampled_gaps(proxy, problem, domain, 20) == 0).all()
    assert sampled_gaps(proxy, problem, domain, 20, relative=True).size == 0
