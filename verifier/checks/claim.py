"""Whether a certificate's claim agrees with itself: bounds, verdict, termination, threshold, options."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from problems.domain import Domain
from problems.parametric import ParametricProblem
from proxies.proxy import Proxy
from verifier.certificate_schema import Certificate
from verifier.checks.finding import Finding, finding
from verifier.options import OptionsError
from verifier.result import Termination, Verdict
from verifier.task import Task

# An interval may be wider than the tolerance by this share of its width: both are computed, and rounded.
WIDTH_ROUNDING = 1e-9


def check_options(certificate: Certificate, problem: ParametricProblem) -> Finding:
    """Compare the options with the claim, and see whether such a problem can be asked so."""
    claim, options = certificate.claim, certificate.options
    names = ("measure", "threshold", "tolerance")
    wrong = [f"{name} is not that of the claim" for name in names if getattr(options, name) != getattr(claim, name)]
    try:
        # On which device an attack ran is no claim, and this machine may have another.
        replace(options, attack=replace(options.attack, device=None)).check(problem)
    except OptionsError as error:
        wrong.append(str(error))
    return finding(
        "the options fit the problem and the claim", not wrong, "; ".join(wrong) or f"compared: {', '.join(names)}"
    )


def check_logic(certificate: Certificate, proxy: Proxy, problem: ParametricProblem, domain: Domain) -> Finding:
    """See whether the bounds allow the verdict and the termination."""
    claim = certificate.claim
    lower = problem.least_gap if claim.lower is None else claim.lower
    upper = np.inf if claim.upper is None else claim.upper
    task = Task(proxy, problem, domain, certificate.options)
    closed = task.closed(lower, lower + (upper - lower) * (1 - WIDTH_ROUNDING))
    wrong = [
        *_about_bounds(lower, upper, problem),
        *_about_verdict(certificate, lower, upper, closed),
        *_about_termination(certificate, lower, upper, closed),
    ]
    return finding(
        "bounds, verdict, termination and threshold agree",
        not wrong,
        "; ".join(wrong) or f"{claim.verdict.value}, {claim.termination.value}",
    )


def _about_bounds(lower: float, upper: float, problem: ParametricProblem) -> list[str]:
    wrong = []
    if lower > upper:
        wrong.append(f"the lower bound {lower:.10g} exceeds the upper one {upper:.10g}")
    if lower < problem.least_gap:
        wrong.append(f"no gap is below {problem.least_gap:g}, and the lower bound is {lower:.10g}")
    return wrong


def _about_verdict(certificate: Certificate, lower: float, upper: float, closed: bool) -> list[str]:
    claim = certificate.claim
    if claim.verdict is Verdict.CERTIFIED and claim.threshold is None and not closed:
        return [f"certified, but the bounds are further apart than the tolerance {claim.tolerance:g}"]
    if claim.verdict is Verdict.CERTIFIED and claim.threshold is not None and not upper <= claim.threshold:
        return [f"certified, but the upper bound exceeds the threshold {claim.threshold:.10g}"]
    if claim.verdict is Verdict.FALSIFIED and claim.threshold is None:
        return ["falsified, but there is no threshold"]
    if claim.verdict is Verdict.FALSIFIED and claim.threshold is not None and not lower > claim.threshold:
        return [f"falsified, but no gap above the threshold {claim.threshold:.10g} was attained"]
    if claim.verdict is Verdict.UNKNOWN and np.isfinite(upper):
        return ["unknown, but there is an upper bound"]
    # A falsified threshold that another runtime does not confirm is told as bounded, whatever the upper bound.
    decided = claim.termination is Termination.THRESHOLD_DECIDED
    if claim.verdict is Verdict.BOUNDED and not np.isfinite(upper) and not decided:
        return ["bounded, but there is no upper bound"]
    return []


def _about_termination(certificate: Certificate, lower: float, upper: float, closed: bool) -> list[str]:
    claim, ended = certificate.claim, certificate.claim.termination
    threshold = claim.threshold
    settled = claim.verdict in (Verdict.CERTIFIED, Verdict.FALSIFIED)
    if ended is Termination.THRESHOLD_DECIDED and (
        threshold is None or claim.verdict is Verdict.UNKNOWN or not (lower > threshold or upper <= threshold)
    ):
        return ["ended with the threshold decided, but it is not"]
    if ended is Termination.OPTIMAL and threshold is None and not closed:
        return ["ended as optimal, but the bounds are apart"]
    if settled and ended is not (Termination.OPTIMAL if threshold is None else Termination.THRESHOLD_DECIDED):
        return [f"{claim.verdict.value}, but ended as {ended.value}"]
    if ended is Termination.ERROR and claim.verdict is not Verdict.UNKNOWN:
        return [f"ended with an error, but the verdict is {claim.verdict.value}"]
    return []
