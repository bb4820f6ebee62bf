"""Classifiers through the whole engine, against fine grids: signed gaps, thresholds, ties, witnesses, certificates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from problems.classification import Classification
from proxies.layers import Affine, Layer, Sign
from proxies.proxy import Proxy
from tests.proxies.classifiers import KINDS, classifier, margin, network, on_grid
from verifier import attack
from verifier.attack import AttackOptions
from verifier.bounds.over_domain import Method
from verifier.certificate import make_certificate, to_json
from verifier.certificate_schema import read_certificate
from verifier.checker import CheckOptions, check_certificate
from verifier.checks.finding import Standing
from verifier.options import OptionsError, VerifyOptions
from verifier.replay import cost_size
from verifier.result import Result, Termination, Verdict
from verifier.task import Task
from verifier.verify import verify

QUICK = VerifyOptions(attack=AttackOptions(starts=32, rounds=2), time_limit=60.0)
# Without an attack and with crude bounds, so that the search has to find everything.
SEARCHED = VerifyOptions(attack=AttackOptions(rounds=0), bounds="interval", rounds=1, time_limit=60.0)


def assert_replays(result: Result, proxy: Proxy, problem: Classification, u: float) -> None:
    witness = result.witness
    assert witness is not None
    box = problem.domain(u).box
    assert ((witness.input >= box.lower) & (witness.input <= box.upper)).all()
    with torch.no_grad():
        scores = proxy(torch.as_tensor(witness.input)[None]).numpy()
    assert witness.gap == margin(scores, problem.label)[0]
    # What is claimed holds in every order of summation.
    assert witness.gap - 1e-12 * np.abs(scores).max() <= result.lower <= witness.gap


@pytest.mark.parametrize("options", [QUICK, SEARCHED], ids=["usual", "search alone"])
@pytest.mark.parametrize("outputs", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_that_of_a_fine_grid(kind: str, outputs: int, options: VerifyOptions) -> None:
    for seed, u in ((0, 0.1), (1, 0.45)):
        for label in range(max(2, outputs)):
            proxy, problem = classifier(network(kind, outputs, seed), label)
            seen = on_grid(proxy, problem, u)
            result = verify(proxy, problem, problem.domain(u), options)
            assert result.upper >= seen - 1e-9
            assert (result.termination, result.verdict) == (Termination.OPTIMAL, Verdict.CERTIFIED)
            assert (
                result.lower <= result.upper <= result.lower + 1.1e-3 * max(abs(result.lower), abs(result.upper), 1e-2)
            )
            assert_replays(result, proxy, problem, u)
            decided = verify(proxy, problem, problem.domain(u), replace(options, threshold=0.0))
            right = Verdict.FALSIFIED if seen > 0 else Verdict.CERTIFIED
            assert (decided.termination, decided.verdict) == (Termination.THRESHOLD_DECIDED, right)
            if right is Verdict.FALSIFIED:
                assert decided.lower > 0
                assert_replays(decided, proxy, problem, u)


@cache
def robust(u: float) -> tuple[Proxy, Classification]:
    """A ReLU classifier whose label leads at every input."""
    for seed in range(100):
        proxy, problem = classifier(network("relu", 3, seed), 1)
        if on_grid(proxy, problem, u) < -0.5:
            return proxy, problem
    raise AssertionError


def test_a_negative_optimum_closes_with_both_bounds_negative() -> None:
    proxy, problem = robust(0.2)
    seen = on_grid(proxy, problem, 0.2)
    for options in (QUICK, SEARCHED, replace(QUICK, workers=2), replace(QUICK, tolerance=0.05)):
        result = verify(proxy, problem, problem.domain(0.2), options)
        assert result.termination is Termination.OPTIMAL
        assert seen - 1e-9 <= result.upper < 0
        assert result.upper * 1.06 <= result.lower <= result.upper
        assert result.closed <= options.tolerance


def test_a_threshold_may_be_negative() -> None:
    """The label leads by at least so much: asked a little below and above the true figure."""
    proxy, problem = robust(0.2)
    seen = on_grid(proxy, problem, 0.2)
    below, above = (
        verify(proxy, problem, problem.domain(0.2), replace(QUICK, threshold=seen + d)) for d in (-0.1, 0.1)
    )
    assert (below.verdict, above.verdict) == (Verdict.FALSIFIED, Verdict.CERTIFIED)
    assert below.lower > seen - 0.1
    assert above.upper <= seen + 0.1


def test_bounds_alone_certify_without_a_search() -> None:
    proxy, problem = robust(0.05)
    result = verify(proxy, problem, problem.domain(0.05), replace(QUICK, threshold=0.0))
    assert result.verdict is Verdict.CERTIFIED
    assert (result.parts, result.nodes, result.lps) == (0, 0, 0)


def test_a_sample_alone_is_its_own_margin() -> None:
    for kind in KINDS:
        proxy, problem = classifier(network(kind, 4, 5), 3)
        result = verify(proxy, problem, problem.domain(0.0), QUICK)
        assert result.termination is Termination.OPTIMAL
        assert result.lower == pytest.approx(on_grid(proxy, problem, 0.0), abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_exact_ties_are_never_called_an_error_and_never_hang(seed: int) -> None:
    """Scores that are whole numbers tie at many inputs. A tie counts as right; rounding may leave it undecided."""
    proxy, problem = classifier(network("sign", 3, seed, whole=True), 0)
    seen = on_grid(proxy, problem, 0.4)
    result = verify(proxy, problem, problem.domain(0.4), replace(QUICK, threshold=0.0, time_limit=30.0))
    assert result.termination is not Termination.TIME_LIMIT
    assert result.upper >= seen
    if seen > 0:
        assert result.verdict is Verdict.FALSIFIED
    elif seen < 0:
        assert result.verdict is Verdict.CERTIFIED
    else:
        assert result.verdict in (Verdict.CERTIFIED, Verdict.BOUNDED)
    above = verify(proxy, problem, problem.domain(0.4), replace(QUICK, threshold=1e-3, time_limit=30.0))
    assert above.verdict is (Verdict.FALSIFIED if seen > 0 else Verdict.CERTIFIED)


def test_a_tie_at_the_threshold_is_said_to_be_one() -> None:
    """Two equal scores of opposite rounding: the largest margin is 0, and bounds rounded outward are a hair above."""
    weight = torch.tensor([[0.1, 0.7], [0.1, 0.7]], dtype=torch.float64)
    layers: list[Layer] = [
        Affine(weight, torch.full((2,), 0.3).double()),
        Sign(),
        Affine(weight, torch.zeros(2).double()),
    ]
    proxy, problem = classifier(layers)
    result = verify(proxy, problem, problem.domain(0.3), replace(QUICK, threshold=0.0))
    assert abs(result.lower) <= 1e-6
    assert 0 <= result.upper <= 1e-4
    assert (result.termination, result.verdict) == (Termination.OPTIMAL, Verdict.BOUNDED)
    assert any("of the threshold 0: a solver's tolerances" in note for note in result.notes)


@pytest.mark.parametrize("seed", range(4))
def test_a_threshold_that_is_exceeded_by_a_hair_is_never_certified(seed: int) -> None:
    proxy, problem = classifier(network("relu", 4, seed))
    domain, quiet = problem.domain(0.3), replace(QUICK, attack=AttackOptions(rounds=0))
    largest = verify(proxy, problem, domain, quiet).lower
    asked = replace(quiet, threshold=largest - 1e-7)
    assert verify(proxy, problem, domain, asked).verdict in (Verdict.FALSIFIED, Verdict.BOUNDED)


def test_stopped_at_once_it_still_knows_a_margin_on_both_sides() -> None:
    proxy, problem = classifier(network("relu", 4, 2))
    result = verify(proxy, problem, problem.domain(0.3), QUICK, should_stop=lambda: True)
    centre = on_grid(proxy, problem, 0.0)
    assert result.termination is Termination.CANCELLED
    assert result.lower >= centre - 1e-12
    assert result.lower < result.upper < np.inf


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (lambda: replace(QUICK, measure="relative"), "no optimal value"),
        (lambda: replace(QUICK, formulation="bilevel"), "bilevel"),
    ],
)
def test_what_a_margin_does_not_have_is_refused(options: Callable[[], VerifyOptions], says: str) -> None:
    proxy, problem = classifier(network("relu", 2, 0))
    with pytest.raises(OptionsError, match=says):
        verify(proxy, problem, problem.domain(0.1), options())


def test_goals_and_closed_intervals_of_signed_gaps() -> None:
    proxy, problem = classifier(network("relu", 2, 0))
    task = Task(proxy, problem, problem.domain(0.1), replace(QUICK, tolerance=0.01))
    assert task.goal(-np.inf) == -np.inf
    for lower in (-100.0, -1e-9, 0.0, 1e-9, 100.0):
        goal = task.goal(lower)
        assert goal > lower
        assert task.closed(lower, goal)
        assert not task.closed(lower, lower + max(0.011 * abs(lower), 2 * task.least_goal))
    assert not task.closed(-np.inf, 1.0)
    assert not task.closed(0.0, np.inf)


def findings(certificate: dict, proxy: Proxy, problem: Classification) -> list[str]:
    told, options = read_certificate(to_json(certificate)), CheckOptions(samples=300, attack_seconds=1)
    found = check_certificate(told, proxy, problem, options).findings
    return [finding.claim for finding in found if finding.standing is Standing.FAILS]


def test_a_certificate_holds_and_a_forged_one_does_not() -> None:
    proxy, problem = robust(0.2)
    result = verify(proxy, problem, problem.domain(0.2), QUICK)
    certificate = make_certificate(result, proxy, problem, problem.domain(0.2), 0.2, QUICK)
    assert "So every such input is classified as class 1" in certificate["claim"]["statement"]
    assert findings(certificate, proxy, problem) == []
    forgeries: list[dict] = [
        {"claim": {"lower": result.lower * 1.01}},
        {"claim": {"upper": result.upper - 3.0}},
        {"claim": {"upper": 1.0}},
        {"problem": {"label": 0}},
        {"problem": {"centre": [0.0, 0.0]}},
        {"domain": {"u": 0.3}},
        {"witness": None},
    ]
    for forged in forgeries:
        (part, change), told = next(iter(forged.items())), dict(certificate)
        told[part] = change if change is None else {**certificate[part], **change}
        assert findings(told, proxy, problem) != [], forged
    _, other = classifier(network("relu", 3, 0), 2)
    assert findings(certificate, proxy, other) != []


def test_nothing_attained_is_null_in_a_certificate() -> None:
    proxy, problem = robust(0.2)
    result = verify(proxy, problem, problem.domain(0.2), QUICK)
    ended = Termination.TIME_LIMIT
    nothing = replace(result, lower=-np.inf, upper=np.inf, witness=None, verdict=Verdict.UNKNOWN, termination=ended)
    certificate = make_certificate(nothing, proxy, problem, problem.domain(0.2), 0.2, QUICK)
    assert certificate["claim"]["lower"] is None
    assert findings(certificate, proxy, problem) == []


@pytest.mark.parametrize("bounds", ["interval", "crown", "alpha"])
def test_scores_that_are_all_0_raise_no_doubt(bounds: Method) -> None:
    """At the worst input all scores are sums of signs that cancel: rounding is no share of 0."""
    weight = torch.tensor([[1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    first = Affine(torch.eye(2, dtype=torch.float64), torch.full((2,), 2.0, dtype=torch.float64))
    proxy, problem = classifier([first, Sign(), Affine(weight, torch.zeros(3, dtype=torch.float64))])
    result = verify(proxy, problem, problem.domain(0.1), replace(QUICK, bounds=bounds))
    assert (result.lower, result.notes) == (0.0, ())
    assert result.verdict is Verdict.CERTIFIED
    witness = result.witness
    assert witness is not None
    assert cost_size(problem, witness) > 0


def test_the_attack_ends_with_the_first_input_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, problem = classifier(network("relu", 3, 0), 2)
    assert on_grid(proxy, problem, 0.45) > 0.5
    climbs: list[int] = []
    climb = attack._Climb.by_signs

    def counted(*given: Any) -> Any:
        climbs.append(1)
        return climb(*given)

    monkeypatch.setattr(attack._Climb, "by_signs", counted)
    alone = replace(QUICK, most_parts=0, attack=AttackOptions(starts=32, rounds=5, patience=5))
    verify(proxy, problem, problem.domain(0.45), alone)
    usual = len(climbs)
    climbs.clear()
    assert verify(proxy, problem, problem.domain(0.45), replace(alone, threshold=0.0)).verdict is Verdict.FALSIFIED
    assert len(climbs) <= 1 < usual
