"""Whether the stored bounds of intermediate values are those of this proxy, and hold at inputs that were tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from encoding.bounds import input_key
from problems.domain import Domain
from problems.interval import Interval, Vector
from problems.parametric import ParametricProblem
from proxies.layers import Layer
from proxies.proxy import Proxy, latent_layers
from verifier.bounds.over_domain import proxy_bounds
from verifier.budget import Budget
from verifier.certificate_schema import Certificate, IntervalPart
from verifier.checks.finding import Finding, finding

# Bounds come from linear programs and rounded sums: a value may be outside by this share of its layer's largest one.
BOUND_ROUNDING = 1e-6
CLAIM = "the neuron bounds belong to this proxy and hold at the inputs tried"


def cutoff_of(certificate: Certificate) -> float:
    """Return the gap above which the stored bounds must hold: inf where no input can show anything.

    The cutoff of a relative gap belongs to a ratio that is not stored.
    """
    if certificate.bounds is None:
        return np.inf
    if certificate.bounds.cutoff is None:
        return -np.inf
    return np.inf if certificate.claim.measure == "relative" else certificate.bounds.cutoff


def check_neurons(
    certificate: Certificate,
    proxy: Proxy,
    problem: ParametricProblem,
    domain: Domain,
    tried: Sequence[Vector],
    budget: Budget,
) -> list[Finding]:
    """Check the stored bounds, where there are any.

    Args:
        certificate, proxy, problem, domain: as for `check_certificate`.
        tried: latent vectors whose gaps exceed `cutoff_of`.
        budget: ends the look at them.
    """
    if certificate.bounds is None:
        return []
    layers = latent_layers(proxy, domain)
    box = _interval(certificate.bounds.latent)
    bounds = {key: _interval(part) for key, part in certificate.bounds.intervals.items()}
    wrong = _shapes(bounds, box, _values(layers, problem, domain, domain.centre), domain)
    seen = 0
    for latent in tried:
        if wrong or budget.spent:
            break
        if not box.contains(latent):
            continue
        seen += 1
        values = _values(layers, problem, domain, latent)
        wrong = [f"a tried input has another value of {key}" for key, one in values.items() if _apart(bounds[key], one)]
    return [finding(CLAIM, not wrong, "; ".join(wrong) or f"{len(bounds)} boxes, {seen} inputs")]


def _values(layers: Sequence[Layer], problem: ParametricProblem, domain: Domain, latent: Vector) -> dict[str, Interval]:
    """Return every intermediate value at one latent vector, as an interval that holds its rounding."""
    point = replace(domain, box=Interval(latent, latent))
    return dict(proxy_bounds(layers, problem, point, "interval").intervals)


def _shapes(bounds: Mapping[str, Interval], box: Interval, values: Mapping[str, Interval], domain: Domain) -> list[str]:
    wrong = [f"{key} is missing" for key in values if key not in bounds]
    wrong += [f"{key[:40]!r} is no value of this proxy" for key in bounds if key not in values]
    for key, interval in bounds.items():
        if key in values and not len(interval.lower) == len(interval.upper) == len(values[key]):
            wrong.append(f"{key} should have {len(values[key])} entries")
        elif not (interval.lower <= interval.upper).all():
            wrong.append(f"{key} has a lower limit above its upper one")
    if wrong:
        return wrong
    first = bounds[input_key(0)]
    if not (np.array_equal(first.lower, box.lower) and np.array_equal(first.upper, box.upper)):
        wrong.append(f"the latent box is not that of {input_key(0)}")
    elif (box.lower < domain.box.lower).any() or (box.upper > domain.box.upper).any():
        wrong.append("the latent box is larger than the domain's")
    return wrong


def _apart(bounds: Interval, value: Interval) -> bool:
    slack = BOUND_ROUNDING * float(value.magnitude.max(initial=0.0))
    return bool(((value.lower > bounds.upper + slack) | (value.upper < bounds.lower - slack)).any())


def _interval(part: IntervalPart) -> Interval:
    """Return a stored box; null is an infinite end."""
    lower = np.array([-np.inf if end is None else end for end in part.lower], dtype=np.float64)
    upper = np.array([np.inf if end is None else end for end in part.upper], dtype=np.float64)
    return Interval(lower, upper)
