"""Knapsack proxies: the sort repair against a plain loop, the proxy, its manifest and its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack, write_knapsack
from proxies.errors import ModelFileError, ProxyError
from proxies.files import save_network
from proxies.knapsack import knapsack_manifest, knapsack_proxy
from proxies.layers import Affine, Layer, Relu, SortRepair, sort_repair
from proxies.layers.sort_repair import Greedy
from proxies.load import load_proxy
from proxies.manifest import Manifest, parse_manifest
from proxies.proxy import latent_layers

RULES: tuple[Greedy, ...] = ("prefix", "skip")


def by_loop(scores: np.ndarray, capacity: float, weights: np.ndarray, greedy: Greedy) -> list[float]:
    taken, total = [0.0] * scores.size, 0
    for i in sorted(range(scores.size), key=lambda i: (-scores[i], i)):
        if total + int(weights[i]) <= capacity:
            taken[i], total = 1.0, total + int(weights[i])
        elif greedy == "prefix":
            break
    return taken


def network(problem: Knapsack, seed: int, hidden: int = 6) -> list[Layer]:
    rng = np.random.default_rng(seed)
    first = torch.as_tensor(rng.normal(size=(hidden, problem.input_size)) / problem.nominal)
    last = torch.as_tensor(rng.normal(size=(problem.items, hidden)))
    return [
        Affine(first, torch.as_tensor(rng.normal(size=hidden))),
        Relu(),
        Affine(last, torch.zeros(problem.items)),
    ]


@given(st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from(RULES))
@settings(max_examples=120, deadline=None)
def test_the_repair_is_the_plain_loop(n: int, seed: int, greedy: Greedy) -> None:
    """Also with equal scores, exact fits, nothing that fits and everything that fits."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 9, size=n)
    scores = np.round(rng.normal(size=(12, n)), int(rng.integers(0, 3)))
    capacity = np.round(rng.random(12) * 1.2 * weights.sum(), int(rng.integers(0, 2)))
    capacity[0], capacity[1] = 0.0, weights.sum()
    got = sort_repair(*(torch.as_tensor(v) for v in (scores, capacity)), torch.as_tensor(weights), greedy)
    assert got.tolist() == [by_loop(s, c, weights, greedy) for s, c in zip(scores, capacity)]
    assert bool((got @ torch.as_tensor(weights, dtype=torch.float64) <= torch.as_tensor(capacity)).all())


def test_ties_go_by_index_and_the_edge_of_the_capacity_fits() -> None:
    weights, scores = torch.tensor([3.0, 2.0, 2.0]), torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]).double()
    capacity = torch.tensor([4.0, np.nextafter(5.0, 0.0)], dtype=torch.float64)
    assert sort_repair(scores, capacity, weights).tolist() == [[0, 1, 1], [1, 0, 0]]
    three = torch.tensor([[3.0, 2.0, 1.0]], dtype=torch.float64)
    room = torch.tensor([2.5], dtype=torch.float64)
    assert sort_repair(three, room, weights).tolist() == [[0, 0, 0]]
    assert sort_repair(three, room, weights, "skip").tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("greedy", RULES)
def test_a_proxy_and_its_latent_layers_give_feasible_choices(greedy: Greedy) -> None:
    problem = random_knapsack(12, 0)
    proxy = knapsack_proxy(network(problem, 0), knapsack_manifest(problem, greedy), problem)
    domain = problem.domain(0.3)
    w = np.concatenate([domain.sample(100, 0), domain.corners(100, 0)])
    x = torch.as_tensor(domain.to_input(w))
    with torch.no_grad():
        y = proxy(x)
        h = torch.as_tensor(w)
        for layer in latent_layers(proxy, domain):
            h = layer(h, torch.as_tensor(w))
    assert torch.equal(h, y)
    assert float(problem.infeasibility(x, y).max()) == 0.0
    gaps = problem.objective(x, y).numpy() - np.array([problem.solve(row)[0] for row in x.numpy()])
    assert gaps.min() >= -1e-9
    assert gaps.max() > 0


def test_the_rule_is_part_of_the_fingerprint() -> None:
    problem = random_knapsack(5, 0)
    prints = {
        knapsack_proxy(network(problem, 0), knapsack_manifest(problem, greedy), problem).fingerprint()
        for greedy in RULES
    }
    assert len(prints) == 2


@pytest.mark.parametrize("suffix", ["safetensors", "onnx"])
@pytest.mark.parametrize("greedy", RULES)
def test_a_file_and_its_manifest_are_a_complete_proxy(tmp_path: Path, suffix: str, greedy: Greedy) -> None:
    problem = random_knapsack(7, 1)
    manifest = knapsack_manifest(problem, greedy, "a test")
    proxy = knapsack_proxy(network(problem, 1), manifest, problem)
    path = tmp_path / f"proxy.{suffix}"
    save_network(path, proxy.network, manifest)
    loaded = load_proxy(path)
    assert isinstance(loaded.problem, Knapsack)
    assert loaded.problem.fingerprint() == problem.fingerprint()
    assert loaded.proxy.fingerprint() == proxy.fingerprint()
    assert loaded.proxy.manifest == manifest
    other = random_knapsack(7, 2)
    write_knapsack(other, tmp_path / "other.json")
    again = load_proxy(path, str(tmp_path / "other.json"))
    assert again.problem.fingerprint() == other.fingerprint()
    assert again.proxy.manifest.problem == knapsack_manifest(other).problem
    with pytest.raises(ProxyError, match="unit"):
        load_proxy(path, input_unit="MW")


def test_a_manifest_says_only_what_its_problem_needs() -> None:
    problem = random_knapsack(3, 0)
    text = knapsack_manifest(problem).to_json()
    assert "MW" not in text
    assert parse_manifest(text, "here") == knapsack_manifest(problem)
    old = '{"schema": "certigap.proxy/1", "problem": {"case": "any"}}'
    assert parse_manifest(old, "here").problem.kind == "dcopf"
    with pytest.raises(ModelFileError, match="no input"):
        parse_manifest(text.replace('"repair"', '"input": {"unit": "MW"}, "repair"'), "here")
    with pytest.raises(ModelFileError, match=r"problem\.capacity"):
        parse_manifest(text.replace('"capacity"', '"size"'), "here")
    with pytest.raises(ModelFileError, match="problem"):
        parse_manifest(text.replace('"knapsack"', '"tour"'), "here")


def test_what_does_not_fit_is_refused() -> None:
    problem = random_knapsack(4, 0)
    manifest = knapsack_manifest(problem)
    with pytest.raises(ProxyError, match="writes 3 scores"):
        knapsack_proxy([Affine(torch.zeros(3, 5), torch.zeros(3))], manifest, problem)
    with pytest.raises(ProxyError, match="takes 4 values but gets 5"):
        knapsack_proxy([Affine(torch.zeros(4, 4), torch.zeros(4))], manifest, problem)
    with pytest.raises(ProxyError, match="sort_prefix"):
        knapsack_proxy(network(problem, 0), Manifest(problem=manifest.problem), problem)
    for weights in (torch.tensor([1.5]), torch.tensor([0.0]), torch.tensor([float("nan")])):
        with pytest.raises(ProxyError, match="integer weights"):
            SortRepair(weights, torch.ones(1))
    with pytest.raises(ProxyError, match="greedy"):
        SortRepair(torch.ones(1), torch.ones(1), 0.0, "best")  # type: ignore[arg-type]
    with pytest.raises(ProxyError, match="takes 2 values"):
        SortRepair(torch.ones(2), torch.ones(1)).output_size(3)
