"""Every layer encoding has exactly one solution once its inputs are fixed: the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyomo.environ as pyo
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoding.block import add_columns, is_number, linear
from encoding.bounds import inner_key, input_key
from encoding.layers import Style, encode, encode_layers, stable_units
from problems.dcopf import DcOpf
from problems.domain import Domain
from problems.grid import Grid
from problems.interval import Interval
from proxies.layers import Affine, Clamp, Hypersimplex, Layer, Relu, Sign, SortRepair
from proxies.layers.hypersimplex import shift_to_demand
from proxies.proxy import Proxy, latent_layers
from solvers.highs import HighsSession
from solvers.pyomo_bridge import compile_model
from solvers.session import Status
from verifier.bounds.over_domain import Method, proxy_bounds
from verifier.bounds.relaxation import Box, inner_box, propagate, relax

STYLES: tuple[Style, ...] = ("sign", "paper")
TOLERANCE = 1e-6
Model = tuple[pyo.ConcreteModel, list, list]


def extremes(
    model: pyo.ConcreteModel, fixed: Sequence, point: np.ndarray, outputs: Sequence, weights: np.ndarray
) -> np.ndarray:
    """Fix variables at a point, then minimise and maximise weights'outputs: (len(weights), 2)."""
    found = []
    for row in weights:
        objective = linear(row, outputs)
        if is_number(objective):
            found.append((objective, objective))
            continue
        ends = []
        for sense in (pyo.minimize, pyo.maximize):
            model.goal = pyo.Objective(expr=objective, sense=sense)
            compiled = compile_model(model)
            model.del_component("goal")
            columns = compiled.columns([v for v in fixed if not is_number(v)])
            values = np.array([p for v, p in zip(fixed, point) if not is_number(v)])
            used = columns >= 0
            with HighsSession(compiled.linear) as session:
                session.set_column_bounds(columns[used], values[used], values[used])
                solution = session.solve(mip_gap=0.0)
            assert solution.status is Status.OPTIMAL, f"the forward pass is cut off: {solution.status}"
            ends.append(compiled.sign * solution.objective)
        found.append(tuple(ends))
    return np.array(found)


def within(rng: np.random.Generator, interval: Interval, point: np.ndarray) -> Interval:
    """A random sub-interval that contains the point; often degenerate, often one-sided."""
    low, high = (np.where(rng.random(point.size) < 0.3, 0.0, rng.random(point.size)) for _ in range(2))
    low, high = (np.where(rng.random(point.size) < 0.4, 1.0, share) for share in (low, high))
    lower = point - low * np.maximum(point - interval.lower, 0.0)
    upper = point + high * np.maximum(interval.upper - point, 0.0)
    return Interval(np.minimum(lower, point), np.maximum(upper, point))


def known(layer: Layer, inputs: Interval, source: Interval) -> dict[str, Interval]:
    """The interval rules' bounds of one layer."""
    boxes = [Box(torch.as_tensor(i.lower)[None], torch.as_tensor(i.upper)[None]) for i in (inputs, source)]
    out, inner = propagate(layer, *boxes), inner_box(layer, *boxes)
    found = {"input": inputs, "output": Interval(out.lower[0].numpy(), out.upper[0].numpy()), "source": source}
    if inner is not None:
        found["inner"] = Interval(inner.lower[0].numpy(), inner.upper[0].numpy())
    return found


def check(
    layer: Layer,
    bounds: Mapping[str, Interval],
    source_box: Interval,
    h: np.ndarray,
    x: np.ndarray,
    style: Style,
    rng: np.random.Generator,
) -> None:
    """Assert that the encoding, with h and x fixed, has the forward pass as its only output."""
    with torch.no_grad():
        expected = layer(torch.as_tensor(h)[None], torch.as_tensor(x)[None])[0].numpy()
    model = pyo.ConcreteModel()
    model.inner = pyo.Block(concrete=True)
    inputs = add_columns(model, "inputs", bounds["input"])
    source = add_columns(model, "source", source_box)
    encoded = encode(layer, model.inner, inputs, source, bounds, style)
    assert len(encoded.outputs) == expected.size
    weights = np.vstack([np.eye(expected.size), rng.normal(size=(1, expected.size))])
    found = extremes(model, [*inputs, *source], np.concatenate([h, x]), encoded.outputs, weights)
    goal = (weights @ expected)[:, None]
    scale = 1 + np.abs(expected).max()
    np.testing.assert_allclose(found, np.hstack([goal, goal]), atol=TOLERANCE * scale, rtol=0)


@st.composite
def seeded(draw: st.DrawFn) -> tuple[int, np.random.Generator]:
    return draw(st.integers(1, 5)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


def points(rng: np.random.Generator, n: int, size: float = 2.0) -> tuple[Interval, np.ndarray]:
    """A box, with degenerate entries and ends at exactly zero, and a point of it, often at an end."""
    lower = np.round(rng.normal(size=n) * size, int(rng.integers(0, 3)))
    upper = lower + np.round(rng.random(n) * 2 * size, 2) * (rng.random(n) > 0.15)
    share = rng.random(n)
    share = np.where(rng.random(n) < 0.3, np.round(share), share)
    return Interval(lower, upper), np.minimum(lower + share * (upper - lower), upper)


@given(seeded(), st.sampled_from(STYLES))
@settings(max_examples=30, deadline=None)
def test_affine(drawn: tuple[int, np.random.Generator], style: Style) -> None:
    n, rng = drawn
    box, h = points(rng, n)
    diagonal = rng.random() < 0.4
    weight = rng.normal(size=n) if diagonal else rng.normal(size=(3, n)) * (rng.random((3, n)) < 0.7)
    layer = Affine(torch.as_tensor(weight), torch.as_tensor(rng.normal(size=weight.shape[0])))
    bounds = known(layer, box, box)
    with torch.no_grad():
        out = layer(torch.as_tensor(h)[None], None)[0].numpy()
    bounds["output"] = within(rng, bounds["output"], out)
    check(layer, bounds, Interval(h, h), h, h, style, rng)


@given(seeded(), st.sampled_from(STYLES))
@settings(max_examples=40, deadline=None)
def test_relu(drawn: tuple[int, np.random.Generator], style: Style) -> None:
    n, rng = drawn
    box, h = points(rng, n)
    bounds = known(Relu(), within(rng, box, h), box)
    check(Relu(), bounds, Interval(h, h), h, h, style, rng)
    stable = stable_units(Relu(), bounds["input"])
    np.testing.assert_array_equal(stable, (bounds["input"].lower >= 0) | (bounds["input"].upper <= 0))


@given(seeded(), st.sampled_from(STYLES))
@settings(max_examples=80, deadline=None)
def test_clamp(drawn: tuple[int, np.random.Generator], style: Style) -> None:
    n, rng = drawn
    limits, _ = points(rng, n)
    box, h = points(rng, n, 3.0)
    at_limit = rng.random(n)
    h = np.where(at_limit < 0.15, np.clip(limits.lower, box.lower, box.upper), h)
    h = np.where(at_limit > 0.85, np.clip(limits.upper, box.lower, box.upper), h)
    lower = np.where(rng.random(n) < 0.15, -np.inf, limits.lower)
    upper = np.where(rng.random(n) < 0.15, np.inf, limits.upper)
    layer = Clamp(torch.as_tensor(lower), torch.as_tensor(upper))
    bounds = known(layer, within(rng, box, h), box)
    check(layer, bounds, Interval(h, h), h, h, style, rng)


@given(seeded(), st.sampled_from(STYLES), st.sampled_from(["inner", "least", "most"]))
@settings(max_examples=150, deadline=None)
def test_hypersimplex(drawn: tuple[int, np.random.Generator], style: Style, end: str) -> None:
    n, rng = drawn
    limits, h = points(rng, n)
    share = {"inner": rng.random(), "least": 0.0, "most": 1.0}[end]
    demand = limits.lower.sum() + share * (limits.upper.sum() - limits.lower.sum())
    demand = min(max(demand, limits.lower.sum()), limits.upper.sum())
    # The demand is x1 - x2 / 2 + constant, over a box of x that may reach beyond what can be served.
    x = rng.normal(size=2)
    layer = Hypersimplex(
        torch.as_tensor(limits.lower),
        torch.as_tensor(limits.upper),
        torch.tensor([1.0, -0.5], dtype=torch.float64),
        float(demand - x[0] + 0.5 * x[1]),
    )
    source = Interval(x - rng.random(2) * (rng.random(2) < 0.7), x + rng.random(2) * (rng.random(2) < 0.7))
    bounds = known(layer, within(rng, limits, h), source)
    inputs, total = torch.as_tensor(h)[None], torch.as_tensor(x)[None] @ layer.demand_weight + layer.demand_constant
    with torch.no_grad():
        out = layer(inputs, torch.as_tensor(x)[None])[0].numpy()
    if rng.random() < 0.6:
        shift = shift_to_demand(inputs, total, layer.lower, layer.upper).numpy()
        shift = np.clip(shift, bounds["inner"].lower, bounds["inner"].upper)
        bounds["inner"] = within(rng, bounds["inner"], shift)
        bounds["output"] = within(rng, bounds["output"], out)
    check(layer, bounds, source, h, x, style, rng)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shifted", [-0.7, 0.0, 0.7])
def test_hypersimplex_with_a_shift_of_open_sign(style: Style, shifted: float) -> None:
    """Two generators reach a limit, one is fixed, one stays free; the shift's interval holds both signs."""
    rng = np.random.default_rng(0)
    lower, upper = np.array([0.0, 0.0, 0.3, -5.0]), np.array([1.0, 2.0, 0.3, 5.0])
    h = np.array([0.6, 1.4, 0.3, 0.1])
    demand = np.clip(h + shifted, lower, upper).sum()
    layer = Hypersimplex(*(torch.as_tensor(v) for v in (lower, upper, np.ones(1))))
    source = Interval(np.array([demand - 2.0]), np.array([demand + 2.0]))
    bounds = known(layer, Interval(h - [0.3, 0.3, 0.0, 0.3], h + [0.3, 0.3, 0.0, 0.3]), source)
    assert bounds["inner"].lower[0] < 0 < bounds["inner"].upper[0]
    check(layer, bounds, source, h, np.array([demand]), style, rng)


def all_layers(base: type[Layer] = Layer) -> list[type[Layer]]:
    found = [kind for kind in base.__subclasses__() if kind.__module__.startswith("proxies.")]
    return found + [deeper for kind in found for deeper in all_layers(kind)]


def test_every_layer_has_an_encoding_an_interval_rule_and_a_relaxation() -> None:
    assert {Affine, Clamp, Hypersimplex, Relu, Sign, SortRepair} <= set(all_layers())
    for kind in all_layers():
        for rule in (encode, propagate, relax):
            if rule is relax and issubclass(kind, Affine):
                continue  # Back-substitution goes through its matrix.
            assert rule.dispatch(kind) is not rule.dispatch(object), f"{kind.__name__} has no {rule.__name__}"


def test_a_layer_without_a_rule_is_refused_by_name() -> None:
    class Cube(Layer):
        def forward(self, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return h**3

    box = Box(torch.zeros(1, 1), torch.ones(1, 1))
    with pytest.raises(NotImplementedError, match="Cube"):
        encode(Cube(), pyo.Block(concrete=True), [], [], {})
    with pytest.raises(NotImplementedError, match="Cube"):
        propagate(Cube(), box, box)
    with pytest.raises(NotImplementedError, match="Cube"):
        relax(Cube(), box, None, None)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("method", ["interval", "crown"])
@pytest.mark.parametrize("seed", range(3))
def test_a_whole_proxy_is_its_forward_pass(
    congested: Grid, make_proxy: Callable[..., Proxy], trace: Callable, style: Style, method: Method, seed: int
) -> None:
    """With bounds of the whole domain, and with bounds tightened around the very point."""
    problem = DcOpf(congested)
    domain = problem.domain(0.2)
    layers = latent_layers(make_proxy(problem, seed), domain)
    wide = proxy_bounds(layers, problem, domain, method)
    rng = np.random.default_rng(seed)
    for w in [*domain.sample(2, seed), *domain.corners(2, seed)]:
        values, shifts = trace(layers, torch.as_tensor(w)[None])
        narrow = wide
        for k, value in enumerate(values):
            if k:
                narrow = narrow.tightened(input_key(k), within(rng, wide[input_key(k)], value[0].numpy()))
        for k, shift in shifts.items():
            narrow = narrow.tightened(inner_key(k), within(rng, wide[inner_key(k)], shift.numpy()))
        for bounds in (wide, narrow):
            model = pyo.ConcreteModel()
            model.inner = pyo.Block(concrete=True)
            source = add_columns(model, "source", domain.box)
            outputs = encode_layers(layers, model.inner, source, bounds, style).outputs
            weights = np.vstack([np.eye(5)[congested.dispatchable[:2]], rng.normal(size=(1, 5))])
            found = extremes(model, source, w, outputs, weights)
            goal = (weights @ values[-1][0].numpy())[:, None]
            np.testing.assert_allclose(found, np.hstack([goal, goal]), atol=5 * TOLERANCE)


def test_targets_are_the_values_whose_bounds_matter(congested: Grid, make_proxy: Callable[..., Proxy]) -> None:
    problem = DcOpf(congested)
    domain: Domain = problem.domain(0.2)
    layers = latent_layers(make_proxy(problem, 0), domain)
    bounds = proxy_bounds(layers, problem, domain)
    model = pyo.ConcreteModel()
    model.inner = pyo.Block(concrete=True)
    targets = encode_layers(layers, model.inner, add_columns(model, "source", domain.box), bounds).targets
    for k, layer in enumerate(layers):
        unstable = np.flatnonzero(~stable_units(layer, bounds[input_key(k)]))
        assert [entry.index for entry in targets.get(input_key(k), [])] == unstable.tolist()
        assert isinstance(layer, Hypersimplex) == (inner_key(k) in targets)
    assert [entry.index for entry in targets[input_key(len(layers))]] == congested.dispatchable.tolist()
