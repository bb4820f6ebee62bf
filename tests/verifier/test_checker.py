"""The checker: an honest certificate is consistent, and one with a false claim is refuted where it is false."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack
from problems.parametric import ParametricProblem
from proxies.knapsack import knapsack_manifest, knapsack_proxy
from proxies.layers import Affine, Relu
from proxies.load import LoadedProxy
from proxies.proxy import Proxy
from tests.shipped import FOLDER, shipped
from verifier.attack import AttackOptions
from verifier.budget import Budget
from verifier.certificate import make_certificate, to_json
from verifier.certificate_schema import CertificateError, parse_certificate, read_certificate
from verifier.checker import Check, CheckOptions, Outcome, check_certificate
from verifier.checks.exact_gap import GAP_ROUNDING
from verifier.checks.finding import Standing
from verifier.checks.trial import Trial
from verifier.checks.witness import ModelFile
from verifier.options import OptionsError, VerifyOptions
from verifier.replay import cost_size, replay
from verifier.result import Result, Termination, Verdict
from verifier.sampling import sampled_gaps
from verifier.verify import verify

U = 0.2
OPTIONS = VerifyOptions(attack=AttackOptions(rounds=2, seconds=3), time_limit=60)
QUICK = CheckOptions(samples=50, attack_seconds=0, seed=7)
Json = dict[str, Any]


@pytest.fixture(scope="module")
def problem() -> Knapsack:
    return random_knapsack(6, 1)


@pytest.fixture(scope="module")
def proxy(problem: Knapsack) -> Proxy:
    draw = torch.Generator().manual_seed(3)
    weights = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((5, 7), (6, 5))]
    layers = [Affine(weights[0], torch.zeros(5).double()), Relu(), Affine(weights[1], torch.zeros(6).double())]
    return knapsack_proxy(layers, knapsack_manifest(problem), problem)


def certify(proxy: Proxy, problem: ParametricProblem, options: VerifyOptions, u: float = U) -> Json:
    """Return the certificate of a verification, as read from its file."""
    result = verify(proxy, problem, problem.domain(u), options)
    return told(result, proxy, problem, options, u)


def told(result: Result, proxy: Proxy, problem: ParametricProblem, options: VerifyOptions, u: float = U) -> Json:
    """Return the certificate of a result, as read from its file."""
    made = make_certificate(result, proxy, problem, problem.domain(u), u, options)
    found: Json = json.loads(to_json(made))
    return found


@pytest.fixture(scope="module")
def certificate(proxy: Proxy, problem: Knapsack) -> Json:
    made = certify(proxy, problem, OPTIONS)
    assert made["claim"]["verdict"] == "certified"
    assert made["claim"]["lower"] > 0
    return made


Ask = Callable[[Json], Check]


@pytest.fixture
def check(proxy: Proxy, problem: Knapsack) -> Ask:
    return lambda data: check_certificate(parse_certificate(data), proxy, problem, QUICK)


def changed(data: Json, path: str, value: object) -> Json:
    """Return a copy with the entry at `path` replaced by `value`, or by what `value` makes of it."""
    data = copy.deepcopy(data)
    *parts, key = path.split(".")
    inner = data
    for part in parts:
        inner = inner[part]
    inner[key] = value(inner[key]) if callable(value) else value
    return data


def failed(check: Check) -> list[str]:
    return [f"{f.claim}: {f.detail}" for f in check.findings if f.standing is Standing.FAILS]


def trusted(check: Check) -> str:
    return "\n".join(f"{f.claim}: {f.detail}" for f in check.findings if f.standing is Standing.TRUSTED)


def test_an_honest_certificate_is_consistent_and_not_more(certificate: Json, check: Ask) -> None:
    found = check(certificate)
    assert found.outcome is Outcome.CONSISTENT
    assert failed(found) == []
    assert "no input of the domain exceeds the upper bound: not derived again" in trusted(found)
    assert "not checked: solver" in trusted(found)


@pytest.mark.parametrize(
    "options",
    [
        {"measure": "relative"},
        {"threshold": 1e6},
        {"threshold": 1.0},
        {"use_cutoff": False},
        {"most_parts": 0},
        {"time_limit": 1e-6},
        {"time_limit": float("inf")},
        {"measure": "relative", "attack": AttackOptions(rounds=0), "time_limit": 1e-6},
        {"attack": AttackOptions(rounds=0), "time_limit": 1e-6},
    ],
)
def test_honest_certificates_of_all_kinds_are_consistent(
    options: Json, proxy: Proxy, problem: Knapsack, check: Ask
) -> None:
    found = check(certify(proxy, problem, replace(OPTIONS, **options)))
    assert (found.outcome, failed(found)) == (Outcome.CONSISTENT, [])


TAMPERED = [
    ("proxy.fingerprint", "0" * 64, "this proxy"),
    ("problem.fingerprint", "0" * 64, "this problem"),
    ("domain.fingerprint", "0" * 64, "this domain"),
    ("domain.u", 0.1, "this domain"),
    ("problem.capacity", 1.0, "problem.capacity"),
    ("problem.weights", [1, 1, 1, 1, 1, 1], "problem.weights"),
    ("problem.name", "another", "problem.name"),
    ("proxy.layers", [], "proxy.layers"),
    ("proxy.arithmetic", "exact", "proxy.arithmetic"),
    ("proxy.input", {"unit": "pu", "at": "buses"}, "proxy.input"),
    ("domain.latent_size", 2, "domain.latent_size"),
    ("domain.cuts", ["some inputs are left out"], "domain.cuts"),
    ("claim.statement", "The gap never exceeds 1 value.", "statement"),
    ("claim.unit", "$/h", "unit"),
    ("claim.measure", "relative", "measure is not that of the claim"),
    ("claim.tolerance", 0.5, "tolerance is not that of the claim"),
    ("options.threshold", -1.0, "never negative"),
    ("claim.lower", lambda lower: 1.01 * lower, "attained"),
    ("claim.lower", 0.0, "attained"),
    ("claim.lower", None, "attained"),
    ("claim.upper", lambda upper: 0.5 * upper, "exceeds the upper bound"),
    ("claim.upper", lambda upper: 0.5 * upper, "exceeds the upper one"),
    ("claim.upper", lambda upper: 2 * upper, "further apart"),
    ("claim.upper", None, "further apart"),
    ("claim.verdict", "falsified", "no threshold"),
    ("claim.verdict", "unknown", "there is an upper bound"),
    ("claim.termination", "time_limit", "ended as time_limit"),
    ("claim.termination", "threshold_decided", "it is not"),
    ("witness", None, "attained"),
    ("witness.latent", lambda latent: [2 * latent[0], *latent[1:]], "lies in the domain"),
    ("witness.latent", lambda latent: latent[1:], "right lengths"),
    ("witness.input", lambda x: [2 * x[0], *x[1:]], "input"),
    ("witness.decision", lambda y: [1 - y[0], *y[1:]], "decision"),
    ("witness.optimum", lambda y: [1 - y[0], *y[1:]], "optimum"),
    ("witness.optimum", lambda y: [1.0] * len(y), "optimum"),
    ("witness.optimal_cost", lambda cost: 1.01 * cost, "optimal_cost"),
    ("witness.gap", lambda gap: 1.01 * gap, "gap"),
    ("witness.relative_gap", lambda gap: 1.01 * gap, "relative_gap"),
    ("witness.relative_gap", None, "relative_gap"),
    ("witness.infeasibility", 1.0, "infeasibility"),
    ("witness.unit", "MW", "unit"),
    ("bounds.latent", {"lower": [0.0], "upper": [1.0]}, "latent box"),
    ("bounds.intervals", {}, "is missing"),
    ("bounds.intervals", lambda boxes: {**boxes, "input[99]": boxes["input[0]"]}, "no value of this proxy"),
    ("bounds.intervals", lambda boxes: {**boxes, "input[1]": boxes["input[0]"]}, "entries"),
]


@pytest.mark.parametrize(("path", "value", "says"), TAMPERED)
def test_a_tampered_certificate_is_refuted_where_it_was_tampered_with(
    path: str, value: object, says: str, certificate: Json, check: Ask
) -> None:
    found = check(changed(certificate, path, value))
    assert found.outcome is Outcome.REFUTED
    assert any(says in text for text in failed(found)), failed(found)


# ------------------------------------------------------------------------------------- what used to pass


def forged_by_samples(loaded: LoadedProxy, u: float, relative: bool = False) -> Json:
    """Return a certificate whose bounds are the largest gap of random samples of seed 1, well told in all else."""
    proxy, problem = loaded.proxy, loaded.problem
    domain = problem.domain(u)
    best = int(np.argmax(sampled_gaps(proxy, problem, domain, 1000, 1, relative)))
    witness = replay(proxy, problem, domain, domain.sample(1000, 1)[best])
    options = replace(OPTIONS, measure="relative" if relative else "absolute")
    honest = verify(proxy, problem, domain, replace(options, time_limit=1e-6))
    gap = witness.relative_gap if relative else witness.gap
    forged = replace(
        honest,
        lower=gap,
        upper=gap * 1.0005,
        witness=witness,
        verdict=Verdict.CERTIFIED,
        termination=Termination.OPTIMAL,
        notes=(),
    )
    return told(forged, proxy, problem, options, u)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(("name", "u"), [("dcopf-case57-raw", 0.1), ("knapsack-10", 0.1)])
def test_a_bound_that_only_samples_of_a_known_seed_obey_is_refuted(name: str, u: float, relative: bool) -> None:
    loaded = shipped(name)
    data = parse_certificate(forged_by_samples(loaded, u, relative))
    for seed in (None, 1, 2):
        found = check_certificate(data, loaded.proxy, loaded.problem, CheckOptions(seed=seed))
        assert found.outcome is Outcome.REFUTED
        assert [text.split(":")[0] for text in failed(found)] == ["no input tried exceeds the upper bound"]


@pytest.mark.parametrize("relative", [False, True])
def test_the_attack_alone_refutes_a_bound_that_samples_obey(relative: bool) -> None:
    loaded = shipped("dcopf-case57-raw")
    data = parse_certificate(forged_by_samples(loaded, 0.1, relative))
    options = CheckOptions(samples=0, attack_seconds=20, seed=3)
    assert check_certificate(data, loaded.proxy, loaded.problem, options).outcome is Outcome.REFUTED


@pytest.mark.parametrize(
    ("verdict", "threshold", "says"),
    [
        ("certified", 1.0, "certified, but the upper bound exceeds the threshold"),
        ("falsified", 1e9, "falsified, but no gap above the threshold"),
        ("bounded", 1e9, "ended with the threshold decided, but it is not"),
    ],
)
def test_a_verdict_must_follow_from_bounds_and_threshold(
    verdict: str, threshold: float, says: str, certificate: Json, check: Ask
) -> None:
    claim = {"verdict": verdict, "threshold": threshold, "termination": "threshold_decided"}
    if verdict == "bounded":
        claim["threshold"] = (certificate["claim"]["lower"] + certificate["claim"]["upper"]) / 2
    data = changed(certificate, "claim", lambda old: {**old, **claim})
    found = check(changed(data, "options.threshold", claim["threshold"]))
    assert found.outcome is Outcome.REFUTED
    assert any(says in text for text in failed(found))


def test_neuron_bounds_with_their_ends_swapped_are_refuted(certificate: Json, check: Ask) -> None:
    swapped = {
        key: {"lower": box["upper"], "upper": box["lower"]} for key, box in certificate["bounds"]["intervals"].items()
    }
    found = check(changed(certificate, "bounds.intervals", swapped))
    assert any("lower limit above its upper one" in text for text in failed(found))


def test_neuron_bounds_that_a_tried_input_leaves_are_refuted(proxy: Proxy, problem: Knapsack, check: Ask) -> None:
    honest = certify(proxy, problem, replace(OPTIONS, use_cutoff=False))
    box = honest["bounds"]["intervals"]["input[1]"]
    moved = {"lower": [end + 1e4 for end in box["lower"]], "upper": [end + 1e4 for end in box["upper"]]}
    found = check(changed(honest, "bounds.intervals.input[1]", moved))
    assert any("another value of input[1]" in text for text in failed(found))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("trusted", []),
        ("trusted", ["nothing at all"]),
        ("solver", "nobody"),
        ("nodes", 0),
        ("versions", {}),
        ("notes", ["all is well"]),
        ("stability", []),
        ("seconds", {}),
        ("bounds", None),
        ("sizes", {"before": None, "after": None}),
        ("options.workers", 64),
        ("proxy.file_sha256", "0" * 64),
    ],
)
def test_what_is_not_checked_is_named_and_changes_nothing_else(
    path: str, value: object, certificate: Json, check: Ask
) -> None:
    found = check(changed(certificate, path, value))
    assert found.outcome is Outcome.CONSISTENT
    assert "no input of the domain exceeds the upper bound" in trusted(found)
    name = {"bounds": "solver", "options.workers": "options"}.get(path, path)
    assert name in trusted(found)


def test_the_file_at_hand_is_compared(certificate: Json, proxy: Proxy, problem: Knapsack) -> None:
    data = changed(certificate, "proxy.file_sha256", "1" * 64)
    for sha256, outcome in (("1" * 64, Outcome.CONSISTENT), ("2" * 64, Outcome.REFUTED)):
        file = ModelFile(sha256, None)
        assert check_certificate(parse_certificate(data), proxy, problem, QUICK, file).outcome is outcome
    data = parse_certificate(changed(data, "witness.onnxruntime_gap", 1.0))
    found = check_certificate(data, proxy, problem, QUICK, ModelFile("1" * 64, None))
    assert any("onnxruntime_gap" in text for text in failed(found))
    assert "onnxruntime_gap" in trusted(check_certificate(data, proxy, problem, QUICK))


def test_another_weight_of_the_network_is_another_proxy(certificate: Json, proxy: Proxy, problem: Knapsack) -> None:
    other = copy.deepcopy(proxy)
    with torch.no_grad():
        next(iter(other.state_dict().values())).mul_(-1)
    found = check_certificate(parse_certificate(certificate), other, problem, QUICK)
    assert found.outcome is Outcome.REFUTED
    assert found.findings[0].standing is Standing.FAILS
    assert "all other claims" in trusted(found)


# ------------------------------------------------------------------------------------ effort and rounding


def test_a_seed_repeats_a_check_and_none_draws_another(certificate: Json, proxy: Proxy, problem: Knapsack) -> None:
    data, fresh = parse_certificate(certificate), replace(QUICK, seed=None)
    first, second = (check_certificate(data, proxy, problem, fresh) for _ in range(2))
    assert first.seed != second.seed
    assert f"seed {first.seed}" in next(f.detail for f in first.findings if "no input tried" in f.claim)
    again = check_certificate(data, proxy, problem, replace(QUICK, seed=first.seed))
    assert [f.standing for f in again.findings] == [f.standing for f in first.findings]


def test_a_check_without_time_says_how_little_it_tried(certificate: Json, proxy: Proxy, problem: Knapsack) -> None:
    options = CheckOptions(samples=1_000_000, attack_seconds=0, time_limit=1, seed=1)
    found = check_certificate(parse_certificate(certificate), proxy, problem, options)
    tried = next(f for f in found.findings if "no input tried" in f.claim)
    assert 0 < int(tried.detail.split(": ")[1].split(" of ")[0]) < options.samples
    hardly = check_certificate(parse_certificate(certificate), proxy, problem, replace(options, time_limit=1e-9))
    assert "the upper bound could not be tried: 0 of" in trusted(hardly)
    assert hardly.outcome is Outcome.CONSISTENT


def test_a_gap_above_the_bound_counts_only_beyond_its_own_rounding() -> None:
    loaded = shipped("dcopf-case57-raw")
    proxy, problem, domain = loaded.proxy, loaded.problem, loaded.problem.domain(0.01)
    witness = replay(proxy, problem, domain, domain.centre)
    rounding = GAP_ROUNDING * cost_size(problem, witness)
    for share, refuted in ((0.5, False), (2.0, True)):
        trial = Trial(proxy, problem, domain, witness.gap - share * rounding, False, np.inf)
        trial.try_inputs([witness.latent[None]], Budget(60))
        assert trial.refuted is refuted


@pytest.mark.parametrize(
    "options", [{"samples": -1}, {"attack_seconds": -1.0}, {"time_limit": 0.0}, {"time_limit": np.nan}, {"seed": -1}]
)
def test_senseless_efforts_are_refused(options: Json) -> None:
    with pytest.raises(OptionsError):
        CheckOptions(**options)


# ------------------------------------------------------------------------------------- what is no certificate


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "not a certigap.certificate/1 file"),
        (b"\xff\xfe\x00", "not a certigap.certificate/1 file"),
        (b"\x80abc", "not a certigap.certificate/1 file"),
        ((FOLDER / "knapsack-10.safetensors").read_bytes(), "not a certigap.certificate/1 file"),
        (b"[" * 100_000, "recursion limit"),
        (b'{"a":' * 100_000, "recursion limit"),
        (b"[]", "not a certigap.certificate/1 file"),
        (b"null", "not a certigap.certificate/1 file"),
        (b"{}", "Field required"),
        (b'{"schema": "certigap.certificate/9"}', "certigap.certificate/1"),
    ],
)
def test_what_is_no_certificate_is_refused_in_one_sentence(text: bytes, says: str) -> None:
    with pytest.raises(CertificateError) as caught:
        read_certificate(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


DAMAGE = [
    ("claim", None),
    ("claim", {}),
    ("claim", []),
    ("claim.lower", "1"),
    ("claim.lower", True),
    ("claim.upper", 10**400),
    ("claim.verdict", "proved"),
    ("claim.measure", "both"),
    ("claim.extra", 1),
    ("domain.u", -0.1),
    ("domain.u", 1e308),
    ("domain.u", "5%"),
    ("domain.latent_size", 1.5),
    ("witness", {"latent": [1.0]}),
    ("witness.latent", [[1.0, 2.0], [3.0]]),
    ("witness.gap", None),
    ("problem", []),
    ("problem.kind", "tsp"),
    ("problem.values", [True]),
    ("proxy", 5),
    ("proxy.layers", {}),
    ("trusted", 3),
    ("trusted", [None]),
    ("trusted", [{}]),
    ("trusted", [[]]),
    ("options", None),
    ("options.rounds", -1),
    ("options.seed", True),
    ("options.style", "best"),
    ("options.unknown", 1),
    ("options.attack", {}),
    ("options.tolerance", 0.0),
    ("notes", [["nested"]]),
    ("seconds", {"total": "long"}),
    ("bounds", {"cutoff": 0.0}),
    ("bounds.intervals", [1]),
    ("\n" * 1000, 1),
]


@pytest.mark.parametrize(("path", "value"), DAMAGE)
def test_a_damaged_certificate_is_refused_in_one_sentence(path: str, value: object, certificate: Json) -> None:
    with pytest.raises(CertificateError) as caught:
        parse_certificate(changed(certificate, path, value))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 400, "9" * 5000, "[" * 300, "{"])
def test_numbers_that_are_none_are_refused(literal: str, certificate: Json) -> None:
    text = json.dumps(changed(certificate, "claim.upper", 0.12345)).replace("0.12345", literal)
    with pytest.raises(CertificateError):
        read_certificate(text)


@pytest.mark.parametrize(
    "key", ["schema", "claim", "problem", "proxy", "domain", "witness", "bounds", "trusted", "options"]
)
def test_every_part_must_be_there(key: str, certificate: Json) -> None:
    with pytest.raises(CertificateError, match=key):
        parse_certificate({name: part for name, part in certificate.items() if name != key})


def test_nested_data_are_refused(certificate: Json) -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(CertificateError):
        parse_certificate({**certificate, "notes": nested})
    with pytest.raises(CertificateError):
        parse_certificate({**certificate, "notes": {1, 2}})


@pytest.mark.parametrize("seed", range(4))
def test_random_mutations_raise_nothing_else(seed: int, certificate: Json, proxy: Proxy, problem: Knapsack) -> None:
    rng, outcomes = random.Random(seed), []
    least = CheckOptions(samples=2, attack_seconds=0, time_limit=5)
    for _ in range(100):
        mutated = copy.deepcopy(certificate)
        for _ in range(rng.randint(1, 3)):
            mutate(mutated, rng)
        try:
            outcomes.append(check_certificate(parse_certificate(mutated), proxy, problem, least).outcome)
        except CertificateError:
            continue
    assert set(outcomes) <= {Outcome.CONSISTENT, Outcome.REFUTED}
    assert Outcome.REFUTED in outcomes


def mutate(data: Any, rng: random.Random) -> None:
    """Change one random entry of nested data: its type, its size, its place, or whether it is there."""
    places = list(entries(data))
    container, key = places[rng.randrange(len(places))]
    old = container[key]
    change = rng.choice(["type", "drop", "scale", "nest", "copy"])
    if change == "drop":
        del container[key]
    elif change == "scale" and isinstance(old, (int, float)):
        container[key] = old * rng.choice([-1, 0, 0.999, 2, 1e300, 1e-300, 10**30])
    elif change == "nest":
        container[key] = rng.choice([[old], {"a": old}, [[[old]]]])
    elif change == "copy":
        other, place = places[rng.randrange(len(places))]
        container[key] = copy.deepcopy(other[place])
    else:
        values = [None, True, "", "x" * 1000, "\ud800", [], {}, -1, 0, 1e308, 10**400, float("nan"), float("inf")]
        container[key] = rng.choice(values)


def entries(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of every entry of nested data."""
    keys = list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    for key in keys:
        yield data, key
        yield from entries(data[key])


def test_a_problem_that_is_not_convex_has_no_bilevel_formulation(problem: Knapsack) -> None:
    with pytest.raises(OptionsError, match="compact"):
        VerifyOptions(formulation="bilevel").check(problem)
    VerifyOptions().check(problem)
