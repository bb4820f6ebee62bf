"""The judge itself: brute force meets known optima, exact arithmetic meets the forward pass, and faults are seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.soundness.exact import exact_decision, exact_gap
from benchmarks.soundness.instances import instance
from benchmarks.soundness.judge import Report, judge_instance, violations
from benchmarks.soundness.values import Subsets, Vertices
from proxies.layers import Relu
from solvers.errors import CertigapError
from tests.soundness.posed import affine, ask, classifier
from verifier.result import Result, Verdict
from verifier.verify import verify


def drawn(family: str, count: int, start: int = 5000):
    """Return the first instances of a family."""
    found = []
    for seed in range(start, start + 50 * count):
        try:
            one = instance(seed)
        except CertigapError:
            continue
        if one.family == family and np.isfinite(one.found.best):
            found.append(one)
        if len(found) == count:
            break
    return found


def test_an_instance_is_that_of_its_seed() -> None:
    for seed in range(20):
        try:
            first, again = instance(seed), instance(seed)
        except CertigapError:
            continue
        assert first.proxy.fingerprint() == again.proxy.fingerprint()
        assert first.domain.fingerprint() == again.domain.fingerprint()
        assert (first.options, first.interrupted, first.description) == (
            again.options,
            again.interrupted,
            again.description,
        )
        assert first.found.latents.tolist() == again.found.latents.tolist()


@pytest.mark.parametrize("family", ["dcopf", "knapsack"])
def test_optimal_values_are_those_of_the_exact_solves(family: str) -> None:
    for one in drawn(family, 15):
        values = one.gaps.values
        assert isinstance(values, (Vertices, Subsets))
        x = one.domain.to_input(np.vstack([one.domain.sample(3, 1), one.found.latents[:2]]))
        optima = values.optima(x)
        for point, optimum in zip(x, optima):
            expected = one.problem.solve(point)[0]
            assert optimum == pytest.approx(expected, rel=1e-6, abs=1e-6 * one.problem.objective_scale)


@pytest.mark.parametrize("family", ["classification", "dcopf", "knapsack"])
def test_exact_arithmetic_is_the_forward_pass_but_for_rounding(family: str) -> None:
    near = []
    for one in drawn(family, 12):
        w = one.domain.sample(2, 3)
        for x in one.domain.to_input(w):
            with torch.no_grad():
                decision = one.proxy(torch.as_tensor(x)[None])[0].numpy()
            exact = np.array([float(v) for v in exact_decision(one.proxy, [*map(_fraction, x)])])
            near.append(np.allclose(decision, exact, rtol=1e-5, atol=1e-7 * (1 + np.abs(exact).max())))
            gap, size = one.gaps.at_inputs(x[None])
            if near[-1] and np.isfinite(gap[0]):
                told = float(exact_gap(one.proxy, one.problem, x)[0])
                if one.options.measure == "absolute":
                    assert gap[0] == pytest.approx(told, rel=1e-4, abs=1e-4 * size[0] + 1e-300)
    # Where a switch is decided by rounding the two may differ altogether.
    assert np.mean(near) > 0.8


def _fraction(value: float):
    from fractions import Fraction

    return Fraction(float(value))


def answered() -> tuple:
    """Return a question and its right answer: the gap is |t| - 1/2 for t in [-1, 1]."""
    layers = [affine([[1.0], [-1.0]], [0, 0]), Relu(), affine([[0, 0], [1.0, 1.0]], [0.5, 0])]
    return ask(classifier(layers, [0.0], lower=[-1.0], upper=[1.0]), 0.5)


def kinds(given, result: Result) -> set[str]:
    return {violation.kind for violation in violations(given, result)}


def test_brute_force_finds_the_worst_input_of_a_simple_network() -> None:
    given, result = answered()
    assert given.found.best == result.lower == 0.5
    assert not kinds(given, result)


def test_every_fault_is_seen() -> None:
    given, result = answered()
    witness = result.witness
    assert kinds(given, replace(result, upper=0.4, lower=0.3)) == {"upper exceeded"}
    assert kinds(given, replace(result, lower=0.7, upper=0.8)) == {
        "witness not attained in batches and exact arithmetic"
    }
    outside = replace(witness, latent=witness.latent * 1.1, input=witness.input * 1.1)
    assert kinds(given, replace(result, witness=outside)) == {"witness outside"}
    assert kinds(given, replace(result, witness=replace(witness, input=0.9 * witness.input))) >= {"witness outside"}
    assert kinds(given, replace(result, upper=np.inf)) == {"verdict"}
    assert kinds(given, replace(result, verdict=Verdict.FALSIFIED)) == {"verdict"}
    assert kinds(given, replace(result, lower=np.nan)) == {"NaN"}
    assert kinds(given, replace(result, lower=1.0)) == {"lower above upper"}
    assert kinds(given, replace(result, witness=None)) == {"verdict"}


def test_a_crash_is_a_violation_and_a_refusal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    given, _ = answered()

    def fails(*_: object, **__: object) -> Result:
        raise ZeroDivisionError("nobody expected this")

    def refuses(*_: object, **__: object) -> Result:
        raise CertigapError("not this one")

    monkeypatch.setattr("benchmarks.soundness.judge.verify", fails)
    told = judge_instance(given, Report(0))
    assert [violation.kind for violation in told.violations] == ["exception"]
    monkeypatch.setattr("benchmarks.soundness.judge.verify", refuses)
    told = judge_instance(given, Report(0))
    assert (told.violations, told.outcome) == ([], "refused")
    assert verify is not refuses
