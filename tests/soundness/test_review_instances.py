"""Instances that once had false bounds, lost witnesses, crashes or needless doubts; each must be answered rightly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from benchmarks.soundness.instances import SMALL_ATTACK, instance
from problems.dcopf import DcOpf
from problems.errors import CaseError
from problems.grid import Grid, grid_from_tables
from problems.interval import Interval
from problems.knapsack import Knapsack
from problems.parametric import ParametricProblem
from proxies.dcopf import dcopf_proxy
from proxies.layers import Layer, Relu, Sign
from proxies.manifest import DcOpfSpec, InputSpec, Manifest, OutputSpec
from proxies.proxy import Proxy
from solvers.errors import CertigapError, SolverLimitError, SolverUnavailableError
from solvers.linear_model import EMPTY_MODEL
from solvers.registry import open_session
from tests.soundness.posed import ALONE, USUAL, affine, ask, asks_for_a_report, classifier, knapsack, standardised
from verifier.certificate import make_certificate, to_json
from verifier.certificate_schema import parse_certificate
from verifier.checker import CheckOptions, Outcome, check_certificate
from verifier.checks.finding import Standing
from verifier.frontier import Frontier
from verifier.result import Result, Termination, Verdict
from verifier.verify import verify

# Where time may run out: what is known by then must be right all the same.
SHORT, WITH_ATTACK = replace(ALONE, time_limit=5.0), replace(USUAL, time_limit=5.0)
OTHER_SOLVERS = ("scip", "pyomo:appsi_highs", "gurobi")
Parts = tuple[Proxy, ParametricProblem]


@pytest.fixture(params=("highs", *OTHER_SOLVERS))
def solver(request: pytest.FixtureRequest) -> str:
    """A solver that is installed and has a licence."""
    try:
        open_session(request.param, EMPTY_MODEL).close()
    except (SolverUnavailableError, SolverLimitError) as error:
        pytest.skip(f"{request.param} IS NOT TESTED: {error}")
    return str(request.param)


# ----------------------------------------------------- matrix entries that a solver drops because they are small


def wide_features() -> tuple[Parts, np.ndarray]:
    """Twenty float32 features within +-1.1e9; the label loses where all of them are near the ends of their ranges."""
    width, signs = 1.1e9, np.sign(np.random.default_rng(0).normal(size=20))
    weight = (signs / width).astype(np.float32)[None]
    layers = [affine(weight, [-19.5]), Relu(), affine([[0.0], [10.0]], [0.0, -1.0])]
    parts = classifier(layers, np.zeros(20), lower=np.full(20, -width), upper=np.full(20, width))
    return parts, 0.999 * signs * width


def test_a_classifier_of_wide_features_is_never_called_right_where_it_is_not(solver: str) -> None:
    parts, worst = wide_features()
    options = replace(USUAL, threshold=0.0, solver=solver)
    given, result = ask(parts, 0.4995, options, worst[None])
    assert given.found.best > 3.7
    assert result.verdict is not Verdict.CERTIFIED
    _, largest = ask(parts, 0.4995, replace(options, threshold=None), worst[None])
    assert largest.upper > 3.7


def large_knapsack(seed: int, scale: float, items: int = 6) -> Parts:
    rng = np.random.default_rng(seed)
    values, weights = scale * rng.uniform(0.5, 1.5, items), rng.integers(1, 10, items)
    problem = Knapsack("large values", values, weights, float(weights.sum() / 2))
    return knapsack(problem, standardised(problem, seed))


@pytest.mark.parametrize("seed", range(3))
def test_a_knapsack_of_values_of_a_billion(seed: int, solver: str) -> None:
    _, result = ask(large_knapsack(seed, 1e9), 0.3, replace(USUAL, solver=solver))
    assert result.verdict in (Verdict.CERTIFIED, Verdict.BOUNDED)


@pytest.mark.parametrize("seed", range(6))
def test_a_knapsack_of_values_of_a_hundred_million_without_an_attack(seed: int) -> None:
    _, result = ask(large_knapsack(seed, 1e8), 0.3, ALONE)
    assert result.verdict in (Verdict.CERTIFIED, Verdict.BOUNDED)


@pytest.mark.parametrize("options", [USUAL, ALONE], ids=["usual", "no attack"])
def test_a_knapsack_of_billions_with_fixed_scores(options, solver: str) -> None:
    problem = Knapsack("billions", np.array([3, 2, 2.5, 1]) * 1e9, np.array([4, 3, 5, 2]), 7.5)
    parts = knapsack(problem, [affine(np.zeros((4, 5)), [0.1, 0.2, 0.4, 0.3])])
    given, result = ask(parts, 0.1, replace(options, solver=solver))
    assert given.found.best == pytest.approx(2.35e9, rel=1e-6)
    assert result.upper >= 2.35e9 * (1 - 1e-9)
    assert result.verdict is Verdict.CERTIFIED


def rescaled_dispatch(grid: Grid, make_proxy: Callable[..., Proxy], seed: int, scale: float) -> Parts:
    """A dispatch proxy whose pre-activations are multiplied by `scale`, which the next layer divides out."""
    problem = DcOpf(grid)
    plain = make_proxy(problem, seed, hidden=(4,))
    first, last = plain.network[0], plain.network[2]
    network: list[Layer] = [
        affine(first.matrix.detach() * scale, first.bias.detach() * scale),
        Relu(),
        affine(last.matrix.detach() / scale, last.bias.detach()),
    ]
    return dcopf_proxy(network, plain.manifest, problem), problem


@pytest.mark.parametrize("scale", [1e10, 2.0**33, 1e-9])
@pytest.mark.parametrize("seed", range(2))
def test_a_dispatch_with_rescaled_units(case5: Grid, make_proxy: Callable[..., Proxy], seed: int, scale: float) -> None:
    whole = ask(rescaled_dispatch(case5, make_proxy, seed, 1.0), 0.2, ALONE)[1]
    _, result = ask(rescaled_dispatch(case5, make_proxy, seed, scale), 0.2, ALONE)
    assert result.verdict is whole.verdict is Verdict.CERTIFIED
    assert result.upper == pytest.approx(whole.upper, rel=3e-3)


def standardising_classifier(seed: int, spread: float) -> Parts:
    """Features of a spread, read by a network that divides by it."""
    rng = np.random.default_rng(seed)
    sizes = (4, 6, 6, 3)
    parts = [(rng.normal(size=(m, n)), 0.7 * rng.normal(size=m)) for n, m in pairwise(sizes)]
    mean = spread * rng.normal(size=4)
    parts[0] = (parts[0][0] / spread, parts[0][1] - parts[0][0] @ (mean / spread))
    layers = [affine(*parts[0]), Relu(), affine(*parts[1]), Relu(), affine(*parts[2])]
    return classifier(layers, mean, lower=mean - 2 * spread, upper=mean + 2 * spread)


@pytest.mark.parametrize("spread", [1.0, 1e7, 1e8, 1e10, 1e-8])
@pytest.mark.parametrize("seed", range(5))
def test_a_standardising_classifier_is_decided(seed: int, spread: float) -> None:
    _, plain = ask(standardising_classifier(seed, 1.0), 0.2, USUAL)
    _, result = ask(standardising_classifier(seed, spread), 0.2, USUAL)
    assert result.verdict is plain.verdict is Verdict.CERTIFIED
    assert result.upper == pytest.approx(plain.upper, rel=3e-3)
    assert not asks_for_a_report(result)
    _, decided = ask(standardising_classifier(seed, spread), 0.2, replace(USUAL, threshold=0.0))
    assert decided.verdict is (Verdict.FALSIFIED if plain.lower > 0 else Verdict.CERTIFIED)


# -------------------------------------------------------------------- the float64 function of the stored weights


@pytest.mark.parametrize("power", [30, 40, 50])
@pytest.mark.parametrize(
    "options", [WITH_ATTACK, SHORT, replace(SHORT, threshold=0.0)], ids=["usual", "no attack", "tie"]
)
def test_a_bias_that_the_next_layer_takes_off_again_rounds(power: int, options) -> None:
    """Adjacent affine layers: x against x + 2^p - 2^p, which is x rounded to a multiple of 2^(p - 52)."""
    lift = 2.0**power
    layers = [affine([[1.0], [1.0]], [0.0, lift]), affine([1.0, 1.0], [0.0, -lift])]
    x = 1.0 + 2.0 ** (power - 53) * np.array([1.5, 1.01, 0.99, 0.5])
    given, _ = ask(classifier(layers, [1.0]), 0.25, options, x[:, None])
    assert given.found.best > 0.4 * 2.0 ** (power - 52)


@pytest.mark.parametrize("power", [30, 40, 50])
def test_a_bias_that_is_taken_off_behind_a_unit_rounds(power: int) -> None:
    lift = 2.0**power
    layers = [affine([[1.0], [1.0]], [4.0, lift]), Relu(), affine([1.0, 1.0], [-4.0, -lift])]
    x = 1.0 + 2.0 ** (power - 53) * np.array([1.5, 1.01, 0.99, 0.5])
    ask(classifier(layers, [1.0]), 0.25, SHORT, x[:, None])


# ----------------------------------------------------------------- what a batch of one attains and others do not


def undecided_unit(seed: int) -> Parts | None:
    """A sign unit whose sum is 0 in a batch of one, and less in a batch of two; None where this machine sums alike."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 30))
    weight, x = rng.normal(size=n), rng.normal(size=n)
    alone = affine(weight[None], [0.0])
    with torch.no_grad():
        point = torch.as_tensor(x)[None]
        bias = -float(alone(point, point)[0, 0])
        layer = affine(weight[None], [bias])
        sums = [float(layer(batch, batch)[0, 0]) for batch in (point, point.repeat(2, 1))]
    if not (sums[0] >= 0 > sums[1]):
        return None
    return classifier([layer, Sign(), affine([[0.0], [1.0]], [0.2, 0.0])], x)


@pytest.mark.parametrize("u", [0.0, 1e-13])
def test_a_sign_that_the_order_of_summation_decides_is_no_witness(u: float) -> None:
    found = [parts for parts in map(undecided_unit, range(400)) if parts is not None][:5]
    if not found:
        pytest.skip("THE ORDER OF SUMMATION IS NOT TESTED: this machine takes sums alike in batches of one and of two")
    for parts in found:
        for options in (WITH_ATTACK, SHORT, replace(SHORT, threshold=0.0)):
            ask(parts, u, options)


def undecided_scores(seed: int) -> Parts | None:
    """Two items whose scores are equal but for the order of summation, which decides which of them is taken."""
    rng = np.random.default_rng(seed)
    hidden = int(rng.integers(4, 30))
    row = rng.normal(size=hidden)
    order = rng.permutation(hidden)
    problem = Knapsack("equal scores", np.array([1.0, 10.0]), np.array([3, 3]), 3.0)
    first, bias = np.zeros((2 * hidden, 3)), rng.uniform(0.5, 1.5, hidden)
    layers = [
        affine(first, np.concatenate([bias, bias[order]])),
        Relu(),
        affine([np.append(row, np.zeros(hidden)), np.append(np.zeros(hidden), row[order])], [0.0, 0.0]),
    ]
    parts = knapsack(problem, layers)
    x = torch.as_tensor(problem.nominal)[None]
    with torch.no_grad():
        first_taken = [bool(parts[0](x.repeat(k, 1))[0, 0]) for k in (1, 2, 3, 17, 64)]
    return parts if first_taken[0] and not all(first_taken) else None


def test_scores_that_the_order_of_summation_ranks_are_no_witness() -> None:
    found = [parts for parts in map(undecided_scores, range(400)) if parts is not None][:5]
    if not found:
        pytest.skip("THE ORDER OF SUMMATION IS NOT TESTED: this machine ranks alike in batches of one and of others")
    for parts in found:
        for options in (USUAL, ALONE):
            ask(parts, 0.0, options)


# ------------------------------------------------------------------------------- limits beyond the largest float


@pytest.mark.parametrize("last", [Relu, Sign])
@pytest.mark.parametrize("length", [3, 9, 12])
@pytest.mark.parametrize("bounds", ["interval", "crown", "alpha"])
def test_huge_weights_behind_a_unit_that_is_never_active(last: type[Layer], length: int, bounds: str) -> None:
    """A chain of finite float32 weights of 1e38, whose product is none: 0 times infinity must not become a number."""
    layers: list[Layer] = [affine([[1.0, 1.0], [1.0, -1.0]], [-3.0, 0.0]), Relu()]
    for _ in range(length):
        layers += [affine([[1e38, 0.0], [0.0, 1.0]], [0.0, 0.0]), Relu()]
    layers[-1] = last()
    layers.append(affine([[0.0, 0.0], [1.0, 1.0]], [1.0, 0.0]))
    parts = classifier(layers, [0.0, 0.0], lower=[-1.0, -1.0], upper=[1.0, 1.0])
    given, result = ask(parts, 0.4, replace(ALONE, bounds=bounds))
    assert result.verdict is Verdict.CERTIFIED
    assert result.upper == pytest.approx(given.found.best, rel=2e-3, abs=2e-3)


def test_a_network_that_overflows_is_refused_with_its_layer() -> None:
    layers = [affine([[1e200]], [0.0]), Relu(), affine([[1e200]], [0.0]), Relu(), affine([[1.0], [2.0]], [0.0, 0.0])]
    proxy, problem = classifier(layers, [0.5])
    with pytest.raises(CertigapError, match="layer"):
        verify(proxy, problem, problem.domain(0.25), USUAL)


def test_a_network_that_may_overflow_somewhere_is_refused_or_bounded() -> None:
    layers = [affine([[1e150]], [0.0]), Relu(), affine([[1e150]], [0.0]), Relu(), affine([[0.0], [1e7]], [0.0, -1e307])]
    for centre in (0.5, 40.0):
        try:
            ask(classifier(layers, [centre]), 0.25, SHORT)
        except CertigapError as error:
            told = str(error)
        else:
            told = "an answer for a layer"
        assert "layer" in told


# ---------------------------------------------------------------------------------------------- degenerate grids


def grid(reactances=(0.1, 0.1, 0.1), ratings=(100.0, 100.0, 100.0), fixed: bool = False) -> Grid:
    """Three buses in a ring; or fewer branches, where fewer reactances are given."""
    bus = np.zeros((3, 13))
    bus[:, 0], bus[:, 1], bus[:, 2] = (1, 2, 3), (3, 1, 1), (0, 60, 40)
    gen, cost = np.zeros((2, 10)), np.zeros((2, 6))
    gen[:, 0], gen[:, 7], gen[:, 8], gen[:, 9] = (
        (1, 2),
        1,
        (100, 60) if not fixed else (60, 40),
        0 if not fixed else (60, 40),
    )
    cost[:, 0], cost[:, 3], cost[:, 4] = 2, 2, (10, 30)
    ends = ((1, 2), (2, 3), (1, 3), (2, 3))[: len(reactances)]
    branch = np.zeros((len(ends), 13))
    branch[:, 0], branch[:, 1] = zip(*ends)
    branch[:, 3], branch[:, 5], branch[:, 10] = reactances, ratings, 1
    return grid_from_tables("ring", 100.0, bus, gen, cost, branch)


def dispatch(of: Grid) -> Parts:
    """A proxy that reads all demands and has two units."""
    problem = DcOpf(of)
    rng = np.random.default_rng(0)
    layers: list[Layer] = [
        affine(rng.normal(size=(2, 3)), [0.1, -0.2]),
        Relu(),
        affine(rng.normal(size=(2, 2)), [0.3, 0.2]),
    ]
    manifest = Manifest(
        problem=DcOpfSpec(case="ring"),
        input=InputSpec(unit="pu", at="buses"),
        output=OutputSpec(unit="pu", of="generators"),
    )
    return dcopf_proxy(layers, manifest, problem), problem


def test_parallel_branches_of_opposite_reactance_have_an_answer() -> None:
    """Together they carry nothing, but the third way to each of their buses does."""
    _, result = ask(dispatch(grid((0.1, 0.1, 0.1, -0.1), (100.0,) * 4)), 0.1, ALONE)
    assert result.verdict is Verdict.CERTIFIED


def test_reactances_that_leave_a_bus_unconnected_are_refused() -> None:
    """Two parallel branches of opposite reactance are the only way to a bus: no angle carries power there."""
    bus = np.zeros((2, 13))
    bus[:, 0], bus[:, 1], bus[:, 2] = (1, 2), (3, 1), (0, 60)
    gen, cost = np.zeros((1, 10)), np.zeros((1, 6))
    gen[:, 0], gen[:, 7], gen[:, 8] = 1, 1, 100
    cost[:, 0], cost[:, 3], cost[:, 4] = 2, 2, 10
    branch = np.zeros((2, 13))
    branch[:, 0], branch[:, 1], branch[:, 3], branch[:, 5], branch[:, 10] = 1, 2, (0.1, -0.1), 100, 1
    with pytest.raises(CaseError):
        _ = grid_from_tables("cancelled", 100.0, bus, gen, cost, branch).ptdf


@pytest.mark.parametrize("formulation", ["compact", "bilevel"])
def test_generators_that_are_all_fixed_have_an_answer(formulation: str) -> None:
    _, result = ask(dispatch(grid(fixed=True)), 0.0, replace(ALONE, formulation=formulation))
    assert result.verdict is Verdict.CERTIFIED


@pytest.mark.parametrize("rating", [np.nan, -50.0])
def test_a_rating_that_is_no_limit_is_refused(rating: float) -> None:
    with pytest.raises(CaseError, match=r"rating|RATE|limit"):
        grid(ratings=(100.0, rating, 100.0))


# --------------------------------------------------------------------- honest certificates, ties, contradictions


@pytest.mark.parametrize("seed", [36, 79, 105, 300, 330, 396])
def test_an_honest_certificate_of_a_dispatch_passes_its_own_check(seed: int) -> None:
    """Drawn dispatch proxies: without any gap but for rounding, and with the same largest gap at many inputs."""
    drawn = instance(seed)
    assert drawn.family == "dcopf"
    _, result = ask((drawn.proxy, drawn.problem), drawn.u, ALONE)
    certificate = make_certificate(result, drawn.proxy, drawn.problem, drawn.domain, drawn.u, ALONE)
    options = CheckOptions(samples=100, attack_seconds=1.0)
    found = check_certificate(parse_certificate(json.loads(to_json(certificate))), drawn.proxy, drawn.problem, options)
    assert not [finding for finding in found.findings if finding.standing is Standing.FAILS]
    assert found.outcome is Outcome.CONSISTENT


def tied(seed: int) -> Parts:
    """A classifier of whole weights and signs, whose scores tie at many inputs; no weight is a binary number."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-1, 2, size=(4, 2)) * 0.1
    scores = rng.integers(-1, 2, size=(3, 4)) * 0.1
    return classifier([affine(weight, np.zeros(4)), Sign(), affine(scores, np.zeros(3))], [0.1, -0.2])


@pytest.mark.parametrize("seed", range(10))
def test_ties_by_rounding_are_no_fault(seed: int) -> None:
    for options in (SHORT, replace(SHORT, threshold=0.0), replace(SHORT, attack=SMALL_ATTACK)):
        _, result = ask(tied(seed), 0.3, options)
        assert not asks_for_a_report(result)
        assert result.verdict is not Verdict.UNKNOWN


@pytest.mark.parametrize("greedy", ["prefix", "skip"])
@pytest.mark.parametrize("seed", range(5))
def test_equal_scores_are_no_fault(seed: int, greedy: str) -> None:
    """Scores that are the values: items of equal value tie on a whole plane of inputs."""
    rng = np.random.default_rng(seed)
    problem = Knapsack("ties", np.full(4, 0.1 * (1 + seed)), rng.integers(1, 6, 4), 6.0)
    parts = knapsack(problem, [affine(0.1 * np.eye(4, 5), np.zeros(4))], greedy)
    for options in (ALONE, replace(USUAL, attack=SMALL_ATTACK)):
        _, result = ask(parts, 0.3, options)
        assert not asks_for_a_report(result)
        assert result.verdict is Verdict.CERTIFIED


def test_limits_that_contradict_each_other_are_not_averaged() -> None:
    low, high = (Interval(np.array([a]), np.array([b])) for a, b in ((0.0, 1.0), (2.0, 3.0)))
    try:
        common = low.intersect(high)
    except CertigapError:
        return
    assert not (common.lower == common.upper).any()


@pytest.mark.parametrize(
    ("measure", "scale"), [("absolute", 1.0), ("absolute", 1e-9), ("relative", 1e-9), ("relative", 1.0)]
)
def test_a_bound_below_what_is_attained_is_told_at_any_scale(measure: str, scale: float) -> None:
    problem = Knapsack("small", scale * np.array([3.0, 2.0, 2.5, 1.0]), np.array([4, 3, 5, 2]), 7.5)
    proxy, _ = knapsack(problem, [affine(np.zeros((4, 5)), [0.1, 0.2, 0.4, 0.3])])
    options = replace(ALONE, measure=measure)
    right = verify(proxy, problem, problem.domain(0.1), options)
    assert right.verdict is Verdict.CERTIFIED
    assert right.witness is not None
    wrong = Frontier({}, right.lower * (1 - 2e-4), right.lower * (1 - 1e-4), right.witness.latent)
    told = verify(proxy, problem, problem.domain(0.1), options, frontier=wrong)
    assert (told.termination, told.verdict) == (Termination.ERROR, Verdict.UNKNOWN)


# ---------------------------------------------------------------------------------------------- any unit will do

SCALES = [1e-9, 2.0**-30, 1e9, 2.0**30, 1e12, 2.0**40]


def scaled_classifier(seed: int, features: float, scores: float) -> Parts:
    """The same classifier with features and scores in other units."""
    rng = np.random.default_rng(seed)
    first, bias = rng.normal(size=(5, 3)), 0.7 * rng.normal(size=5)
    last, end = rng.normal(size=(3, 5)), rng.normal(size=3)
    centre = rng.uniform(-0.5, 0.5, 3)
    layers = [affine(first / features, bias), Relu(), affine(scores * last, scores * end)]
    box = {"lower": np.full(3, -features), "upper": np.full(3, features)}
    return classifier(layers, features * centre, int(rng.integers(3)), **box)


def assert_same(given: Result, plain: Result, unit: float) -> None:
    assert (given.verdict, given.termination) == (plain.verdict, plain.termination)
    assert given.upper / unit == pytest.approx(plain.upper, rel=3e-3, abs=3e-3)
    assert given.lower / unit == pytest.approx(plain.lower, rel=3e-3, abs=3e-3)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("which", ["features", "scores", "both"])
def test_a_classifier_in_other_units(which: str, scale: float) -> None:
    features, scores = {"features": (scale, 1.0), "scores": (1.0, scale), "both": (scale, scale)}[which]
    for seed in range(3):
        for threshold in (None, 0.0):
            options = replace(ALONE, threshold=threshold)
            _, plain = ask(scaled_classifier(seed, 1.0, 1.0), 0.2, options)
            _, given = ask(scaled_classifier(seed, features, scores), 0.2, options)
            assert plain.verdict is not Verdict.UNKNOWN
            if threshold is None:
                assert_same(given, plain, scores)
            else:
                assert given.verdict is plain.verdict


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("standard", [False, True], ids=["fixed scores", "standardised"])
def test_a_knapsack_in_other_units(standard: bool, scale: float) -> None:
    for seed in range(2):
        results = []
        for unit in (1.0, scale):
            rng = np.random.default_rng(seed)
            values, weights = unit * rng.integers(1, 20, 4), rng.integers(1, 10, 4)
            problem = Knapsack("units", values, weights, float(weights.sum() / 2))
            layers = standardised(problem, seed) if standard else [affine(np.zeros((4, 5)), rng.normal(size=4))]
            results.append(ask(knapsack(problem, layers), 0.2, ALONE)[1])
        assert results[0].verdict is Verdict.CERTIFIED
        assert_same(results[1], results[0], scale)
