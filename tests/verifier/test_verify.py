"""The pipeline: every way of asking gives one answer, and that answer holds."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from problems.dcopf import DcOpf
from problems.grid import load_grid
from proxies.dcopf import dcopf_proxy
from proxies.layers import Affine, Relu
from proxies.manifest import DcOpfSpec, InputSpec, Manifest, OutputSpec
from proxies.onnx_io import write_onnx
from proxies.proxy import Proxy
from tests.shipped import shipped
from verifier.attack import AttackOptions
from verifier.options import OptionsError, VerifyOptions
from verifier.replay import onnx_gap
from verifier.result import Event, Result, Termination, Verdict
from verifier.sampling import sampled_gaps
from verifier.verify import verify

QUICK = AttackOptions(rounds=2)


def run(name: str, u: float, **options: object) -> Result:
    loaded = shipped(name)
    chosen = replace(VerifyOptions(attack=QUICK, time_limit=300), **options)  # type: ignore[arg-type]
    return verify(loaded.proxy, loaded.problem, loaded.problem.domain(u), chosen)


def tiny(seed: int, noise: float = 0.0) -> tuple[Proxy, DcOpf]:
    """A random proxy of case5 whose only free input is the load factor when `noise` is zero."""
    problem = DcOpf(load_grid("pglib_opf_case5_pjm"), noise=noise)
    torch.manual_seed(seed)
    weights = [torch.randn(6, 3) * 0.5, torch.randn(5, 6) * 0.8]
    network = [Affine(weights[0], torch.randn(6)), Relu(), Affine(weights[1], torch.rand(5))]
    manifest = Manifest(
        problem=DcOpfSpec(case="pglib_opf_case5_pjm"),
        input=InputSpec(unit="pu", at="loads"),
        output=OutputSpec(unit="fraction", of="generators"),
    )
    return dcopf_proxy(network, manifest, problem), problem


@pytest.fixture(scope="module")
def reference() -> Result:
    return run("dcopf-case57-raw", 0.01)


@pytest.mark.parametrize(
    ("formulation", "style", "solver"),
    [
        *product(("compact", "bilevel"), ("sign", "paper"), ("highs",)),
        ("compact", "sign", "gurobi"),
        ("compact", "paper", "scip"),
    ],
)
def test_every_way_gives_the_same_optimum(reference: Result, formulation: str, style: str, solver: str) -> None:
    found = run("dcopf-case57-raw", 0.01, formulation=formulation, style=style, solver=solver)
    assert found.verdict is Verdict.CERTIFIED
    assert found.lower == pytest.approx(reference.lower, rel=2e-3)
    assert found.upper == pytest.approx(reference.upper, rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcopf-case57-raw", "dcopf-case118-raw"])
def test_every_way_gives_the_same_optimum_on_larger_cases(name: str) -> None:
    found = {
        key: run(name, 0.01, formulation=key[0], style=key[1], solver=key[2], time_limit=900.0)
        for key in product(("compact", "bilevel"), ("sign", "paper"), ("highs", "gurobi", "scip"))
    }
    loaded = shipped(name)
    data = write_onnx(loaded.proxy.network, loaded.proxy.manifest)
    for key, result in found.items():
        assert result.verdict is Verdict.CERTIFIED, key
        assert result.upper == pytest.approx(next(iter(found.values())).upper, rel=2e-3), key
        assert result.witness is not None
        assert onnx_gap(data, loaded.proxy, loaded.problem, result.witness) == pytest.approx(result.lower, rel=1e-6)


def test_the_witness_replays_through_onnxruntime(reference: Result) -> None:
    loaded = shipped("dcopf-case57-raw")
    assert reference.witness is not None
    data = write_onnx(loaded.proxy.network, loaded.proxy.manifest)
    gap = onnx_gap(data, loaded.proxy, loaded.problem, reference.witness)
    assert gap == pytest.approx(reference.lower, rel=1e-6)


def test_sampled_gaps_never_exceed_the_upper_bound(reference: Result) -> None:
    loaded = shipped("dcopf-case57-raw")
    gaps = sampled_gaps(loaded.proxy, loaded.problem, loaded.problem.domain(0.01), 1000, seed=3)
    assert gaps.min() > -1e-6
    assert gaps.max() <= reference.upper


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("measure", ["absolute", "relative"])
def test_the_answer_is_that_of_enumeration(seed: int, measure: str) -> None:
    proxy, problem = tiny(seed)
    domain = problem.domain(0.2)
    result = verify(proxy, problem, domain, VerifyOptions(measure=measure, attack=QUICK))  # type: ignore[arg-type]
    grid = np.linspace(domain.box.lower, domain.box.upper, 4001)
    x = torch.as_tensor(domain.to_input(grid))
    cost = problem.objective(x, proxy(x)).detach().numpy()
    value = np.array([problem.solve(row)[0] for row in x.numpy()[::10]])
    value = np.interp(np.arange(4001), np.arange(0, 4001, 10), value)
    gaps = cost / value - 1 if measure == "relative" else cost - value
    assert result.verdict is Verdict.CERTIFIED
    assert result.upper >= gaps.max() * (1 - 1e-6)
    assert result.upper == pytest.approx(gaps.max(), rel=5e-3, abs=1e-3)


def test_a_threshold_is_decided_either_way(reference: Result) -> None:
    above = run("dcopf-case57-raw", 0.01, threshold=reference.upper * 1.1)
    assert (above.verdict, above.termination) == (Verdict.CERTIFIED, Termination.THRESHOLD_DECIDED)
    assert above.upper <= reference.upper * 1.1
    below = run("dcopf-case57-raw", 0.01, threshold=reference.lower * 0.9)
    assert (below.verdict, below.termination) == (Verdict.FALSIFIED, Termination.THRESHOLD_DECIDED)
    assert below.lower > reference.lower * 0.9


def test_bounds_without_attack_cutoff_or_tightening_are_the_same(reference: Result) -> None:
    plain = run("dcopf-case57-raw", 0.01, attack=AttackOptions(rounds=0), use_cutoff=False, rounds=0, bounds="interval")
    assert plain.verdict is Verdict.CERTIFIED
    assert plain.lower == pytest.approx(reference.lower, rel=2e-3)


@pytest.mark.parametrize("limit", [0.5, 3.0])
def test_a_time_limit_leaves_valid_bounds(limit: float) -> None:
    result = run("dcopf-case57-centred", 0.2, time_limit=limit)
    assert result.termination is Termination.TIME_LIMIT
    assert result.verdict in (Verdict.BOUNDED, Verdict.UNKNOWN)
    assert result.lower <= result.upper


def test_being_stopped_leaves_valid_bounds() -> None:
    loaded = shipped("dcopf-case57-centred")
    heard: list[Event] = []
    options = VerifyOptions(attack=QUICK, time_limit=300)
    domain = loaded.problem.domain(0.2)
    result = verify(
        loaded.proxy,
        loaded.problem,
        domain,
        options,
        heard.append,
        lambda: bool(heard) and heard[-1].phase == "search",
    )
    assert result.termination is Termination.CANCELLED
    assert result.verdict is Verdict.BOUNDED
    assert result.lower <= result.upper < np.inf
    lowers, uppers = [event.lower for event in heard], [event.upper for event in heard]
    assert lowers == sorted(lowers)
    assert uppers == sorted(uppers, reverse=True)


def test_one_seed_gives_one_answer() -> None:
    first, second = (run("dcopf-case57-raw", 0.05) for _ in range(2))
    assert (first.lower, first.upper, first.nodes) == (second.lower, second.upper, second.nodes)


def test_inputs_that_cannot_be_served_are_left_out_and_said() -> None:
    grid = load_grid("pglib_opf_case5_pjm")
    problem = DcOpf(replace(grid, pmax=grid.pmax * 0.75))
    proxy, _ = tiny(0)
    proxy = dcopf_proxy(proxy.network, proxy.manifest, problem)
    result = verify(proxy, problem, problem.domain(0.2), VerifyOptions(attack=QUICK))
    assert result.verdict is Verdict.CERTIFIED
    assert "no dispatch can serve" in result.notes[0]


@pytest.mark.parametrize("wrong", [{"time_limit": 0.0}, {"tolerance": 0.0}, {"rounds": -1}])
def test_senseless_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionsError, match=r"give|try"):
        VerifyOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(OptionsError, match="GPU"):
        run("knapsack-10", 0.01, attack=AttackOptions(device="cuda"))


def test_a_threshold_is_never_certified_above_itself() -> None:
    result = run("dcopf-case57-raw", 0.2, threshold=5876.3, tolerance=0.6, time_limit=2.0)
    assert result.verdict is not Verdict.CERTIFIED or result.upper <= 5876.3


def test_an_upper_bound_is_known_as_soon_as_anything_is() -> None:
    loaded = shipped("dcopf-case57-centred")
    domain = loaded.problem.domain(0.2)
    result = verify(loaded.proxy, loaded.problem, domain, VerifyOptions(attack=QUICK), None, lambda: True)
    assert result.termination is Termination.CANCELLED
    assert np.isfinite(result.upper)
