"""Random knapsacks: ties, zeros, values of any scale, capacities at every edge; networks that standardise or not."""

from __future__ import annotations

import numpy as np

from benchmarks.soundness.draw import DECADES, Rng, affine, as_float32, chance, decades, pick
from problems.domain import Domain
from problems.interval import Vector
from problems.knapsack import Knapsack
from proxies.knapsack import knapsack_manifest, knapsack_proxy
from proxies.layers import Layer, Relu, Sign
from proxies.layers.sort_repair import Greedy
from proxies.proxy import Proxy

RADII = (0.0, 0.01, 0.1, 0.3, 0.9)
SMALLEST, LARGEST = -9.0, 12.0
RULES: tuple[Greedy, ...] = ("prefix", "skip")


def draw_knapsack(rng: Rng) -> tuple[Proxy, Knapsack, Domain, float, tuple[str, ...]]:
    """Return a knapsack proxy, its problem, the inputs that count, u, and what is special about it."""
    traits: list[str] = []
    items = int(rng.integers(2, 5)) if chance(rng, 0.8) else int(rng.integers(5, 9))
    values, weights = _items(rng, items, traits)
    capacity = _capacity(rng, weights, traits)
    problem = Knapsack("knapsack", values, weights, capacity)
    u = pick(rng, RADII)
    network = pick(rng, (_standardising, _standardising, _fixed, _by_value))(rng, problem, max(u, 0.01), traits)
    if chance(rng, 0.3):
        traits.append("float32")
        as_float32(network)
    rule = pick(rng, RULES)
    proxy = knapsack_proxy(network, knapsack_manifest(problem, rule), problem)
    return proxy, problem, problem.domain(u), u, (rule, *traits)


def _items(rng: Rng, items: int, traits: list[str]) -> tuple[Vector, Vector]:
    values = rng.integers(1, 20, size=items).astype(np.float64) if chance(rng, 0.5) else 10 * rng.random(items)
    weights = rng.integers(1, pick(rng, (3, 10, 1000)), size=items).astype(np.float64)
    if chance(rng, 0.15):
        traits.append("equal values")
        values[:] = values[0]
    if chance(rng, 0.15):
        traits.append("equal weights")
        weights[:] = weights[0]
    if chance(rng, 0.1):
        traits.append("values as weights")
        values = weights.copy()
    if chance(rng, 0.15):
        traits.append("zero values")
        values[rng.random(items) < 0.5] = 0.0
    if chance(rng, 0.4):
        scale = float(decades(rng, SMALLEST, LARGEST))
        traits.append("small values" if scale < 1e-3 else "large values" if scale > 1e6 else "scaled values")
        values = values * scale
    elif chance(rng, 0.15):
        traits.append("spread values")
        values = values * decades(rng, -6, 6, items)
    return values, weights


def _capacity(rng: Rng, weights: Vector, traits: list[str]) -> float:
    total = float(weights.sum())
    way = pick(rng, ("part", "part", "part", "whole", "whole", "exact", "nothing", "too small", "everything"))
    if way not in ("part", "whole"):
        traits.append(f"capacity: {way}")
    if way == "part":
        return float(rng.uniform(weights.min(), total))
    if way == "whole":
        return float(np.floor(rng.uniform(weights.min(), total)))
    if way == "exact":
        return float(weights[rng.random(len(weights)) < 0.6].sum())
    return {"nothing": 0.0, "too small": float(weights.min()) - 0.5, "everything": 2 * total}[way]


def _standardising(rng: Rng, problem: Knapsack, u: float, traits: list[str]) -> list[Layer]:
    """Return a network whose units switch inside the domain, whatever the scale of the values."""
    traits.append("standardising")
    domain = problem.domain(u)
    x = domain.to_input(domain.sample(64, int(rng.integers(2**31))))
    mean, spread = x.mean(0), np.maximum(x.std(0), 1e-12 * np.abs(x).max() + 1e-300)
    hidden = int(rng.integers(1, 5))
    weight, bias = rng.normal(size=(hidden, x.shape[1])), 0.5 * rng.normal(size=hidden)
    factor = np.ones(hidden)
    if chance(rng, 0.15):
        traits.append("units rescaled")
        factor = decades(rng, -DECADES, DECADES, hidden)
    weight, bias = weight * factor[:, None], bias * factor
    scores, last = rng.normal(size=(problem.items, hidden)) / factor, rng.normal(size=problem.items)
    if chance(rng, 0.15):
        traits.append("tied scores")
        scores[1], last[1] = scores[0], last[0]
    unit = Sign() if chance(rng, 0.15) else Relu()
    end: list[Layer] = [unit, affine(scores, last)]
    if chance(rng, 0.5):
        return [affine(weight / spread, bias - (weight / spread) @ mean), *end]
    return [affine(1 / spread, -mean / spread), affine(weight, bias), *end]


def _fixed(rng: Rng, problem: Knapsack, u: float, traits: list[str]) -> list[Layer]:
    """Return scores that look at nothing."""
    traits.append("fixed scores")
    scores = rng.normal(size=problem.items).round(int(rng.integers(0, 3)))
    return [affine(np.zeros((problem.items, problem.input_size)), scores)]


def _by_value(rng: Rng, problem: Knapsack, u: float, traits: list[str]) -> list[Layer]:
    """Return scores that are the values, or the values by weight: ties are where these are equal."""
    by_weight = chance(rng, 0.5)
    traits.append("scores by density" if by_weight else "scores are values")
    weight = np.eye(problem.items, problem.input_size)
    return [affine(weight / (problem.weights[:, None] if by_weight else 1.0), np.zeros(problem.items))]
