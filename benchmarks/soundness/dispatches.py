"""Random dispatch proxies on grids of two to five buses with the degenerate data that real cases hold."""

from __future__ import annotations

import numpy as np

from benchmarks.soundness.draw import Rng, affine, as_float32, chance, decades, pick
from problems.dcopf import DcOpf
from problems.domain import Domain
from problems.errors import DomainError
from problems.grid import Grid, grid_from_tables
from problems.interval import Vector
from proxies.dcopf import dcopf_proxy
from proxies.layers import Layer, Relu
from proxies.manifest import DcOpfSpec, InputSpec, Manifest, OutputSpec
from proxies.proxy import Proxy

RADII = (0.0, 0.01, 0.05, 0.2, 0.5)
BASE = 100.0
# Scales of the pre-activations, which the next layer takes back.
SMALLEST, LARGEST = -9.0, 10.0


def draw_dispatch(rng: Rng) -> tuple[Proxy, DcOpf, Domain, float, tuple[str, ...]]:
    """Return a dispatch proxy, its problem, the inputs that count, u, and what is special about it."""
    traits: list[str] = []
    grid = _grid(rng, traits)
    shunts, angles = chance(rng, 0.15), chance(rng, 0.1)
    thermal = "hard" if chance(rng, 0.05) else "soft"
    traits += [
        word for word, there in (("shunts", shunts), ("angle limits", angles), ("hard", thermal == "hard")) if there
    ]
    problem = DcOpf(grid, thermal, shunts, angles)
    u = pick(rng, RADII)
    try:
        domain = problem.domain(u)
    except DomainError:
        u = 0.05
        domain = problem.domain(u)
    return _proxy(rng, problem, domain, traits), problem, domain, u, tuple(traits)


def _grid(rng: Rng, traits: list[str]) -> Grid:
    buses, generators = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    load = 100 * rng.random(buses) * (rng.random(buses) < 0.7)
    if chance(rng, 0.1):
        traits.append("a negative load")
        load[int(rng.integers(buses))] = -20.0
    if not load.any():
        load[0] = 50.0
    total = float(np.abs(load).sum())
    bus = np.zeros((buses, 13))
    bus[:, 0], bus[:, 1], bus[:, 2] = np.arange(1, buses + 1), 1, load
    bus[int(rng.integers(buses)), 1] = 3
    bus[:, 4] = 2.0 * rng.random(buses) * chance(rng, 0.3)
    name = "grid"
    return grid_from_tables(
        name, BASE, bus, _generators(rng, buses, generators, total, traits), _costs(rng, generators, traits),
        _branches(rng, buses, total, traits),
    )  # fmt: skip


def _generators(rng: Rng, buses: int, count: int, total: float, traits: list[str]) -> Vector:
    gen = np.zeros((count, 10))
    gen[:, 0], gen[:, 7] = rng.integers(1, buses + 1, size=count), 1
    share = rng.dirichlet(np.ones(count)) * total
    short = chance(rng, 0.15)
    gen[:, 8] = share * (1.1 if short else 2.0) + (0.0 if short else 0.3 * total)
    gen[:, 9] = share * (0.9 if short else 0.3 * chance(rng, 0.5))
    if short:
        traits.append("short of power")
    if chance(rng, 0.15) and count > 1:
        traits.append("a fixed generator")
        gen[0, 8] = gen[0, 9]
    if chance(rng, 0.05):
        traits.append("all generators fixed")
        gen[:, 8] = gen[:, 9] = share
    return gen


def _costs(rng: Rng, count: int, traits: list[str]) -> Vector:
    cost = np.zeros((count, 6))
    cost[:, 0], cost[:, 3] = 2, 2
    cost[:, 4] = rng.integers(5, 60, size=count) if chance(rng, 0.5) else 50 * rng.random(count)
    if chance(rng, 0.15):
        traits.append("equal costs")
        cost[:, 4] = cost[0, 4]
    if chance(rng, 0.1):
        traits.append("costs scaled")
        cost[:, 4] *= float(decades(rng, -6, 6))
    if chance(rng, 0.08):
        traits.append("a negative cost")
        cost[0, 4] *= -1
    if chance(rng, 0.05):
        traits.append("no costs")
        cost[:, 4] = 0.0
    if chance(rng, 0.2):
        traits.append("constant costs")
        cost[:, 5] = 100 * rng.normal(size=count)
    return cost


def _branches(rng: Rng, buses: int, total: float, traits: list[str]) -> Vector:
    ends = [(int(rng.integers(1, k)), k) for k in range(2, buses + 1)]
    for _ in range(int(rng.integers(0, 3))):
        a, b = (int(k) for k in rng.choice(buses, 2, replace=False) + 1)
        ends.append((a, b))
    if chance(rng, 0.2):
        traits.append("parallel branches")
        ends.append(ends[0])
    branch = np.zeros((len(ends), 13))
    branch[:, 0], branch[:, 1] = zip(*ends)
    branch[:, 3] = pick(rng, (0.1 * np.ones(len(ends)), 0.05 + 0.3 * rng.random(len(ends))))
    if chance(rng, 0.2):
        branch[:, 2] = 0.3 * branch[:, 3]
    if chance(rng, 0.08) and len(ends) > 2:
        traits.append("a negative reactance")
        branch[-1, 3] *= pick(rng, (-1.0, -0.37))
    ratings = pick(rng, ("none", "tight", "tight", "some", "loose"))
    limit = total * (0.1 + 0.4 * rng.random(len(ends)))
    branch[:, 5] = {
        "none": 0 * limit,
        "tight": limit,
        "some": limit * (rng.random(len(ends)) < 0.5),
        "loose": 10 * limit,
    }[ratings]
    traits.append(f"ratings: {ratings}")
    branch[:, 10], branch[:, 11], branch[:, 12] = 1, -30, 30
    if chance(rng, 0.3):
        branch[:, 11], branch[:, 12] = -3, 3
    return branch


def _proxy(rng: Rng, problem: DcOpf, domain: Domain, traits: list[str]) -> Proxy:
    """Return a network whose units switch inside the domain and whose answers reach beyond the generators' limits."""
    grid = problem.grid
    unit = pick(rng, ("pu", "MW"))
    write = pick(rng, ("fraction", "fraction", "pu", "MW"))
    x = domain.to_input(domain.sample(64, int(rng.integers(2**31)))) * (BASE if unit == "MW" else 1.0)
    hidden = int(rng.integers(1, 4))
    weight = rng.normal(size=(hidden, grid.buses)) / (x.std(0) + 1e-3 * np.abs(x).max())
    z = x @ weight.T
    weight = weight / np.maximum(z.std(0), 1e-9)[:, None]
    bias = 0.5 * rng.normal(size=hidden) - (x @ weight.T).mean(0)
    width = np.ones(grid.generators) if write == "fraction" else grid.pmax - grid.pmin
    low = np.zeros(grid.generators) if write == "fraction" else grid.pmin
    scale = BASE if write == "MW" else 1.0
    last = scale * 0.7 * rng.normal(size=(grid.generators, hidden)) * width[:, None]
    shift = scale * (low + width * rng.uniform(-0.3, 1.0, size=grid.generators))
    if chance(rng, 0.3):
        traits.append("units rescaled")
        factor = decades(rng, SMALLEST, LARGEST, hidden) if chance(rng, 0.5) else float(decades(rng, SMALLEST, LARGEST))
        factor = factor * np.ones(hidden)
        weight, bias, last = weight * factor[:, None], bias * factor, last / factor
    layers: list[Layer] = [affine(weight, bias), Relu(), affine(last, shift)]
    if chance(rng, 0.3):
        traits.append("float32")
        as_float32(layers)
    manifest = Manifest(
        problem=DcOpfSpec(
            case=grid.name, thermal=problem.thermal, shunts=problem.shunts, angle_limits=problem.angle_limits
        ),
        input=InputSpec.model_validate({"unit": unit, "at": "buses"}),
        output=OutputSpec.model_validate({"unit": write, "of": "generators"}),
    )
    return dcopf_proxy(layers, manifest, problem)
