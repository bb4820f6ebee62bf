"""The checker: an honest certificate passes, and every tampered one fails where it was tampered with."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from problems.domain import Domain
from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack
from proxies.knapsack import knapsack_manifest, knapsack_proxy
from proxies.layers import Affine, Relu
from proxies.proxy import Proxy
from verifier.attack import AttackOptions
from verifier.certificate import make_certificate, to_json
from verifier.checker import CertificateError, Finding, Standing, check_certificate
from verifier.options import OptionsError, VerifyOptions
from verifier.result import Verdict
from verifier.verify import verify

U = 0.2
OPTIONS = VerifyOptions(attack=AttackOptions(rounds=2, seconds=3), time_limit=60)


@pytest.fixture(scope="module")
def problem() -> Knapsack:
    return random_knapsack(6, 1)


@pytest.fixture(scope="module")
def domain(problem: Knapsack) -> Domain:
    return problem.domain(U)


@pytest.fixture(scope="module")
def proxy(problem: Knapsack) -> Proxy:
    draw = torch.Generator().manual_seed(3)
    weights = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((5, 7), (6, 5))]
    layers = [Affine(weights[0], torch.zeros(5).double()), Relu(), Affine(weights[1], torch.zeros(6).double())]
    return knapsack_proxy(layers, knapsack_manifest(problem), problem)


@pytest.fixture(scope="module")
def certificate(proxy: Proxy, problem: Knapsack, domain: Domain) -> dict[str, Any]:
    result = verify(proxy, problem, domain, OPTIONS)
    assert result.verdict is Verdict.CERTIFIED
    assert result.lower > 0
    return json.loads(to_json(make_certificate(result, proxy, problem, domain, U, OPTIONS)))


Check = Callable[[dict[str, Any]], list[Finding]]


@pytest.fixture
def check(proxy: Proxy, problem: Knapsack, domain: Domain) -> Check:
    return lambda data: check_certificate(data, proxy, problem, domain, samples=50)


def test_an_honest_certificate_holds_and_names_what_is_trusted(certificate: dict[str, Any], check: Check) -> None:
    findings = check(certificate)
    assert {finding.standing for finding in findings} == {Standing.HOLDS, Standing.TRUSTED}
    assert any("dual bound of highs" in finding.claim for finding in findings if finding.standing is Standing.TRUSTED)


@pytest.mark.parametrize("measure", ["absolute", "relative"])
def test_a_certificate_without_a_witness_holds(
    measure: str, proxy: Proxy, problem: Knapsack, domain: Domain, check: Check
) -> None:
    options = VerifyOptions(measure=measure, attack=AttackOptions(rounds=0), time_limit=1e-6)  # type: ignore[arg-type]
    result = verify(proxy, problem, domain, options)
    assert result.witness is None
    data = json.loads(to_json(make_certificate(result, proxy, problem, domain, U, options)))
    assert all(finding.standing is not Standing.FAILS for finding in check(data))


@pytest.mark.parametrize(
    ("path", "value", "claim"),
    [
        (("proxy", "fingerprint"), "0" * 64, "this proxy"),
        (("problem", "fingerprint"), "0" * 64, "this problem"),
        (("domain", "fingerprint"), "0" * 64, "this domain"),
        (("problem", "capacity"), 1.0, "words"),
        (("problem", "weights"), [1, 1, 1, 1, 1, 1], "words"),
        (("claim", "statement"), "The gap never exceeds 1 value.", "words"),
        (("claim", "unit"), "$/h", "words"),
        (("claim", "lower"), lambda lower: 1.01 * lower, "attained"),
        (("claim", "lower"), 0.0, "attained"),
        (("claim", "upper"), lambda upper: 0.5 * upper, "upper bound"),
        (("witness", "latent"), lambda latent: [2 * latent[0], *latent[1:]], "lies in the domain"),
        (("witness", "decision"), lambda y: [1 - y[0], *y[1:]], "its own"),
        (("witness", "optimal_cost"), lambda cost: 1.01 * cost, "its own"),
    ],
)
def test_a_tampered_certificate_fails_where_it_was_tampered_with(
    path: tuple[str, str], value: object, claim: str, certificate: dict[str, Any], check: Check
) -> None:
    data = copy.deepcopy(certificate)
    part, key = path
    data[part][key] = value(data[part][key]) if callable(value) else value
    failed = [finding.claim for finding in check(data) if finding.standing is Standing.FAILS]
    assert any(claim in text for text in failed)


def test_a_witness_removed_leaves_no_lower_bound(certificate: dict[str, Any], check: Check) -> None:
    data = {**certificate, "witness": None}
    assert any(f.standing is Standing.FAILS and "attained" in f.claim for f in check(data))


@pytest.mark.parametrize(
    "damage", [{"schema": "certigap.certificate/9"}, {"claim": {}}, {"witness": {"latent": [1.0]}}, {"claim": None}]
)
def test_what_is_no_certificate_is_refused(damage: dict[str, Any], certificate: dict[str, Any], check: Check) -> None:
    with pytest.raises(CertificateError):
        check({**certificate, **damage})


def test_another_weight_of_the_network_is_another_proxy(
    certificate: dict[str, Any], proxy: Proxy, problem: Knapsack, domain: Domain
) -> None:
    changed = copy.deepcopy(proxy)
    with torch.no_grad():
        next(iter(changed.state_dict().values())).mul_(-1)
    findings = check_certificate(certificate, changed, problem, domain, samples=10)
    assert findings[0].standing is Standing.FAILS


def test_a_problem_that_is_not_convex_has_no_bilevel_formulation(problem: Knapsack) -> None:
    with pytest.raises(OptionsError, match="compact"):
        VerifyOptions(formulation="bilevel").check(problem)
    VerifyOptions().check(problem)
