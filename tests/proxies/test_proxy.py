"""Proxies: the same decision from the latent vector as from the input, whatever units the network speaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from problems.dcopf import DcOpf
from problems.grid import Grid
from proxies.dcopf import dcopf_proxy, infer_specs
from proxies.errors import InfeasibleDemandError, ProxyError
from proxies.layers import Affine, Clamp, Hypersimplex, Relu
from proxies.manifest import DcOpfSpec, InputSpec, Manifest, OutputSpec
from proxies.proxy import Proxy, latent_layers

READS = list(product(("MW", "pu"), ("buses", "loads")))
WRITES = list(product(("MW", "pu", "fraction"), ("generators", "dispatchable")))


@pytest.mark.parametrize("reads", READS, ids="-".join)
@pytest.mark.parametrize("writes", WRITES, ids="-".join)
def test_latent_layers_compute_the_proxys_decision(
    case14: Grid, make_proxy: Callable[..., Proxy], reads: tuple[str, str], writes: tuple[str, str]
) -> None:
    problem = DcOpf(replace(case14, shunt=0.03 * np.ones(14)), shunts=True)
    proxy = make_proxy(problem, 1, reads=reads, writes=writes)
    domain = problem.domain(0.2)
    layers = latent_layers(proxy, domain)
    w = domain.sample(200, 0)
    latent = h = torch.as_tensor(w)
    with torch.no_grad():
        for layer in layers:
            h = layer(h, latent)
        x = torch.as_tensor(domain.to_input(w))
        expected = proxy(x)
        assert float((h - expected).abs().max()) <= 1e-12
        assert float(problem.infeasibility(x, expected).max()) <= 1e-12
    # The network matters: its decisions differ between inputs and are not all at a limit.
    assert float(expected.std(0).max()) > 1e-3
    adjacent = [isinstance(a, Affine) and isinstance(b, Affine) for a, b in pairwise(layers)]
    assert not any(adjacent)


@pytest.mark.parametrize("reads", READS, ids="-".join)
@pytest.mark.parametrize("writes", WRITES, ids="-".join)
def test_the_network_sees_and_writes_what_the_manifest_says(
    congested: Grid, reads: tuple[str, str], writes: tuple[str, str]
) -> None:
    """Against unit conversions written out by hand, around a network that is one affine layer."""
    problem, base = DcOpf(congested), congested.base_mva
    bus = congested.load != 0 if reads[1] == "loads" else np.ones(14, dtype=bool)
    gen = congested.dispatchable if writes[1] == "dispatchable" else np.arange(5)
    rng = np.random.default_rng(0)
    # Sized to stay within the limits, where clamp does nothing and a shift of all is the only repair.
    weight, bias = rng.normal(size=(gen.size, bus.sum())) * 1e-4, 0.3 + 0.1 * rng.random(gen.size)
    manifest = Manifest(
        problem=DcOpfSpec(case="any"),
        input=InputSpec.model_validate({"unit": reads[0], "at": reads[1]}),
        output=OutputSpec.model_validate({"unit": writes[0], "of": writes[1]}),
    )
    proxy = dcopf_proxy([Affine(torch.as_tensor(weight), torch.as_tensor(bias))], manifest, problem)
    x = congested.load * (1 + 0.1 * rng.random(14))
    seen = x[bus] * (base if reads[0] == "MW" else 1.0)
    written = weight @ seen + bias
    low, high = congested.pmin[gen], congested.pmax[gen]
    raw = {"MW": written / base, "pu": written, "fraction": low + written * (high - low)}[writes[0]]
    p = congested.pmin.copy()
    p[gen] = raw
    p = np.clip(p, congested.pmin, congested.pmax)
    shifts = np.linspace(-4, 4, 2_000_001)
    total = sum(np.clip(pg + shifts, a, b) for pg, a, b in zip(p, congested.pmin, congested.pmax))
    p = np.clip(p + shifts[np.abs(total - x.sum()).argmin()], congested.pmin, congested.pmax)
    with torch.no_grad():
        np.testing.assert_allclose(proxy(torch.as_tensor(x)[None])[0].numpy(), p, atol=1e-5)


def test_sizes_that_fit_neither_case_nor_manifest_are_refused(case14: Grid) -> None:
    manifest = Manifest(problem=DcOpfSpec(case="any"))
    problem = DcOpf(case14)

    def build(reads: int, writes: int, **changes: object) -> Proxy:
        network = [Affine(torch.zeros(writes, reads), torch.zeros(writes))]
        return dcopf_proxy(network, manifest.model_copy(update=changes), problem)

    assert build(14, 5).output_size == 5
    with pytest.raises(ProxyError, match="reads 13 values, but pglib_opf_case14_ieee has 14 buses and 11 loads"):
        build(13, 5)
    with pytest.raises(ProxyError, match="writes 2 values"):
        build(14, 2)
    with pytest.raises(ProxyError, match="repair"):
        build(14, 5, repair=("clamp",))
    with pytest.raises(ProxyError, match="no affine layer"):
        dcopf_proxy([Relu()], manifest, problem)
    inner = [Affine(torch.zeros(3, 14), torch.zeros(3)), Relu(), Affine(torch.zeros(5, 4), torch.zeros(5))]
    with pytest.raises(ProxyError, match="takes 4 values but gets 3"):
        dcopf_proxy(inner, manifest, problem)


def test_specs_are_inferred_from_the_sizes(case14: Grid) -> None:
    for reads, at in ((14, "buses"), (11, "loads")):
        for writes, of in ((5, "generators"), (2, "dispatchable")):
            network = [Affine(torch.zeros(writes, reads), torch.zeros(writes))]
            found = infer_specs(network, case14, "MW", "pu")
            assert found == (InputSpec(unit="MW", at=at), OutputSpec(unit="pu", of=of))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused(case14: Grid, bad: float) -> None:
    weight = torch.zeros(5, 14, dtype=torch.float64)
    weight[2, 3] = bad
    with pytest.raises(ProxyError, match="weight"):
        dcopf_proxy([Affine(weight, torch.zeros(5))], Manifest(problem=DcOpfSpec(case="any")), DcOpf(case14))


def test_a_demand_that_cannot_be_served_is_refused(case14: Grid, make_proxy: Callable[..., Proxy]) -> None:
    proxy = make_proxy(DcOpf(case14))
    with pytest.raises(InfeasibleDemandError, match="per unit"):
        proxy(torch.as_tensor(5 * case14.load)[None])


def test_the_fingerprint_sees_kinds_order_and_every_number() -> None:
    manifest = Manifest(problem=DcOpfSpec(case="any"))
    square = torch.eye(3, dtype=torch.float64)
    low, high = torch.zeros(3), torch.ones(3)
    a, b = Affine(square, low), Affine(2 * square, low)
    nudged = square.clone()
    nudged[1, 1] = np.nextafter(1.0, 2.0)
    end = Hypersimplex(low, high, torch.ones(3))
    variants = [
        [a, b],
        [b, a],
        [a, Relu(), b],
        [a, Clamp(low, high), b],
        [a, b, end],
        [a, b, Hypersimplex(low, high, torch.ones(3), 1e-16)],
        [Affine(nudged, low), b],
        [Affine(square, torch.tensor([0.0, 0.0, 1e-300], dtype=torch.float64)), b],
        [Affine(torch.ones(3), low), b],
    ]
    prints = {Proxy(layers, 3, manifest).fingerprint() for layers in variants}
    assert len(prints) == len(variants)
    assert Proxy([a, b], 3, manifest.model_copy(update={"made_by": "x"})).fingerprint() in prints
