"""From a model file to a complete proxy and its problem, filling in what the file does not say."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from problems.knapsack_instances import read_knapsack
from problems.parametric import ParametricProblem
from proxies.classification import classification_proxy, read_sample
from proxies.dcopf import dcopf_problem, dcopf_proxy, infer_specs
from proxies.errors import ModelFileError, ProxyError
from proxies.files import load_network
from proxies.knapsack import knapsack_manifest, knapsack_problem, knapsack_proxy
from proxies.layers import Layer
from proxies.manifest import ClassificationSpec, DcOpfSpec, InputUnit, KnapsackSpec, Manifest, OutputUnit, ProblemSpec
from proxies.proxy import Proxy


@dataclass(frozen=True)
class LoadedProxy:
    """A proxy ready to verify.

    Attributes:
        proxy, problem: the pair.
        sha256: of the model file's bytes.
        onnx: the file's bytes where it is an ONNX file, for a replay by onnxruntime; else None.
        notes: what was assumed because no manifest said it.
    """

    proxy: Proxy
    problem: ParametricProblem
    sha256: str
    onnx: bytes | None
    notes: tuple[str, ...]


def load_proxy(
    path: str | os.PathLike[str],
    case: str | None = None,
    input_unit: InputUnit | None = None,
    output_unit: OutputUnit | None = None,
    spec: ProblemSpec | None = None,
) -> LoadedProxy:
    """Read a model file and build the proxy and the problem that its manifest names.

    Args:
        path: an ONNX or safetensors file.
        case: a PGLib name or a `.m` file (for a knapsack proxy or a classifier: a JSON file of the instance or the
            sample), instead of the manifest's. Needed where there is no manifest, and then not an instance.
        input_unit, output_unit: of the network, instead of the manifest's; MW where nobody says.
        spec: the problem, instead of the manifest's; `case` still counts before its case.

    Raises:
        ModelFileError: the file cannot be read, or no case is known.
        CaseError, InstanceError: the case cannot be read.
        ProxyError: network and case do not fit, or a unit was given for a problem without units.
    """
    path = Path(path)
    network, manifest = load_network(path)
    notes: tuple[str, ...] = ()
    problem: ParametricProblem
    if manifest is not None and spec is not None:
        if manifest.problem.kind != spec.kind:
            raise ProxyError(f"{path.name} is a {manifest.problem.kind} proxy, and the problem is a {spec.kind} one")
        manifest = manifest.model_copy(update={"problem": spec})
    asked = spec if manifest is None else manifest.problem
    if case is not None and (isinstance(asked, ClassificationSpec) or (asked is None and case.endswith(".json"))):
        asked = read_sample(case)
    if asked is not None and asked.kind != "dcopf" and (input_unit, output_unit) != (None, None):
        raise ProxyError(f"{path.name} is a {asked.kind} proxy, whose inputs and outputs have no unit to choose")
    if isinstance(asked, ClassificationSpec):
        manifest = manifest or Manifest(problem=asked)
        proxy, problem = classification_proxy(network, manifest.model_copy(update={"problem": asked}))
    elif isinstance(asked, KnapsackSpec):
        if manifest is None:
            raise ModelFileError(f"{path.name} has no manifest, and a knapsack proxy needs one that names its repair")
        proxy, problem = _knapsack(network, manifest, asked, case)
    else:
        proxy, problem, notes = _dcopf(network, manifest, asked, path, case, (input_unit, output_unit))
    data = path.read_bytes()
    onnx = None if path.suffix.lower() == ".safetensors" or data[8:9] == b"{" else data
    return LoadedProxy(proxy, problem, hashlib.sha256(data).hexdigest(), onnx, notes)


def _knapsack(
    network: Sequence[Layer], manifest: Manifest, spec: KnapsackSpec, case: str | None
) -> tuple[Proxy, ParametricProblem]:
    problem = knapsack_problem(spec) if case is None else read_knapsack(case)
    if case is not None:
        manifest = manifest.model_copy(update={"problem": knapsack_manifest(problem).problem})
    return knapsack_proxy(network, manifest, problem), problem


def _dcopf(
    network: Sequence[Layer],
    manifest: Manifest | None,
    asked: DcOpfSpec | None,
    path: Path,
    case: str | None,
    units: tuple[InputUnit | None, OutputUnit | None],
) -> tuple[Proxy, ParametricProblem, tuple[str, ...]]:
    input_unit, output_unit = units
    if manifest is None:
        if case is None and asked is None:
            raise ModelFileError(f"{path.name} has no manifest; name its grid, or a classifier's sample, with --case")
        asked = asked or DcOpfSpec(case=str(case))
        problem = dcopf_problem(asked, case)
        reads, writes = infer_specs(network, problem.grid, input_unit or "MW", output_unit or "MW")
        manifest = Manifest(problem=asked, input=reads, output=writes)
        note = (
            f"{path.name} has no manifest: it was taken to read {reads.unit} at the {reads.at} and to write "
            f"{'fractions of the range' if writes.unit == 'fraction' else writes.unit} for the {writes.of}"
        )
        return dcopf_proxy(network, manifest, problem), problem, (note,)
    spec = manifest.problem
    if not isinstance(spec, DcOpfSpec):
        raise ModelFileError(f"{path.name} is a proxy for the problem {spec.kind!r}, which cannot be loaded")
    beside = path.parent / spec.case
    name = case or (str(beside) if spec.case.endswith(".m") and beside.is_file() else spec.case)
    problem = dcopf_problem(spec, name)
    manifest = manifest.model_copy(
        update={
            "problem": spec.model_copy(update={"case": name}),
            "input": manifest.input.model_copy(update={"unit": input_unit or manifest.input.unit}),
            "output": manifest.output.model_copy(update={"unit": output_unit or manifest.output.unit}),
        }
    )
    return dcopf_proxy(network, manifest, problem), problem, ()
