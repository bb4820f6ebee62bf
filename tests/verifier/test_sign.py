"""Sign layers through the whole engine: bounds hold, ties have one sign, and answers are those of a fine grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyomo.environ as pyo
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoding.block import add_columns
from encoding.bnn_training import BinarizedClassifier
from encoding.bounds import Bounds, input_key
from encoding.layers import encode_layers
from problems.dcopf import DcOpf
from problems.grid import Grid
from problems.interval import Interval
from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack
from proxies.dcopf import dcopf_proxy
from proxies.files import save_network
from proxies.knapsack import knapsack_manifest, knapsack_proxy
from proxies.layers import Affine, Layer, Relu, Sign
from proxies.load import load_proxy
from proxies.proxy import Proxy, latent_layers
from solvers.highs import HighsSession
from solvers.pyomo_bridge import compile_model
from tests.encodings.test_knapsack import gaps, narrowed
from tests.shipped import shipped
from tests.verifier.test_bounds import as_box, assert_holds, boxes, dense
from tests.verifier.test_knapsack import CLIMB, QUICK, assert_replays
from verifier.bounds.crown import layer_boxes
from verifier.bounds.over_domain import Method, proxy_bounds
from verifier.bounds.relaxation import Box, propagate, relax
from verifier.replay import onnx_gap, replay
from verifier.result import Termination, Verdict
from verifier.sampling import sampled_gaps
from verifier.verify import verify


def binarized_proxy(problem: Knapsack, seed: int, hidden: tuple[int, int] = (6, 4), u: float = 0.3) -> Proxy:
    """Weights of -1 and 1 on normalised inputs, then of -1, 0 and 1 without a bias: ties are frequent there."""
    rng = np.random.default_rng(seed)
    width = torch.as_tensor(u * problem.nominal)
    whole = [rng.choice([-1.0, 1.0], size=(hidden[0], problem.input_size)), rng.integers(-1, 2, size=hidden[::-1])]
    first, second = (torch.as_tensor(weight, dtype=torch.float64) for weight in whole)
    network: list[Layer] = [
        Affine(1 / width, -torch.as_tensor(problem.nominal) / width),
        Affine(first, torch.as_tensor(rng.normal(size=hidden[0]))),
        Sign(),
        Affine(second, torch.zeros(hidden[1])),
        Sign(),
        Affine(*(torch.as_tensor(rng.normal(size=size)) for size in ((problem.items, hidden[1]), problem.items))),
    ]
    return knapsack_proxy(network, knapsack_manifest(problem), problem)


@given(boxes(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_sign_lines_are_valid_for_both_signs_at_zero(
    drawn: tuple[np.random.Generator, Interval, Interval], own_slope: bool
) -> None:
    rng, _, interval = drawn
    slope = torch.as_tensor(rng.random((1, 6))) if own_slope else None
    lines = relax(Sign(), as_box(interval), None, slope)
    h = dense(interval)
    assert_holds(lines.low_slope * h + lines.low_cut, lines.high_slope * h + lines.high_cut, Sign()(h, h))
    out = propagate(Sign(), as_box(interval), as_box(interval))
    assert_holds(out.lower, out.upper, Sign()(h, h))
    both = torch.as_tensor((interval.lower < 0) & (interval.upper >= 0))
    assert bool((lines.low_cut[0, both] <= -1).all() and (lines.high_cut[0, both] >= 1).all())
    assert bool((lines.low_slope >= 0).all() and (lines.high_slope >= 0).all())


@pytest.mark.parametrize("method", ["interval", "crown", "alpha"])
@pytest.mark.parametrize("seed", range(3))
def test_bounds_hold_every_sample_and_only_tighten(method: Method, seed: int) -> None:
    problem = random_knapsack(5, seed)
    domain = problem.domain(0.1)
    layers = latent_layers(binarized_proxy(problem, seed, (7, 5)), domain)
    bounds, plain = (proxy_bounds(layers, problem, domain, way) for way in (method, "interval"))
    h = w = torch.as_tensor(np.concatenate([domain.sample(600, seed), domain.corners(600, seed)]))
    with torch.no_grad():
        for k, layer in enumerate(layers):
            h = layer(h, w)
            found, loose = bounds[input_key(k + 1)], plain[input_key(k + 1)]
            assert_holds(torch.as_tensor(found.lower), torch.as_tensor(found.upper), h)
            assert (found.lower >= loose.lower).all()
            assert (found.upper <= loose.upper).all()


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_the_answer_is_that_of_a_fine_grid(seed: int) -> None:
    problem = random_knapsack(4, seed, largest=9)
    proxy = binarized_proxy(problem, seed)
    domain = narrowed(problem.domain(0.3), [0, 2, 4])
    result = verify(proxy, problem, domain, QUICK)
    axes = [np.linspace(low, high, 33 if high > low else 1) for low, high in zip(domain.box.lower, domain.box.upper)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 5)
    largest = gaps(proxy, problem, domain, grid).max()
    assert result.termination is Termination.OPTIMAL
    assert result.verdict is Verdict.CERTIFIED
    assert largest <= result.upper + 1e-9
    assert_replays(result, problem)
    parts = verify(proxy, problem, domain, replace(QUICK, effort=1, rounds=0))
    assert parts.verdict is Verdict.CERTIFIED
    assert parts.lower <= result.upper + 1e-9
    assert result.lower <= parts.upper + 1e-9


@pytest.mark.parametrize("split", [True, False])
def test_a_dispatch_proxy_with_signs_is_certified(
    congested: Grid, make_proxy: Callable[..., Proxy], split: bool
) -> None:
    """Where the objective is bounded without linear programs too, and inputs are tied to each other."""
    problem = DcOpf(congested)
    relus = make_proxy(problem, 0, hidden=(5, 4))
    network = [Sign() if isinstance(layer, Relu) else layer for layer in relus.network]
    proxy, domain = dcopf_proxy(network, relus.manifest, problem), problem.domain(0.05)
    options = replace(QUICK, split=split, effort=20, attack=replace(CLIMB, seconds=1.0))
    result = verify(proxy, problem, domain, options)
    assert result.verdict is Verdict.CERTIFIED
    sampled = sampled_gaps(proxy, problem, domain, 300, seed=1)
    assert 0 < sampled.max() <= result.upper * (1 + 1e-9)


def test_a_tie_that_fills_the_domain_has_one_sign() -> None:
    """Two units that hardly ever agree sum to 0 almost everywhere: a model with both signs there would never close."""
    problem = Knapsack("tie", np.array([5.0, 4.0]), np.array([1, 1]), 1.5)
    first = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], dtype=torch.float64)
    network: list[Layer] = [
        Affine(first, torch.tensor([-5.0, 5.1])),
        Sign(),
        Affine(torch.ones(1, 2), torch.zeros(1)),
        Sign(),
        Affine(torch.tensor([[1.0], [0.0]]), torch.zeros(2)),
    ]
    proxy, domain = knapsack_proxy(network, knapsack_manifest(problem), problem), problem.domain(0.05)
    result = verify(proxy, problem, domain, QUICK)
    # The score of the first item is sign(0) = 1: it is taken, and it is always worth more.
    assert result.verdict is Verdict.CERTIFIED
    assert result.upper <= 1e-4


def test_the_worst_output_of_a_classifier_over_a_box_is_that_of_a_fine_grid() -> None:
    """Bounds and encoding need no problem: the least output around a sample that is classified right."""
    rng = np.random.default_rng(0)
    x = rng.random((20, 2))
    classifier = BinarizedClassifier(hidden=(2,), time_limit=20.0, first_steps=0).fit(x, x[:, 0] > x[:, 1])
    centre = x[np.argmax(classifier.decision_function(x))]
    for radius in (0.02, 0.3):
        box = Box(*(torch.as_tensor(centre + side * radius)[None] for side in (-1, 1)))
        with torch.no_grad():
            found = layer_boxes(classifier.layers_, box)
        bounds = {input_key(k): Interval(b.lower[0].numpy(), b.upper[0].numpy()) for k, b in enumerate(found.inputs)}
        model = pyo.ConcreteModel()
        model.inner = pyo.Block(concrete=True)
        inputs = add_columns(model, "inputs", bounds[input_key(0)])
        output = encode_layers(classifier.layers_, model.inner, inputs, Bounds(bounds)).outputs[0]
        model.goal = pyo.Objective(expr=output)
        with HighsSession(compile_model(model).linear) as session:
            least = session.solve(mip_gap=0.0).objective
        steps = np.linspace(-radius, radius, 201)
        grid = centre + np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
        assert least == pytest.approx(classifier.decision_function(grid).min())
        assert float(found.inputs[-1].lower) <= least


def test_an_onnx_copy_of_the_shipped_proxy_is_the_same_proxy(tmp_path: Path) -> None:
    loaded = shipped("knapsack-10-binarized")
    file = tmp_path / "copy.onnx"
    save_network(file, loaded.proxy.network, loaded.proxy.manifest, single=True)
    copy = load_proxy(file)
    assert copy.proxy.fingerprint() == loaded.proxy.fingerprint()
    domain = loaded.problem.domain(0.05)
    assert copy.onnx is not None
    for w in domain.sample(20, 0):
        witness = replay(copy.proxy, copy.problem, domain, w)
        assert onnx_gap(copy.onnx, copy.proxy, copy.problem, witness) == pytest.approx(witness.gap, abs=1e-9)


def test_the_shipped_binarized_proxy_is_certified() -> None:
    loaded = shipped("knapsack-10-binarized")
    assert isinstance(loaded.problem, Knapsack)
    domain = loaded.problem.domain(0.05)
    result = verify(loaded.proxy, loaded.problem, domain, QUICK)
    assert result.verdict is Verdict.CERTIFIED
    assert gaps(loaded.proxy, loaded.problem, domain, domain.sample(2000, 0)).max() <= result.upper
    assert_replays(result, loaded.problem)
