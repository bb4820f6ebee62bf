"""From a model file to a complete proxy and its problem, filling in what the file does not say."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from problems.dcopf import DcOpf
from problems.grid import load_grid
from proxies.dcopf import dcopf_problem, dcopf_proxy, infer_specs
from proxies.errors import ModelFileError
from proxies.files import load_network
from proxies.manifest import DcOpfSpec, Manifest
from proxies.proxy import Proxy

InputUnit = Literal["MW", "pu"]
OutputUnit = Literal["MW", "pu", "fraction"]


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
    problem: DcOpf
    sha256: str
    onnx: bytes | None
    notes: tuple[str, ...]


def load_proxy(
    path: str | os.PathLike[str],
    case: str | None = None,
    input_unit: InputUnit | None = None,
    output_unit: OutputUnit | None = None,
) -> LoadedProxy:
    """Read a model file and build the proxy and the problem that its manifest names.

    Args:
        path: an ONNX or safetensors file.
        case: a PGLib name or a `.m` file, instead of the manifest's; needed where there is no manifest.
        input_unit, output_unit: of the network, instead of the manifest's; MW where nobody says.

    Raises:
        ModelFileError: the file cannot be read, or no case is known.
        CaseError: the case cannot be read.
        ProxyError: network and case do not fit.
    """
    path = Path(path)
    network, manifest = load_network(path)
    notes = []
    if manifest is None:
        if case is None:
            raise ModelFileError(f"{path.name} has no manifest, so its grid is unknown; name the case with --case")
        problem = DcOpf(load_grid(case))
        reads, writes = infer_specs(network, problem.grid, input_unit or "MW", output_unit or "MW")
        manifest = Manifest(problem=DcOpfSpec(case=case), input=reads, output=writes)
        notes.append(
            f"{path.name} has no manifest: it was taken to read {reads.unit} at the {reads.at} and to write "
            f"{'fractions of the range' if writes.unit == 'fraction' else writes.unit} for the {writes.of}"
        )
    else:
        spec = manifest.problem
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
    data = path.read_bytes()
    onnx = None if path.suffix.lower() == ".safetensors" or data[8:9] == b"{" else data
    return LoadedProxy(
        dcopf_proxy(network, manifest, problem), problem, hashlib.sha256(data).hexdigest(), onnx, tuple(notes)
    )
