"""What the sandbox runs on what callers send: reading model files, cases and instances, and checking certificates.

Every function takes and returns plain JSON data.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from problems.errors import CaseError
from problems.parametric import ParametricProblem
from proxies.classification import classification_problem
from proxies.dcopf import dcopf_problem, network_sizes
from proxies.errors import ModelFileError, UnsupportedOperatorsError
from proxies.files import load_network
from proxies.knapsack import knapsack_problem
from proxies.layers import Layer
from proxies.load import load_proxy
from proxies.manifest import PROBLEM_SPEC, ClassificationSpec, DcOpfSpec, KnapsackSpec, Manifest
from solvers.registry import describe_solvers
from verifier.certificate_schema import parse_certificate
from verifier.checker import CheckOptions, check_certificate
from verifier.checks.witness import ModelFile

Json = dict[str, Any]
# A case of a manifest: a PGLib name, or the bare name of a file that its user has. Never a path of this machine.
_PGLIB = re.compile(r"pglib_opf_[A-Za-z0-9_]{1,80}")
_OWN_CASE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}\.m")

# Characters in a line of a case file; PGLib's longest has 150.
_LONGEST_LINE = 10_000


def proxy(spec: Json) -> Json:
    """Read a model file.

    Args:
        spec: the `folder`, and the name of the `model` in it: its suffix is its format, its manifest may lie beside it.

    Returns:
        `manifest` and `summary`, or `unsupported`: [operator, position of its node from 1, the node's name] of each
        operator that cannot be encoded.

    Raises:
        CertigapError: the file is refused.
    """
    os.chdir(spec["folder"])  # Errors then name the file, and no folder of ours.
    path = Path(spec["model"])
    try:
        network, manifest = load_network(path)
    except UnsupportedOperatorsError as error:
        return {"unsupported": error.places}
    if manifest is None or not _is_known(manifest):
        return {"manifest": None if manifest is None else _json(manifest), "summary": _of_network(network, manifest)}
    loaded = load_proxy(path)
    layers = [layer for layer in loaded.proxy.layers if isinstance(layer, Layer)]
    summary = {
        "layers": _shapes(layers, loaded.proxy.sizes),
        "inputs": loaded.proxy.input_size,
        "outputs": loaded.proxy.output_size,
        "problem": {"kind": loaded.problem.kind, **_summary(loaded.problem)},
        "fingerprint": loaded.proxy.fingerprint(),
        "notes": list(loaded.notes),
    }
    return {"manifest": _json(manifest), "summary": summary}


def problem(spec: Json) -> Json:
    """Read a problem.

    Args:
        spec: the `problem`, as in a manifest; for an uploaded case the `folder` and the name of the `case` in it, else
            None.

    Returns:
        The `summary`.

    Raises:
        CertigapError: the case or instance is refused.
    """
    known = PROBLEM_SPEC.validate_python(spec["problem"])
    if isinstance(known, KnapsackSpec):
        return {"summary": _summary(knapsack_problem(known))}
    if isinstance(known, ClassificationSpec):
        return {"summary": _summary(classification_problem(known))}
    if spec["case"] is not None:
        os.chdir(spec["folder"])
        _check_lines(Path(spec["case"]))
    elif not _PGLIB.fullmatch(known.case):
        raise CaseError(f"PGLib has no case {known.case[:80]!r}; upload a case of your own as a file")
    found = dcopf_problem(known, spec["case"])
    # Asked for here, so that a grid whose factors cannot be computed is refused now and not by each job.
    found.domain(0.0)
    return {"summary": _summary(found)}


def certificate(spec: Json) -> Json:
    """Check a certificate.

    Args:
        spec: `certificate`; the `folder` with the files, and in it the `model` and the `case`, "" where there is none;
            the `problem` as in a manifest, or None for the manifest's; `options`, those of `CheckOptions`.

    Returns:
        The check as plain data: `outcome`, `meaning`, `seed`, and `findings`: {claim, standing, detail} of each claim.

    Raises:
        CertigapError: it is no certificate, or the files are refused.
    """
    told = parse_certificate(spec["certificate"])
    reads = None if told.proxy.input is None else told.proxy.input.unit
    writes = None if told.proxy.output is None else told.proxy.output.unit
    problem = None if spec["problem"] is None else PROBLEM_SPEC.validate_python(spec["problem"])
    os.chdir(spec["folder"])  # A certificate names a case of its user's own by its bare name.
    loaded = load_proxy(spec["model"], spec["case"] or None, reads, writes, problem)
    options, file = CheckOptions(**spec["options"]), ModelFile(loaded.sha256, loaded.onnx)
    return check_certificate(told, loaded.proxy, loaded.problem, options, file).to_plain()


def solvers(spec: Json) -> Json:
    """Return every solver as `solvers`; `spec` is empty."""
    return {
        "solvers": [
            {
                "name": info.name,
                "available": info.available,
                "version": info.version,
                "capabilities": sorted(capability.value for capability in info.capabilities),
                "licence": info.licence,
                "reason": info.reason,
            }
            for info in describe_solvers()
        ]
    }


def _is_known(manifest: Manifest) -> bool:
    """Return whether a manifest says everything about its problem; raises ModelFileError where it names a path."""
    if not isinstance(manifest.problem, DcOpfSpec) or _PGLIB.fullmatch(manifest.problem.case):
        return True
    if not _OWN_CASE.fullmatch(manifest.problem.case):
        raise ModelFileError(
            f"the manifest names the case {manifest.problem.case[:80]!r}; name a PGLib case, or the bare name of a .m "
            "file, which is then uploaded as a problem"
        )
    return False


def _check_lines(case: Path) -> None:
    """Refuse a file with a line that no case has: its reader takes far longer for one than for many short ones."""
    with case.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE + 1), b""), start=1):
            if len(line) > _LONGEST_LINE:
                raise CaseError(f"{case.name} has more than {_LONGEST_LINE} characters in line {number}; break it up")


def _of_network(network: Sequence[Layer], manifest: Manifest | None) -> Json:
    inputs, _ = network_sizes(network)
    sizes = [inputs]
    for layer in network:
        sizes.append(layer.output_size(sizes[-1]))
    lacks = "it has no manifest" if manifest is None else "its manifest names a case of your own"
    return {
        "layers": _shapes(network, sizes),
        "inputs": inputs,
        "outputs": sizes[-1],
        "problem": None,
        "fingerprint": None,
        "notes": [f"{lacks}: create the problem, and name it in each job"],
    }


def _shapes(layers: Sequence[Layer], sizes: Sequence[int]) -> list[Json]:
    return [
        {"kind": type(layer).__name__.lower(), "inputs": before, "outputs": after}
        for layer, before, after in zip(layers, sizes, sizes[1:])
    ]


def _summary(found: ParametricProblem) -> Json:
    return {
        "name": found.name,
        "inputs": found.input_size,
        "decisions": found.decision_size,
        "unit": found.unit,
        "fingerprint": found.fingerprint(),
    }


def _json(manifest: Manifest) -> Json:
    told: Json = json.loads(manifest.to_json())
    return told
