"""Compact models of knapsack proxies: both styles, and the largest gap found by looking everywhere."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pyomo.environ as pyo
import pytest
import torch

from encoding.block import add_columns
from encoding.compact import compact_model
from encoding.knapsack import dominance, item_values
from encoding.layers import Style, encode_layers
from problems.domain import Domain
from problems.interval import Interval
from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack
from proxies.knapsack import knapsack_manifest, knapsack_proxy
from proxies.layers import Affine, Layer, Relu
from proxies.layers.sort_repair import Greedy
from proxies.proxy import Proxy, latent_layers
from solvers.highs import HighsSession
from solvers.session import Status
from tests.encodings.test_layers import extremes
from verifier.bounds.over_domain import proxy_bounds

STYLES: tuple[Style, ...] = ("sign", "paper")
WAYS: list[tuple[Style, Greedy]] = [("sign", "prefix"), ("paper", "prefix"), ("sign", "skip"), ("paper", "skip")]


def random_proxy(problem: Knapsack, seed: int, greedy: Greedy = "prefix", hidden: int = 4, u: float = 0.3) -> Proxy:
    """A network whose ReLUs switch and whose scores change their order inside the domain."""
    rng = np.random.default_rng(seed)
    x = problem.domain(u).to_input(problem.domain(u).sample(300, seed))
    first = rng.normal(size=(hidden, problem.input_size)) / x.std(0)
    z = x @ first.T
    first, z = first / z.std(0)[:, None], z / z.std(0)
    network: list[Layer] = [
        Affine(torch.as_tensor(first), torch.as_tensor(-z.mean(0) + 0.3 * rng.normal(size=hidden))),
        Relu(),
        Affine(*(torch.as_tensor(rng.normal(size=size)) for size in ((problem.items, hidden), problem.items))),
    ]
    return knapsack_proxy(network, knapsack_manifest(problem, greedy), problem)


def gaps(proxy: Proxy, problem: Knapsack, domain: Domain, w: np.ndarray) -> np.ndarray:
    """The gap at many latent vectors, Phi by enumeration."""
    x = domain.to_input(w)
    with torch.no_grad():
        y = proxy(torch.as_tensor(x)).numpy()
    choices = np.array(list(product([0.0, 1.0], repeat=problem.items)))
    value = np.where(choices @ problem.weights <= x[:, -1:], x[:, :-1] @ choices.T, -np.inf)
    return value.max(1) - (x[:, :-1] * y).sum(1)


def maximum(proxy: Proxy, problem: Knapsack, domain: Domain, style: Style) -> tuple[float, np.ndarray]:
    layers = latent_layers(proxy, domain)
    model = compact_model(layers, problem, domain, proxy_bounds(layers, problem, domain), style)
    with HighsSession(model.linear) as session:
        solution = session.solve(mip_gap=0.0)
    assert solution.status is Status.OPTIMAL
    assert solution.x is not None
    return model.gap_of(solution.objective), domain.project(model.latent_of(solution.x))


def narrowed(domain: Domain, moving: list[int]) -> Domain:
    """The domain with all other coordinates at a point inside, the same each time."""
    still = domain.box.lower + 0.37 * domain.box.width
    lower, upper = still.copy(), still.copy()
    lower[moving], upper[moving] = domain.box.lower[moving], domain.box.upper[moving]
    return replace(domain, box=Interval(lower, upper))


def capacities(low: float, high: float, count: int) -> np.ndarray:
    """Capacities with every whole number, and the last one below it."""
    whole = np.arange(np.ceil(low), np.floor(high) + 1)
    edges = np.concatenate([whole, whole - 1e-9])
    return np.unique(np.clip(np.concatenate([np.linspace(low, high, count), edges]), low, high))


def looked_everywhere(proxy: Proxy, problem: Knapsack, domain: Domain, moving: list[int]) -> float:
    """The largest gap on a grid of two values and the capacity, refined around its best points."""
    low, high = domain.box.lower[moving], domain.box.upper[moving]

    def best(axes: list[np.ndarray]) -> tuple[float, np.ndarray]:
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(moving))
        w = np.repeat(domain.box.lower[None], len(grid), 0)
        w[:, moving] = grid
        found = gaps(proxy, problem, domain, w)
        return float(found.max()), grid[np.argsort(-found)[:4]]

    axes = [np.linspace(a, b, 33) for a, b in zip(low[:-1], high[:-1])]
    value, tops = best([*axes, capacities(low[-1], high[-1], 33)])
    for top in tops:
        middle, width = top, (high - low) / 32
        for _ in range(6):
            axes = [np.clip(np.linspace(m - s, m + s, 9), a, b) for m, s, a, b in zip(middle, width, low, high)]
            axes[-1] = capacities(axes[-1].min(), axes[-1].max(), 9)
            found, near = best(axes)
            value, middle, width = max(value, found), near[0], width / 3
    return value


@pytest.mark.parametrize(("style", "greedy"), WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_the_maximum_is_that_of_looking_everywhere(style: Style, greedy: Greedy, seed: int) -> None:
    """5 items, two values and the capacity move: a fine grid with all corners and all whole capacities."""
    problem = random_knapsack(5, seed, largest=9)
    domain = narrowed(problem.domain(0.3), [0, 3, 5])
    proxy = random_proxy(problem, seed, greedy)
    value, _ = maximum(proxy, problem, domain, style)
    expected = looked_everywhere(proxy, problem, domain, [0, 3, 5])
    assert value >= expected - 1e-6
    assert value == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("greedy", ["prefix", "skip"])
@pytest.mark.parametrize("seed", range(3))
def test_no_sampled_gap_exceeds_the_maximum_and_some_input_near_the_witness_has_it(greedy: Greedy, seed: int) -> None:
    problem = random_knapsack(5, 10 + seed, largest=20)
    domain = problem.domain(0.3)
    proxy = random_proxy(problem, seed, greedy)
    values = {}
    for style in STYLES:
        values[style], witness = maximum(proxy, problem, domain, style)
        corners = np.array(list(product(*zip(domain.box.lower, domain.box.upper))))
        w = np.concatenate([domain.sample(20000, seed), corners])
        assert values[style] >= gaps(proxy, problem, domain, w).max() - 1e-6
        # The witness may sit on an edge (equal scores, a whole capacity), where only inputs beside it have its gap.
        rng = np.random.default_rng(seed)
        beside = witness + rng.normal(size=(4000, 6)) * 1e-5 * domain.box.width
        beside = domain.project(np.concatenate([witness[None], beside]))
        found = gaps(proxy, problem, domain, beside).max()
        assert found == pytest.approx(values[style], rel=1e-3, abs=1e-3)
    assert values["sign"] == pytest.approx(values["paper"], rel=1e-6, abs=1e-5)


@pytest.mark.parametrize(("style", "greedy"), WAYS)
def test_a_whole_proxy_is_its_forward_pass(style: Style, greedy: Greedy) -> None:
    problem = random_knapsack(5, 1, largest=9)
    domain = problem.domain(0.3)
    layers = latent_layers(random_proxy(problem, 1, greedy), domain)
    bounds = proxy_bounds(layers, problem, domain)
    for w in domain.sample(4, 0):
        model = pyo.ConcreteModel()
        model.inner = pyo.Block(concrete=True)
        source = add_columns(model, "source", domain.box)
        outputs = encode_layers(layers, model.inner, source, bounds, style).outputs
        h = torch.as_tensor(w)[None]
        with torch.no_grad():
            for layer in layers:
                h = layer(h, torch.as_tensor(w)[None])
        found = extremes(model, source, w, outputs, np.eye(5))
        np.testing.assert_allclose(found, np.repeat(h[0].numpy()[:, None], 2, 1), atol=1e-6)


@pytest.mark.parametrize("style", STYLES)
def test_a_single_input_has_its_own_gap(style: Style) -> None:
    """u = 0: numbers instead of variables, with a whole capacity."""
    for seed in range(4):
        problem = random_knapsack(6, seed, largest=9)
        domain, proxy = problem.domain(0.0), random_proxy(problem, seed)
        expected = gaps(proxy, problem, domain, domain.centre[None])[0]
        assert maximum(proxy, problem, domain, style)[0] == pytest.approx(expected, abs=1e-6)


def test_dominance_leaves_an_optimum_at_every_input() -> None:
    left_out = 0
    for seed in range(20):
        problem = random_knapsack(7, seed, largest=4)
        domain = problem.domain(0.15 if seed % 2 else 0.0)
        better = dominance(problem, domain)
        choices = np.array(list(product([0.0, 1.0], repeat=7)))
        obey = np.array([all(y[a] >= y[b] for a, b in zip(*np.nonzero(better))) for y in choices])
        left_out += len(choices) - obey.sum()
        for x in domain.to_input(domain.sample(10, seed)):
            fits = choices[obey & (choices @ problem.weights <= x[-1])]
            assert -(fits @ x[:-1]).max() == pytest.approx(problem.solve(x)[0], abs=1e-9)
    assert left_out > 1000


def test_item_values_are_the_box() -> None:
    problem = random_knapsack(4, 0)
    domain = problem.domain(0.1)
    np.testing.assert_array_equal(item_values(problem, domain).lower, domain.box.lower[:4])
