"""What schemathesis cannot make up: model files, and ids of things that are there. Only valid requests are helped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import GenerationMode

_FILE = Path(os.environ.get("CERTIGAP_FUZZ_MODEL", ""))
_KNOWN = {name: os.environ.get(f"CERTIGAP_FUZZ_{name.upper()}", "") for name in ("proxy", "problem", "job")}
# The operations whose valid requests get a proxy that is there, in this share of the cases.
_EVERY = 2
_count = 0


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Put a real id or file into every second valid request."""
    global _count
    generation = None if case.meta is None else case.meta.generation
    if generation is None or generation.mode is not GenerationMode.POSITIVE:
        return
    _count += 1
    if _count % _EVERY:
        return
    for name, known in _KNOWN.items():
        if known and name in (case.path_parameters or {}):
            case.path_parameters[name] = known
    if case.operation.label == "POST /v1/proxies" and case.media_type == "application/octet-stream" and _FILE.name:
        case.body = _FILE.read_bytes()
    if isinstance(case.body, dict) and "proxy" in case.body and _KNOWN["proxy"]:
        case.body["proxy"] = _KNOWN["proxy"]
        case.body.pop("problem", None)
    elif isinstance(case.body, dict) and case.body.get("kind") == "train" and _KNOWN["problem"]:
        case.body["problem"] = _KNOWN["problem"]
