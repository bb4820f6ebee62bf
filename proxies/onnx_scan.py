"""What an ONNX file is checked for before it is parsed: size, and how much of it is it is not weights.

Parsing takes tens of bytes of memory for each byte of structure, so a small file of empty nodes can fill a
machine; weights take one for one. The scan walks the protobuf wire format and allocates nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxies.errors import ModelFileError

# The largest network that can be read, in numbers, and the file that holds it in float64.
LARGEST_ELEMENTS = 2**26
LARGEST_FILE = 8 * LARGEST_ELEMENTS
# The most values between two layers: one for each bus of the largest grids, and to spare.
LARGEST_WIDTH = 2**17
LARGEST_NODES = 100_000
# The most layers of a network: each of them costs some memory and time wherever it is read, bounded or encoded.
LARGEST_DEPTH = 1_000
# Bytes and fields that are not weights: a node of torch's exporter takes 1-2 kB, and networks have hundreds.
LARGEST_STRUCTURE = 2**22
LARGEST_FIELDS = 250_000

DAMAGED = "is not an ONNX file, is damaged or was cut off; copy or export it again"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# For each message: its fields that are walked into, by number in onnx.proto, and the message they hold.
_INSIDE = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor"},
}
_NODE = ("graph", 1)
# TensorProto's float_data, raw_data and double_data: fixed width, so they cannot grow when parsed.
_WEIGHTS = {("tensor", 4), ("tensor", 9), ("tensor", 10)}
_REFUSED = {
    ("model", 20): "holds training information; export the network for inference",
    ("model", 25): "defines functions of its own; export it again with its functions inlined (onnx.inliner)",
    ("graph", 15): "has sparse weights; export them as dense tensors",
    ("attribute", 6): "has a subgraph (If, Loop or Scan); only a plain sequence of layers can be encoded",
    ("attribute", 11): "has a subgraph (If, Loop or Scan); only a plain sequence of layers can be encoded",
    ("attribute", 22): "has sparse weights; export them as dense tensors",
    ("attribute", 23): "has sparse weights; export them as dense tensors",
}


def scan(data: bytes) -> None:
    """Refuse a file that is damaged, too large, or costs far more memory than its size once parsed.

    Raises:
        ModelFileError: so, without the file's name.
    """
    if len(data) > LARGEST_FILE:
        raise ModelFileError(f"has {len(data)} bytes, more than the {LARGEST_FILE} that a model file may have")
    structure, nodes = len(data), 0
    for count, (field, size) in enumerate(_fields(data)):
        if field in _REFUSED:
            raise ModelFileError(_REFUSED[field])
        nodes += field == _NODE
        if nodes > LARGEST_NODES:
            raise ModelFileError(f"has more than {LARGEST_NODES} nodes, the most that a model file may have")
        if count > LARGEST_FIELDS:
            raise ModelFileError(f"has more than {LARGEST_FIELDS} fields, the most that a model file may have")
        if field in _WEIGHTS:
            structure -= size
    if structure > LARGEST_STRUCTURE:
        raise ModelFileError(f"has {structure} bytes besides its weights, more than the {LARGEST_STRUCTURE} allowed")


def _fields(data: bytes) -> Iterator[tuple[tuple[str, int], int]]:
    """Yield ((message, field number), size in bytes) for every field of the messages in `_INSIDE`."""
    spans = [("model", 0, len(data))]
    while spans:
        message, at, end = spans.pop()
        inside = _INSIDE.get(message, {})
        while at < end:
            key, at = _varint(data, at, end)
            number, wire = key >> 3, key & 7
            if wire == _BYTES:
                size, at = _varint(data, at, end)
            elif wire == _VARINT:
                _, after = _varint(data, at, end)
                size = after - at
            elif wire in (_FIXED64, _FIXED32):
                size = 8 if wire == _FIXED64 else 4
            else:
                raise ModelFileError(DAMAGED)
            if size > end - at:
                raise ModelFileError(DAMAGED)
            yield (message, number), size
            if wire == _BYTES and number in inside:
                spans.append((inside[number], at, at + size))
            at += size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ModelFileError(DAMAGED)
