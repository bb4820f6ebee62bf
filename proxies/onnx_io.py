"""A sequential ONNX graph read as layers; a manifest may be in its metadata. Writing is in `onnx_write`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from proxies.errors import ModelFileError, UnsupportedOperatorsError
from proxies.layers import Layer
from proxies.manifest import Manifest, parse_manifest
from proxies.onnx_constants import FOLDED, LARGEST_RANK, Step, fold, shown, tensor_array
from proxies.onnx_layout import Array, Shape, input_layout
from proxies.onnx_nodes import ON_TRUTH, OPERATORS, TWO_SIDED, contracted
from proxies.onnx_scan import DAMAGED, LARGEST_DEPTH, LARGEST_ELEMENTS, scan
from proxies.onnx_write import MANIFEST_KEY, write_onnx

__all__ = ["read_onnx", "write_onnx"]

T = TypeVar("T")

_LISTED = 20  # Operators, and nodes of each, that one error names.
_TRUTH = "the truth values of a comparison"
_CHOOSE = "choose between two constants by them (Where), or cast them to numbers"


def read_onnx(data: bytes, source: str) -> tuple[list[Layer], Manifest | None]:
    """Read the network layers, and the manifest where there is one, from an ONNX file's bytes.

    Args:
        data: the file's bytes; nothing outside them is read.
        source: what to call the file in errors.

    Returns:
        The layers in order, with the file's weights bit for bit (float32 promoted to float64), and its
        manifest.

    Raises:
        ModelFileError: the file is damaged, or its graph is not a sequence of layers that can be encoded.
    """
    try:
        model = _parse(data)
        layers = _read_graph(model.graph)
    except UnsupportedOperatorsError as error:
        raise UnsupportedOperatorsError(f"{source} {error}", error.places) from None
    except ModelFileError as error:
        raise ModelFileError(f"{source} {error}") from error.__cause__
    text = next((entry.value for entry in model.metadata_props if entry.key == MANIFEST_KEY), None)
    return layers, None if text is None else parse_manifest(text, source)


def _parse(data: bytes) -> ModelProto:
    scan(data)
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelFileError(DAMAGED) from error
    if not model.HasField("graph") or not model.graph.output:
        raise ModelFileError(DAMAGED)
    return model


def _read_graph(graph: GraphProto) -> list[Layer]:
    constants = {tensor.name: tensor_array(tensor) for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ModelFileError(
            f"has {len(inputs)} inputs and {len(graph.output)} outputs; give a network with one of each"
        )
    nodes = _needed(graph)
    _check_operators(nodes)
    steps = _steps(nodes, constants, inputs[0].name, graph.output[0].name)
    sizes = (size for step in steps if (size := _at(step, contracted, step)) is not None)
    layout = input_layout(_shape(inputs[0]), next(sizes, None))
    layers: list[Layer] = []
    elements = 0
    for step in steps:
        before = layers[-1] if layers else None
        if layout.truth and step.node.op_type not in ON_TRUTH:
            raise ModelFileError(f"uses {_TRUTH} in {shown(step.node.name)} ({step.node.op_type}); {_CHOOSE}")
        layout = _at(step, OPERATORS[step.node.op_type], step, layout, layers)
        if layers and layers[-1] is not before:
            elements += sum(value.numel() for value in layers[-1].state_dict().values())
        if elements > LARGEST_ELEMENTS:
            raise ModelFileError(f"has more than {LARGEST_ELEMENTS} weights, the most that can be encoded")
        if len(layers) > LARGEST_DEPTH:
            raise ModelFileError(f"has more than {LARGEST_DEPTH} layers, the most that can be encoded")
    if layout.truth:
        raise ModelFileError(f"writes {_TRUTH}; {_CHOOSE}")
    return layers


def _needed(graph: GraphProto) -> list[tuple[int, NodeProto]]:
    """Return the nodes that the output depends on, in order, each with its position from 1."""
    names, kept = {graph.output[0].name}, []
    for position, node in reversed(list(enumerate(graph.node, start=1))):
        if not names.isdisjoint(node.output):
            names.update(node.input)
            kept.append((position, node))
    return kept[::-1]


def _check_operators(nodes: Sequence[tuple[int, NodeProto]]) -> None:
    """Refuse a graph with unsupported operators, all of them in one error."""
    places: dict[str, list[str]] = {}
    found: list[tuple[str, int, str]] = []
    for position, node in nodes:
        if node.domain not in ("", "ai.onnx") or node.op_type not in {*OPERATORS, *FOLDED}:
            name = shown(node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}")[1:-1]
            places.setdefault(name, []).append(f"node {position} {shown(node.name)}")
            found.append((name, position, shown(node.name)[1:-1]))
    if places:
        listed = [f"{name} ({_listed(where)})" for name, where in places.items()]
        raise UnsupportedOperatorsError(
            f"uses operators that cannot be encoded: {_listed(listed)}; "
            f"a network may use {', '.join(sorted({*OPERATORS, *FOLDED}))}: train or export it with these",
            found,
        )


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _LISTED
    return ", ".join(texts[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _steps(nodes: Sequence[tuple[int, NodeProto]], constants: dict[str, Array], reads: str, writes: str) -> list[Step]:
    """Return the nodes that the data passes, in order; raises where the graph is not a sequence."""
    steps: list[Step] = []
    current, past, folded = reads, set[str](), 0
    for position, node in nodes:
        data = [index for index, name in enumerate(node.input) if name == current]
        step = Step(node, position, [constants.get(name) for name in node.input], data[0] if data else None)
        _at(step, _check_inputs, step, data, constants, past)
        if node.output[0] in constants or node.output[0] in past or node.output[0] == current:
            raise ModelFileError(f"writes {shown(node.output[0])} more than once; export it again")
        if data:
            steps.append(step)
            past.add(current)
            current = node.output[0]
        else:
            array = constants[node.output[0]] = _at(step, fold, step)
            folded += array.size
        if folded > LARGEST_ELEMENTS:
            raise ModelFileError(f"computes more than {LARGEST_ELEMENTS} constants; fold them (onnxsim)")
    if current != writes:
        raise ModelFileError(
            f"has the output {shown(writes)}, which is not the end of one sequence of layers from its input; "
            "only networks without branches can be encoded"
        )
    return steps


def _check_inputs(step: Step, data: list[int], constants: dict[str, Array], past: set[str]) -> None:
    operator = step.node.op_type
    stale = [name for name in step.node.input if name in past]
    if stale or len(data) > 1:
        name = stale[0] if stale else step.node.input[data[0]]
        raise ModelFileError(
            f"uses {shown(name)} a second time; only networks without branches or skips can be encoded"
        )
    missing = [
        name for index, name in enumerate(step.node.input) if name and name not in constants and index not in data
    ]
    if missing:
        raise ModelFileError(f"reads {shown(missing[0])}, which no node before it writes; export it again")
    if data and (operator not in OPERATORS or data[0] > (operator in TWO_SIDED)):
        raise ModelFileError(f"takes the data as input {data[0] + 1}, where only a constant can be encoded")


def _at(step: Step, function: Callable[..., T], *arguments: object) -> T:
    """Call a function; name the step in its error."""
    try:
        return function(*arguments)
    except ModelFileError as error:
        place = f"node {step.position} {shown(step.node.name)} ({step.node.op_type})"
        raise ModelFileError(f"cannot be encoded: {place} {error}") from error.__cause__


def _shape(value: ValueInfoProto) -> Shape | None:
    tensor = value.type.tensor_type
    if tensor.elem_type not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        raise ModelFileError("does not read float32 or float64 numbers; export it with such an input")
    if not tensor.HasField("shape"):
        return None
    if len(tensor.shape.dim) > LARGEST_RANK:
        raise ModelFileError(f"reads a tensor with more than {LARGEST_RANK} axes; export it for (batch, n)")
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim)
