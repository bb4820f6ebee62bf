"""The certificate as a file that somebody else may have written: its schema, and a strict reader.

Schema "certigap.certificate/1"; `verifier.certificate` writes it. Nothing here says that a claim is true.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError, field_validator

from proxies.manifest import PROBLEM_SPEC, ClassificationSpec, DcOpfSpec, InputSpec, KnapsackSpec, OutputSpec
from solvers.errors import CertigapError
from solvers.linear_model import ModelSize
from verifier.certificate import SCHEMA
from verifier.options import VerifyOptions
from verifier.result import LayerStability, Termination, Verdict

# Characters of a name in the file that a message repeats.
_SHOWN = 60

Numbers = Annotated[tuple[float, ...], FailFast()]
# null is an infinite end.
Ends = Annotated[tuple[float | None, ...], FailFast()]
Texts = Annotated[tuple[str, ...], FailFast()]


class CertificateError(CertigapError, ValueError):
    """A file is not a certificate, or not one of this version."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=True)


class ClaimPart(_Part):
    """The claim: bounds of the largest gap, null where one is unknown, and what they are said to mean."""

    statement: str
    measure: Literal["absolute", "relative"]
    unit: str
    lower: float | None
    upper: float | None
    verdict: Verdict
    termination: Termination
    threshold: float | None
    tolerance: float


class ProblemPart(_Part):
    """The problem: its spec as in a manifest, the instance's name, and the sha256 of its data."""

    spec: DcOpfSpec | KnapsackSpec | ClassificationSpec
    name: str
    fingerprint: str


class ProxyPart(_Part):
    """The proxy: hashes of the file and of the layers, and the layers in words."""

    file_sha256: str
    fingerprint: str
    layers: Texts
    input: InputSpec | None = None
    output: OutputSpec | None = None
    arithmetic: str


class DomainPart(_Part):
    """The domain: its relative size, from which it is built again, and what it must then be."""

    u: Annotated[float, Field(ge=0, lt=1)]
    latent_size: int
    fingerprint: str
    cuts: Texts


class WitnessPart(_Part):
    """The input that attains the lower bound; vectors but `latent` are in the display unit."""

    latent: Numbers
    unit: str
    input: Numbers
    decision: Numbers
    optimum: Numbers
    infeasibility: float
    proxy_cost: float
    optimal_cost: float
    gap: float
    relative_gap: float | None
    onnxruntime_gap: float | None


class IntervalPart(_Part):
    """A box by its ends."""

    lower: Ends
    upper: Ends


class BoundsPart(_Part):
    """Bounds of the proxy's intermediate values in the box `latent`, where the gap is at least `cutoff`."""

    cutoff: float | None
    latent: IntervalPart
    intervals: dict[str, IntervalPart]


class SizesPart(_Part):
    """Sizes of the first and the last model."""

    before: ModelSize | None
    after: ModelSize | None


class Certificate(_Part):
    """A whole certificate; `trusted` is what its author says must be believed, which a checker does not read."""

    schema_version: Literal["certigap.certificate/1"] = Field(alias="schema")
    claim: ClaimPart
    problem: ProblemPart
    proxy: ProxyPart
    domain: DomainPart
    witness: WitnessPart | None
    bounds: BoundsPart | None
    trusted: Texts
    options: VerifyOptions
    solver: str
    nodes: int
    sizes: SizesPart
    stability: Annotated[tuple[LayerStability, ...], FailFast()]
    seconds: dict[str, float]
    notes: Texts
    versions: dict[str, str]

    @field_validator("problem", mode="plain")
    @classmethod
    def _split_problem(cls, told: object) -> ProblemPart:
        """Take the spec out of the object that holds name and fingerprint as well."""
        if not isinstance(told, dict):
            raise ValueError("it should be an object")
        name, fingerprint = told.get("name"), told.get("fingerprint")
        if not isinstance(name, str) or not isinstance(fingerprint, str):
            raise ValueError("name and fingerprint should be texts")
        own = ("fingerprint", "name") if told.get("kind") == "dcopf" else ("fingerprint",)
        spec = _strictly(PROBLEM_SPEC, {key: value for key, value in told.items() if key not in own})
        return ProblemPart.model_construct(spec=spec, name=name, fingerprint=fingerprint)

    @field_validator("options", mode="plain")
    @classmethod
    def _whole_options(cls, told: object) -> VerifyOptions:
        """Take options only where each is there and none is unknown."""
        if not isinstance(told, dict):
            raise ValueError("it should be an object")
        # JSON has no infinity: no time limit is null.
        limit = {"time_limit": None} if told.get("time_limit", 0) is None else {}
        options = _strictly(_OPTIONS, {**told, "time_limit": 1.0} if limit else told)
        if {**asdict(options), **limit} != told:
            raise ValueError("an option is missing or unknown")
        return VerifyOptions(**{**vars(options), "time_limit": math.inf}) if limit else options


_OPTIONS = TypeAdapter(VerifyOptions)


def read_certificate(text: str | bytes) -> Certificate:
    """Read a certificate from JSON text.

    Raises:
        CertificateError: it is not JSON, or not a certificate of this version.
    """
    try:
        return Certificate.model_validate_json(text)
    except ValidationError as error:
        where, why = _first(error)
        if where in ("", "schema"):
            why = f"schema: {why}" if where else why
            raise CertificateError(f"this is not a {SCHEMA} file ({why}); nothing was checked") from None
        raise CertificateError(f"the certificate is damaged at {where} ({why}); ask for it again") from None


def parse_certificate(data: object) -> Certificate:
    """Read a certificate from plain data, as `json.loads` returns them.

    Raises:
        CertificateError: as `read_certificate`.
    """
    try:
        return read_certificate(json.dumps(data))
    except (RecursionError, TypeError, ValueError) as error:
        if isinstance(error, CertificateError):
            raise
        raise CertificateError(f"this is not a {SCHEMA} file ({error}); nothing was checked") from None


def _strictly(adapter: TypeAdapter[Any], told: object) -> Any:
    try:
        return adapter.validate_json(json.dumps(told, allow_nan=False), strict=True)
    except ValidationError as error:
        where, why = _first(error)
        raise ValueError(f"{where}: {why}" if where else why) from None


def _first(error: ValidationError) -> tuple[str, str]:
    """Return where the first thing is wrong, and what, as printable text."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part)[:_SHOWN] for part in first["loc"])
    why = first["msg"].removeprefix("Value error, ")
    return _printable(where), _printable(why)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
