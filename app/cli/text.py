"""A result in a few lines on the command line."""

from __future__ import annotations

import math

from app.words import words
from problems.parametric import ParametricProblem
from verifier.result import Result, Verdict, settles
from verifier.rounding import LARGEST_WHOLE, lower_amount, number, upper_amount


def summary(result: Result, problem: ParametricProblem, u: float) -> str:
    """Return the outcome in a few lines."""
    lower, upper = lower_amount(result.lower, result.unit), upper_amount(result.upper, result.unit)
    where = f"{problem.name}, u = {100 * u:g} %"
    first = {
        Verdict.CERTIFIED: f"certified: on {where}, the worst-case gap is between {lower} and {upper}",
        Verdict.FALSIFIED: f"falsified: on {where}, a gap of {lower} was attained",
        Verdict.BOUNDED: f"bounded: on {where}, the worst-case gap is between {lower} and {upper}",
        Verdict.UNKNOWN: f"unknown: on {where}, a gap of {lower} was attained; no upper bound is known",
    }[result.verdict]
    lines = [
        first,
        *filter(None, [problem.reading(result.lower, result.upper, settles(result.verdict, result.termination))]),
    ]
    if result.witness is not None:
        told = words(problem)
        proxy, best = (told.sign * cost + 0.0 for cost in (result.witness.proxy_cost, result.witness.optimal_cost))
        share = "unknown share" if math.isnan(result.relative) else lower_amount(result.relative, "1")
        costs = {"proxy": _cost(proxy, best), "best": _cost(best, proxy), "share": share}
        lines.append(f"at the witness {told.compared.format(**costs)}")
    lines.append(f"ended: {result.termination.value} after {result.seconds['total']:.1f} s with {result.solver}")
    return "\n".join([*lines, *(f"note: {note}" for note in result.notes)])


def _cost(cost: float, other: float) -> str:
    """Write a cost beside another one, both with as many decimals; from 10^15 on with six digits."""
    if not abs(cost) < 10**LARGEST_WHOLE:
        return number(cost, 6)
    return f"{cost:,.{0 if min(abs(cost), abs(other)) >= 1000 else 2}f}"
