"""What each supported ONNX operator does to the data: which layers it adds, and where the values lie then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from proxies.errors import ModelFileError
from proxies.layers import Affine, Clamp, Layer, Relu, Sign
from proxies.onnx_constants import Step
from proxies.onnx_layout import Array, Layout
from proxies.onnx_scan import LARGEST_ELEMENTS

Handler = Callable[[Step, Layout, list[Layer]], Layout]

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)


def contracted(step: Step) -> int | None:
    """Return how many values a Gemm or MatMul with one constant takes; None for any other node."""
    if step.node.op_type not in ("Gemm", "MatMul") or step.data not in (0, 1):
        return None
    matrix = step.partner
    if matrix is None or matrix.ndim != 2:
        return None
    axis = step.data  # x @ W takes as many values as W has rows, W @ x as it has columns.
    if step.node.op_type == "Gemm" and step.integer("transB" if step.data == 0 else "transA", 0):
        axis = 1 - axis
    return int(matrix.shape[axis])


def _real(array: Array | None, what: str) -> Array:
    """Return a constant in float64; refuse one that is missing, not of floats, or holds a NaN."""
    if array is None or array.dtype.kind != "f":
        raise ModelFileError(f"needs {what} of type float32 or float64")
    if np.isnan(array).any():
        raise ModelFileError(f"has {what} that holds a NaN; train or export the network again")
    return array.astype(np.float64)


def _add_affine(layers: list[Layer], weight: Array, bias: Array) -> None:
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ModelFileError("has an infinite weight, or divides by zero; train or export the network again")
    layers.append(Affine(torch.as_tensor(np.array(weight)), torch.as_tensor(np.array(bias))))


def _add_bias(layers: list[Layer], bias: Array) -> None:
    """Add a constant: into the affine layer before it where that has none yet, which changes no value."""
    last = layers[-1] if layers else None
    if isinstance(last, Affine) and not last.bias.any() and np.isfinite(bias).all():
        layers[-1] = Affine(last.weight.detach(), torch.as_tensor(np.array(bias)))
    else:
        _add_affine(layers, np.ones(bias.size), bias)


def _matmul(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    matrix = _real(step.partner, "a constant matrix")
    return _multiply(matrix, step.data == 0, layout, layers)


def _multiply(matrix: Array, data_first: bool, layout: Layout, layers: list[Layer]) -> Layout:
    if matrix.ndim != 2 or not matrix.size:
        raise ModelFileError(f"multiplies by a constant of shape {list(matrix.shape)}, not by a matrix")
    after = layout.times(*matrix.shape) if data_first else layout.times_from_left(*matrix.shape)
    weight = matrix.T if data_first else matrix
    _add_affine(layers, weight, np.zeros(weight.shape[0]))
    return after


def _scaled(factor: float, array: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):  # Infinite products are refused with the layer.
        return np.multiply(factor, array)


def _gemm(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    if len(layout.shape) != 2:
        raise ModelFileError(f"multiplies a tensor with {len(layout.shape)} axes, but Gemm takes two")
    own, other = ("transA", "transB") if step.data == 0 else ("transB", "transA")
    matrix = _real(step.partner, "a constant matrix")
    if step.integer(own, 0):
        layout = layout.transposed([1, 0])
    if step.integer(other, 0):
        matrix = matrix.T
    if (alpha := step.number("alpha", 1.0)) != 1:
        matrix = _scaled(alpha, matrix)
    layout = _multiply(matrix, step.data == 0, layout, layers)
    if step.operand(2) is not None:
        bias, after = layout.spread(_real(step.operand(2), "a constant C"))
        if len(after.shape) != 2:
            raise ModelFileError("adds a constant with more than two axes")
        if (beta := step.number("beta", 1.0)) != 1:
            bias = _scaled(beta, bias)
        _add_bias(layers, bias)
    return layout


def _constant_operand(step: Step, layout: Layout) -> tuple[Array, Layout]:
    if len(step.operands) != 2 or step.has("axis"):
        raise ModelFileError("must combine the data with one constant, without an axis attribute")
    return layout.spread(_real(step.partner, "a constant operand"))


def _add(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    constant, after = _constant_operand(step, layout)
    _add_bias(layers, constant)
    return after


def _sub(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    constant, after = _constant_operand(step, layout)
    if step.data == 0:
        _add_bias(layers, -constant)
    else:
        _add_affine(layers, -np.ones(constant.size), constant)
    return after


def _mul(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    constant, after = _constant_operand(step, layout)
    _add_affine(layers, constant, np.zeros(constant.size))
    return after


def _div(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    if step.data != 0:
        raise ModelFileError("divides a constant by the data, which is not piecewise linear")
    constant, after = _constant_operand(step, layout)
    with np.errstate(divide="ignore", over="ignore"):
        _add_affine(layers, 1 / constant, np.zeros(constant.size))
    return after


def _relu(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    layers.append(Relu())
    return layout


def _sign(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    """ONNX's sign of 0 is 0: half the difference of two sign layers, of the data and of its negative."""
    if 4 * layout.width**2 > LARGEST_ELEMENTS:
        raise ModelFileError("takes the sign of too many values; compare them with 0 (GreaterOrEqual, Where) instead")
    eye, zero = np.eye(layout.width), np.zeros(layout.width)
    _add_affine(layers, np.concatenate([eye, -eye]), np.concatenate([zero, zero]))
    layers.append(Sign())
    _add_affine(layers, np.concatenate([eye, -eye], axis=1) / 2, zero)
    return layout


def _compare(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    """Compare the data with a constant: true is a sign of 1, of the difference that is not negative where it holds."""
    constant, after = _constant_operand(step, layout)
    operator = step.node.op_type if step.data == 0 else _MIRRORED[step.node.op_type]
    if operator in ("LessOrEqual", "Greater"):
        _add_affine(layers, -np.ones(constant.size), constant)
    elif constant.any():
        _add_affine(layers, np.ones(constant.size), -constant)
    layers.append(Sign())
    if operator in ("Less", "Greater"):
        _add_affine(layers, -np.ones(constant.size), np.zeros(constant.size))
    return replace(after, truth=True)


# What an operator is when its two inputs change places.
_MIRRORED = {
    "GreaterOrEqual": "LessOrEqual",
    "LessOrEqual": "GreaterOrEqual",
    "Greater": "Less",
    "Less": "Greater",
}


def _where(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    if not layout.truth:
        raise ModelFileError("chooses by values that no comparison of the data with a constant gave")
    yes, after = layout.spread(_real(step.operand(1), "a constant second input"))
    no, last = after.spread(_real(step.operand(2), "a constant third input"))
    if np.any(yes != 1) or np.any(no != -1):
        _add_affine(layers, (yes - no) / 2, (yes + no) / 2)
    return replace(last, truth=False)


def _add_clamp(layers: list[Layer], lower: Array, upper: Array) -> None:
    if np.any(lower > upper):
        raise ModelFileError("has a lower limit above its upper one; correct the limits")
    layers.append(Clamp(_limits(lower), _limits(upper)))


def _limits(values: Array) -> Tensor:
    return torch.as_tensor(np.array(values))


def _clip(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    limits = []
    for index, name, none in ((1, "min", -np.inf), (2, "max", np.inf)):
        array = step.operand(index)
        if array is not None and array.size != 1:
            raise ModelFileError(f"has a {name} with {array.size} values; Clip takes one")
        value = step.number(name, none) if array is None else _real(array, f"a {name}").item()
        if np.isnan(value):
            raise ModelFileError(f"has a {name} that is not a number (NaN)")
        limits.append(np.full(layout.width, value))
    _add_clamp(layers, *limits)
    return layout


def _max(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    constant, after = _constant_operand(step, layout)
    _add_clamp(layers, constant, np.full(constant.size, np.inf))
    return after


def _min(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    """A Min after a Max makes one clamp layer with it, where their limits do not cross."""
    constant, after = _constant_operand(step, layout)
    lower, last = np.full(constant.size, -np.inf), layers[-1] if layers else None
    if isinstance(last, Clamp) and last.upper.isposinf().all() and np.all(last.lower.numpy() <= constant):
        lower = last.lower.numpy()
        layers.pop()
    _add_clamp(layers, lower, constant)
    return after


def _batch_normalization(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    if step.integer("training_mode", 0) or not step.integer("spatial", 1):
        raise ModelFileError("is in training mode; export the network after calling eval()")
    scale, shift, mean, variance = (_real(step.operand(i), "four constant vectors") for i in range(1, 5))
    if {array.shape for array in (scale, shift, mean, variance)} != {(layout.width,)} or (
        layout.shape[1:2] != (layout.width,)
    ):
        raise ModelFileError(f"normalises channels of values of shape {list(layout.sample)}")
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        weight = scale / np.sqrt(variance + step.number("epsilon", 1e-5))
        _add_affine(layers, weight, shift - mean * weight)
    return layout


def _same(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    return layout


def _dropout(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    training = step.operand(2)
    if training is not None and training.any():
        raise ModelFileError("is in training mode; export the network after calling eval()")
    return layout


def _cast(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    if step.integer("to", 0) not in _FLOATS:
        raise ModelFileError("rounds the data to another type; export the network in float32 or float64")
    if layout.truth:
        _add_affine(layers, np.full(layout.width, 0.5), np.full(layout.width, 0.5))
    return replace(layout, truth=False)


def _reshape(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    target = step.axes("shape", 1)
    if target is None:
        raise ModelFileError("needs a constant target shape; export the network with a fixed one")
    return layout.reshaped(target, keep_zeros=bool(step.integer("allowzero", 0)))


def _flatten(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    return layout.flattened(step.integer("axis", 1))


def _transpose(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    order = step.integers("perm")
    return layout.transposed(list(reversed(range(len(layout.shape)))) if order is None else order)


def _squeeze(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    return layout.squeezed(step.axes("axes", 1))


def _unsqueeze(step: Step, layout: Layout, layers: list[Layer]) -> Layout:
    return layout.unsqueezed(step.axes("axes", 1) or [])


OPERATORS: dict[str, Handler] = {
    "Add": _add,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Div": _div,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "Greater": _compare,
    "GreaterOrEqual": _compare,
    "Identity": _same,
    "Less": _compare,
    "LessOrEqual": _compare,
    "MatMul": _matmul,
    "Max": _max,
    "Min": _min,
    "Mul": _mul,
    "Relu": _relu,
    "Reshape": _reshape,
    "Sign": _sign,
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}

# What may be done with the truth values of a comparison.
ON_TRUTH = {"Cast", "Identity", "Where"}

# The operators whose second input may be the data, and the first one a constant.
TWO_SIDED = {"Add", "Div", "Gemm", "MatMul", "Max", "Min", "Mul", "Sub", *_MIRRORED}
