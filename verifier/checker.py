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
from verifier.certificate import SCHEMA
from verifier.replay import is_sound, replay
from verifier.sampling import sampled_gaps

# Two exact solves of one linear program agree to this, relative.
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


def _witness(certificate: Mapping[str, Any], proxy: Proxy, problem: ParametricProblem, domain: Domain) -> list[Finding]:
    claim, stored = certificate["claim"], certificate["witness"]
    if stored is None:
        return [_finding("the lower bound was attained", claim["lower"] == 0.0, "no witness: only 0 may be claimed")]
    latent = np.array(stored["latent"], dtype=np.float64)
    again = replay(proxy, problem, domain, latent)
    gap = again.relative_gap if claim["measure"] == "relative" else again.gap
    near = abs(gap - claim["lower"]) <= REPLAY_TOLERANCE * max(1.0 if claim["measure"] == "absolute" else 0.0, abs(gap))
    moved = float(np.abs(again.latent - latent).max(initial=0.0))
    return [
        _finding("the witness lies in the domain", is_sound(again, domain) and moved <= 1e-12, f"moved by {moved:.1e}"),
        _finding(
            "the lower bound is attained at the witness", near, f"replayed {gap:.10g}, claimed {claim['lower']:.10g}"
        ),
    ]


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
    largest = float(gaps.max(initial=0.0))
    holds = largest <= claim["upper"] and claim["lower"] <= claim["upper"] * (1 + REPLAY_TOLERANCE)
    return _finding(
        "no random input contradicts the upper bound",
        holds,
        f"largest of {gaps.size}: {largest:.6g}, claimed {claim['upper']:.6g}",
    )
