"""Malformed and hostile uploads: files that lie about their size, run code, point elsewhere, or cost without end.

Every one must be refused quickly, in little memory, and leave nothing behind.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

MODEL, CASE, JSON = "/v1/proxies", "/v1/problems", "/v1/problems"


@dataclass(frozen=True)
class Hostile:
    """One upload.

    Attributes:
        name: what is wrong with it.
        path: where it is sent.
        content: its bytes.
        headers: to send along.
    """

    name: str
    path: str
    content: bytes
    headers: dict[str, str] = field(default_factory=dict)


class _Runs:
    """What a pickle of this would run: it makes the file at `place`."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.place), "w"))


def corpus(marker: Path) -> Iterator[Hostile]:
    """Yield every upload, one at a time: some are large.

    Args:
        marker: a file that appears if one of them runs code.
    """
    for name, make in _MODELS.items():
        yield Hostile(name, MODEL, make())
    for name, content in _pickles(marker):
        yield Hostile(name, MODEL, content)
    for name, text in _cases(marker).items():
        yield Hostile(name, CASE, text, {"Content-Type": "text/plain"})
    for name, text in _json_bodies().items():
        yield Hostile(name, JSON, text, {"Content-Type": "application/json"})
    yield Hostile("header: a manifest that is no base64", MODEL, _onnx(), {"X-Certigap-Manifest": "%%%"})
    yield Hostile("header: a manifest nested 20 000 deep", MODEL, _onnx(), {"X-Certigap-Manifest": _deep_header()})
    yield Hostile("multipart: a part without an end", MODEL, b"--b\r\n" + bytes(10**6), _PARTS)
    yield Hostile("multipart: 100 000 parts", MODEL, b"--b\r\n\r\n\r\n" * 100_000 + b"--b--\r\n", _PARTS)
    yield Hostile("multipart: a header of 1 MB", MODEL, b"--b\r\nA: " + b"x" * 10**6 + b"\r\n\r\n", _PARTS)
    yield Hostile("a compressed body", MODEL, gzip.compress(_onnx()), {"Content-Encoding": "gzip"})


_PARTS = {"Content-Type": "multipart/form-data; boundary=b"}


def _deep_header() -> str:
    import base64

    return base64.b64encode(b'{"problem":' * 3000 + b"1" + b"}" * 3000).decode()


# ONNX: protobuf by hand where the library would not write it.


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _model(graph: bytes, more: bytes = b"") -> bytes:
    return b"\x08\x08" + _field(7, graph) + more


def _io() -> bytes:
    return _graph([], []).SerializeToString()


def _graph(nodes: list[Any], weights: list[TensorProto], inputs: int = 4) -> GraphProto:
    return helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        weights,
    )


def _finished(graph: GraphProto) -> ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def _weights(value: float = 1.0) -> list[TensorProto]:
    weight, bias = np.ones((2, 4), np.float32), np.zeros(2, np.float32)
    weight[0, 0] = value
    return [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]


def _gemm(output: str = "y") -> Any:
    return helper.make_node("Gemm", ["x", "w", "b"], [output], transB=1)


def _onnx(value: float = 1.0) -> bytes:
    return _finished(_graph([_gemm()], _weights(value))).SerializeToString()


def _dims(*dims: int, raw: bytes = b"") -> bytes:
    tensor = b"".join(b"\x08" + _varint(dim % 2**64) for dim in dims) + b"\x10\x01" + _field(8, b"w") + _field(9, raw)
    gemm = _gemm().SerializeToString()
    return _model(_field(1, gemm) + _field(5, tensor) + _io(), _field(8, b"\x10\x11"))


def _external(location: str) -> bytes:
    weights = _weights()
    weights[0].ClearField("raw_data")
    weights[0].data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "32")):
        weights[0].external_data.add(key=key, value=value)
    return _finished(_graph([_gemm()], weights)).SerializeToString()


def _nested(depth: int) -> bytes:
    """Subgraphs within subgraphs: a node whose attribute is a graph with such a node."""
    graph = b""
    for _ in range(depth):
        graph = _field(1, _field(5, _field(1, b"body") + _field(6, graph)))
    return _model(graph + _io())


def _shared_weight(size: int, times: int) -> bytes:
    """A small file that says a large network: one matrix, used again and again."""
    weights = [numpy_helper.from_array(np.ones((size, size), np.float32), "w")]
    names = ["x", *(f"h{k}" for k in range(times - 1)), "y"]
    nodes = [helper.make_node("MatMul", [before, "w"], [after]) for before, after in pairwise(names)]
    return _finished(_graph(nodes, weights, size)).SerializeToString()


def _operators(count: int) -> bytes:
    names = ["x", *(f"h{k}" for k in range(count)), "y"]
    nodes = [helper.make_node(f"Evil{k}", [a], [b]) for k, (a, b) in enumerate(pairwise(names))]
    return _finished(_graph(nodes, [])).SerializeToString()


def _relus(count: int) -> bytes:
    names = ["x", *(f"h{k}" for k in range(count)), "y"]
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in pairwise(names)]
    return _finished(_graph(nodes, [])).SerializeToString()


def _cycle() -> bytes:
    nodes = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Relu", ["b"], ["a"])]
    nodes.append(helper.make_node("Relu", ["b"], ["y"]))
    return _finished(_graph(nodes, [])).SerializeToString()


def _with_manifest(text: str) -> bytes:
    model = _finished(_graph([_gemm()], _weights()))
    onnx.helper.set_model_props(model, {"certigap": text})
    return model.SerializeToString()


def _constants(count: int) -> bytes:
    """Constants of constants: every node doubles nothing, but all of them are kept."""
    weights = [numpy_helper.from_array(np.ones(1_000_000, np.float32), "c")]
    nodes = [helper.make_node("Cast", ["c"], [f"d{k}"], to=TensorProto.DOUBLE) for k in range(count)]
    # The output depends on all of them through one node with many inputs.
    nodes.append(helper.make_node("Concat", [f"d{k}" for k in range(count)], ["y"], axis=0))
    return _finished(_graph(nodes, weights)).SerializeToString()


def _cast_chain(count: int) -> bytes:
    weights = [numpy_helper.from_array(np.ones((1000, 1000), np.float32), "c0")]
    nodes = [
        helper.make_node("Cast", [f"c{k}"], [f"c{k + 1}"], to=TensorProto.DOUBLE if k % 2 == 0 else TensorProto.FLOAT)
        for k in range(count)
    ]
    nodes.append(helper.make_node("MatMul", ["x", f"c{count}"], ["y"]))
    return _finished(_graph(nodes, weights, 1000)).SerializeToString()


# safetensors.

_MANIFEST = json.dumps({"schema": "certigap.proxy/1", "problem": {"kind": "dcopf", "case": "ours.m"}})


def _tensors(header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _layer(shape: tuple[int, ...] = (2, 4), value: float = 1.0, **change: Any) -> bytes:
    weight, bias = np.full(8, value).tobytes(), np.zeros(2).tobytes()
    header = {
        "__metadata__": {"certigap": _MANIFEST, "layers": '["affine"]'},
        "0.weight": {"dtype": "F64", "shape": list(shape), "data_offsets": [0, 64]},
        "0.bias": {"dtype": "F64", "shape": [2], "data_offsets": [64, 80]},
    }
    for name, entry in change.items():
        header[name.replace("_", "." if name[0] == "0" else "_")] = entry
    return _tensors(header, weight + bias)


def _metadata(**metadata: str) -> bytes:
    return _layer(__metadata__={"certigap": _MANIFEST, "layers": '["affine"]', **metadata})


_MODELS: dict[str, Callable[[], bytes]] = {
    "onnx: a tensor that declares 40 TB": lambda: _dims(10**13),
    "onnx: a shape that overflows 64 bits": lambda: _dims(2**40, 2**40),
    "onnx: a shape of zero times much": lambda: _dims(0, 2**62, 2**62),
    "onnx: a negative dimension": lambda: _dims(-4, -2, raw=bytes(32)),
    "onnx: a tensor of 1000 axes": lambda: _dims(*[1] * 1000, raw=bytes(4)),
    "onnx: 14 million empty nodes": lambda: _model(b"\x0a\x00" * 14_000_000),
    "onnx: 14 million empty attributes": lambda: _model(_field(1, b"\x2a\x00" * 14_000_000) + _io()),
    "onnx: 14 million empty strings": lambda: _model(_field(1, b"\x0a\x00" * 14_000_000) + _io()),
    "onnx: 7 million metadata entries": lambda: _onnx() + b"\x72\x00" * 7_000_000,
    "onnx: a name of 30 MB": lambda: _model(_field(2, b"n" * 30_000_000) + _io()),
    "onnx: subgraphs 2000 deep": lambda: _nested(2_000),
    "onnx: functions of its own": lambda: _onnx() + _field(25, _field(1, b"f")),
    "onnx: training information": lambda: _onnx() + _field(20, b""),
    "onnx: external data, path traversal": lambda: _external("../../../../etc/passwd"),
    "onnx: external data, an absolute path": lambda: _external("/etc/passwd"),
    "onnx: external data, a device": lambda: _external("/dev/zero"),
    "onnx: cut off": lambda: _onnx()[:-30],
    "onnx: 100 kB of noise": lambda: b"\x08" + np.random.default_rng(1).bytes(100_000),
    "onnx: a length of 2^63": lambda: b"\x08\x08\x3a" + _varint(2**63) + b"x",
    "onnx: a number without an end": lambda: b"\x08" + b"\xff" * 10_000,
    "onnx: NaN weights": lambda: _onnx(float("nan")),
    "onnx: infinite weights": lambda: _onnx(float("inf")),
    "onnx: 20 000 unknown operators": lambda: _operators(20_000),
    "onnx: 90 000 layers": lambda: _relus(90_000),
    "onnx: a cycle": _cycle,
    "onnx: no graph": lambda: b"\x08\x08",
    "onnx: one matrix used 5000 times": lambda: _shared_weight(1000, 5000),
    "onnx: a constant cast 2000 times": lambda: _constants(2000),
    "onnx: a constant cast in a chain": lambda: _cast_chain(5000),
    "onnx: a manifest nested 100 000 deep": lambda: _with_manifest("[" * 100_000),
    "onnx: a manifest with a number of a million digits": lambda: _with_manifest(
        '{"schema": 1' + "0" * 1_000_000 + "}"
    ),
    "onnx: a manifest that names /etc/passwd": lambda: _with_manifest(_MANIFEST.replace("ours.m", "/etc/passwd")),
    "onnx: a manifest that climbs out": lambda: _with_manifest(_MANIFEST.replace("ours.m", "../../secret.m")),
    "safetensors: a header of 33 MB": lambda: _tensors(b"{" + b" " * 33_000_000 + b"}"),
    "safetensors: a header longer than the file": lambda: _tensors(b"{}", length=1000),
    "safetensors: a header of 2^62 bytes": lambda: _tensors(b"{}", length=2**62),
    "safetensors: a header nested 300 000 deep": lambda: _tensors(b'{"a":' * 150_000),
    "safetensors: overlapping tensors": lambda: _layer(
        **{"0_bias": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}}
    ),
    "safetensors: offsets beyond the file": lambda: _layer(
        **{"0_bias": {"dtype": "F64", "shape": [2], "data_offsets": [64, 2**40]}}
    ),
    "safetensors: offsets backwards": lambda: _layer(
        **{"0_bias": {"dtype": "F64", "shape": [2], "data_offsets": [80, 64]}}
    ),
    "safetensors: a shape that overflows": lambda: _layer((2**40, 2**40)),
    "safetensors: a shape that is not its size": lambda: _layer((3, 4)),
    "safetensors: an unknown type": lambda: _layer(
        **{"0_bias": {"dtype": "F128", "shape": [2], "data_offsets": [64, 80]}}
    ),
    "safetensors: NaN weights": lambda: _layer(value=float("nan")),
    "safetensors: 9000 empty tensors": lambda: _tensors(
        {str(k): {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]} for k in range(9000)}
    ),
    "safetensors: no manifest": lambda: _layer(__metadata__={}),
    "safetensors: metadata that is no text": lambda: _layer(__metadata__={"certigap": {"a": 1}, "layers": [1]}),
    "safetensors: a list of layers that is none": lambda: _metadata(layers="5"),
    "safetensors: layers nested 100 000 deep": lambda: _metadata(layers="[" * 100_000),
    "safetensors: an unknown layer": lambda: _metadata(layers='["os.system"]'),
    "safetensors: one layer 90 000 times": lambda: _metadata(layers=json.dumps(["relu"] * 90_000)),
    "safetensors: a manifest that is no JSON": lambda: _metadata(certigap="{'a': __import__('os')}"),
    "safetensors: a manifest that names a path": lambda: _metadata(
        certigap=_MANIFEST.replace("ours.m", "../../../etc/passwd.m")
    ),
    "no file at all": lambda: b"",
    "a zip archive, as torch.save writes it": lambda: _zip(),
    "gzip": lambda: gzip.compress(_onnx()),
    "bzip2": lambda: bz2.compress(_onnx()),
    "xz": lambda: lzma.compress(_onnx()),
    "numpy": lambda: b"\x93NUMPY" + bytes(100),
    "HDF5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(100),
    "an executable": lambda: b"\x7fELF" + bytes(100),
    "a script": lambda: b"#!/bin/sh\nrm -rf /\n",
    "HTML": lambda: b"<script>alert(1)</script>",
}


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": 1}))
        archive.writestr("archive/bomb", bytes(50_000_000))
    return buffer.getvalue()


def _pickles(marker: Path) -> Iterator[tuple[str, bytes]]:
    for protocol in range(6):
        yield f"a pickle of protocol {protocol} that runs code", pickle.dumps(_Runs(marker), protocol)
    code = pickle.dumps(_Runs(marker), 4)
    yield "a pickle behind the first byte of an ONNX file", b"\x08" + code
    yield "a pickle behind a safetensors header", struct.pack("<Q", len(code)) + b"{" + code


# Cases and instances.

_HEAD = "function mpc = case\nmpc.version = '2';\nmpc.baseMVA = 100;\n"


def _case(bus: str = "", gen: str = "", cost: str = "", branch: str = "") -> bytes:
    """A case of two buses, with some of its tables changed."""
    tables = {
        "bus": bus or "1 3 50 0 0 0 1 1 0 0 1 1.1 0.9;\n2 1 50 0 0 0 1 1 0 0 1 1.1 0.9;",
        "gen": gen or "1 50 0 10 -10 1 100 1 200 0;",
        "gencost": cost or "2 0 0 2 10 0;",
        "branch": branch or "1 2 0.01 0.1 0 100 100 100 0 0 1 -30 30;",
    }
    return (_HEAD + "".join(f"mpc.{name} = [\n{rows}\n];\n" for name, rows in tables.items())).encode()


def _cases(marker: Path) -> dict[str, bytes]:
    call = f"mpc.baseMVA = system('touch {marker}');\neval('!touch {marker}');\n"
    python = f"mpc.baseMVA = __import__('os').system('touch {marker}');\n"
    many = "\n".join(f"{k} 1 1 0 0 0 1 1 0 0 1 1.1 0.9;" for k in range(1, 60_001))
    return {
        "case: noise": np.random.default_rng(2).bytes(100_000),
        "case: empty tables": (_HEAD + "mpc.bus = [];\nmpc.gen = [];\nmpc.branch = [];\nmpc.gencost = [];\n").encode(),
        "case: calls of Octave": (_HEAD + call).encode(),
        "case: calls of Python": (_HEAD + python).encode(),
        "case: a table without an end": (_HEAD + "mpc.bus = [\n" + "1 2 3;\n" * 300_000).encode(),
        "case: 400 000 open brackets": (_HEAD + "mpc.bus = " + "[" * 400_000).encode(),
        "case: one line of 20 MB": (_HEAD + "mpc.bus = [ " + "1 " * 10_000_000 + "];").encode(),
        "case: 3 million assignments": (_HEAD + "mpc.a = 1;\n" * 1_000_000).encode(),
        "case: NaN": _case(bus="1 3 NaN 0 0 0 1 1 0 0 1 1.1 0.9;\n2 1 50 0 0 0 1 1 0 0 1 1.1 0.9;"),
        "case: infinite limits": _case(gen="1 50 0 10 -10 1 100 1 Inf -Inf;"),
        "case: a bus number of 1e300": _case(branch="1 1e300 0.01 0.1 0 100 100 100 0 0 1 -30 30;"),
        "case: 60 000 islands": _case(bus="60001 3 0 0 0 0 1 1 0 0 1 1.1 0.9;\n" + many),
        "case: no reference": _case(bus="1 1 50 0 0 0 1 1 0 0 1 1.1 0.9;\n2 1 50 0 0 0 1 1 0 0 1 1.1 0.9;"),
        "case: rows of different lengths": _case(bus="1 3 50;\n2 1 50 0 0;"),
        "case: a degree of 1e9": _case(cost="2 0 0 1e9 10 0;"),
        "case: UTF-16": _case().decode().encode("utf-16"),
        "case: NUL bytes": bytes(1_000_000),
    }


def _json_bodies() -> dict[str, bytes]:
    knapsack = {"kind": "knapsack", "name": "k", "values": [1.0], "weights": [1], "capacity": 1.0}
    large = {**knapsack, "values": [1] * 90_000, "weights": [10**6] * 90_000, "capacity": 1e9}
    return {
        "json: nested a million deep": b"[" * 1_000_000,
        "json: objects nested 500 000 deep": b'{"a":' * 500_000,
        "json: a number of 3 million digits": b'{"kind": "knapsack", "capacity": ' + b"9" * 3_000_000 + b"}",
        "json: NaN": b'{"kind": "knapsack", "name": "k", "values": [NaN], "weights": [1], "capacity": 1}',
        "json: 1e999": b'{"kind": "knapsack", "name": "k", "values": [1e999], "weights": [1], "capacity": 1}',
        "json: a lone surrogate": b'{"kind": "knapsack", "name": "\\ud800", "values": [1], "weights": [1]}',
        "json: a NUL in a name": json.dumps({**knapsack, "name": "a\0b"}).encode(),
        "json: a table of 90 TB": json.dumps(large).encode(),
        "json: weights beyond 64 bits": json.dumps({**knapsack, "weights": [2**200]}).encode(),
        "json: a case that climbs out": b'{"kind": "dcopf", "case": "../../../etc/passwd"}',
        "json: 4 MB of nothing": b" " * 4_000_000,
        "json: in UTF-16": '{"kind": "dcopf"}'.encode("utf-16"),
    }
