"""Training: reproducible, better than at random, and what it returns is what a float32 file can hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from problems.dcopf import DcOpf
from problems.grid import Grid
from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack
from proxies.files import save_network
from proxies.layers import Affine, sort_repair
from proxies.load import load_proxy
from proxies.manifest import DcOpfSpec
from proxies.proxy import Proxy
from proxies.stability import instability
from proxies.training import TrainingOptions
from proxies.training_dcopf import train_dcopf
from proxies.training_knapsack import train_knapsack

SHORT = TrainingOptions(hidden=(16, 16), steps=400, check_every=100)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def values_of(problem: Knapsack, proxy: Proxy, x: np.ndarray) -> np.ndarray:
    """Return the total value that the proxy packs, after a look at whether it may."""
    batch = torch.as_tensor(x)
    with torch.no_grad():
        y = proxy(batch)
    assert float(problem.infeasibility(batch, y).max()) == 0.0
    return -problem.objective(batch, y).numpy()


def test_scores_of_few_items_become_their_ratios() -> None:
    """A network as wide as the items can follow every value: then the proxy is the greedy rule by value/weight."""
    problem = random_knapsack(8, 3)
    proxy, report = train_knapsack(problem, SHORT, "focused")
    assert report.best < 0.1 * report.first
    domain = problem.domain(SHORT.u)
    x = domain.to_input(domain.sample(300, 1))
    ratio = torch.as_tensor(x[:, :-1] / problem.weights)
    greedy = sort_repair(ratio, torch.as_tensor(x[:, -1]), torch.as_tensor(problem.weights))
    with torch.no_grad():
        same = (proxy(torch.as_tensor(x)) == greedy).all(-1)
    assert float(same.double().mean()) > 0.9


def test_focus_packs_more_where_the_network_is_narrow() -> None:
    problem = random_knapsack(50, 0)
    options = TrainingOptions(hidden=(16, 16), steps=800, check_every=200)
    domain = problem.domain(options.u)
    x = domain.to_input(domain.sample(200, 5))
    focused, _ = train_knapsack(problem, options, "focused")
    plain, _ = train_knapsack(problem, options, "plain")
    # What an order that never changes would pack.
    nominal = torch.as_tensor(problem.values / problem.weights).expand(200, -1)
    fixed = sort_repair(nominal, torch.as_tensor(x[:, -1]), torch.as_tensor(problem.weights))
    still = -problem.objective(torch.as_tensor(x), fixed).numpy()
    assert values_of(problem, focused, x).mean() > values_of(problem, plain, x).mean()
    assert values_of(problem, focused, x).mean() > still.mean()


@pytest.mark.parametrize("greedy", ["prefix", "skip"])
def test_a_trained_file_is_the_trained_proxy(tmp_path: Path, greedy: str) -> None:
    problem = random_knapsack(5, 2)
    proxy, _ = train_knapsack(problem, TrainingOptions(hidden=(4,), steps=20), greedy=greedy, made_by="a test")  # type: ignore[arg-type]
    file = tmp_path / "proxy.safetensors"
    save_network(file, proxy.network, proxy.manifest)
    loaded = load_proxy(file)
    assert loaded.proxy.fingerprint() == proxy.fingerprint()
    assert loaded.problem.fingerprint() == problem.fingerprint()
    for layer in proxy.network:
        if isinstance(layer, Affine):
            assert torch.equal(layer.weight, layer.weight.float().double())
            assert torch.equal(layer.bias, layer.bias.float().double())


def test_items_without_value_or_room_can_be_trained_on() -> None:
    worthless = Knapsack("worthless", np.array([0.0, 0.0, 3.0]), np.array([1, 2, 2]), 0.0)
    roomy = Knapsack("roomy", np.array([1.0, 2.0]), np.array([1, 2]), 9.0)
    for problem in (worthless, roomy):
        for u in (0.0, 0.2):
            proxy, report = train_knapsack(problem, TrainingOptions(hidden=(4,), steps=100, check_every=50, u=u))
            assert np.isfinite([report.first, report.best]).all()
            values_of(problem, proxy, problem.domain(u).corners(10, 0))


def test_one_seed_one_proxy() -> None:
    problem = random_knapsack(6, 0)
    options = [TrainingOptions(hidden=(5,), steps=60, check_every=20, seed=seed) for seed in (0, 0, 1)]
    prints = [train_knapsack(problem, chosen)[0].fingerprint() for chosen in options]
    assert prints[0] == prints[1] != prints[2]


def test_dispatch_becomes_cheaper_and_stays_reproducible(case30: Grid) -> None:
    problem, spec = DcOpf(case30), DcOpfSpec(case=case30.name)
    options = TrainingOptions(hidden=(8,), steps=200, check_every=50)
    proxy, report = train_dcopf(problem, spec, options, centred=True)
    assert report.best < report.first
    x = torch.as_tensor(problem.domain(0.2).to_input(problem.domain(0.2).sample(500, 9)))
    with torch.no_grad():
        cost = float(problem.objective(x, proxy(x)).mean())
    assert cost == pytest.approx(report.best, rel=0.02)
    assert proxy.fingerprint() == train_dcopf(problem, spec, options, centred=True)[0].fingerprint()


def test_the_stability_term_settles_neurons() -> None:
    problem = random_knapsack(8, 1)
    domain = problem.domain(0.05)
    before = TrainingOptions(hidden=(12, 12), u=0.05, steps=200, check_every=100)
    after = TrainingOptions(hidden=(12, 12), u=0.05, steps=200, check_every=100, stability=1.0)
    loose, tight = (instability(train_knapsack(problem, o)[0], domain).item() for o in (before, after))
    assert -1 <= tight < loose
