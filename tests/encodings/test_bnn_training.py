"""Training programs against a list of all networks, on every objective; the classifier's manners."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from encoding.bnn_model import MARGIN, BnnTrainingError, Objective, in_order, margins, training_model
from encoding.bnn_training import BinarizedClassifier, BnnOptions, train_bnn
from proxies.layers.binarized import WeightValues
from proxies.straight_through import BinarizedNetwork, straight_through
from solvers.registry import open_session
from solvers.session import Status

WEIGHTS: dict[WeightValues, tuple[float, ...]] = {"binary": (-1.0, 1.0), "ternary": (-1.0, 0.0, 1.0)}
OBJECTIVES: tuple[Objective, ...] = ("max-correct", "min-hinge", "max-margin", "min-weight")
Network = tuple[np.ndarray, ...]


def networks(inputs: int, hidden: tuple[int, ...], values: WeightValues) -> list[Network]:
    """Every network of a shape."""
    widths = (inputs, *hidden, 1)
    shapes = [(units, before + 1) for before, units in pairwise(widths)]
    ends = np.cumsum([units * size for units, size in shapes])
    found = []
    for flat in product(WEIGHTS[values], repeat=int(ends[-1])):
        parts = np.split(np.array(flat), ends[:-1])
        found.append(tuple(part.reshape(shape) for part, shape in zip(parts, shapes)))
    return found


def sums(x: np.ndarray, network: Network) -> list[np.ndarray]:
    """What enters the signs of every layer, and the output."""
    found, h = [], x
    for layer in network:
        found.append(h @ layer[:, :-1].T + layer[:, -1])
        h = np.where(found[-1] >= 0, 1.0, -1.0)
    return found


def value(x: np.ndarray, labels: np.ndarray, network: Network, objective: Objective) -> float:
    """The objective of one network, to be minimised; infinite where the program leaves the network out."""
    *inner, last = sums(x, network)
    if ((inner[0] < 0) & (inner[0] > -MARGIN)).any():
        return np.inf
    margin = labels * (last[:, 0] + 0.5)
    if objective == "max-correct":
        return -float((margin > 0).sum())
    if objective == "min-hinge":
        return float(np.maximum(0.0, 1.0 - margin).sum())
    if (margin < 0).any():
        return np.inf
    if objective == "min-weight":
        return float(sum(np.abs(layer).sum() for layer in network))
    return -float(margin.min() + sum(np.abs(part).min(0).sum() for part in inner))


def data(seed: int, samples: int = 6, inputs: int = 2, whole: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, size=(samples, inputs)) if whole else rng.random((samples, inputs)) * 2 - 1
    labels = np.where(rng.random(samples) < 0.5, 1.0, -1.0)
    labels[:2] = 1.0, -1.0
    return np.asarray(x, dtype=np.float64), labels


SHAPES: list[tuple[WeightValues, int, tuple[int, ...]]] = [
    ("binary", 2, (2,)),
    ("ternary", 1, (2,)),
    ("binary", 1, (2, 1)),
]


# All binary networks have the same number of weights.
ASKED = [(*shape, goal) for shape in SHAPES for goal in OBJECTIVES if (shape[0], goal) != ("binary", "min-weight")]


@pytest.mark.parametrize(("values", "inputs", "hidden", "objective"), ASKED)
@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_is_that_of_all_networks(
    values: WeightValues, inputs: int, hidden: tuple[int, ...], objective: Objective, seed: int
) -> None:
    x, labels = data(seed, 4 if objective in ("max-margin", "min-weight") else 6, inputs, whole=seed == 2)
    if objective in ("max-margin", "min-weight") and seed == 1:
        labels = np.where(x[:, 0] > np.median(x[:, 0]), 1.0, -1.0)  # Seldom out of reach.
    expected = min(value(x, labels, network, objective) for network in networks(inputs, hidden, values))
    trained = train_bnn(x, labels, BnnOptions(hidden=hidden, values=values, objective=objective))
    if np.isinf(expected):
        assert trained.status is Status.INFEASIBLE
        assert trained.weights is None
        return
    assert trained.status is Status.OPTIMAL
    assert trained.weights is not None
    sense = -1.0 if objective in ("max-correct", "max-margin") else 1.0
    assert trained.objective == pytest.approx(sense * expected, abs=1e-5)
    assert trained.bound == pytest.approx(sense * expected, abs=1e-4)
    assert value(x, labels, trained.weights, objective) == pytest.approx(expected, abs=1e-5)
    assert set(np.concatenate([layer.ravel() for layer in trained.weights]).tolist()) <= set(WEIGHTS[values])
    assert trained.correct == (labels * margins(x, trained.weights) > 0).sum()
    h = torch.as_tensor(x)
    with torch.no_grad():
        for layer in trained.layers():
            h = layer(h, h)
    np.testing.assert_array_equal(h[:, 0].numpy(), margins(x, trained.weights))


@pytest.mark.parametrize("values", WEIGHTS)
def test_a_sum_of_signs_needs_no_weights_of_its_own(values: WeightValues) -> None:
    x, labels = data(5, 6, 1)
    added = np.array([[1.0, 1.0, 0.0]])
    fixed = [n for n in networks(1, (2,), "ternary") if np.array_equal(n[-1], added)]
    fixed = [n for n in fixed if set(n[0].ravel()) <= set(WEIGHTS[values])]
    expected = min(value(x, labels, network, "min-hinge") for network in fixed)
    options = BnnOptions(hidden=(2,), values=values, objective="min-hinge", readout="sum")
    trained = train_bnn(x, labels, options)
    assert trained.objective == pytest.approx(expected, abs=1e-6)
    assert trained.weights is not None
    np.testing.assert_array_equal(trained.weights[-1], added)


@pytest.mark.parametrize("values", WEIGHTS)
@pytest.mark.parametrize("hidden", [(3,), (2, 2)])
@pytest.mark.parametrize("reach", [None, 2.5])
def test_every_network_is_a_point_of_the_program_with_its_own_objective(
    values: WeightValues, hidden: tuple[int, ...], reach: float | None
) -> None:
    """Whatever the weights: with them fixed, in their order, the optimum is their own value."""
    rng = np.random.default_rng(0)
    x, labels = data(0, 8, 3)
    widths = (3, *hidden, 1)
    for objective in ("max-correct", "min-hinge"):
        model = training_model(x, labels, hidden, values, objective, reach=reach)
        columns = np.concatenate([layer.ravel() for layer in model.weights])
        with open_session("highs", model.linear) as session:
            for _ in range(4):
                network = tuple(
                    rng.choice(WEIGHTS[values], size=(units, before + 1)) for before, units in pairwise(widths)
                )
                start = model.start_at(network)
                session.set_column_bounds(columns, start[columns], start[columns])
                solution = session.solve(mip_gap=0.0)
                assert solution.objective == pytest.approx(value(x, labels, network, objective), abs=1e-6)
                assert solution.x is not None
                np.testing.assert_array_equal(margins(x, model.weights_at(solution.x)), margins(x, network))


def test_the_order_of_units_changes_no_output() -> None:
    rng = np.random.default_rng(1)
    network = [rng.integers(-1, 2, size=size) for size in ((5, 11), (4, 6), (1, 5))]
    x = rng.normal(size=(40, 10))
    ordered = in_order(network)
    np.testing.assert_array_equal(margins(x, ordered), margins(x, network))
    for layer in ordered[:-1]:
        assert all(tuple(a[:8]) >= tuple(b[:8]) for a, b in pairwise(layer))


def test_the_coefficients_of_data_are_where_the_model_says() -> None:
    x, labels = data(3, 5, 3)
    model = training_model(x, labels, (2,), reach=1.0)
    block = model.linear.matrix[model.sums.ravel()][:, model.weights[0].ravel()].toarray()
    block = block.reshape(5, 2, 2, 4)
    for unit in range(2):
        np.testing.assert_array_equal(block[:, unit, unit, :3], -x)
        assert not block[:, unit, 1 - unit].any()
    other = training_model(-x / 2, labels, (2,), reach=1.0).linear
    np.testing.assert_array_equal(other.row_lower, model.linear.row_lower)
    np.testing.assert_array_equal(other.row_upper, model.linear.row_upper)
    assert np.flatnonzero(np.diff((other.matrix != model.linear.matrix).indptr)).tolist() == sorted(model.sums.ravel())


def test_a_start_is_taken_where_no_time_is_left() -> None:
    x, labels = data(4, 30, 6)
    first = train_bnn(x, labels, BnnOptions(hidden=(3,), time_limit=20.0, mip_gap=0.2))
    assert first.weights is not None
    again = train_bnn(x, labels, BnnOptions(hidden=(3,), time_limit=20.0, mip_gap=1.0), start=first.weights)
    assert again.objective >= first.objective


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": [1.0, 0.0]}, "1 and -1"),
        ({"labels": [1.0]}, "shape"),
        ({"x": [[np.nan], [0.0]]}, "finite"),
        ({"hidden": ()}, "unit"),
        ({"margin": 0.0}, "margin"),
        ({"reach": 0.5}, "reach"),
        ({"values": "binary", "objective": "min-weight"}, "ternary"),
    ],
)
def test_what_makes_no_program_is_refused(changes: dict, words: str) -> None:
    arguments = {"x": [[1.0], [0.0]], "labels": [1.0, -1.0], "hidden": (1,), **changes}
    with pytest.raises(BnnTrainingError, match=words):
        training_model(**arguments)


def test_a_classifier_has_the_manners_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 3)) * [1.0, 50.0, 0.0] + [0.0, 300.0, 7.0]
    y = np.where(x[:, 0] + (x[:, 1] - 300) / 50 > 0, "yes", "no")
    model = BinarizedClassifier(hidden=(1,), time_limit=20.0, first_steps=0)
    assert model.get_params()["hidden"] == (1,)
    assert model.set_params(hidden=(2,)) is model
    assert model.fit(x, y) is model
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.trained_.status is Status.OPTIMAL
    assert model.score(x, y) == model.trained_.correct / 24 == model.trained_.objective / 24 > 0.9
    assert set(model.predict(x[:3]).tolist()) <= {"no", "yes"}
    assert ((model.decision_function(x) > 0) == (model.predict(x) == "yes")).all()
    for wrong in ({"widths": 3}, {"Hidden": (1,)}):
        with pytest.raises(BnnTrainingError, match="parameter"):
            model.set_params(**wrong)
    with pytest.raises(BnnTrainingError, match="fit"):
        BinarizedClassifier().predict(x)
    with pytest.raises(BnnTrainingError, match="two classes"):
        model.fit(x, np.arange(24))


def test_straight_through_training_is_told_in_the_weights_of_the_mip_and_starts_it() -> None:
    x, _ = data(6, 12, 3)
    labels = np.where(x[:, 0] > x[:, 1], 1.0, -1.0)
    torch.manual_seed(0)
    for summed in (False, True):
        network = BinarizedNetwork(3, (4, 2), "ternary", 0.1, summed)
        weights = [layer.numpy() for layer in network.weights()]
        assert [layer.shape for layer in weights] == [(4, 4), (2, 5), (1, 3)]
        np.testing.assert_allclose(network(torch.as_tensor(x)).detach(), margins(x, weights, 0.1), atol=1e-12)
    found = straight_through(torch.as_tensor(x), torch.as_tensor(labels), (3,), "ternary", MARGIN, steps=60, restarts=1)
    right = (labels * margins(x, [layer.numpy() for layer in found]) > 0).mean()
    assert right >= 0.7
    # With the time that it takes to look at a start, the solver has nothing else.
    classifier = BinarizedClassifier(hidden=(3,), first_steps=60, mip_gap=1.0).fit(x, labels)
    assert classifier.trained_.objective >= 0.7 * 12


def test_scikit_learn_takes_the_classifier_for_each_pair_of_classes() -> None:
    multiclass = pytest.importorskip("sklearn.multiclass")
    rng = np.random.default_rng(0)
    y = np.repeat([3, 5, 7], 6)
    x = np.where(y[:, None] == [3, 5, 7], 1.0, 0.0) + 0.1 * rng.normal(size=(18, 3))
    model = multiclass.OneVsOneClassifier(BinarizedClassifier(hidden=(1,), time_limit=20.0, first_steps=0)).fit(x, y)
    assert model.score(x, y) == 1.0


def test_no_network_is_told_as_such() -> None:
    x, labels = np.array([[0.5], [0.5]]), np.array([1.0, -1.0])
    trained = train_bnn(x, labels, BnnOptions(objective="max-margin"))
    assert trained.status is Status.INFEASIBLE
    with pytest.raises(BnnTrainingError, match="infeasible"):
        trained.layers()
