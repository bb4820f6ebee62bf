"""`certigap check`: what of a certificate can be derived again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from pydantic import ValidationError

from proxies.load import load_proxy
from proxies.manifest import ClassificationSpec
from verifier.checker import CertificateError, Standing, check_certificate


def check(
    certificate: Annotated[Path, typer.Argument(help="certificate.json")],
    model: Annotated[Path, typer.Argument(help="The model file that it is about.")],
    case: Annotated[
        str | None, typer.Option(help="JSON instance, where the proxy was verified on another than the manifest's.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Random inputs that must obey the upper bound.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> int:
    """Replay the witness, compare fingerprints, try random inputs, and list what must be trusted."""
    try:
        data = json.loads(certificate.read_text(encoding="utf-8"))
        spec, u = data["problem"], float(data["domain"]["u"])
        inputs, outputs = (data["proxy"].get(key, {}).get("unit") for key in ("input", "output"))
        case = case or spec.get("case")
        sample = _sample(spec) if case is None and spec.get("kind") == "classification" else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CertificateError(f"{certificate} is not a certificate ({error}); nothing was checked") from error
    torch.set_num_threads(1)
    loaded = load_proxy(model, case, inputs, outputs, sample)
    findings = check_certificate(data, loaded.proxy, loaded.problem, loaded.problem.domain(u), samples)
    holds = all(finding.standing is not Standing.FAILS for finding in findings)
    if as_json:
        rows = [{"claim": f.claim, "standing": f.standing.value, "detail": f.detail} for f in findings]
        print(json.dumps({"holds": holds, "findings": rows}))
    else:
        for finding in findings:
            print(f"{finding.standing.value:8} {finding.claim} ({finding.detail})")
    return 0 if holds else 1


def _sample(told: dict[str, Any]) -> ClassificationSpec:
    """Return the sample that a certificate tells whole."""
    fields = {name: value for name, value in told.items() if name != "fingerprint"}
    try:
        return ClassificationSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CertificateError(f"the certificate's sample is wrong at {where}: {first['msg']}") from error
