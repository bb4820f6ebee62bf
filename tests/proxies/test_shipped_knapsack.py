"""The shipped knapsack proxies: small files that pack nearly what the greedy rule by value/weight packs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from problems.knapsack import Knapsack
from proxies.layers import Affine, Relu, Sign, sort_repair
from proxies.load import load_proxy

FOLDER = Path(__file__).parents[2] / "benchmarks" / "proxies"
FILES = sorted(FOLDER.glob("knapsack-*.safetensors"))
SAMPLES = 60


def test_every_size_is_there() -> None:
    assert {"knapsack-10", "knapsack-50", "knapsack-80", "knapsack-500"} <= {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_proxy_packs_more_than_a_fixed_order(file: Path) -> None:
    loaded = load_proxy(file)
    problem, proxy = loaded.problem, loaded.proxy
    assert isinstance(problem, Knapsack)
    assert problem.items == int(file.stem.split("-")[1])
    assert file.stat().st_size < 300_000
    assert "certigap train knapsack" in proxy.manifest.made_by
    unit = Sign if "binarized" in file.stem else Relu
    hidden = [size for size, layer in zip(proxy.sizes, proxy.layers) if isinstance(layer, unit)]
    assert hidden == ([16, 16] if unit is Sign else [64, 64] if problem.items == 500 else [32, 32])
    if unit is Sign:
        assert all(set(layer.weight.unique().tolist()) == {-1, 1} for layer in proxy.network[1:4:2])
    for layer in proxy.layers:
        if isinstance(layer, Affine):
            assert torch.equal(layer.weight, layer.weight.float().double())
    domain = problem.domain(0.2)
    x = torch.as_tensor(domain.to_input(domain.sample(SAMPLES, 3)))
    capacity, weights = x[:, -1], torch.as_tensor(problem.weights)
    nominal = torch.as_tensor(problem.values / problem.weights).expand(SAMPLES, -1)
    with torch.no_grad():
        choices = {
            "proxy": proxy(x),
            "greedy": sort_repair(x[:, :-1] / weights, capacity, weights),
            "fixed": sort_repair(nominal, capacity, weights),
        }
    optimum = np.array([problem.solve(row)[0] for row in x.numpy()])
    gap = {name: float((problem.objective(x, y).numpy() - optimum).mean()) for name, y in choices.items()}
    assert all(value >= -1e-9 for value in gap.values())
    # With few items the order hardly matters: what does not fit does.
    if problem.items >= 50:
        assert gap["proxy"] < gap["fixed"]
    else:
        assert gap["proxy"] == pytest.approx(gap["greedy"], rel=0.1)
