"""Bounds hold everything that sampling finds; CROWN is never looser than intervals; tightening never loosens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoding.bounds import Bounds, inner_key, input_key
from encoding.compact import compact_model
from encoding.dcopf import FLOW
from problems.dcopf import DcOpf
from problems.domain import Domain
from problems.grid import Grid
from problems.interval import Interval, Vector
from proxies.layers import Affine, Clamp, Hypersimplex, Layer, Relu
from proxies.layers.hypersimplex import shift_to_demand
from proxies.proxy import Proxy, latent_layers
from verifier.bounds.alpha import alpha_boxes
from verifier.bounds.crown import layer_boxes, quantity_box
from verifier.bounds.obbt import Tightener, mark_cutoff
from verifier.bounds.over_domain import proxy_bounds
from verifier.bounds.relaxation import Box, inner_box, propagate, relax
from verifier.budget import Budget

# Samples come from a forward pass that rounds too.
ROUNDING = 1e-11
METHODS = ("interval", "crown")
Setting = tuple[Proxy, DcOpf, Domain, list[Layer]]


@pytest.fixture(params=range(4))
def setting(request: pytest.FixtureRequest, congested: Grid, case5: Grid, make_proxy: Callable[..., Proxy]) -> Setting:
    """Random proxies of several shapes, most of whose units are undecided."""
    seed = request.param
    problem = DcOpf([congested, case5][seed % 2])
    hidden = [(8,), (7, 6), (6, 5, 5), (9, 7)][seed]
    proxy = make_proxy(problem, seed, hidden=hidden, spread=0.6 + 0.3 * seed)
    domain = problem.domain(0.2)
    return proxy, problem, domain, latent_layers(proxy, domain)


def assert_holds(lower: torch.Tensor, upper: torch.Tensor, values: torch.Tensor) -> None:
    slack = ROUNDING * (1 + values.abs())
    assert bool((values >= lower - slack).all())
    assert bool((values <= upper + slack).all())


def assert_shift_holds(layer: Hypersimplex, h: torch.Tensor, out: torch.Tensor, shift: torch.Tensor, box: Box) -> None:
    """Some shift in the interval explains the output: where all entries are held, many do."""
    nearest = torch.minimum(torch.maximum(shift, box.lower), box.upper)
    again = torch.minimum(torch.maximum(h + nearest, layer.lower), layer.upper)
    assert float((again - out).abs().max()) <= ROUNDING * (1 + float(h.abs().max()))


@pytest.mark.parametrize("method", METHODS)
def test_bounds_hold_every_sampled_value(setting: Setting, trace: Callable, samples: Callable, method: str) -> None:
    _, problem, domain, layers = setting
    bounds = proxy_bounds(layers, problem, domain, method)
    latent = samples(domain, 1000)
    values, shifts = trace(layers, torch.as_tensor(latent))
    for k, value in enumerate(values):
        interval = bounds[input_key(k)]
        assert_holds(torch.as_tensor(interval.lower), torch.as_tensor(interval.upper), value)
    for k, shift in shifts.items():
        found = bounds[inner_key(k)]
        box = Box(torch.as_tensor(found.lower)[None], torch.as_tensor(found.upper)[None])
        assert_shift_holds(layers[k], values[k], values[k + 1], shift[:, None], box)
        inside = (values[k + 1] > layers[k].lower) & (values[k + 1] < layers[k].upper)
        assert found.contains(shift[inside.any(1)][:, None].numpy(), ROUNDING).all()
    flow = problem.flows(torch.as_tensor(domain.to_input(latent)), values[-1])
    assert_holds(torch.as_tensor(bounds[FLOW].lower), torch.as_tensor(bounds[FLOW].upper), flow)
    # The proxies are as hard as they should be: many units are undecided, and both states occur.
    for k, layer in enumerate(layers):
        if isinstance(layer, Relu):
            assert (((values[k] > 0).any(0)) & ((values[k] < 0).any(0))).double().mean() > 0.5


def test_bounds_of_a_batch_of_parts_hold_the_samples_of_each_part(setting: Setting, trace: Callable) -> None:
    _, _, domain, layers = setting
    parts = [domain]
    for axis in (0, 1, 0, 2, 0):
        parts = [half for part in parts for half in part.split(axis)]
    source = Box(*(torch.as_tensor(np.stack([getattr(p.box, end) for p in parts])) for end in ("lower", "upper")))
    for method in METHODS:
        with torch.no_grad():
            known = layer_boxes(layers, source, method)
        for b, part in enumerate(parts):
            values, shifts = trace(layers, torch.as_tensor(np.concatenate([part.sample(40, b), part.corners(40, b)])))
            for box, value in zip(known.inputs, values):
                assert_holds(box.lower[b], box.upper[b], value)
            for k, shift in shifts.items():
                box = known.inner[k]
                one = Box(box.lower[b : b + 1], box.upper[b : b + 1])
                assert_shift_holds(layers[k], values[k], values[k + 1], shift[:, None], one)
        # One box at a time gives the same.
        alone = layer_boxes(layers, Box(source.lower[3:4], source.upper[3:4]), method)
        for together, single in zip(known.inputs, alone.inputs):
            torch.testing.assert_close(together.lower[3:4], single.lower, atol=1e-10, rtol=0)
            torch.testing.assert_close(together.upper[3:4], single.upper, atol=1e-10, rtol=0)


@pytest.mark.parametrize("of", ["case5", "congested"])
def test_bounds_follow_the_tensors_of_their_box(
    request: pytest.FixtureRequest, make_proxy: Callable[..., Proxy], of: str
) -> None:
    """Float32 stands in for a device that this machine may lack: a number left behind would widen a result."""
    problem = DcOpf(request.getfixturevalue(of))
    domain = problem.domain(0.1)
    layers = latent_layers(make_proxy(problem, 1), domain)
    assert {type(layer) for layer in layers} >= {Affine, Relu, Clamp, Hypersimplex}
    box = Box(*(torch.as_tensor(end, dtype=torch.float32).repeat(3, 1) for end in (domain.box.lower, domain.box.upper)))
    with torch.no_grad():
        given = proxy_bounds(layers, problem, domain).intervals
        for known in (layer_boxes(layers, box, "interval"), layer_boxes(layers, box, "crown", given)):
            found = alpha_boxes(layers, known, 2)
            boxes = [*found.inputs, *(shift for shift in found.inner if shift is not None)]
            assert {end.dtype for each in boxes for end in (each.lower, each.upper)} == {torch.float32}


def test_crown_is_never_looser_than_intervals_and_often_tighter(setting: Setting) -> None:
    _, problem, domain, layers = setting
    loose, tight = (proxy_bounds(layers, problem, domain, method) for method in METHODS)
    assert set(loose.intervals) == set(tight.intervals)
    widths = []
    for key in loose.intervals:
        assert (tight[key].lower >= loose[key].lower).all()
        assert (tight[key].upper <= loose[key].upper).all()
        widths.append((tight[key].width.sum(), loose[key].width.sum()))
    if sum(isinstance(layer, Relu) for layer in layers) > 1:
        assert sum(t for t, _ in widths) < 0.95 * sum(w for _, w in widths)


def test_a_box_of_one_point_gives_its_values(setting: Setting, trace: Callable) -> None:
    _, problem, domain, layers = setting
    for w in domain.sample(3, 0):
        values, _ = trace(layers, torch.as_tensor(w)[None])
        point = replace(domain, box=Interval(w, w))
        for method in METHODS:
            bounds = proxy_bounds(layers, problem, point, method)
            for k, value in enumerate(values):
                interval = bounds[input_key(k)]
                assert_holds(torch.as_tensor(interval.lower), torch.as_tensor(interval.upper), value)
                assert float(interval.width.max()) <= 1e-8 * (1 + float(value.abs().max()))


def test_linear_forms_of_decision_and_latent_are_bounded(setting: Setting, trace: Callable, samples: Callable) -> None:
    _, _, domain, layers = setting
    latent = torch.as_tensor(samples(domain, 1000))
    values, _ = trace(layers, latent)
    rng = np.random.default_rng(0)
    n = values[-1].shape[1]
    forms = [torch.as_tensor(rng.normal(size=shape)) for shape in ((12, n), (12, domain.size), (12,))]
    source = Box(torch.as_tensor(domain.box.lower)[None], torch.as_tensor(domain.box.upper)[None])
    with torch.no_grad():
        known = layer_boxes(layers, source)
        found = quantity_box(layers, known, known.inputs[-1], *forms)
        alone = quantity_box(layers, known, known.inputs[-1], forms[0], None, None)
        slopes = {k: torch.as_tensor(rng.random(b.lower.shape)) for k, b in enumerate(known.inputs[:-1])}
        free = quantity_box(layers, known, known.inputs[-1], *forms, slopes=slopes)
    quantity = values[-1] @ forms[0].T + latent @ forms[1].T + forms[2]
    assert_holds(found.lower, found.upper, quantity)
    assert_holds(free.lower, free.upper, quantity)
    assert_holds(alone.lower, alone.upper, values[-1] @ forms[0].T)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[np.random.Generator, Interval, Interval]:
    """(random source, limits, box): of many relative positions, degenerate ones and infinite limits included."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, size = 6, draw(st.sampled_from([1e-6, 1.0, 100.0]))
    lo = np.round(rng.normal(size=n) * size, 1)
    hi = lo + np.round(rng.random(n) * 3 * size, 1) * (rng.random(n) < 0.85)
    ends = np.sort(np.round(rng.normal(size=(2, n)) * 3 * size, 1), axis=0)
    copy = rng.random((2, n))
    for end in range(2):  # Ends at a limit, exactly.
        ends[end] = np.where(copy[end] < 0.15, lo, np.where(copy[end] > 0.85, hi, ends[end]))
    ends = np.sort(ends, axis=0)
    ends[1] = np.where(rng.random(n) < 0.15, ends[0], ends[1])
    lower = np.where(rng.random(n) < 0.15, -np.inf, lo)
    upper = np.where(rng.random(n) < 0.15, np.inf, hi)
    return rng, Interval(lower, upper), Interval(ends[0], ends[1])


def as_box(interval: Interval) -> Box:
    return Box(torch.as_tensor(interval.lower)[None], torch.as_tensor(interval.upper)[None])


def dense(interval: Interval) -> torch.Tensor:
    share = np.linspace(0, 1, 101)[:, None]
    return torch.as_tensor(np.clip(interval.lower + share * interval.width, interval.lower, interval.upper))


@given(boxes(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_relu_lines_are_valid(drawn: tuple[np.random.Generator, Interval, Interval], own_slope: bool) -> None:
    rng, _, interval = drawn
    slope = torch.as_tensor(rng.random((1, 6))) if own_slope else None
    h = dense(interval)
    lines = relax(Relu(), as_box(interval), None, slope)
    assert_holds(lines.low_slope * h + lines.low_cut, lines.high_slope * h + lines.high_cut, torch.relu(h))


@given(boxes())
@settings(max_examples=300, deadline=None)
def test_clamp_lines_are_valid_and_touch(drawn: tuple[np.random.Generator, Interval, Interval]) -> None:
    _, limits, interval = drawn
    layer = Clamp(torch.as_tensor(limits.lower), torch.as_tensor(limits.upper))
    h = dense(interval)
    lines = relax(layer, as_box(interval), None, None)
    low, high = lines.low_slope * h + lines.low_cut, lines.high_slope * h + lines.high_cut
    values = layer(h, h)
    assert_holds(low, high, values)
    # No line could be shifted: each touches the function at an end of the box or at a limit inside it.
    kinks = torch.as_tensor(
        np.clip(
            np.nan_to_num(np.stack([limits.lower, limits.upper]), posinf=0, neginf=0), interval.lower, interval.upper
        )
    )
    h = torch.cat([h, kinks])
    tolerance = 1e-9 * (1 + float(h.abs().max()))
    assert float((layer(h, h) - lines.low_slope * h - lines.low_cut).amin(0).max()) <= tolerance
    assert float((lines.high_slope * h + lines.high_cut - layer(h, h)).amin(0).max()) <= tolerance
    # A box on which the function is affine is relaxed exactly.
    exact = (interval.upper <= limits.lower) | (interval.lower >= limits.upper)
    exact |= (interval.lower >= limits.lower) & (interval.upper <= limits.upper)
    width = (lines.high_slope - lines.low_slope) * h + lines.high_cut - lines.low_cut
    assert float(width[:, torch.as_tensor(exact)].abs().sum()) <= 100 * tolerance


@given(boxes())
@settings(max_examples=200, deadline=None)
def test_hypersimplex_lines_hold_for_every_shift_of_the_interval(
    drawn: tuple[np.random.Generator, Interval, Interval],
) -> None:
    rng, limits, interval = drawn
    lower = np.where(np.isfinite(limits.lower), limits.lower, np.minimum(limits.upper, 0) - 1)
    lower = np.where(np.isfinite(lower), lower, -1.0)
    upper = np.where(np.isfinite(limits.upper), limits.upper, lower + 2)
    layer = Hypersimplex(*(torch.as_tensor(v) for v in (lower, upper, np.ones(1))))
    inside = Interval(*(np.clip(end, lower, upper) for end in (interval.lower, interval.upper)))
    shifts = np.sort(rng.normal(size=2) * rng.choice([0.0, 1.0, 10.0]))
    shift = Box(torch.tensor([[shifts[0]]]), torch.tensor([[shifts[1]]]))
    lines = relax(layer, as_box(inside), shift, None)
    h = dense(inside)
    for s in np.linspace(*shifts, 7):
        values = torch.minimum(torch.maximum(h + s, layer.lower), layer.upper)
        assert_holds(lines.low_slope * h + lines.low_cut, lines.high_slope * h + lines.high_cut, values)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_hypersimplex_intervals_are_attained(seed: int) -> None:
    """Each end of an output or shift is the value at a corner: exact for inputs that move on their own."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    lower = np.round(rng.normal(size=n), 1)
    upper = lower + np.round(2 * rng.random(n), 1)
    ends = lower + np.sort(np.round(rng.random((2, n)), 1), axis=0) * (upper - lower)
    demands = lower.sum() + np.sort(rng.random(2)) * (upper.sum() - lower.sum())
    layer = Hypersimplex(*(torch.as_tensor(v) for v in (lower, upper, np.ones(1))))
    box, source = as_box(Interval(*np.clip(ends, lower, upper))), as_box(Interval(demands[:1], demands[1:]))
    out, shift = propagate(layer, box, source), inner_box(layer, box, source)
    assert shift is not None
    grid = np.stack(np.meshgrid(*[[0.0, 1.0]] * (n + 1), indexing="ij"), -1).reshape(-1, n + 1)
    grid = np.concatenate([grid, rng.random((200, n + 1))])
    h = torch.as_tensor(np.clip(ends[0] + grid[:, :n] * (ends[1] - ends[0]), lower, upper))
    x = torch.as_tensor(np.clip(demands[0] + grid[:, n:] * (demands[1] - demands[0]), demands[0], demands[1]))
    values = layer(h, x)
    assert_holds(out.lower, out.upper, values)
    assert_shift_holds(layer, h, values, shift_to_demand(h, x[:, 0], layer.lower, layer.upper)[:, None], shift)
    torch.testing.assert_close(values.amin(0), out.lower[0], atol=1e-10, rtol=0)
    torch.testing.assert_close(values.amax(0), out.upper[0], atol=1e-10, rtol=0)


def test_affine_intervals_survive_cancellation() -> None:
    """Huge terms that cancel: the sample's own rounding is inside."""
    rng = np.random.default_rng(0)
    weight = torch.as_tensor(rng.normal(size=(5, 40)) * 10.0 ** rng.integers(-8, 9, size=(5, 40)))
    layer = Affine(weight, torch.as_tensor(rng.normal(size=5)))
    centre = rng.normal(size=40)
    for radius in (0.0, 1e-12, 1.0):
        out = propagate(layer, *[as_box(Interval(centre - radius, centre + radius))] * 2)
        h = torch.as_tensor(centre + radius * rng.uniform(-1, 1, size=(500, 40)))
        values = layer(h, h)
        assert bool(((values >= out.lower) & (values <= out.upper)).all())


# ----------------------------------------------------------------------------------------------- tightening


def gaps(proxy: Proxy, problem: DcOpf, domain: Domain, latent: Vector) -> Vector:
    x = torch.as_tensor(domain.to_input(latent))
    with torch.no_grad():
        cost = problem.objective(x, proxy(x)).numpy()
    return cost - np.array([problem.solve(row)[0] for row in x.numpy()])


@pytest.fixture(params=[0, 1])
def small(request: pytest.FixtureRequest, congested: Grid, case5: Grid, make_proxy: Callable[..., Proxy]) -> Setting:
    seed = request.param
    problem = DcOpf([congested, case5][seed])
    proxy = make_proxy(problem, seed, hidden=(6, 4))
    domain = problem.domain(0.1)
    return proxy, problem, domain, latent_layers(proxy, domain)


def assert_inside(
    bounds: Bounds, problem: DcOpf, domain: Domain, layers: list[Layer], latent: Vector, trace: Callable
) -> None:
    values, shifts = trace(layers, torch.as_tensor(latent))
    for k, value in enumerate(values):
        if input_key(k) in bounds:
            assert bounds[input_key(k)].contains(value.numpy(), 1e-7).all(), input_key(k)
    for k, shift in shifts.items():
        inside = ((values[k + 1] > layers[k].lower) & (values[k + 1] < layers[k].upper)).any(1)
        assert bounds[inner_key(k)].contains(shift[inside][:, None].numpy(), 1e-7).all()
    flow = problem.flows(torch.as_tensor(domain.to_input(latent)), values[-1]).numpy()
    assert bounds[FLOW].contains(flow, 1e-7).all()


def tightened(
    proxy: Proxy,
    problem: DcOpf,
    domain: Domain,
    layers: list[Layer],
    cutoff: float | None,
    rounds: int = 2,
    lanes: int = 1,
) -> tuple[Bounds, Bounds, float, bool]:
    """(bounds before, after, upper bound of the gap, whether proven empty) of some rounds with rebuilt models."""
    before = after = proxy_bounds(layers, problem, domain)
    upper, empty = np.inf, False
    for _ in range(rounds):
        tightener = Tightener(compact_model(layers, problem, domain, after, cutoff=cutoff), after, lanes=lanes)
        done = tightener.run(Budget(60.0))
        tightener.close()
        assert done.finished
        for key in after.intervals:
            assert (done.bounds[key].lower >= after[key].lower).all()
            assert (done.bounds[key].upper <= after[key].upper).all()
        upper, empty, after = min(upper, done.upper), done.empty, mark_cutoff(done.bounds, cutoff)
        if empty:
            break
    return before, after, upper, empty


@pytest.mark.parametrize("lanes", [1, 3])
def test_tightening_never_loosens_and_keeps_every_sample(
    small: Setting, trace: Callable, samples: Callable, lanes: int
) -> None:
    proxy, problem, domain, layers = small
    before, after, upper, empty = tightened(*small, cutoff=None, lanes=lanes)
    assert not empty
    assert after.cutoff is None
    latent = samples(domain, 300)
    assert_inside(after, problem, domain, layers, latent, trace)
    assert upper >= gaps(proxy, problem, domain, latent).max()
    assert sum(i.width.sum() for i in after.intervals.values()) < sum(i.width.sum() for i in before.intervals.values())


def test_tightening_with_a_cutoff_keeps_the_samples_that_reach_it(
    small: Setting, trace: Callable, samples: Callable
) -> None:
    proxy, problem, domain, layers = small
    latent = samples(domain, 300)
    found = gaps(proxy, problem, domain, latent)
    for share in (0.5, 0.9, 1.0):
        cutoff = float(np.quantile(found, share))
        _, after, upper, empty = tightened(*small, cutoff=cutoff)
        assert not empty
        assert after.cutoff == cutoff
        assert_inside(after, problem, domain, layers, latent[found >= cutoff], trace)
        assert upper >= found.max()


def test_a_cutoff_that_nothing_reaches_is_proven_so(small: Setting, samples: Callable) -> None:
    _, _, upper, _ = tightened(*small, cutoff=None)
    _, _, none, empty = tightened(*small, cutoff=2 * upper + 1.0)
    assert empty or none < 2 * upper + 1.0


def test_a_spent_budget_stops_tightening_with_valid_bounds(small: Setting, trace: Callable, samples: Callable) -> None:
    _, problem, domain, layers = small
    bounds = proxy_bounds(layers, problem, domain)
    calls = []
    tightener = Tightener(compact_model(layers, problem, domain, bounds), bounds)
    done = tightener.run(Budget(60.0, lambda: len(calls) > 3), lambda solved, upper: calls.append(solved))
    tightener.close()
    assert not done.finished
    assert_inside(done.bounds, problem, domain, layers, samples(domain, 100), trace)
    nothing = Tightener(compact_model(layers, problem, domain, bounds), bounds).run(Budget(0.0))
    assert not nothing.finished
    assert not nothing.empty
    assert_inside(nothing.bounds, problem, domain, layers, samples(domain, 100), trace)
