"""The sort repair's encodings have one solution once their inputs are fixed: the forward pass."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoding.block import add_columns
from encoding.floor import floor_of, floor_range
from encoding.layers import Style
from problems.interval import Interval, affine_range
from proxies.layers import SortRepair, sort_repair
from proxies.layers.sort_repair import Greedy, certainly_before
from tests.encodings.test_layers import check, known, within
from verifier.bounds.relaxation import Box, inner_box, propagate

WAYS: list[tuple[Style, Greedy]] = [("sign", "prefix"), ("paper", "prefix"), ("sign", "skip"), ("paper", "skip")]
CAPACITY = torch.tensor([0.0, 1.0], dtype=torch.float64)


def widened(rng: np.random.Generator, point: np.ndarray, size: float) -> Interval:
    return within(rng, Interval(point - size, point + size), point)


@pytest.mark.parametrize(("style", "greedy"), WAYS)
@given(n=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_with_distinct_scores_the_encoding_is_the_forward_pass(style: Style, greedy: Greedy, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 7, size=n)
    layer = SortRepair(torch.as_tensor(weights), CAPACITY, 0.0, greedy)
    h = rng.permutation(n) * 0.4 + 0.1 * rng.random(n)
    # Not a whole number, unless nothing else is possible: at a whole one the closed model also allows its limit.
    capacity = np.floor(rng.random() * 1.2 * weights.sum()) + 0.1 + 0.8 * rng.random()
    x = np.array([rng.normal(), capacity])
    source = widened(rng, x, 3.0)
    if rng.random() < 0.3:
        x = np.floor(x)
        source = Interval(x, x)
    source = Interval(np.maximum(source.lower, np.minimum(0.0, x)), source.upper)
    bounds = {**known(layer, widened(rng, h, 1.0), source), "source": source}
    check(layer, bounds, source, h, x, style, rng)


@pytest.mark.parametrize("greedy", ["prefix", "skip"])
@pytest.mark.parametrize("seed", range(6))
def test_scores_that_are_always_equal_go_by_index(greedy: Greedy, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 5, size=5)
    layer = SortRepair(torch.as_tensor(weights), CAPACITY, 0.0, greedy)
    h = rng.integers(0, 2, size=5).astype(np.float64)
    x = np.array([0.0, np.floor(0.6 * weights.sum()) + 0.5])
    source = Interval(x - 2.0, x + 2.0)
    bounds = {**known(layer, Interval(h, h), source), "source": source}
    check(layer, bounds, source, h, x, "sign", rng)


@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.sampled_from(["prefix", "skip"]))
@settings(max_examples=60, deadline=None)
def test_the_interval_rule_holds_and_fixes_what_order_and_room_decide(n: int, seed: int, greedy: Greedy) -> None:
    rng = np.random.default_rng(seed)
    weights = torch.as_tensor(rng.integers(1, 6, size=n))
    layer = SortRepair(weights, CAPACITY, 0.0, greedy)
    low = np.round(rng.normal(size=n), 1)
    box = Interval(low, low + np.round(rng.random(n), 1))
    room = np.round(rng.random() * float(weights.sum()), 1)
    source = Interval(np.array([0.0, room]), np.array([0.0, room + np.round(rng.random() * 3, 1)]))
    boxes = [Box(torch.as_tensor(i.lower)[None], torch.as_tensor(i.upper)[None]) for i in (box, source)]
    out = propagate(layer, *boxes)
    share, chance = rng.random((200, n)), rng.random((200, 1))
    share = np.where(rng.random((200, n)) < 0.5, np.round(share), share)
    scores = torch.as_tensor(box.lower + share * box.width)
    capacity = torch.as_tensor(source.lower[1] + np.round(chance[:, 0], 1) * source.width[1])
    y = sort_repair(scores, capacity, weights, greedy)
    assert bool(((y >= out.lower) & (y <= out.upper)).all())
    differences = inner_box(layer, *boxes)
    assert differences is not None
    before = certainly_before(differences.lower[0], differences.upper[0], n)
    assert not bool((before & before.T).any())


def test_the_floor_of_one_quantity_is_one_variable() -> None:
    model = pyo.ConcreteModel()
    model.inner, model.other = pyo.Block(concrete=True), pyo.Block(concrete=True)
    box = Interval(np.array([0.0, 1.5]), np.array([1.0, 4.0]))
    w = add_columns(model, "w", box)
    second = np.array([0.0, 1.0])
    a = floor_of(model.inner, second, w, 0.0, box)
    assert floor_of(model.other, second, w, 0.0, box)[0] is a[0]
    assert a[1:] == (1, 4)
    assert floor_of(model.inner, second, w, 0.5, box)[0] is not a[0]
    assert floor_of(model.inner, np.array([1.0, 1.0]), w, 0.0, box)[0] is not a[0]
    still = Interval(np.array([0.0, 3.0]), np.array([1.0, 3.0]))
    assert floor_of(model.inner, second, [w[0], 3.0], 0.0, still) == (3.0, 3, 3)


def test_limits_of_sums_are_rounded_outward() -> None:
    third = Interval(np.full(3, 1 / 3), np.full(3, 1 / 3))
    low, high = affine_range(np.ones(3), third, 0.0)
    assert low < 1.0 < high
    assert floor_range(np.ones(3), third, 0.0) == (0, 1)
    assert affine_range(np.array([0.0, 1.0, 0.0]), third, 0.0) == (1 / 3, 1 / 3)
