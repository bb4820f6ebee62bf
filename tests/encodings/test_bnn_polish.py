"""Training unit by unit: programs of one unit against a list of its weights, and where the search ends."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from encoding.bnn_model import MARGIN, margins, unit_model
from encoding.bnn_polish import polish
from proxies.layers.binarized import WeightValues
from solvers.registry import open_session

WEIGHTS: dict[WeightValues, tuple[float, ...]] = {"binary": (-1.0, 1.0), "ternary": (-1.0, 0.0, 1.0)}


def data(seed: int, samples: int = 14, inputs: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (samples, inputs)), np.where(rng.random(samples) < 0.5, 1.0, -1.0)


def random_network(seed: int, widths: tuple[int, ...], values: WeightValues) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = [(units, before + 1) for before, units in zip(widths, (*widths[1:], 1))]
    return [rng.choice(WEIGHTS[values], shape) for shape in shapes]


def right(x: np.ndarray, labels: np.ndarray, network: list[np.ndarray]) -> int:
    return int((labels * margins(x, network) > 0).sum())


@pytest.mark.parametrize("values", WEIGHTS)
@pytest.mark.parametrize("below", [MARGIN, 0.3])
def test_a_unit_gets_as_many_samples_right_as_any_weights_do(values: WeightValues, below: float) -> None:
    x, wanted = data(1, inputs=3)
    model, columns = unit_model(x, wanted, values, below)
    with open_session("highs", model) as session:
        solution = session.solve(mip_gap=0.0)
    every = np.array(list(product(WEIGHTS[values], repeat=4)))
    sums = x @ every[:, :-1].T + every[:, -1]
    counts = np.where(wanted[:, None] > 0, sums >= 0, sums <= -below).sum(0)
    assert solution.x is not None
    assert -solution.objective == pytest.approx(counts.max())
    assert counts[(every == np.round(solution.x[columns])).all(1)] == counts.max()


@pytest.mark.parametrize("values", WEIGHTS)
@pytest.mark.parametrize("hidden", [(3,), (2, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_where_it_settles_no_unit_alone_gets_more_right(
    values: WeightValues, hidden: tuple[int, ...], seed: int
) -> None:
    x, labels = data(seed)
    begin = random_network(seed, (2, *hidden), values)
    polished = polish(x, labels, begin, values)
    network = [layer.copy() for layer in polished.weights]
    assert polished.settled
    assert polished.correct == right(x, labels, network) >= right(x, labels, begin)
    if polished.correct == len(labels):
        return
    for layer in network:
        for j, own in enumerate(layer.copy()):
            for weights in product(WEIGHTS[values], repeat=own.size):
                layer[j] = weights
                assert right(x, labels, network) <= polished.correct
            layer[j] = own


def test_it_improves_networks_and_leaves_the_given_one_alone() -> None:
    gains = []
    for seed in range(4):
        x, labels = data(seed)
        begin = random_network(seed, (2, 4), "ternary")
        kept = [layer.copy() for layer in begin]
        gains.append(polish(x, labels, begin).correct - right(x, labels, begin))
        assert all(np.array_equal(layer, copy) for layer, copy in zip(begin, kept))
    assert min(gains) >= 0
    assert sum(gains) > 4


def test_without_time_nothing_changes_and_nothing_is_claimed() -> None:
    x, labels = data(0)
    begin = random_network(0, (2, 3), "ternary")
    polished = polish(x, labels, begin, time_limit=0.0)
    assert all(np.array_equal(layer, given) for layer, given in zip(polished.weights, begin))
    assert polished.programs == 0
    assert not polished.settled


def test_a_unit_whose_program_ran_out_of_time_is_not_settled() -> None:
    x, labels = data(0)
    polished = polish(x, labels, random_network(0, (2, 3), "ternary"), each=0.0)
    assert not polished.settled


def test_nothing_is_left_to_do_where_all_samples_are_right() -> None:
    x = np.linspace(-1, 1, 7)[:, None]
    labels = np.where(x[:, 0] >= 0, 1.0, -1.0)
    polished = polish(x, labels, [np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])])
    assert polished.settled
    assert (polished.correct, polished.programs) == (7, 0)
