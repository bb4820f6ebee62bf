"""Classification inside a model: the best other class's lead over the label, one binary for each that may be best.

Source: Tjeng et al. 2019, section 4.2 (the maximum of several quantities).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyomo.environ as pyo

from encoding.block import Entry, Value, add_binaries, add_columns, is_number, linear, reach, rows
from encoding.bounds import Bounds
from encoding.problem import (
    Decision,
    LinearQuantity,
    encode_cost,
    encode_optimum,
    linear_quantities,
    quantity_bounds,
)
from problems.classification import Classification
from problems.domain import Domain
from problems.interval import Interval, Vector
from solvers.safe_bound import gamma

# The lead of each other class over the label: its score less the label's, in the order of `Classification.rivals`.
LEAD = "lead"


@linear_quantities.register
def _(problem: Classification, domain: Domain) -> dict[str, LinearQuantity]:
    of_decision = _differences(problem)
    count = len(of_decision)
    return {LEAD: LinearQuantity(of_decision, np.zeros((count, domain.size)), np.zeros(count))}


@quantity_bounds.register
def _(problem: Classification, domain: Domain, decision: Interval) -> dict[str, Interval]:
    label, others = problem.label, problem.rivals
    lower = decision.lower[others] - decision.upper[label]
    upper = decision.upper[others] - decision.lower[label]
    error = gamma(2) * (decision.magnitude[others] + decision.magnitude[label])
    return {LEAD: Interval(lower - error, upper + error)}


@encode_cost.register
def _(
    problem: Classification,
    block: pyo.Block,
    domain: Domain,
    latent: Sequence[Value],
    decision: Sequence[Value],
    bounds: Bounds,
) -> Decision:
    lead = bounds[LEAD]
    least = float(lead.lower.max())
    # Who never exceeds the largest lower limit need not be compared with the one that has it.
    able = sorted({int(lead.lower.argmax()), *np.flatnonzero(lead.upper > least).tolist()})
    leads = dict(zip(able, add_columns(block, "leads", lead, able)))
    row = rows(block, "rows")
    differences = _differences(problem)
    for k, value in leads.items():
        if not is_number(value):
            row.add(value == linear(differences[k], decision))
    most = max(float(lead.upper[k]) for k in able)
    block.margin = pyo.Var(bounds=(least, max(least, most)))
    margin = block.margin
    best = add_binaries(block, "best", able if len(able) > 1 else [])
    for k, value in leads.items():
        row.add(margin >= value)
        row.add(margin <= value + reach(most, lead.lower[k]) * (1 - best[k]) if best else margin <= value)
    if best:
        row.add(sum(best.values()) == 1)
    # A lower limit only serves to leave out rivals, which an upper one below all of them does as well.
    entries = [Entry(k, value, -np.inf, least) for k, value in leads.items() if not is_number(value)]
    return Decision(list(decision), margin, {LEAD: entries})


@encode_optimum.register
def _(
    problem: Classification,
    block: pyo.Block,
    domain: Domain,
    latent: Sequence[Value],
    kept: Collection[int] | None = None,
) -> Decision:
    """Scores that tie, which cost nothing at any input."""
    return Decision([0.0] * problem.classes, 0.0)


def _differences(problem: Classification) -> Vector:
    """Return the coefficients ((rivals, classes)) of each rival's score less the label's."""
    eye = np.eye(problem.classes)
    return eye[problem.rivals] - eye[problem.label]
