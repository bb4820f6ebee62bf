"""The report of a classifier: whether every input near a sample keeps its class, and the input that comes closest."""

from __future__ import annotations

import numpy as np
import torch
from markupsafe import Markup

from app.report import classification_figures as figures
from app.report.family import (
    Row,
    WorstCase,
    answer,
    network_in_words,
    question,
    samples_figure,
    sampling,
    setting,
    worst_case,
)
from app.report.numbers import number, plain, quantity
from problems.classification import Classification
from problems.domain import Domain
from problems.interval import Interval, Vector
from proxies.proxy import Proxy
from verifier.result import Result, Witness, settles
from verifier.rounding import DOWN

# Rows of the table of scores: the classes with the largest ones at the worst case.
MOST_CLASSES = 12


@question.register
def _(problem: Classification, domain: Domain) -> str:
    share = _radius(problem, domain)
    if share is None:
        return f"Is every input of the given domain of {problem.name} classified as class {problem.label}?"
    asked = f"Is {problem.name} classified as class {problem.label}"
    if share == 0:
        return f"{asked}?"
    ranged = problem.limits is not None
    moves = f"±{plain(100 * share)}\u00a0% of its range" if ranged else f"±{plain(share)} in its own unit"
    return f"{asked} wherever each feature moves by up to {moves}?"


@setting.register
def _(problem: Classification, proxy: Proxy, domain: Domain) -> str:
    free = int((domain.box.width > 0).sum())
    features = f"The sample has {problem.input_size:,} features, of which {free:,} move, each on its own"
    clipped = "" if problem.limits is None else ", within the range that it has"
    return (
        f"{features}{clipped}. The classifier is {network_in_words(proxy)}; it scores {problem.classes:,} classes. The "
        f"gap is the best other class's score less that of class {problem.label}: negative while class {problem.label} "
        "leads. A tie counts as right."
    )


@answer.register
def _(problem: Classification, result: Result) -> str:
    label, upper = problem.label, result.upper
    if not settles(result.verdict, result.termination):
        return f"Not decided: whether another class can lead class {label} is open; see the notes."
    if result.lower > 0:
        lead = quantity(result.lower, result.unit, rounding=DOWN)
        return f"No: at one input another class leads class {label} by {lead}."
    if upper < 0:
        lead = quantity(-upper, result.unit, rounding=DOWN)
        return f"Yes: class {label} leads every other class by at least {lead}."
    if upper == 0:
        return f"Yes: no other class has a larger score than class {label}."
    return f"Not decided: no input where another class leads class {label} was found, but none is excluded."


@sampling.register
def _(problem: Classification, result: Result, gaps: Vector) -> str:
    if gaps.size == 0:
        return "No random inputs were tried."
    wrong = int((gaps > 0).sum())
    closest = f"the best other class came closest with {quantity(float(gaps.max()), result.unit, rounding=DOWN)}"
    if wrong == 0:
        found = " The search for the worst case found one that is not." if result.lower > 0 else ""
        return f"All of {gaps.size:,} random inputs are classified as class {problem.label}; {closest}.{found}"
    return f"{wrong:,} of {gaps.size:,} random inputs are not classified as class {problem.label}; {closest}."


@samples_figure.register
def _(problem: Classification, result: Result, gaps: Vector) -> str:
    return figures.margins(gaps, result.lower, result.upper, result.unit) if gaps.size else ""


@worst_case.register
def _(problem: Classification, proxy: Proxy, domain: Domain, witness: Witness) -> WorstCase:
    order = np.argsort(-witness.decision, kind="stable")
    with torch.no_grad():
        before = proxy(torch.as_tensor(problem.centre)[None])[0].numpy()
    rival = max(problem.rivals, key=lambda j: float(witness.decision[j]))
    step = np.where(problem.step > 0, problem.step, np.inf)
    limits = Interval((domain.box.lower - problem.centre) / step, (domain.box.upper - problem.centre) / step)
    moved = (witness.input - problem.centre) / step
    names = [problem.names[k] if problem.names else str(k) for k in range(problem.input_size)]
    content = {
        "label": problem.label,
        "rival": rival,
        "ahead": witness.gap > 0,
        "scores": tuple(
            Row(str(j), (number(float(before[j])), number(float(witness.decision[j])))) for j in order[:MOST_CLASSES]
        ),
        "classes": problem.classes,
        "moved": int(np.count_nonzero(moved)),
        "features": problem.input_size,
        "inputs_figure": Markup(figures.features(names, limits, moved, problem.limits is not None)),
    }
    verb = "leads" if witness.gap > 0 else "comes closest to" if witness.gap < 0 else "ties with"
    place = f"{verb} class {problem.label}; the best other class there"
    return WorstCase(f"class {rival}", place, "worst_case_classification.html", content)


def _radius(problem: Classification, domain: Domain) -> float | None:
    """Return u where the domain is that of one, else None."""
    step = problem.step
    free = step > 0
    if not free.any():
        return 0.0
    moves = np.maximum(domain.box.upper - problem.centre, problem.centre - domain.box.lower)[free] / step[free]
    u = float(moves.max())
    whole = problem.domain(min(u, np.nextafter(1.0, 0.0))).box
    near = 1e-9 * (1 + np.abs(problem.centre) + step)
    same = np.abs(whole.lower - domain.box.lower) + np.abs(whole.upper - domain.box.upper) <= near
    return u if bool(same.all()) and not domain.cuts else None
