"""Whether a certificate describes what it is about as it is: fingerprints, file, problem, proxy, domain, sentences."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from problems.domain import Domain
from problems.parametric import ParametricProblem
from proxies.manifest import DcOpfSpec
from proxies.proxy import Proxy
from verifier.certificate import ARITHMETIC, layer_list, statement, units
from verifier.certificate_schema import Certificate
from verifier.checks.finding import Finding, compared, finding


def check_fingerprints(
    certificate: Certificate, proxy: Proxy, problem: ParametricProblem, domain: Domain
) -> list[Finding]:
    """Compare the hashes over all numbers of the proxy, the problem and the domain."""
    parts = (
        ("proxy", certificate.proxy.fingerprint, proxy),
        ("problem", certificate.problem.fingerprint, problem),
        ("domain", certificate.domain.fingerprint, domain),
    )
    return [
        finding(f"it is about this {name}", told == part.fingerprint(), "sha256 compared") for name, told, part in parts
    ]


def check_file(certificate: Certificate, sha256: str) -> list[Finding]:
    """Compare the hash of the model file, where the certificate tells one."""
    told = certificate.proxy.file_sha256
    return [finding("it is about this model file", told == sha256, "sha256 compared")] if told else []


def check_description(certificate: Certificate, proxy: Proxy, problem: ParametricProblem, domain: Domain) -> Finding:
    """Compare what a reader is told of the problem, the proxy and the domain with their own data."""
    told, network, inputs = certificate.problem, certificate.proxy, certificate.domain
    spec, own = (part.model_dump(mode="json") for part in (told.spec, proxy.manifest.problem))
    if is_own_case(proxy):
        # The user's own name of the file; the fingerprint covers its content.
        spec.pop("case", None), own.pop("case")
    elif not isinstance(told.spec, DcOpfSpec):
        # Checked below, as the problem's.
        spec.pop("name", None), own.pop("name", None)
    reads_and_writes = units(proxy.manifest)
    return compared(
        "the description of problem, proxy and domain is right",
        {
            **({} if is_own_case(proxy) else {"problem.name": told.name == problem.name}),
            **{f"problem.{key}": key in spec and spec[key] == value for key, value in own.items()},
            "proxy.layers": list(network.layers) == layer_list(proxy),
            "proxy.input": _plain(network.input) == reads_and_writes.get("input"),
            "proxy.output": _plain(network.output) == reads_and_writes.get("output"),
            "proxy.arithmetic": network.arithmetic == ARITHMETIC,
            "domain.latent_size": inputs.latent_size == domain.size,
            "domain.cuts": list(inputs.cuts) == [cut.reason for cut in domain.cuts],
        },
    )


def check_statement(certificate: Certificate, problem: ParametricProblem) -> Finding:
    """Compare the claim's sentence and unit with its numbers."""
    claim = certificate.claim
    unit = "1" if claim.measure == "relative" else problem.unit
    upper = np.inf if claim.upper is None else claim.upper
    lower = problem.least_gap if claim.lower is None else claim.lower
    says = statement(claim.verdict, claim.termination, (lower, upper), unit, certificate.domain.u, problem)
    parts = {"statement": claim.statement == says, "unit": claim.unit == unit}
    return compared("statement and unit match the numbers of the claim", parts)


def is_own_case(proxy: Proxy) -> bool:
    """Return whether the problem is a file of its user's, whose name says nothing."""
    spec = proxy.manifest.problem
    return isinstance(spec, DcOpfSpec) and spec.case.endswith(".m")


def _plain(part: Any) -> Any:
    return None if part is None else json.loads(part.model_dump_json())
