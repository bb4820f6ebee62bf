"""`certigap doctor`: what is installed here and what it allows."""

from __future__ import annotations

import json
from typing import Annotated

import torch
import typer

from solvers.errors import CertigapError
from solvers.registry import describe_solvers, licence
from verifier.certificate import versions


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """List solvers with their versions and licences, the GPU if there is one, and package versions."""
    solvers = []
    for info in describe_solvers():
        try:
            allowed = licence(info.name) if info.available else info.reason
        except CertigapError as error:
            allowed = str(error)
        solvers.append({"name": info.name, "available": info.available, "version": info.version, "licence": allowed})
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    if as_json:
        print(json.dumps({"solvers": solvers, "gpu": gpu, "versions": versions()}))
        return
    for solver in solvers:
        state = str(solver["version"]) if solver["available"] else "not installed"
        print(f"{solver['name']:20} {state:14} {solver['licence']}")
    print(f"{'gpu':20} {gpu or 'none: the attack and the bounds run on the CPU'}")
    print("\n".join(f"{name:20} {number}" for name, number in versions().items()))
