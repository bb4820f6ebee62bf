"""The exact gap at one input, and how far its evaluation may be off."""

from __future__ import annotations

from dataclasses import dataclass

from problems.parametric import ParametricProblem
from verifier.replay import cost_size
from verifier.result import Witness

# What an input attains holds in every order of summation, but an upper bound may rest on a solver that keeps its own
# tolerances: it counts as contradicted where the gap exceeds it by more than this share of the costs.
GAP_ROUNDING = 1e-9


@dataclass(frozen=True)
class ExactGap:
    """A gap that is attained, in the measure's unit; `rounding` is by how much it must exceed a bound to refute it."""

    value: float
    rounding: float


def exact_gap(witness: Witness, problem: ParametricProblem, relative: bool) -> ExactGap:
    """Return the gap of a replayed input, absolute or divided by |Phi|."""
    rounding = GAP_ROUNDING * cost_size(problem, witness)
    if not relative:
        return ExactGap(witness.attained, rounding)
    size = abs(witness.optimal_cost)
    return ExactGap(witness.least(relative), rounding / size if size > 0 else 0.0)
