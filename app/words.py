"""What people call the costs of a problem: the words of the command line and of the report, by problem type."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from problems.classification import Classification
from problems.dcopf import DcOpf
from problems.knapsack import Knapsack
from problems.parametric import ParametricProblem


@dataclass(frozen=True)
class Words:
    """How the costs of a problem are told.

    Attributes:
        worse: what a gap makes of the proxy's decision: "more" expensive than the best one, or "less" worth.
        sign: 1 where people count costs, -1 where they count the worth that a cost is minus of.
        best: what a relative gap is a share of.
        absolute: what an absolute gap is measured in.
        compared: a sentence on {proxy} and {best}, told as above; the gap is the {share} of the latter.

    Where a gap has no optimal value behind it, there is no `best`.
    """

    worse: str
    sign: float
    best: str
    absolute: str
    compared: str


@singledispatch
def words(problem: ParametricProblem) -> Words:
    """Return the words of a problem.

    Raises:
        NotImplementedError: nobody wrote any for the problem's type.
    """
    raise NotImplementedError(f"no words for the problem type {type(problem).__name__}")


@words.register
def _(problem: DcOpf) -> Words:
    return Words(
        worse="more",
        sign=1.0,
        best="cheapest cost",
        absolute="money",
        compared="the proxy pays {proxy} against {best}: {share} more than the optimum",
    )


@words.register
def _(problem: Knapsack) -> Words:
    return Words(
        worse="less",
        sign=-1.0,
        best="best choice",
        absolute="value",
        compared="the proxy's choice is worth {proxy} value, the best one {best}: {share} less",
    )


@words.register
def _(problem: Classification) -> Words:
    return Words(
        worse="of another class's lead",
        sign=1.0,
        best="",
        absolute="score",
        compared=f"the best other class's score less that of class {problem.label} is {{proxy}}",
    )
