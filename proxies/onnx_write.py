"""Layers written as an ONNX graph that `read_onnx` turns back into the same layers, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatchmethod
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from proxies.errors import ModelFileError
from proxies.layers import Affine, Clamp, Layer, Relu, Sign
from proxies.manifest import Manifest

MANIFEST_KEY = "certigap"
# Opset 13 and IR 8 (2021) are read by every runtime in use, and hold all that is written here.
_OPSET, _IR = 13, 8


def write_onnx(network: Sequence[Layer], manifest: Manifest, *, single: bool = False) -> bytes:
    """Return the network as the bytes of an ONNX file that reads (batch, n_in) and writes (batch, n_out).

    Args:
        network: affine, ReLU, clamp and sign layers.
        manifest: goes into the file's metadata.
        single: store float32, which most runtimes are fastest with; every number must be exactly a float32.

    Raises:
        ModelFileError: a layer has no ONNX operator here, or `single` would change a number.
    """
    graph = _Graph(TensorProto.FLOAT if single else TensorProto.DOUBLE)
    for layer in network:
        graph.add(layer)
    graph.node("Identity", output="output")
    sized = [layer for layer in network if not isinstance(layer, (Relu, Sign))]
    reads = _sizes(sized[0])[1] if sized else "n"
    writes = _sizes(sized[-1])[0] if sized else "n"
    made = helper.make_graph(
        graph.nodes,
        "certigap",
        [helper.make_tensor_value_info("input", graph.kind, ["batch", reads])],
        [helper.make_tensor_value_info("output", graph.kind, ["batch", writes])],
        graph.tensors,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    helper.set_model_props(model, {MANIFEST_KEY: manifest.to_json()})
    return bytes(model.SerializeToString(deterministic=True))


def _sizes(layer: Layer) -> tuple[int, int]:
    """Return how many values an affine or clamp layer writes and reads."""
    tensor = next(iter(layer.state_dict().values()))  # An affine layer's weight, a clamp layer's lower limits.
    return int(tensor.shape[0]), int(tensor.shape[-1])


class _Graph:
    """The nodes and tensors written so far; the data is the last node's output."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []
        self._data = "input"

    def node(self, operator: str, constants: Sequence[Tensor] = (), output: str = "", **attributes: Any) -> None:
        """Append a node that takes the data and then the constants."""
        output = output or f"value_{len(self.nodes)}"
        inputs = [self._data, *(self._tensor(constant) for constant in constants)]
        self.nodes.append(helper.make_node(operator, inputs, [output], f"node_{len(self.nodes)}", **attributes))
        self._data = output

    def _tensor(self, value: Tensor) -> str:
        array = value.detach().cpu().numpy()
        if self.kind == TensorProto.FLOAT:
            with np.errstate(over="ignore"):
                single = array.astype(np.float32)
            if not np.array_equal(single.astype(np.float64), array):
                raise ModelFileError("the network has numbers that float32 cannot hold; store it as float64")
            array = single
        name = f"constant_{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    @singledispatchmethod
    def add(self, layer: Layer) -> None:
        """Append the nodes of a layer."""
        raise ModelFileError(f"a {type(layer).__name__} layer cannot be stored as a network layer")

    @add.register
    def _(self, layer: Affine) -> None:
        if layer.weight.ndim == 2:
            self.node("Gemm", (layer.weight, layer.bias), transB=1)
        else:
            self.node("Mul", (layer.weight,))
            self.node("Add", (layer.bias,))

    @add.register
    def _(self, layer: Relu) -> None:
        self.node("Relu")

    @add.register
    def _(self, layer: Sign) -> None:
        # ONNX's own Sign is 0 at 0.
        one = torch.ones((), dtype=torch.float64)
        self.node("GreaterOrEqual", (one - one,))
        self.node("Where", (one, -one))

    @add.register
    def _(self, layer: Clamp) -> None:
        # onnxruntime cannot load a Clip of float64 that follows a Relu (its relu_clip_fusion, seen in 1.31).
        bits = torch.stack([layer.lower, layer.upper]).cpu().view(torch.int64)
        if self.kind == TensorProto.FLOAT and bool((bits == bits[:, :1]).all()):
            self.node("Clip", (layer.lower[0], layer.upper[0]))
        else:
            self.node("Max", (layer.lower,))
            self.node("Min", (layer.upper,))
