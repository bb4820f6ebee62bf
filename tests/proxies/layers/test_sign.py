"""The sign layer, moving off ties against all sign patterns, and weights that are trained as whole numbers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from problems.knapsack_instances import random_knapsack
from proxies.layers import Affine, Sign
from proxies.layers.binarized import WeightValues, binarize, binarized_perceptron
from proxies.layers.sign import off_ties
from proxies.proxy import latent_layers
from proxies.stability import instability
from proxies.training import TrainingOptions
from proxies.training_knapsack import train_knapsack

PATTERNS = {n: torch.tensor(list(product([-1.0, 1.0], repeat=n)), dtype=torch.float64) for n in range(1, 8)}
VALUES: dict[WeightValues, set[float]] = {"binary": {-1.0, 1.0}, "ternary": {-1.0, 0.0, 1.0}}


def test_zero_is_positive_of_either_sign() -> None:
    h = torch.tensor([[-1e-300, -0.0, 0.0, 1e-300]], dtype=torch.float64)
    assert Sign()(h, h).tolist() == [[-1.0, 1.0, 1.0, 1.0]]
    assert Sign()(h.float(), h).dtype == torch.float32


def test_climbs_see_the_sign_itself_with_a_slope_where_it_jumps() -> None:
    h = torch.tensor([[-2.0, -0.1, 0.3, 5.0]], dtype=torch.float64, requires_grad=True)
    y = Sign().climbable(h, h)
    torch.testing.assert_close(y, Sign()(h, h), atol=1e-15, rtol=0)
    y.sum().backward()
    assert h.grad is not None
    assert bool((h.grad > 0).all())
    assert h.grad[0].argsort(descending=True).tolist() == [1, 2, 0, 3]
    assert not Sign()(h, h).requires_grad


@given(st.integers(1, 7), st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.3, 7.0]))
@settings(max_examples=150, deadline=None)
def test_off_ties_changes_no_sign_and_leaves_no_tie(n: int, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    whole = rng.integers(-1, 2, size=(6, n)) if size != 1.0 else rng.integers(-3, 4, size=(6, n))
    bias = size * np.round(rng.normal(size=6) * 2, int(rng.integers(0, 2)))
    weight, bias = torch.as_tensor(size * whole), torch.as_tensor(bias)
    moved_weight, moved_bias = off_ties(weight, bias)
    # The sums of whole numbers are exact; a common size does not change a sign.
    z = PATTERNS[n] @ torch.as_tensor(whole, dtype=torch.float64).T + (bias / size).round(decimals=9)
    moved = PATTERNS[n] @ moved_weight.T + moved_bias
    torch.testing.assert_close(Sign()(moved, moved), Sign()(z, z), atol=0, rtol=0)
    assert float(moved.abs().min()) >= 1.0 - 1e-9


def test_rows_that_are_no_whole_numbers_stay() -> None:
    weight = torch.tensor([[0.5, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    bias = torch.tensor([0.0, 1e-12, 0.0], dtype=torch.float64)
    moved_weight, moved_bias = off_ties(weight, bias)
    assert torch.equal(moved_weight, weight)
    assert moved_bias.tolist() == [0.0, 1e-12, 1.0]


@pytest.mark.parametrize("values", VALUES)
def test_binarized_weights_are_whole_and_their_latent_ones_move(values: WeightValues) -> None:
    torch.manual_seed(0)
    layers = binarized_perceptron(6, (5, 4), 3, values)
    hidden = [layer for layer in layers[:-1] if isinstance(layer, Affine)]
    x = torch.rand(32, 6, dtype=torch.float64) * 2 - 1
    optimiser = torch.optim.Adam([p for layer in layers for p in layer.parameters()], lr=0.05)
    before = [layer.weight.detach().clone() for layer in hidden]
    for _ in range(40):
        h = x
        for layer in layers:
            h = layer.climbable(h, x)
        loss = (h - x[:, :3] * x[:, 3:]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for layer, old in zip(hidden, before):
        assert set(layer.weight.unique().tolist()) <= VALUES[values]
        assert not torch.equal(layer.weight, old)
    assert len(layers[-1].weight.unique()) > 3


def test_binarizing_rounds_to_the_nearest_after_scaling() -> None:
    weight = torch.tensor([[4.0, -4.0], [0.4, -2.8]])
    bias = torch.tensor([0.5, 0.25])
    assert binarize(Affine(weight, bias), "ternary").weight.tolist() == [[1, -1], [0, -1]]
    assert binarize(Affine(weight, bias), "binary").weight.tolist() == [[1, -1], [1, -1]]
    assert binarize(Affine(weight, bias), "binary").bias.tolist() == [0.5, 0.25]


@pytest.mark.parametrize("values", VALUES)
def test_a_trained_proxy_is_made_of_plain_layers(values: WeightValues) -> None:
    problem = random_knapsack(5, 0)
    options = TrainingOptions(hidden=(6, 4), steps=150, batch=32, check_every=50, stability=0.01)
    proxy, report = train_knapsack(problem, options, binarized=values)
    assert report.best <= report.first
    assert [type(layer) for layer in proxy.network] == [Affine, Affine, Sign, Affine, Sign, Affine, Affine]
    for layer in proxy.network[1:4:2]:
        assert set(layer.weight.unique().tolist()) <= VALUES[values]
    domain = problem.domain(0.2)
    assert -1 <= float(instability(proxy, domain).detach()) <= 1
    x = torch.as_tensor(domain.to_input(domain.sample(200, 0)))
    w = torch.as_tensor(domain.sample(200, 0))
    h = w
    with torch.no_grad():
        for layer in latent_layers(proxy, domain):
            h = layer(h, w)
        assert torch.equal(h, proxy(x))
