"""Shared fixtures: small grids, and random proxies on them whose units are mostly undecided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from problems.dcopf import DcOpf
from problems.domain import Domain
from problems.grid import Grid, load_grid
from proxies.dcopf import dcopf_proxy
from proxies.layers import Affine, Hypersimplex, Layer, Relu
from proxies.layers.hypersimplex import shift_to_demand
from proxies.manifest import DcOpfSpec, InputSpec, Manifest, OutputSpec
from proxies.proxy import Proxy

MakeProxy = Callable[..., Proxy]
Trace = Callable[[Sequence[Layer], torch.Tensor], tuple[list[torch.Tensor], dict[int, torch.Tensor]]]


@pytest.fixture(scope="session")
def case5() -> Grid:
    return load_grid("pglib_opf_case5_pjm")


@pytest.fixture(scope="session")
def case14() -> Grid:
    return load_grid("pglib_opf_case14_ieee")


@pytest.fixture(scope="session")
def case30() -> Grid:
    return load_grid("pglib_opf_case30_ieee")


@pytest.fixture(scope="session")
def congested(case14: Grid) -> Grid:
    """case14 with three more generators free, some output held above zero, and ratings that bind."""
    pmin, pmax = case14.pmin.copy(), case14.pmax.copy()
    pmax[2:4] = 0.6
    pmin[2], pmin[3] = 0.1, 0.05
    cost = case14.cost + np.array([0.0, 0.0, 900.0, 300.0, 0.0])
    return replace(case14, name="case14_congested", pmin=pmin, pmax=pmax, cost=cost, rating=case14.rating * 0.4)


@pytest.fixture(scope="session")
def short_of_power(case14: Grid) -> Grid:
    """case14 whose generators serve 0.9 to 1.1 of the nominal load, so a wide domain needs a cut."""
    total = case14.load.sum()
    pmin, pmax = np.zeros(5), np.zeros(5)
    pmin[:2], pmax[:2] = 0.45 * total, 0.55 * total
    return replace(case14, name="case14_short", pmin=pmin, pmax=pmax, rating=case14.rating * 0.4)


@pytest.fixture(scope="session")
def make_proxy() -> MakeProxy:
    """Build a random proxy whose ReLUs switch inside the domain, and whose clamps act on both sides."""

    def make(
        problem: DcOpf,
        seed: int = 0,
        hidden: Sequence[int] = (6, 5),
        reads: tuple[str, str] = ("pu", "loads"),
        writes: tuple[str, str] = ("fraction", "dispatchable"),
        spread: float = 0.6,
        u: float = 0.2,
    ) -> Proxy:
        rng = np.random.default_rng(seed)
        grid, domain = problem.grid, problem.domain(u)
        x = domain.to_input(domain.sample(400, seed))
        h = (x[:, grid.load != 0] if reads[1] == "loads" else x) * (grid.base_mva if reads[0] == "MW" else 1.0)
        network: list[Layer] = []

        def affine(h: np.ndarray, size: int, goal: np.ndarray, width: np.ndarray) -> np.ndarray:
            """Append an affine layer whose outputs have about this mean and deviation; return them."""
            weight = rng.normal(size=(size, h.shape[1])) / (h.std(0) + 1e-3 * np.abs(h).max(initial=1e-9))
            z = h @ weight.T
            factor = width / np.maximum(z.std(0), 1e-12)
            weight = weight * factor[:, None]
            bias = goal - (h @ weight.T).mean(0)
            network.append(Affine(torch.as_tensor(weight), torch.as_tensor(bias)))
            return h @ weight.T + bias

        for size in hidden:
            z = affine(h, size, rng.normal(size=size) * 0.3, np.ones(size))
            network.append(Relu())
            h = np.maximum(z, 0)
        which = grid.dispatchable if writes[1] == "dispatchable" else np.arange(grid.generators)
        low, width = grid.pmin[which], (grid.pmax - grid.pmin)[which]
        scale = grid.base_mva if writes[0] == "MW" else 1.0
        if writes[0] == "fraction":
            low, width = np.zeros(which.size), np.ones(which.size)
        affine(h, which.size, scale * (low + 0.5 * width), scale * (spread * width + 1e-3))
        manifest = Manifest(
            problem=DcOpfSpec(case=grid.name, thermal=problem.thermal, shunts=problem.shunts),
            input=InputSpec.model_validate({"unit": reads[0], "at": reads[1]}),
            output=OutputSpec.model_validate({"unit": writes[0], "of": writes[1]}),
        )
        return dcopf_proxy(network, manifest, problem)

    return make


@pytest.fixture(scope="session")
def trace() -> Trace:
    """Return what enters every layer (last: what leaves the last one), and the shift of each hypersimplex layer."""

    def run(layers: Sequence[Layer], w: torch.Tensor) -> tuple[list[torch.Tensor], dict[int, torch.Tensor]]:
        values, shifts = [w], {}
        with torch.no_grad():
            for k, layer in enumerate(layers):
                if isinstance(layer, Hypersimplex):
                    demand = w @ layer.demand_weight + layer.demand_constant
                    shifts[k] = shift_to_demand(values[-1], demand, layer.lower, layer.upper)
                values.append(layer(values[-1], w))
        return values, shifts

    return run


@pytest.fixture(scope="session")
def samples() -> Callable[..., np.ndarray]:
    """Return corners and inner points of a domain: (2 count, n_w)."""

    def draw(domain: Domain, count: int, seed: int = 0) -> np.ndarray:
        return np.concatenate([domain.corners(count, seed), domain.sample(count, seed + 1)])

    return draw
