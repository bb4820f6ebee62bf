"""ONNX files read as layers: operators and exporters against onnxruntime, and a reason for every refusal."""

from __future__ import annotations

import io
import random

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from proxies.errors import ModelFileError
from proxies.layers import Affine, Clamp, Hypersimplex, Layer, Relu, Sign
from proxies.manifest import DcOpfSpec, Manifest
from proxies.onnx_io import read_onnx, write_onnx
from proxies.onnx_scan import LARGEST_NODES, LARGEST_STRUCTURE

MANIFEST = Manifest(problem=DcOpfSpec(case="pglib_opf_case5_pjm"), made_by="a test")
RNG = np.random.default_rng(0)
W, V = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 2))
B4, B3 = RNG.normal(size=4), RNG.normal(size=3)


def model_bytes(nodes, shape=("batch", 3), kind=TensorProto.DOUBLE, opset=13, **constants) -> bytes:
    """Return a model of one chain; a node is (operator, inputs, output[, attributes])."""
    made = [
        helper.make_node(op, inputs, [output], name=f"n_{output}", **(rest[0] if rest else {}))
        for op, inputs, output, *rest in nodes
    ]
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    tensors = [
        numpy_helper.from_array(np.asarray(value, dtype=dtype if np.asarray(value).dtype.kind == "f" else None), name)
        for name, value in constants.items()
    ]
    reads = helper.make_tensor_value_info("x", kind, shape)
    writes = helper.make_tensor_value_info(nodes[-1][2], kind, None)
    graph = helper.make_graph(made, "g", [reads], [writes], tensors)
    ir = 8 if opset > 9 else 3
    if ir == 3:  # Old files list their constants among the inputs.
        for tensor in tensors:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir).SerializeToString()


def run(network: list[Layer], x: NDArray) -> NDArray:
    h = x = torch.as_tensor(x, dtype=torch.float64)
    with torch.no_grad():
        for layer in network:
            h = layer(h, x)
    return h.numpy()


def runtime(data: bytes, x: NDArray) -> NDArray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    reads = session.get_inputs()[0]
    dtype = np.float64 if "double" in reads.type else np.float32
    return session.run(None, {reads.name: x.astype(dtype)})[0].astype(np.float64)


def check_parity(data: bytes, shape: tuple[int, ...] = (5, 3)) -> list[Layer]:
    """Compare with onnxruntime; `shape` is (samples, values), unless the file has only one sample."""
    network, _ = read_onnx(data, "model.onnx")
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=shape)
        expected = runtime(data, x)
        samples = expected.shape[0] if shape[0] == 5 else 1
        ours = run(network, x.reshape(samples, -1))
        scale = 1 + np.abs(expected).max()
        np.testing.assert_allclose(ours, expected.reshape(samples, -1), rtol=0, atol=1e-6 * scale)
    return network


def kinds(network: list[Layer]) -> list[str]:
    return [type(layer).__name__ for layer in network]


I64 = np.int64
ONES = {"z": np.array(0.0), "p": np.array(1.0), "m": np.array([-1.0])}
SOME_TIES = {"b": B3, "z": np.array([1.0, 0.0, -1.0])}
CHAINS = {
    "gemm transB": ([("Gemm", ["x", "w", "b"], "y", {"transB": 1})], {"w": W, "b": B4}),
    "gemm": ([("Gemm", ["x", "w", "b"], "y")], {"w": V, "b": B4[:2]}),
    "gemm without C": ([("Gemm", ["x", "w"], "y")], {"w": V}),
    "gemm empty C": ([("Gemm", ["x", "w", ""], "y")], {"w": V}),
    "gemm scalar C": ([("Gemm", ["x", "w", "b"], "y")], {"w": V, "b": np.array(0.7)}),
    "gemm row C": ([("Gemm", ["x", "w", "b"], "y")], {"w": V, "b": B4[None, :2]}),
    "gemm 1x1 C": ([("Gemm", ["x", "w", "b"], "y")], {"w": V, "b": np.array([[0.3]])}),
    "gemm alpha beta": (
        [("Gemm", ["x", "w", "b"], "y", {"alpha": 0.3, "beta": -2.5, "transB": 1})],
        {"w": W, "b": B4},
    ),
    "matmul": ([("MatMul", ["x", "w"], "y")], {"w": V}),
    "matmul add": ([("MatMul", ["x", "w"], "h"), ("Add", ["h", "b"], "y")], {"w": V, "b": B4[:2]}),
    "matmul add reversed": ([("MatMul", ["x", "w"], "h"), ("Add", ["b", "h"], "y")], {"w": V, "b": B4[:2]}),
    "matmul sub": ([("MatMul", ["x", "w"], "h"), ("Sub", ["h", "b"], "y")], {"w": V, "b": B4[:2]}),
    "add": ([("Add", ["x", "b"], "y")], {"b": B3}),
    "add scalar": ([("Add", ["x", "b"], "y")], {"b": np.array(2.5)}),
    "sub": ([("Sub", ["x", "b"], "y")], {"b": B3[None]}),
    "sub reversed": ([("Sub", ["b", "x"], "y")], {"b": B3}),
    "sub reversed scalar": ([("Sub", ["b", "x"], "y")], {"b": np.array([1.0])}),
    "mul": ([("Mul", ["x", "b"], "y")], {"b": B3}),
    "mul reversed scalar": ([("Mul", ["b", "x"], "y")], {"b": np.array(-3.0)}),
    "div": ([("Div", ["x", "b"], "y")], {"b": B3}),
    "div scalar": ([("Div", ["x", "b"], "y")], {"b": np.array(7.0)}),
    "normalised": ([("Sub", ["x", "m"], "h"), ("Div", ["h", "s"], "y")], {"m": B3, "s": np.abs(B3) + 0.1}),
    "relu": ([("Relu", ["x"], "y")], {}),
    "sign": ([("Sign", ["x"], "y")], {}),
    "sign of no difference": ([("Sub", ["x", "b"], "h"), ("Mul", ["h", "z"], "k"), ("Sign", ["k"], "y")], SOME_TIES),
    "binarized": ([("GreaterOrEqual", ["x", "z"], "h"), ("Where", ["h", "p", "m"], "y")], ONES),
    "not below": ([("LessOrEqual", ["b", "x"], "h"), ("Cast", ["h"], "y", {"to": 11})], {"b": B3}),
    "above": ([("Greater", ["x", "z"], "h"), ("Identity", ["h"], "k"), ("Where", ["k", "p", "m"], "y")], ONES),
    "less": ([("Less", ["x", "b"], "h"), ("Where", ["h", "b", "c"], "y")], {"b": B3, "c": B3[::-1] - 1}),
    "less turned": ([("Less", ["b", "x"], "h"), ("Cast", ["h"], "y", {"to": 11})], {"b": np.array(0.25)}),
    "clip": ([("Clip", ["x", "l", "u"], "y")], {"l": np.array(-0.5), "u": np.array(0.4)}),
    "clip min": ([("Clip", ["x", "l"], "y")], {"l": np.array(-0.5)}),
    "clip max": ([("Clip", ["x", "", "u"], "y")], {"u": np.array(0.4)}),
    "clip none": ([("Clip", ["x"], "y")], {}),
    "max": ([("Max", ["x", "l"], "y")], {"l": B3}),
    "max min": ([("Max", ["l", "x"], "h"), ("Min", ["h", "u"], "y")], {"l": B3 - 1, "u": B3}),
    "min max": ([("Min", ["x", "u"], "h"), ("Max", ["h", "l"], "y")], {"l": B3 - 1, "u": B3}),
    "crossing max min": ([("Max", ["x", "l"], "h"), ("Min", ["h", "u"], "y")], {"l": B3, "u": B3 - 1}),
    "identity": ([("Identity", ["x"], "h"), ("Identity", ["h"], "y")], {}),
    "cast": ([("Cast", ["x"], "h", {"to": 1}), ("Cast", ["h"], "y", {"to": 11})], {}),
    "flatten": ([("Flatten", ["x"], "y")], {}),
    "reshape": ([("Reshape", ["x", "s"], "y")], {"s": np.array([-1, 3], I64)}),
    "reshape zero": ([("Reshape", ["x", "s"], "y")], {"s": np.array([0, -1], I64)}),
    "reshape 3d": (
        [("Reshape", ["x", "s"], "h"), ("MatMul", ["h", "w"], "k"), ("Squeeze", ["k", "a"], "y")],
        {"s": np.array([-1, 1, 3], I64), "w": V, "a": np.array([1], I64)},
    ),
    "batched column": (
        [("Unsqueeze", ["x", "a"], "h"), ("MatMul", ["w", "h"], "k"), ("Add", ["k", "b"], "y")],
        {"a": np.array([2], I64), "w": W, "b": B4[:, None]},
    ),
    "transpose of ones": (
        [
            ("Unsqueeze", ["x", "a"], "h"),
            ("Transpose", ["h"], "k", {"perm": [1, 0, 2]}),
            ("Relu", ["k"], "y"),
        ],
        {"a": np.array([1], I64)},
    ),
    "folded transpose": (
        [("Transpose", ["w"], "v"), ("Identity", ["v"], "u"), ("MatMul", ["x", "u"], "y")],
        {"w": W},
    ),
    "folded reshape": (
        [("Reshape", ["w", "s"], "v"), ("Cast", ["v"], "u", {"to": 11}), ("Gemm", ["x", "u"], "y")],
        {"w": V.reshape(-1), "s": np.array([3, -1], I64)},
    ),
    "folded axes": (
        [("Unsqueeze", ["b", "a"], "c"), ("Squeeze", ["c", "a"], "d"), ("Flatten", ["d"], "e", {"axis": 0})]
        + [("Add", ["x", "e"], "y")],
        {"b": B3, "a": np.array([0], I64)},
    ),
    "dropout": ([("Dropout", ["x"], "h"), ("Relu", ["h"], "y")], {}),
    "batch norm": (
        [("BatchNormalization", ["x", "s", "b", "m", "v"], "y")],
        {"s": B3, "b": B3 + 1, "m": B3 - 1, "v": np.abs(B3)},
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_operator_agrees_with_onnxruntime(name: str) -> None:
    nodes, constants = CHAINS[name]
    check_parity(model_bytes(nodes, **constants))
    if "'to'" not in str(nodes):
        check_parity(model_bytes(nodes, kind=TensorProto.FLOAT, **constants))


def test_a_sign_file_is_a_sign_layer_and_zero_is_positive() -> None:
    layers = [Affine(torch.eye(3), torch.zeros(3)), Sign(), Affine(torch.ones(1, 3), torch.zeros(1))]
    data = write_onnx(layers, MANIFEST)
    assert same_bits(read_onnx(data, "m")[0], layers)
    x = np.array([[0.0, -0.0, 1e-300], [0.0, 1.0, -1e-300]])
    np.testing.assert_array_equal(runtime(data, x), [[3.0], [1.0]])
    np.testing.assert_array_equal(run(layers, x), [[3.0], [1.0]])


def test_the_sign_of_onnx_is_zero_at_zero() -> None:
    data = model_bytes([("Sign", ["x"], "y")])
    x = np.array([[0.0, -0.0, 2.0], [-1e-300, 1e-300, 0.0]])
    np.testing.assert_array_equal(run(read_onnx(data, "m")[0], x), np.sign(x))
    np.testing.assert_array_equal(runtime(data, x), np.sign(x))


@pytest.mark.parametrize("dynamo", [True, False])
def test_torch_exports_of_binarized_units_are_read(dynamo: bool) -> None:
    class Binarized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 4)

        def forward(self, x):
            h = torch.where(self.first(x) >= 0, 1.0, -1.0)
            return torch.sign(2.0 * (self.second(h) > 0.1).to(x.dtype) - 1.0)

    torch.manual_seed(0)
    buffer = io.BytesIO()
    torch.onnx.export(Binarized().eval(), (torch.randn(5, 6),), buffer, dynamo=dynamo)
    assert kinds(check_parity(buffer.getvalue(), shape=(5, 6))).count("Sign") == 3


@pytest.mark.parametrize("nodes", [["Less"], ["Less", "Relu"], ["Relu", "Where"]])
def test_truth_values_are_for_choosing_only(nodes: list[str]) -> None:
    operands = {"Less": ["z"], "Relu": [], "Where": ["p", "m"]}
    chain = [(op, [f"v{k}" if k else "x", *operands[op]], f"v{k + 1}") for k, op in enumerate(nodes)]
    with pytest.raises(ModelFileError, match="comparison"):
        read_onnx(model_bytes(chain, **ONES), "m")


def test_constants_may_be_nodes() -> None:
    tensor = numpy_helper.from_array(V.astype(np.float32))
    nodes = [
        ("Constant", [], "w", {"value": tensor}),
        ("MatMul", ["x", "w"], "h"),
        ("Constant", [], "b", {"value_floats": [0.25, -4.0]}),
        ("Add", ["h", "b"], "k"),
        ("Constant", [], "c", {"value_float": 0.75}),
        ("Clip", ["k", "", "c"], "l"),
        ("Constant", [], "s", {"value_ints": [-1, 2]}),
        ("Reshape", ["l", "s"], "y"),
    ]
    network = check_parity(model_bytes(nodes, kind=TensorProto.FLOAT))
    assert kinds(network) == ["Affine", "Clamp"]


def test_operators_of_old_files() -> None:
    nodes = [
        ("Gemm", ["x", "w", "b"], "h", {"transB": 1}),
        ("Clip", ["h"], "k", {"min": -0.5, "max": 0.25}),
        ("Unsqueeze", ["k"], "l", {"axes": [1]}),
        ("Squeeze", ["l"], "m", {"axes": [1]}),
        ("Dropout", ["m"], "y", {"ratio": 0.5}),
    ]
    check_parity(model_bytes(nodes, opset=7, kind=TensorProto.FLOAT, w=W, b=B4))


def test_a_sample_may_be_one_column_or_one_vector() -> None:
    column = [("MatMul", ["w", "x"], "h"), ("Add", ["h", "b"], "k"), ("Relu", ["k"], "y")]
    network = check_parity(model_bytes(column, shape=(3, 1), w=W, b=B4[:, None]), shape=(3, 1))
    assert kinds(network) == ["Affine", "Relu"]
    gemm = [("Gemm", ["w", "x", "b"], "y", {"alpha": 2.0})]
    check_parity(model_bytes(gemm, shape=(3, 1), w=W, b=B4[:, None]), shape=(3, 1))
    turned = [("Gemm", ["x", "w"], "y", {"transA": 1})]
    check_parity(model_bytes(turned, shape=(3, 1), w=V), shape=(3, 1))
    vector = [("MatMul", ["w", "x"], "h"), ("Add", ["h", "b"], "y")]
    check_parity(model_bytes(vector, shape=(3,), w=W, b=B4), shape=(3,))
    check_parity(model_bytes([("MatMul", ["x", "w"], "y")], shape=(1, 3), w=V), shape=(1, 3))


def test_an_undeclared_number_of_inputs_is_read_off_the_first_matrix() -> None:
    nodes = [("Mul", ["x", "c"], "h"), ("MatMul", ["h", "w"], "y")]
    for shape in (None, ("batch", "n")):
        network = check_parity(model_bytes(nodes, shape=shape, c=np.array(2.0), w=V))
        assert network[0].weight.tolist() == [2.0] * 3


def test_weights_are_kept_bit_for_bit_and_a_bias_is_merged_exactly() -> None:
    nodes = [
        ("MatMul", ["x", "w"], "h"),
        ("Add", ["h", "b"], "k"),
        ("Gemm", ["k", "v", "c"], "y", {"transB": 1}),
    ]
    single = {"w": V.astype(np.float32), "b": B4[:2].astype(np.float32), "v": W[:, :2].astype(np.float32)}
    network, _ = read_onnx(model_bytes(nodes, kind=TensorProto.FLOAT, c=B4, **single), "m")
    assert kinds(network) == ["Affine", "Affine"]
    assert np.array_equal(network[0].weight.detach().numpy(), single["w"].T.astype(np.float64))
    assert np.array_equal(network[0].bias.detach().numpy(), single["b"].astype(np.float64))
    assert np.array_equal(network[1].weight.detach().numpy(), single["v"].astype(np.float64))


class Normalised(nn.Module):
    """What a user trains: normalisation, hidden layers, dropout, limits, and back to units."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(6, 7), nn.ReLU(), nn.BatchNorm1d(7), nn.Dropout(), nn.Linear(7, 4, bias=False)]
        self.net = nn.Sequential(nn.Flatten(), *layers, nn.ReLU6(), nn.Hardtanh(-2, 3))
        self.register_buffer("mean", torch.randn(6))
        self.register_buffer("std", torch.rand(6) + 0.5)
        self.low, self.high = nn.Parameter(-torch.rand(4)), nn.Parameter(torch.rand(4) * 5)

    def forward(self, x):
        y = self.net((x - self.mean) / self.std)
        y = torch.minimum(torch.maximum(y, self.low), self.high)
        return 1 - (y.clamp(min=-0.2) * 2 + 1 - 0.5)


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("free", [True, False])
def test_torch_export(dynamo: bool, dtype: torch.dtype, free: bool) -> None:
    torch.manual_seed(0)
    network = Normalised().to(dtype)
    network(torch.randn(64, 6, dtype=dtype))
    network.eval()
    options = {}
    if free and dynamo:
        options["dynamic_shapes"] = ({0: torch.export.Dim.DYNAMIC},)
    elif free:
        options |= {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    buffer = io.BytesIO()
    torch.onnx.export(network, (torch.randn(5, 6, dtype=dtype),), buffer, dynamo=dynamo, **options)
    read = check_parity(buffer.getvalue(), shape=(5, 6))
    first = next(layer for layer in read if isinstance(layer, Affine) and layer.weight.ndim == 2)
    assert torch.equal(first.weight, network.net[1].weight.double())
    assert torch.equal(first.bias, network.net[1].bias.double())


def test_tf2onnx_style_graph() -> None:
    nodes = [
        ("Cast", ["x"], "x32", {"to": 1}),
        ("Reshape", ["x32", "flat"], "h0"),
        ("Reshape", ["w_flat", "w_shape"], "w"),
        ("MatMul", ["h0", "w"], "h1"),
        ("Add", ["h1", "b"], "h2"),
        ("Relu", ["h2"], "h3"),
        ("MatMul", ["h3", "v"], "h4"),
        ("Add", ["h4", "c"], "h5"),
        ("Min", ["six", "h5"], "h6"),
        ("Max", ["h6", "zero"], "Identity:0"),
    ]
    data = model_bytes(
        nodes,
        kind=TensorProto.FLOAT,
        shape=("unk__6", 3),
        flat=np.array([-1, 3], I64),
        w_flat=W.T.reshape(-1),
        w_shape=np.array([3, 4], I64),
        b=B4,
        v=W,
        c=B3,
        six=np.array(6.0),
        zero=np.array(0.0),
    )
    assert kinds(check_parity(data)) == ["Affine", "Relu", "Affine", "Clamp", "Clamp"]


def random_network(seed: int, single: bool = False) -> list[Layer]:
    rng = np.random.default_rng(seed)
    number = lambda *shape: torch.as_tensor(  # noqa: E731
        rng.normal(size=shape).astype(np.float32 if single else np.float64)
    ).double()
    network: list[Layer] = []
    width = int(rng.integers(1, 6))
    network.append(Affine(number(width), number(width)))
    for _ in range(int(rng.integers(1, 7))):
        match rng.integers(7):
            case 0:
                after = int(rng.integers(1, 6))
                network.append(Affine(number(after, width), number(after) * float(rng.integers(2))))
                width = after
            case 1:
                network.append(Affine(number(width), number(width) * float(rng.integers(-1, 2))))
            case 2:
                network.append(Relu())
            case 6:
                network.append(Sign())
            case 3:
                lower = number(width)
                network.append(Clamp(lower, lower + 1))
            case 4:
                network.append(Clamp(torch.full((width,), -0.0), torch.full((width,), torch.inf)))
            case _:
                network.append(Clamp(torch.full((width,), -torch.inf), number(width)))
    return network


def same_bits(one: list[Layer], other: list[Layer]) -> bool:
    def content(network: list[Layer]) -> list[tuple]:
        return [
            (type(layer), [(n, v.shape, v.numpy().tobytes()) for n, v in layer.state_dict().items()])
            for layer in network
        ]

    return content(one) == content(other)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=60, deadline=None)
def test_round_trip_is_bit_exact_and_runs_elsewhere(seed: int, single: bool) -> None:
    network = random_network(seed)
    if single:  # Layers compute limits in float64, so round what they hold.
        for layer in network:
            layer.load_state_dict({name: v.float().double() for name, v in layer.state_dict().items()})
    data = write_onnx(network, MANIFEST, single=single)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    read, manifest = read_onnx(data, "m.onnx")
    assert manifest == MANIFEST
    assert same_bits(read, network)
    x = np.random.default_rng(seed).normal(size=(5, network[0].weight.numel()))
    expected = runtime(data, x)
    np.testing.assert_allclose(run(read, x), expected, rtol=1e-6, atol=1e-5 if single else 1e-9)


def test_a_file_without_manifest_has_none() -> None:
    assert read_onnx(model_bytes([("Gemm", ["x", "w"], "y")], w=V), "m")[1] is None


def test_writing_refuses_what_it_cannot_store() -> None:
    third = Affine(torch.tensor([[1 / 3]]).double() / 7, torch.zeros(1))
    with pytest.raises(ModelFileError, match="float64"):
        write_onnx([third], MANIFEST, single=True)
    repair = Hypersimplex(torch.zeros(2), torch.ones(2), torch.ones(2))
    with pytest.raises(ModelFileError, match="Hypersimplex"):
        write_onnx([repair], MANIFEST)


def edited(edit, nodes=None, **constants) -> bytes:
    """Return a valid file's bytes after `edit(model)`."""
    model = onnx.load_from_string(model_bytes(nodes or [("Gemm", ["x", "w"], "y")], **(constants or {"w": V})))
    edit(model)
    return model.SerializeToString()


def put(path: str, value):
    def edit(model) -> None:
        target = model
        *parts, last = path.split(".")
        for part in parts:
            target = target[int(part)] if part.isdigit() else getattr(target, part)
        setattr(target, last, value)

    return edit


def sparse(model) -> None:
    values = helper.make_tensor("s", TensorProto.DOUBLE, [1], [1.0])
    index = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, index, [4]))


def external(model) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def hidden_external(model) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="w.bin")


def retyped(kind: int, size: int):
    def edit(model) -> None:
        tensor = model.graph.initializer[0]
        tensor.data_type, tensor.raw_data = kind, bytes(size)

    return edit


def second_input(model) -> None:
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.DOUBLE, ["batch", 3]))


def second_output(model) -> None:
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["batch", 3]))


def function(model) -> None:
    identity = helper.make_node("Identity", ["a"], ["b"])
    made = helper.make_function("own", "F", ["a"], ["b"], [identity], [helper.make_opsetid("", 13)])
    model.functions.append(made)


def subgraph(model) -> None:
    body = helper.make_graph([], "b", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("then_branch", body))


def loop_node(model) -> None:
    model.graph.node.insert(0, helper.make_node("MatMul", ["x", "later"], ["early"]))
    model.graph.node[1].input[0] = "early"


def chain(*nodes, shape=("batch", 3), **constants) -> bytes:
    return model_bytes(list(nodes), shape=shape, **constants)


NAN, INF = np.full((3, 2), np.nan), np.full((3, 2), np.inf)
REFUSED = {
    "unsupported": (
        chain(("Sigmoid", ["x"], "h"), ("Tanh", ["h"], "y")),
        r"Sigmoid \(node 1 'n_h'\), Tanh \(node 2 'n_y'\).*Gemm",
    ),
    "other domain": (edited(put("graph.node.0.domain", "com.x")), r"com\.x\.Gemm"),
    "skip": (chain(("Relu", ["x"], "h"), ("Add", ["h", "x"], "y")), "branches or skips"),
    "twice": (chain(("Add", ["x", "x"], "y")), "branches or skips"),
    "branch": (
        chain(("Relu", ["x"], "h"), ("Relu", ["x"], "k"), ("Add", ["h", "k"], "y")),
        "branches or skips",
    ),
    "two inputs": (edited(second_input), "2 inputs"),
    "two outputs": (edited(second_output), "2 outputs"),
    "constant output": (chain(("Identity", ["w"], "y"), w=V), "output 'y'"),
    "unknown name": (edited(loop_node), "'later'"),
    "written twice": (
        chain(("Relu", ["x"], "h"), ("Relu", ["h"], "h"), ("Relu", ["h"], "y")),
        "more than once",
    ),
    "nan": (chain(("Gemm", ["x", "w"], "y"), w=NAN), "NaN.*train or export"),
    "infinite": (chain(("Gemm", ["x", "w"], "y"), w=INF), "infinite"),
    "nan limit": (chain(("Clip", ["x", "l"], "y"), l=np.array(np.nan)), "NaN"),
    "crossed limits": (
        chain(("Clip", ["x", "l", "u"], "y"), l=np.array(1.0), u=np.array(0.0)),
        "above its upper",
    ),
    "divides by zero": (chain(("Div", ["x", "b"], "y"), b=np.zeros(3)), "divides by zero"),
    "constant by data": (chain(("Div", ["b", "x"], "y"), b=B3), "divides a constant by the data"),
    "external": (edited(external), "another file"),
    "external entry": (edited(hidden_external), "another file"),
    "sparse": (edited(sparse), "sparse"),
    "functions": (edited(function), "functions"),
    "subgraph": (edited(subgraph), "subgraph"),
    "quantised": (edited(retyped(TensorProto.INT8, 6)), "INT8.*float32 or float64"),
    "half": (edited(retyped(TensorProto.FLOAT16, 12)), "FLOAT16"),
    "int4": (edited(retyped(TensorProto.INT4, 3)), "INT4"),
    "strings": (edited(retyped(TensorProto.STRING, 0)), "STRING"),
    "unknown type": (edited(retyped(99, 12)), "unknown"),
    "whole numbers": (edited(retyped(TensorProto.INT64, 48)), "float32 or float64"),
    "too little data": (
        edited(put("graph.initializer.0.raw_data", bytes(40))),
        "declares 6 values and holds 5",
    ),
    "negative size": (edited(lambda m: m.graph.initializer[0].dims.__setitem__(0, -3)), "declares"),
    "half-precision input": (
        edited(put("graph.input.0.type.tensor_type.elem_type", 10)),
        "float32 or float64",
    ),
    "wrong rows": (chain(("Gemm", ["x", "w"], "y"), w=W), "4 rows"),
    "wrong bias": (chain(("MatMul", ["x", "w"], "h"), ("Add", ["h", "b"], "y"), w=V, b=B3), "combines"),
    "growing": (chain(("Add", ["x", "b"], "y"), shape=("batch", 1), b=B3), "combines"),
    "per sample": (chain(("Add", ["x", "b"], "y"), shape=(2, 3), b=np.ones((2, 3))), "each sample"),
    "left of a batch": (chain(("MatMul", ["w", "x"], "y"), w=W), "rows"),
    "transA": (chain(("Gemm", ["x", "w"], "y", {"transA": 1}), w=V), "reorders|mixes"),
    "transpose": (chain(("Transpose", ["x"], "y")), "reorders|mixes"),
    "merged samples": (chain(("Reshape", ["x", "s"], "y"), s=np.array([-1], I64)), "mixes"),
    "one row": (chain(("Reshape", ["x", "s"], "y"), s=np.array([1, -1], I64)), "mixes"),
    "swapped": (chain(("Reshape", ["x", "s"], "y"), s=np.array([3, -1], I64)), "mixes"),
    "shape from data": (chain(("Reshape", ["b", "x"], "y"), b=B3), "constant"),
    "unknown width": (chain(("Relu", ["x"], "y"), shape=("batch", "n")), "every axis fixed"),
    "two free axes": (chain(("MatMul", ["x", "w"], "y"), shape=("b", "s", 3), w=V), "every axis fixed"),
    "rows of a sample": (chain(("MatMul", ["x", "w"], "y"), shape=("b", 2, 3), w=V), "one row"),
    "no axes": (chain(("Relu", ["x"], "y"), shape=()), "without axes"),
    "wide": (chain(("Mul", ["x", "c"], "y"), shape=("b", 10**12), c=np.array(2.0)), "more than"),
    "far axis": (
        chain(("Unsqueeze", ["b", "a"], "c"), ("Add", ["x", "c"], "y"), b=B3, a=np.array([2**40], I64)),
        "constant operand",
    ),
    "constant arithmetic": (chain(("Add", ["b", "b"], "c"), ("Add", ["x", "c"], "y"), b=B3), "fold"),
    "training dropout": (chain(("Dropout", ["x", "r", "t"], "y"), r=np.array(0.5), t=np.array(True)), "eval"),
    "training norm": (
        chain(("BatchNormalization", ["x", "b", "b", "b", "b"], "y", {"training_mode": 1}), b=np.abs(B3)),
        "eval",
    ),
    "cast to int": (chain(("Cast", ["x"], "y", {"to": 7})), "rounds"),
    "attribute type": (chain(("Gemm", ["x", "w"], "y", {"alpha": "much"}), w=V), "alpha"),
    "empty graph": (onnx.ModelProto(ir_version=8).SerializeToString(), "not an ONNX file"),
    "text": (b"hello, this is no model", "not an ONNX file"),
    "no bytes": (b"", "not an ONNX file"),
    "bad manifest": (edited(lambda m: helper.set_model_props(m, {"certigap": "{}"})), "manifest"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_a_reason(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(ModelFileError, match=rf"(?s)file\.onnx.*({reason})|the {reason} in file\.onnx"):
        read_onnx(data, "file.onnx")


def test_unsupported_operators_are_all_named_but_not_without_end() -> None:
    nodes = [("Sigmoid", ["x" if i == 0 else f"h{i - 1}"], f"h{i}") for i in range(500)]
    with pytest.raises(ModelFileError, match=r"node 20 'n_h19' and 480 more") as caught:
        read_onnx(model_bytes(nodes), "m")
    assert len(str(caught.value)) < 2000


def test_a_declared_size_is_not_believed() -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.DOUBLE, dims=[10**6, 5 * 10**6], raw_data=bytes(8))

    def edit(model) -> None:
        model.graph.initializer[0].CopyFrom(tensor)

    data = edited(edit)
    assert len(data) < 150
    with pytest.raises(ModelFileError, match="declares 5000000000000 values and holds 1"):
        read_onnx(data, "bomb.onnx")


def test_node_and_structure_bombs_are_refused_before_parsing() -> None:
    def field(number: int, content: bytes) -> bytes:
        size, text = len(content), bytearray()
        while size > 0x7F:
            text.append(size & 0x7F | 0x80)
            size >>= 7
        return bytes([number << 3 | 2]) + bytes(text) + bytes([size]) + content

    nodes = field(7, field(1, b"") * (LARGEST_NODES + 1))
    with pytest.raises(ModelFileError, match="100000 nodes"):
        read_onnx(nodes, "bomb.onnx")
    values = field(7, field(13, b"") * 1_100_000)
    with pytest.raises(ModelFileError, match="fields"):
        read_onnx(values, "bomb.onnx")
    dims = field(7, field(5, field(7, bytes(LARGEST_STRUCTURE + 1))))
    with pytest.raises(ModelFileError, match="besides its weights"):
        read_onnx(dims, "bomb.onnx")


def test_scalars_that_grow_into_layers_are_counted() -> None:
    nodes = [("Mul", ["x" if i == 0 else f"h{i - 1}", "c"], f"h{i}") for i in range(3000)]
    with pytest.raises(ModelFileError, match="weights"):
        read_onnx(model_bytes(nodes, shape=("b", 2**17), c=np.array(2.0)), "bomb.onnx")


@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_never_raise_anything_else(seed: int) -> None:
    rng = random.Random(seed)
    nodes = [
        ("Sub", ["x", "m"], "a"),
        ("Reshape", ["a", "s"], "b"),
        ("Transpose", ["w"], "v", {"perm": [1, 0]}),
        ("Gemm", ["b", "v", "c"], "d", {"alpha": 2.0}),
        ("Clip", ["d", "lo"], "e"),
        ("Unsqueeze", ["e", "ax"], "f"),
        ("Squeeze", ["f", "ax"], "g"),
        ("Max", ["g", "c"], "y"),
    ]
    own = model_bytes(nodes, m=B3, s=np.array([-1, 3], I64), w=W, c=B4, lo=np.array(0.0), ax=np.array([1], I64))
    valid = [own, write_onnx(random_network(seed), MANIFEST)]
    for trial in range(60):
        data = bytearray(valid[trial % 2])
        if trial % 3 == 0:
            data = data[: rng.randrange(len(data))]
        else:
            for _ in range(rng.choice([1, 1, 2, 5])):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            network, _ = read_onnx(bytes(data), "damaged.onnx")
        except ModelFileError:
            continue
        assert all(isinstance(layer, (Affine, Clamp, Relu, Sign)) for layer in network)
