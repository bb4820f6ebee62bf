"""Checking a certificate: every claim that can be derived again is, and what must be trusted is listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from problems.domain import Domain
from problems.parametric import ParametricProblem
from proxies.proxy import Proxy
from solvers.errors import CertigapError
from verifier.certificate import SCHEMA, statement
from verifier.replay import is_sound, replay
from verifier.result import Termination, Verdict, Witness
from verifier.sampling import sampled_gaps

# Two exact solves of one problem agree to this, relative.
REPLAY_TOLERANCE = 1e-6


class CertificateError(CertigapError, ValueError):
    """A file is not a certificate, or not one of this version."""


class Standing(Enum):
    """What became of one claim."""

    HOLDS = "holds"
    FAILS = "fails"
    TRUSTED = "trusted"


@dataclass(frozen=True)
class Finding:
    """One claim of a certificate and what became of it."""

    claim: str
    standing: Standing
    detail: str


def check_certificate(
    certificate: Mapping[str, Any],
    proxy: Proxy,
    problem: ParametricProblem,
    domain: Domain,
    samples: int = 1000,
    seed: int = 1,
) -> list[Finding]:
    """Check a certificate against the proxy, the problem and the domain that it claims to be about.

    Args:
        certificate: as read from JSON.
        proxy, problem, domain: rebuilt from the model file and the certificate's u.
        samples: random inputs whose gap must not exceed the upper bound.
        seed: of those inputs.

    Raises:
        CertificateError: the data are no certificate of a known version.
    """
    if certificate.get("schema") != SCHEMA:
        raise CertificateError(f"this is no {SCHEMA} file (schema: {certificate.get('schema')!r}); nothing was checked")
    try:
        findings = _fingerprints(certificate, proxy, problem, domain)
        findings.append(_words(certificate, proxy, problem))
        findings += _witness(certificate, proxy, problem, domain)
        findings.append(_upper(certificate, proxy, problem, domain, samples, seed))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CertigapError):
            raise
        raise CertificateError(f"the certificate is damaged or incomplete at {error}; ask for it again") from error
    return findings + [Finding(text, Standing.TRUSTED, "not derived again") for text in certificate["trusted"]]


def _finding(claim: str, holds: bool, detail: str) -> Finding:
    return Finding(claim, Standing.HOLDS if holds else Standing.FAILS, detail)


def _fingerprints(
    certificate: Mapping[str, Any], proxy: Proxy, problem: ParametricProblem, domain: Domain
) -> list[Finding]:
    parts = (("proxy", proxy), ("problem", problem), ("domain", domain))
    return [
        _finding(f"it is about this {name}", certificate[name]["fingerprint"] == part.fingerprint(), "sha256 compared")
        for name, part in parts
    ]


def _words(certificate: Mapping[str, Any], proxy: Proxy, problem: ParametricProblem) -> Finding:
    """Compare what a reader sees with what was checked: the claim's sentence and unit, and the problem's own data."""
    claim, told = certificate["claim"], certificate["problem"]
    unit = "1" if claim["measure"] == "relative" else problem.unit
    upper = np.inf if claim["upper"] is None else claim["upper"]
    lower = problem.least_gap if claim["lower"] is None else claim["lower"]
    verdict, ended = Verdict(claim["verdict"]), Termination(claim["termination"])
    says = statement(verdict, ended, (lower, upper), unit, certificate["domain"]["u"], problem)
    spec = proxy.manifest.problem.model_dump(mode="json")
    parts = {
        "statement": claim["statement"] == says,
        "unit": claim["unit"] == unit,
        **{f"problem.{key}": told[key] == value for key, value in spec.items() if key in told},
    }
    wrong = ", ".join(key for key, holds in parts.items() if not holds)
    return _finding("its words say what its numbers say", not wrong, f"not so: {wrong}" if wrong else "told again")


def _witness(certificate: Mapping[str, Any], proxy: Proxy, problem: ParametricProblem, domain: Domain) -> list[Finding]:
    claim, stored = certificate["claim"], certificate["witness"]
    if stored is None:
        least = None if np.isinf(problem.least_gap) else problem.least_gap
        return [
            _finding(
                "the lower bound was attained", claim["lower"] == least, f"no witness: only {least} may be claimed"
            )
        ]
    latent = np.array(stored["latent"], dtype=np.float64)
    again = replay(proxy, problem, domain, latent)
    gap = again.relative_gap if claim["measure"] == "relative" else again.gap
    near = abs(gap - claim["lower"]) <= REPLAY_TOLERANCE * max(1.0 if claim["measure"] == "absolute" else 0.0, abs(gap))
    wrong = _differences(stored, again, problem)
    moved = float(np.abs(again.latent - latent).max(initial=0.0))
    return [
        _finding("the witness lies in the domain", is_sound(again, domain) and moved <= 1e-12, f"moved by {moved:.1e}"),
        _finding(
            "the lower bound is attained at the witness", near, f"replayed {gap:.10g}, claimed {claim['lower']:.10g}"
        ),
        _finding(
            "decision and costs at the witness are its own", not wrong, f"not so: {wrong}" if wrong else "replayed"
        ),
    ]


def _differences(stored: Mapping[str, Any], again: Witness, problem: ParametricProblem) -> str:
    """Return the names of what a stored witness tells otherwise than its replay; a gap is as exact as the costs are."""
    (factor, _), cost = problem.display, max(1.0, abs(again.proxy_cost))
    told = (
        ("input", factor * again.input, 1.0),
        ("decision", factor * again.decision, 1.0),
        ("proxy_cost", again.proxy_cost, cost),
        ("optimal_cost", again.optimal_cost, cost),
        ("gap", again.gap, cost),
    )
    near = REPLAY_TOLERANCE
    return ", ".join(name for name, value, scale in told if not np.allclose(stored[name], value, near, near * scale))


def _upper(
    certificate: Mapping[str, Any],
    proxy: Proxy,
    problem: ParametricProblem,
    domain: Domain,
    samples: int,
    seed: int,
) -> Finding:
    claim = certificate["claim"]
    if claim["upper"] is None:
        return Finding("the upper bound", Standing.HOLDS, "none is claimed")
    gaps = sampled_gaps(proxy, problem, domain, samples, seed, claim["measure"] == "relative")
    largest = float(gaps.max(initial=problem.least_gap))
    upper, lower = claim["upper"], problem.least_gap if claim["lower"] is None else claim["lower"]
    holds = largest <= upper and lower <= upper + REPLAY_TOLERANCE * abs(upper)
    return _finding(
        "no random input contradicts the upper bound",
        holds,
        f"largest of {gaps.size}: {largest:.6g}, claimed {claim['upper']:.6g}",
    )
