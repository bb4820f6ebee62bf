"""The exact gap at one input, and how far its evaluation may be off."""

from __future__ import annotations

from dataclasses import dataclass

from problems.parametric import ParametricProblem
from verifier.replay import cost_size
from verifier.result import Witness

# An evaluated gap may be off by this share of the costs whose difference it is: each is a sum of up to thousands of
# rounded terms behind a network's forward pass. Honest bounds were seen to be exceeded by 1e-12 of the costs; there is
# no rigorous bound of this error yet, which would replace the constant.
GAP_ROUNDING = 1e-9


@dataclass(frozen=True)
class ExactGap:
    """A replayed gap in the measure's unit; `rounding` is how far its evaluation may be off."""

    value: float
    rounding: float


def exact_gap(witness: Witness, problem: ParametricProblem, relative: bool) -> ExactGap:
    """Return the gap of a replayed input, absolute or divided by |Phi|."""
    rounding = GAP_ROUNDING * cost_size(problem, witness)
    if not relative:
        return ExactGap(witness.gap, rounding)
    size = abs(witness.optimal_cost)
    return ExactGap(witness.relative_gap, rounding / size if size > 0 else 0.0)
