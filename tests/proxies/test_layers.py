"""Layers: the hypersimplex repair against bisection and its definition, clamps with infinite limits, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from proxies.errors import InfeasibleDemandError, ProxyError
from proxies.layers import Affine, Clamp, Hypersimplex, Relu, hypersimplex
from proxies.layers.hypersimplex import shift_to_demand

Case = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@st.composite
def repairs(draw: st.DrawFn) -> Case:
    """A batch (p, demand, lower, upper) with fixed entries, entries at their limits, equal entries, and demands at
    both ends of what can be served."""
    seed, n = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 12))
    rng = np.random.default_rng(seed)
    lower = np.round(rng.normal(size=n) * draw(st.sampled_from([0.0, 1.0, 30.0])), 2)
    upper = lower + np.round(rng.random(n) * 5, 2) * (rng.random(n) > draw(st.sampled_from([0.0, 0.3, 1.0])))
    share = rng.random((8, n))
    share = np.where(rng.random((8, n)) < 0.3, np.round(share), share)
    share[0] = draw(st.floats(0, 1))
    p = np.minimum(lower + share * (upper - lower), upper)
    where = np.concatenate([[0.0, 1.0], rng.random(6)])
    demand = np.minimum(lower.sum() + where * (upper.sum() - lower.sum()), upper.sum())
    return tuple(torch.as_tensor(part) for part in (p, demand, lower, upper))


def by_bisection(p: np.ndarray, demand: float, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The same repair through scipy's root finder."""
    span = float(np.abs(upper - lower).max()) + 1.0

    def excess(shift: float) -> float:
        return float(np.clip(p + shift, lower, upper).sum() - demand)

    if excess(-span) >= 0:
        return lower
    if excess(span) <= 0:
        return upper
    return np.clip(p + brentq(excess, -span, span, xtol=1e-14, rtol=1e-15), lower, upper)


@given(repairs())
@settings(max_examples=200, deadline=None)
def test_hypersimplex_agrees_with_bisection(case: Case) -> None:
    p, demand, lower, upper = case
    ours = hypersimplex(p, demand, lower, upper).numpy()
    scale = 1 + float(lower.abs().max() + upper.abs().max())
    for row, start, d in zip(ours, p.numpy(), demand.tolist()):
        np.testing.assert_allclose(row, by_bisection(start, d, lower.numpy(), upper.numpy()), atol=1e-11 * scale)


@given(repairs())
@settings(max_examples=200, deadline=None)
def test_hypersimplex_obeys_its_definition(case: Case) -> None:
    """Inside the limits, sums to the demand, and one scalar explains every entry."""
    p, demand, lower, upper = case
    moved = hypersimplex(p, demand, lower, upper)
    scale = 1 + float(lower.abs().sum() + upper.abs().sum())
    assert bool(((moved >= lower) & (moved <= upper)).all())
    assert float((moved.sum(-1) - demand).abs().max()) <= 1e-13 * scale * p.shape[-1]
    shift = shift_to_demand(p, demand, lower, upper)[:, None]
    again = torch.minimum(torch.maximum(p + shift, lower), upper)
    assert float((again - moved).abs().max()) <= 1e-12 * scale
    # A dispatch that already meets the demand stays.
    stays = hypersimplex(moved, moved.sum(-1).clamp(lower.sum(), upper.sum()), lower, upper)
    assert float((stays - moved).abs().max()) <= 1e-12 * scale


@given(repairs(), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_the_shift_falls_with_every_input_and_rises_with_the_demand(case: Case, seed: int) -> None:
    """The two evaluations that bound the shift over a box rely on this."""
    p, demand, lower, upper = case
    rng = np.random.default_rng(seed)
    raised = torch.minimum(p + torch.as_tensor(rng.random(p.shape)), upper)
    more = (demand + torch.as_tensor(rng.random(demand.shape))).clamp(max=float(upper.sum()))
    inner = (demand > lower.sum()) & (demand < upper.sum())
    before = shift_to_demand(p, demand, lower, upper)[inner]
    tolerance = 1e-11 * (1 + float(lower.abs().sum() + upper.abs().sum()))
    after = hypersimplex(raised, demand, lower, upper)
    assert bool(
        (after[inner] <= torch.minimum(torch.maximum(raised[inner] + before[:, None], lower), upper) + tolerance).all()
    )
    grown = hypersimplex(p, more, lower, upper)
    assert bool((grown >= hypersimplex(p, demand, lower, upper) - tolerance).all())


def test_all_entries_fixed_leave_one_demand() -> None:
    limits = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)
    p = limits[None]
    torch.testing.assert_close(hypersimplex(p, p.sum(-1), limits, limits), p)
    with pytest.raises(InfeasibleDemandError):
        hypersimplex(p, p.sum(-1) + 1e-6, limits, limits)


@pytest.mark.parametrize("demand", [-0.01, 3.01, 1e9, -1e9])
def test_a_demand_that_cannot_be_served_is_refused_with_both_ends(demand: float) -> None:
    lower, upper = torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    p = torch.full((2, 2), 0.5, dtype=torch.float64)
    with pytest.raises(InfeasibleDemandError, match=r"0 to 3"):
        hypersimplex(p, torch.tensor([1.0, demand], dtype=torch.float64), lower, upper)


def test_a_demand_that_is_not_a_number_is_refused() -> None:
    lower, upper = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    p = torch.full((1, 2), 0.5, dtype=torch.float64)
    with pytest.raises(InfeasibleDemandError):
        hypersimplex(p, torch.tensor([np.nan], dtype=torch.float64), lower, upper)


def test_a_demand_beyond_the_limits_by_rounding_is_met_by_the_limits() -> None:
    lower, upper = torch.zeros(3, dtype=torch.float64), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    p = torch.tensor([[0.05, 0.2, 0.0]], dtype=torch.float64)
    for demand, end in ((0.6 + 1e-12, upper), (-1e-12, lower)):
        moved = hypersimplex(p, torch.tensor([demand], dtype=torch.float64), lower, upper)[0]
        torch.testing.assert_close(moved, end, atol=1e-15, rtol=0)


def generic(seed: int) -> Case:
    """A repair with some entries held and some free, away from every kink."""
    rng = np.random.default_rng(seed)
    lower, upper = rng.random(6), 1.0 + rng.random(6)
    p = lower + rng.random((3, 6)) * (upper - lower)
    demand = lower.sum() + np.array([0.3, 0.5, 0.8]) * (upper - lower).sum()
    return tuple(torch.as_tensor(part) for part in (p, demand, lower, upper))


@pytest.mark.parametrize("seed", range(5))
def test_gradients_agree_with_finite_differences(seed: int) -> None:
    p, demand, lower, upper = generic(seed)
    moved = hypersimplex(p, demand, lower, upper)
    assert bool((moved == upper).any() or (moved == lower).any())
    p.requires_grad_(True)
    demand.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda p, d: hypersimplex(p, d, lower, upper), (p, demand), eps=1e-7)
    weight = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    layers = [Affine(weight, weight[:, 0]), Relu(), Clamp(torch.full((4,), 0.1), torch.full((4,), 0.9))]

    def chain(h: torch.Tensor) -> torch.Tensor:
        for layer in layers:
            h = layer(h, h)
        return h

    assert torch.autograd.gradcheck(chain, (p,), eps=1e-7)


def test_the_layer_reads_its_demand_from_the_proxys_input() -> None:
    p, _, lower, upper = generic(0)
    x = torch.as_tensor(np.random.default_rng(0).random((3, 4)))
    weight = torch.tensor([1.0, 2.0, 0.0, -0.5], dtype=torch.float64)
    layer = Hypersimplex(lower, upper, weight, 5.0)
    torch.testing.assert_close(layer(p, x), hypersimplex(p, x @ weight + 5.0, lower, upper))


def test_a_clamp_may_lack_limits_on_either_side() -> None:
    inf = float("inf")
    lower, upper = torch.tensor([-inf, -1.0, -inf, 2.0]), torch.tensor([inf, inf, 1.0, 2.0])
    h = torch.linspace(-5, 5, 44, dtype=torch.float64).reshape(11, 4)
    expected = np.clip(h.numpy(), lower.numpy(), upper.numpy())
    np.testing.assert_array_equal(Clamp(lower, upper)(h, h).numpy(), expected)


def test_a_diagonal_affine_layer_is_the_full_one() -> None:
    rng = np.random.default_rng(0)
    d, b, h = (torch.as_tensor(rng.normal(size=size)) for size in (5, 5, (7, 5)))
    torch.testing.assert_close(Affine(d, b)(h, h), Affine(torch.diag(d), b)(h, h))
    torch.testing.assert_close(Affine(d, b).matrix, torch.diag(d))


def test_layers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ProxyError, match="bias"):
        Affine(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(ProxyError, match="limits"):
        Clamp(torch.ones(2), torch.zeros(2))
    with pytest.raises(ProxyError, match="limits"):
        Hypersimplex(torch.ones(2), torch.ones(3), torch.zeros(1))
    for layer in (Affine(torch.zeros(3, 2), torch.zeros(3)), Clamp(torch.zeros(3), torch.ones(3))):
        with pytest.raises(ProxyError, match="takes"):
            layer.output_size(4)
