"""Constants of an ONNX graph: tensors, checked before anything is allocated, and nodes that reshape them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto

from proxies.errors import ModelFileError
from proxies.onnx_layout import Array
from proxies.onnx_scan import LARGEST_ELEMENTS

_DTYPES: dict[int, np.dtype[Any]] = {
    TensorProto.FLOAT: np.dtype("<f4"),
    TensorProto.DOUBLE: np.dtype("<f8"),
    TensorProto.INT32: np.dtype("<i4"),
    TensorProto.INT64: np.dtype("<i8"),
    TensorProto.BOOL: np.dtype("?"),
}
_TYPED_FIELDS: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT32: "int32_data",
    TensorProto.INT64: "int64_data",
    TensorProto.BOOL: "int32_data",
}
# numpy has at most 64 axes; no layer needs more than a handful.
LARGEST_RANK = 8
_SHOWN = 80  # Characters of a name from the file that an error repeats.


@dataclass(frozen=True)
class Step:
    """One node of the graph, with its constant operands.

    Attributes:
        position: its place in the graph, from 1.
        operands: its inputs; None where one is left out or is the data.
        data: which input is the data; None where all are constants.
    """

    node: NodeProto
    position: int
    operands: list[Array | None]
    data: int | None

    @property
    def partner(self) -> Array | None:
        """The operand that the data is combined with, where the operator takes two."""
        return self.operand(0 if self.data else 1)

    def operand(self, index: int) -> Array | None:
        """Return a constant input; None where it is left out."""
        return self.operands[index] if index < len(self.operands) else None

    def number(self, name: str, default: float) -> float:
        """Return a float attribute."""
        found = self._attribute(name, AttributeProto.FLOAT)
        return default if found is None else float(found.f)

    def integer(self, name: str, default: int) -> int:
        """Return an int attribute."""
        found = self._attribute(name, AttributeProto.INT)
        return default if found is None else int(found.i)

    def integers(self, name: str) -> list[int] | None:
        """Return an attribute that is a list of ints; None where it is left out."""
        found = self._attribute(name, AttributeProto.INTS)
        return None if found is None else [int(value) for value in found.ints]

    def has(self, name: str) -> bool:
        """Return whether the node has an attribute of that name."""
        return any(attribute.name == name for attribute in self.node.attribute)

    def axes(self, name: str, index: int) -> list[int] | None:
        """Return a list of ints that is an attribute in old files and input `index` in newer ones."""
        array = self.operand(index)
        if array is None:
            return self.integers(name)
        if array.dtype.kind != "i" or array.ndim > 1 or array.size > LARGEST_RANK:
            raise ModelFileError(f"its {name} must be at most {LARGEST_RANK} whole numbers")
        return [int(value) for value in array.reshape(-1)]

    def _attribute(self, name: str, kind: int) -> AttributeProto | None:
        found = next((attribute for attribute in self.node.attribute if attribute.name == name), None)
        if found is not None and (found.type != kind or found.ref_attr_name):
            raise ModelFileError(f"its attribute {name} has the wrong type")
        return found


def shown(name: str | bytes) -> str:
    """Return a name from a file as an error may repeat it: quoted, no control characters, not too long."""
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN])


def tensor_array(tensor: TensorProto) -> Array:
    """Return a tensor of the file as a read-only array.

    Raises:
        ModelFileError: it lies outside the file, has a type that is not read, or declares another number of
            values than it holds.
    """
    name = shown(tensor.name)
    if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
        raise ModelFileError(
            f"keeps tensor {name} in another file; save all in one (torch.onnx.export: external_data=False)"
        )
    if tensor.data_type not in _DTYPES or tensor.HasField("segment"):
        kind = {int(value): key for key, value in TensorProto.DataType.items()}.get(tensor.data_type, "unknown")
        raise ModelFileError(f"has the tensor {name} of type {kind}; export it in float32 or float64, not quantised")
    dtype, dims = _DTYPES[tensor.data_type], list(tensor.dims)
    size = math.prod(dims)
    typed = getattr(tensor, _TYPED_FIELDS[tensor.data_type])
    held = len(typed) if len(typed) else len(tensor.raw_data) / dtype.itemsize
    if len(dims) > LARGEST_RANK or any(dim < 0 for dim in dims) or size != held or (len(typed) and tensor.raw_data):
        raise ModelFileError(f"has the tensor {name} that declares {size} values and holds {held:g}; export it again")
    if max([size, *dims]) > LARGEST_ELEMENTS:
        raise ModelFileError(f"has the tensor {name} of more than {LARGEST_ELEMENTS} values, the most allowed")
    flat = np.array(typed, dtype) if len(typed) else np.frombuffer(tensor.raw_data, dtype)
    return flat.reshape(dims)


def fold(step: Step) -> Array:
    """Compute a node whose inputs are all constants.

    Raises:
        ModelFileError: its operator is not one of `FOLDED`, or does not fit its inputs.
    """
    handler = FOLDED.get(step.node.op_type)
    if handler is None:
        raise ModelFileError(
            "computes with constants alone; fold them first: export with constant folding, or run onnxsim"
        )
    try:
        return handler(step)
    except ModelFileError:
        raise
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise ModelFileError(f"does not fit its constant operand ({error})") from error


def _first(step: Step) -> Array:
    array = step.operand(0)
    if array is None:
        raise ModelFileError("lacks its first input")
    return array


def _constant(step: Step) -> Array:
    if len(step.node.attribute) != 1:
        raise ModelFileError("must have exactly one value")
    attribute = step.node.attribute[0]
    if attribute.name == "value" and attribute.type == AttributeProto.TENSOR:
        return tensor_array(attribute.t)
    if attribute.name == "value_float":
        return np.array(step.number("value_float", 0.0), np.float32)
    if attribute.name == "value_floats" and attribute.type == AttributeProto.FLOATS:
        return np.array(attribute.floats, np.float32)
    if attribute.name == "value_int":
        return np.array(step.integer("value_int", 0), np.int64)
    if attribute.name == "value_ints":
        return np.array(step.integers("value_ints"), np.int64)
    raise ModelFileError("has a value that is neither a number nor a dense tensor")


def _cast(step: Step) -> Array:
    kind = step.integer("to", 0)
    if kind not in _DTYPES:
        raise ModelFileError("casts to a type without support; export the network in float32 or float64")
    return _first(step).astype(_DTYPES[kind], copy=False)


def _reshape(step: Step) -> Array:
    array, target = _first(step), step.axes("shape", 1)
    if target is None:
        raise ModelFileError("has no target shape")
    if not step.integer("allowzero", 0):
        target = [array.shape[i] if size == 0 else size for i, size in enumerate(target)]
    return array.reshape(target)


def _flatten(step: Step) -> Array:
    array, axis = _first(step), step.integer("axis", 1)
    return array.reshape(math.prod(array.shape[:axis]), math.prod(array.shape[axis:]))


def _squeeze(step: Step) -> Array:
    axes = step.axes("axes", 1)
    return np.squeeze(_first(step), None if axes is None else tuple(axes))


def _unsqueeze(step: Step) -> Array:
    array, axes = _first(step), step.axes("axes", 1)
    if axes is None or array.ndim + len(axes) > LARGEST_RANK:
        raise ModelFileError(f"must add at most {LARGEST_RANK} axes")
    return np.expand_dims(array, tuple(axes))


def _transpose(step: Step) -> Array:
    return np.transpose(_first(step), step.integers("perm"))


FOLDED: dict[str, Callable[[Step], Array]] = {
    "Cast": _cast,
    "Constant": _constant,
    "Flatten": _flatten,
    "Identity": _first,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
