"""Words and numbers of the command line: gaps, and a result in a few lines."""

from __future__ import annotations

import math

from app.words import words
from problems.parametric import ParametricProblem
from verifier.result import Result, Verdict, settles


def amount(value: float, unit: str) -> str:
    """Return a gap for people: "1,234 $/h", "3.21 %", or "unknown"."""
    if not math.isfinite(value):
        return "unknown"
    if unit == "1":
        return f"{100 * value:.4g} %"
    return f"{value:,.0f} {unit}" if abs(value) >= 1000 else f"{value:.4g} {unit}"


def summary(result: Result, problem: ParametricProblem, u: float) -> str:
    """Return the outcome in a few lines."""
    lower, upper = amount(result.lower, result.unit), amount(result.upper, result.unit)
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
        decimals = 0 if min(abs(proxy), abs(best)) >= 1000 else 2
        share = "unknown share" if math.isnan(result.relative) else f"{100 * result.relative:.2f} %"
        costs = {"proxy": f"{proxy:,.{decimals}f}", "best": f"{best:,.{decimals}f}", "share": share}
        lines.append(f"at the witness {told.compared.format(**costs)}")
    lines.append(f"ended: {result.termination.value} after {result.seconds['total']:.1f} s with {result.solver}")
    return "\n".join([*lines, *(f"note: {note}" for note in result.notes)])
