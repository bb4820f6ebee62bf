"""Checking a certificate: every claim that can be derived again is, and what must be trusted is listed.

Nothing that the certificate says of itself counts: what is trusted is this module's own list, and the inputs that are
tried against the upper bound come from a fresh seed.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import Any

import numpy as np

from problems.domain import Domain
from problems.errors import DomainError
from problems.parametric import ParametricProblem
from proxies.proxy import Proxy
from verifier.budget import Budget
from verifier.certificate_schema import Certificate, CertificateError
from verifier.checks.claim import check_logic, check_options
from verifier.checks.description import (
    check_description,
    check_file,
    check_fingerprints,
    check_statement,
    is_own_case,
)
from verifier.checks.finding import Finding, Standing, finding
from verifier.checks.neurons import check_neurons, cutoff_of
from verifier.checks.trial import Trial, corners, samples
from verifier.checks.witness import ModelFile, check_witness
from verifier.options import OptionsError
from verifier.result import Witness

# A drawn seed has so many bits: short enough to be typed, and too many to prepare a bound for each.
SEED_BITS = 32
# Most of the time left that the attack may take from the other inputs.
ATTACK_SHARE = 0.5
# Share of the time that is left for the neuron bounds.
NEURON_SHARE = 0.05


class Outcome(Enum):
    """What a check says of a whole certificate."""

    PROVED = "proved"
    CONSISTENT = "consistent"
    REFUTED = "refuted"


MEANING = {
    Outcome.PROVED: "every claim was derived again",
    Outcome.CONSISTENT: "nothing was found against it; the upper bound was not derived again",
    Outcome.REFUTED: "a claim is false",
}


@dataclass(frozen=True)
class CheckOptions:
    """How hard to try to exceed the upper bound.

    Attributes:
        samples: random inputs.
        attack_seconds: most time for an attack after them; 0 for none.
        time_limit: seconds for everything; a single exact solve is not interrupted.
        seed: of all inputs; None draws one that the author of a certificate could not know.
    """

    samples: int = 1000
    attack_seconds: float = 5.0
    time_limit: float = 60.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise OptionsError(f"{self.samples} samples cannot be drawn; give 0 or more")
        if not (isfinite(self.attack_seconds) and self.attack_seconds >= 0):
            raise OptionsError(f"an attack of {self.attack_seconds} s makes no sense; give 0 or more seconds")
        if not (isfinite(self.time_limit) and self.time_limit > 0):
            raise OptionsError(f"a time limit of {self.time_limit} s leaves no time; give at least one second")
        if self.seed is not None and self.seed < 0:
            raise OptionsError(f"the seed {self.seed} is negative; give 0 or more")


@dataclass(frozen=True)
class Check:
    """What a check found.

    Attributes:
        outcome: of the whole; `MEANING` says what it says.
        findings: one for each claim.
        seed: of the inputs that were tried; the same one tries them again.
    """

    outcome: Outcome
    findings: tuple[Finding, ...]
    seed: int

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain data, for JSON."""
        rows = [{"claim": f.claim, "standing": f.standing.value, "detail": f.detail} for f in self.findings]
        return {"outcome": self.outcome.value, "meaning": MEANING[self.outcome], "seed": self.seed, "findings": rows}


def check_certificate(
    certificate: Certificate,
    proxy: Proxy,
    problem: ParametricProblem,
    options: CheckOptions | None = None,
    file: ModelFile | None = None,
) -> Check:
    """Check a certificate against the proxy and the problem that it claims to be about.

    Args:
        certificate: see `read_certificate`.
        proxy, problem: rebuilt from the model file.
        options: how hard to try; the defaults take seconds, a minute at most.
        file: the model file, where it is at hand.

    Raises:
        CertificateError: the certificate names a domain that this problem does not have.
    """
    options = options or CheckOptions()
    budget = Budget(options.time_limit)
    seed = secrets.randbits(SEED_BITS) if options.seed is None else options.seed
    try:
        domain = problem.domain(certificate.domain.u)
    except DomainError as error:
        raise CertificateError(f"the certificate's domain cannot be built ({error}); nothing was checked") from error
    findings = check_fingerprints(certificate, proxy, problem, domain)
    if any(f.standing is Standing.FAILS for f in findings):
        why = "not checked: the certificate is about something else"
        return Check(Outcome.REFUTED, (*findings, Finding("all other claims", Standing.TRUSTED, why)), seed)
    findings += [] if file is None else check_file(certificate, file.sha256)
    findings += [
        check_description(certificate, proxy, problem, domain),
        check_statement(certificate, problem),
        check_options(certificate, problem),
        check_logic(certificate, proxy, problem, domain),
    ]
    told, witness = check_witness(certificate, proxy, problem, domain, file)
    findings += told
    findings += _check_upper(certificate, proxy, problem, domain, witness, options, seed, budget)
    findings += _trusted(certificate, proxy, file)
    return Check(_outcome(findings), tuple(findings), seed)


def _outcome(findings: list[Finding]) -> Outcome:
    # Nothing proves an upper bound again yet, so that nothing is more than consistent.
    failed = any(f.standing is Standing.FAILS for f in findings)
    return Outcome.REFUTED if failed else Outcome.CONSISTENT


def _check_upper(
    certificate: Certificate,
    proxy: Proxy,
    problem: ParametricProblem,
    domain: Domain,
    witness: Witness | None,
    options: CheckOptions,
    seed: int,
    budget: Budget,
) -> list[Finding]:
    """Try to exceed the upper bound, and look at the neuron bounds where gaps are large."""
    claim, cutoff = certificate.claim, cutoff_of(certificate)
    if claim.upper is None:
        shown = [witness.latent] if witness is not None and witness.gap > cutoff else []
        return check_neurons(certificate, proxy, problem, domain, shown, budget)
    trial = Trial(proxy, problem, domain, claim.upper, claim.measure == "relative", cutoff)
    trying = budget.part(budget.left * (1 - NEURON_SHARE))
    attack_seconds = min(options.attack_seconds, ATTACK_SHARE * trying.left)
    sampling = budget.part(trying.left - attack_seconds)
    of_corners, of_samples, of_attack = (int(part) for part in np.random.SeedSequence(seed).generate_state(3))
    if witness is not None:
        trial.take_witness(witness)
    at_corners = trial.try_inputs(corners(domain, of_corners), sampling)
    at_random = trial.try_inputs(samples(domain, options.samples, of_samples), sampling)
    began = trying.elapsed
    if attack_seconds > 0 and not trial.refuted:
        trial.attack(attack_seconds, of_attack)
    parts = [
        f"{at_random} of {options.samples} random inputs",
        f"{at_corners} corners",
        f"{trying.elapsed - began:.1f} s of attack",
        *(["the witness"] if witness is not None else []),
    ]
    tried = f"{', '.join(parts)}; seed {seed}"
    if at_corners + at_random == 0 and not trial.refuted:
        told = Finding("the upper bound could not be tried", Standing.TRUSTED, f"{tried}; give it more time")
    else:
        detail = f"largest gap {trial.largest:.10g}, claimed at most {claim.upper:.10g}: {tried}"
        told = finding("no input tried exceeds the upper bound", not trial.refuted, detail)
    return [told, *check_neurons(certificate, proxy, problem, domain, trial.kept, budget)]


def _trusted(certificate: Certificate, proxy: Proxy, file: ModelFile | None) -> list[Finding]:
    """Return what this check did not do."""
    fields = ["solver", "nodes", "sizes", "stability", "seconds", "notes", "versions", "trusted"]
    fields.append("options (but for measure, threshold and tolerance)")
    if is_own_case(proxy):
        fields += ["problem.case", "problem.name"]
    if file is None or not certificate.proxy.file_sha256:
        fields.append("proxy.file_sha256")
    if file is None and certificate.witness is not None and certificate.witness.onnxruntime_gap is not None:
        fields.append("witness.onnxruntime_gap")
    unchecked = Finding("the other fields are true", Standing.TRUSTED, f"not checked: {', '.join(fields)}")
    if certificate.claim.upper is None:
        return [unchecked]
    why = "not derived again: it rests on the solver's dual bounds and on the encodings of the layers and the problem"
    return [Finding("no input of the domain exceeds the upper bound", Standing.TRUSTED, why), unchecked]
