"""A result in sentences: the answer, what it is worth, how it ended, and what sampling would have said."""

from __future__ import annotations

import math

from app.report.numbers import number, quantity
from problems.interval import Vector
from verifier.result import Result, Termination, Verdict
from verifier.rounding import DOWN, UP

TEMPLATE = "report.html"
# A sampled gap above the upper bound by more than this share is a contradiction, not rounding.
CONTRADICTION = 1e-6
# Bounds within this share of each other are told as one number; both stand beside it.
CLOSED = 2e-3


ENDINGS = {
    Termination.OPTIMAL: "The search ran to its end.",
    Termination.TIME_LIMIT: "The time limit ended the work; more time could bring the bounds closer.",
    Termination.NODE_LIMIT: "The node limit ended the search; more nodes could bring the bounds closer.",
    Termination.THRESHOLD_DECIDED: "The work ended as soon as the threshold was decided; the bounds go no further.",
    Termination.CANCELLED: "The work was cancelled; the bounds are those reached until then.",
    Termination.ERROR: "An error ended the work; see the notes before using any of these numbers.",
}


def answer(result: Result, worse: str) -> str:
    """Return the certified interval in one sentence, the lower bound rounded down and the upper one up.

    Args:
        result: what was found.
        worse: what a gap makes of the proxy's decision: "more" or "less".
    """
    lower = quantity(result.lower, result.unit, rounding=DOWN)
    known = result.witness is not None
    if not math.isfinite(result.upper):
        return (
            f"At least {lower} {worse}, and how much at most is not known."
            if known
            else "Not known: neither a costly input nor an upper bound was found."
        )
    upper = quantity(result.upper, result.unit, rounding=UP)
    if not known:
        return f"At most {upper} {worse}; no input with a gap was found."
    if result.closed <= CLOSED and result.verdict in (Verdict.CERTIFIED, Verdict.FALSIFIED):
        return f"Up to {upper} {worse}."
    return f"At least {lower} and at most {upper} {worse}."


def conclusion(result: Result) -> str:
    """Return what a verdict means together with why the work ended, in one or two sentences."""
    known, bounded = result.witness is not None, math.isfinite(result.upper)
    by_threshold = result.termination is Termination.THRESHOLD_DECIDED
    if result.verdict is Verdict.CERTIFIED:
        if by_threshold:
            return "The threshold holds: no input of the domain has a larger gap."
        if known and result.termination is Termination.OPTIMAL:
            return "The worst case is known: one input attains it, and no input of the domain is worse."
        return "The upper bound holds for every input of the domain."
    if result.verdict is Verdict.FALSIFIED:
        shown = "the worst case found below shows it" if known else "its input is not part of this result"
        return f"The threshold does not hold: an input with a larger gap was found ({shown})."
    if result.verdict is Verdict.BOUNDED:
        if not bounded:
            return "The worst case is at least the lower bound; there is no upper bound yet."
        if result.closed <= CLOSED:
            return "The two bounds meet, but something speaks against certifying them: see the notes."
        apart = f"{number(result.closed, 3, UP, 2)}\u00a0% of the upper one"
        if not result.lower > 0:
            apart = quantity(result.upper - result.lower, result.unit, 3, UP)
        return f"The worst case lies between the two bounds; they are still {apart} apart."
    if result.termination is Termination.ERROR:
        return "Nothing is certified: the work ran into a defect."
    if known and not bounded:
        return "Nothing is certified from above. The lower bound is real: its input was replayed."
    if bounded:
        return "The two bounds hold, but they do not answer what was asked."
    return "Nothing is certified yet."


def seconds(result: Result) -> str:
    """Return the time taken, in all and by phase."""
    parts = [f"{phase} {duration(spent)}" for phase, spent in result.seconds.items() if phase != "total"]
    total = result.seconds.get("total", sum(result.seconds.values()))
    return f"{duration(total)} in all" + (f": {', '.join(parts)}" if parts else "")


def duration(seconds: float) -> str:
    """Write seconds for people."""
    if seconds < 60:
        return f"{number(seconds, 2)}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min {rest}\u00a0s"
    return f"{minutes // 60}\u00a0h {minutes % 60}\u00a0min"


def sampling(result: Result, gaps: Vector) -> str:
    """Compare the largest sampled gap with the worst case, in one or two sentences."""
    if gaps.size == 0:
        return "No random inputs were tried."
    largest = max(float(gaps.max()), 0.0)
    text = f"The largest of {gaps.size:,} random inputs was {quantity(largest, result.unit, rounding=DOWN)}"
    if largest == 0:
        return f"None of {gaps.size:,} random inputs had a gap." + (
            " Only the search for the worst case found one." if result.lower > 0 else ""
        )
    if result.lower > largest:
        return f"{text}, {number(result.lower / largest, 2, DOWN)} times smaller than the worst case that is attained."
    return f"{text}, more than the lower bound: the attack found nothing worse."


def contradiction(result: Result, gaps: Vector) -> str:
    """Say so where a sampled gap refutes the upper bound."""
    largest = float(gaps.max(initial=-math.inf))
    if largest <= result.upper or largest <= result.upper + CONTRADICTION * (1 + abs(result.upper)):
        return ""
    sampled = quantity(largest, result.unit, 8, DOWN)
    return (
        f"A sampled gap of {sampled} lies above the certified upper bound. One of the two is wrong: do not use this "
        "result, and report it as a defect."
    )
