"""The sign layer's encoding has one solution once its inputs are fixed, but at 0, where it has both."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoding.block import add_columns
from encoding.bounds import Bounds
from encoding.layers import encode, encode_layers, settled, stable_units
from encoding.margin import keep_off
from problems.interval import Interval
from proxies.layers import Affine, Layer, Sign
from solvers.highs import HighsSession
from solvers.pyomo_bridge import compile_model
from solvers.session import Status
from tests.encodings.test_layers import check, extremes, known, points, within
from verifier.bounds.crown import layer_boxes
from verifier.bounds.relaxation import Box


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_off_zero_the_encoding_is_the_forward_pass(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    box, h = points(rng, n)
    h = np.where(np.abs(h) < 1e-3, box.lower, h)
    h = np.where(h == 0, -0.05, h)
    box = Interval(np.minimum(box.lower, h), np.maximum(box.upper, h))
    bounds = known(Sign(), within(rng, box, h), box)
    if rng.random() < 0.5:
        bounds["output"] = within(rng, bounds["output"], np.where(h >= 0, 1.0, -1.0))
    check(Sign(), bounds, Interval(h, h), h, h, "sign", rng)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-1.0, 2.0, (-1.0, 1.0)), (0.0, 2.0, (1.0, 1.0)), (-1.0, 0.0, (-1.0, 1.0)), (0.0, 0.0, (1.0, 1.0))],
)
def test_at_zero_both_signs_are_allowed_where_both_occur(low: float, high: float, expected: tuple) -> None:
    box = Interval(np.array([low]), np.array([high]))
    model = pyo.ConcreteModel()
    model.inner = pyo.Block(concrete=True)
    inputs = add_columns(model, "inputs", box)
    outputs = encode(Sign(), model.inner, inputs, [], known(Sign(), box, box)).outputs
    assert extremes(model, inputs, np.zeros(1), outputs, np.ones((1, 1)))[0] == pytest.approx(expected)


@pytest.mark.parametrize(("at", "status"), [(5e-3, Status.INFEASIBLE), (0.02, Status.OPTIMAL), (-0.02, Status.OPTIMAL)])
def test_a_margin_leaves_out_the_slab_around_zero(at: float, status: Status) -> None:
    model = pyo.ConcreteModel()
    keep_off(model, 0.01)
    model.inner = pyo.Block(concrete=True)
    box = Interval(np.array([-0.5]), np.array([0.5]))
    inputs = add_columns(model, "inputs", box)
    output = encode(Sign(), model.inner, inputs, [], known(Sign(), box, box)).outputs[0]
    model.goal = pyo.Objective(expr=output)
    compiled = compile_model(model)
    with HighsSession(compiled.linear) as session:
        session.set_column_bounds(compiled.columns(inputs), np.array([at]), np.array([at]))
        solution = session.solve()
    assert solution.status is status
    if status is Status.OPTIMAL:
        assert solution.objective == pytest.approx(np.sign(at))


def test_units_with_one_sign_need_neither_binary_nor_column() -> None:
    z = Interval(np.array([-1.0, 0.0, -2.0, -1.0]), np.array([-0.5, 3.0, 1.0, 0.0]))
    assert stable_units(Sign(), z).tolist() == [True, True, False, False]
    assert (settled(Sign(), z).width > 0).tolist() == [False, False, True, True]


@pytest.mark.parametrize("seed", range(4))
def test_a_network_of_signs_is_its_forward_pass(seed: int) -> None:
    rng = np.random.default_rng(seed)
    number = lambda *shape: torch.as_tensor(rng.normal(size=shape))  # noqa: E731
    whole = lambda *shape: torch.as_tensor(rng.integers(-1, 2, size=shape))  # noqa: E731
    layers: list[Layer] = [Affine(number(4, 3), number(4)), Sign(), Affine(whole(3, 4), number(3)), Sign()]
    layers.append(Affine(number(2, 3), number(2)))
    source = Box(-torch.ones(1, 3, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64))
    with torch.no_grad():
        boxes = layer_boxes(layers, source).inputs
    bounds = {f"input[{k}]": Interval(box.lower[0].numpy(), box.upper[0].numpy()) for k, box in enumerate(boxes)}
    for x in rng.random((3, 3)) * 2 - 1:
        with torch.no_grad():
            h = torch.as_tensor(x)[None]
            for layer in layers:
                h = layer(h, h)
        model = pyo.ConcreteModel()
        model.inner = pyo.Block(concrete=True)
        inputs = add_columns(model, "inputs", bounds["input[0]"])
        outputs = encode_layers(layers, model.inner, inputs, Bounds(bounds)).outputs
        found = extremes(model, inputs, x, outputs, np.eye(2))
        np.testing.assert_allclose(found, np.repeat(h[0].numpy()[:, None], 2, axis=1), atol=1e-6)
