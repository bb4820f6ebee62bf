"""`certigap check`: what of a certificate can be derived again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer

from proxies.load import load_proxy
from proxies.manifest import ClassificationSpec, DcOpfSpec
from verifier.certificate_schema import read_certificate
from verifier.checker import MEANING, CheckOptions, Outcome, check_certificate
from verifier.checks.witness import ModelFile


def check(
    certificate: Annotated[Path, typer.Argument(help="certificate.json")],
    model: Annotated[Path, typer.Argument(help="The model file that it is about.")],
    case: Annotated[
        str | None, typer.Option(help="JSON instance, where the proxy was verified on another than the manifest's.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="Random inputs that must obey the upper bound.")
    ] = CheckOptions.samples,
    attack_seconds: Annotated[
        float, typer.Option(min=0, help="Most time for an attack on the upper bound; 0 for none.")
    ] = CheckOptions.attack_seconds,
    time_limit: Annotated[float, typer.Option(help="Seconds for everything.")] = CheckOptions.time_limit,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the inputs that are tried, to repeat a check.", show_default="drawn")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> int:
    """Look for a false claim in a certificate, and list what must be trusted.

    The answer is "refuted" (a claim is false; exit code 1) or "consistent" (exit code 0): nothing was found against the
    certificate. The upper bound is tried at the witness, at random inputs, at corners and by an attack; it is not
    derived again, so that "consistent" is no proof of it.
    """
    told = read_certificate(certificate.read_bytes())
    options = CheckOptions(samples, attack_seconds, time_limit, seed)
    torch.set_num_threads(1)
    spec = told.problem.spec
    case = case or (spec.case if isinstance(spec, DcOpfSpec) else None)
    reads = None if told.proxy.input is None else told.proxy.input.unit
    writes = None if told.proxy.output is None else told.proxy.output.unit
    sample = spec if case is None and isinstance(spec, ClassificationSpec) else None
    loaded = load_proxy(model, case, reads, writes, sample)
    found = check_certificate(told, loaded.proxy, loaded.problem, options, ModelFile(loaded.sha256, loaded.onnx))
    if as_json:
        print(json.dumps(found.to_plain()))
    else:
        for finding in found.findings:
            print(f"{finding.standing.value:8} {finding.claim} ({finding.detail})")
        print(f"{found.outcome.value}: {MEANING[found.outcome]}")
    return 1 if found.outcome is Outcome.REFUTED else 0
