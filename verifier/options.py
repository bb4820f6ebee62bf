"""What a user may choose about a verification, with the defaults and why they are so."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

import torch

from encoding.layers import Style
from problems.parametric import ParametricProblem
from solvers.errors import CertigapError
from verifier.attack import AttackOptions
from verifier.bounds.over_domain import Method


class OptionsError(CertigapError, ValueError):
    """An option, or a combination of them, makes no sense."""


@dataclass(frozen=True)
class VerifyOptions:
    """How to verify.

    Attributes:
        measure: the "absolute" gap in the problem's unit, or the "relative" one, divided by Phi(x).
        threshold: only ask whether the gap can exceed this (in the measure's unit); None asks for its largest value.
        tolerance: lower and upper count as equal when they differ by less than this share of the upper one.
        time_limit: seconds for everything.
        solver: see `solvers.registry.open_session`.
        formulation, style: see the package `encoding`.
        bounds: how the first bounds are made.
        rounds: most rounds of LP tightening; 0 for none.
        attack: how hard to attack first; `attack.rounds` = 0 for not at all. Before a model with few integers, which
            the MILP solver gets whole, it makes two rounds at most.
        split: split the domain when one MILP is too hard; False solves one MILP for as long as it takes.
        most_parts: parts of the domain that the search may work on; None for as many as it takes, 0 for no search.
        effort: nodes that the MILP solver may spend on the whole domain before it is split, five times as many while
            its bound closes in; parts get a quarter more.
        workers: processes that work on parts (1 works in this one), and threads that find exact values in the attack.
        use_start: hand the attack's witness to the MILP solver as a start; of use only without the cutoff.
        use_cutoff: tighten and search only where the gap exceeds what the attack attained.
        seed: of everything random.
    """

    measure: Literal["absolute", "relative"] = "absolute"
    threshold: float | None = None
    tolerance: float = 1e-3
    time_limit: float = 3600.0
    solver: str = "highs"
    formulation: Literal["compact", "bilevel"] = "compact"
    style: Style = "sign"
    bounds: Method = "crown"
    rounds: int = 10
    attack: AttackOptions = field(default_factory=AttackOptions)
    split: bool = True
    most_parts: int | None = None
    effort: int = 4000
    workers: int = 1
    use_start: bool = False
    use_cutoff: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.time_limit > 0:
            raise OptionsError(f"a time limit of {self.time_limit} s leaves no time; give at least one second")
        if not 0 < self.tolerance < 1:
            raise OptionsError(f"the tolerance {self.tolerance} must lie between 0 and 1; try 0.001")
        if self.workers < 1:
            raise OptionsError(f"{self.workers} workers cannot work; give at least one")
        if self.threshold is not None and not isfinite(self.threshold):
            raise OptionsError(f"a threshold of {self.threshold} asks nothing; give a number")
        if self.seed < 0:
            raise OptionsError(f"the seed {self.seed} is negative; give 0 or more")
        if self.attack.starts < 1 or self.attack.exact < 1 or self.attack.regions < 1:
            raise OptionsError("an attack needs at least one start, one exact point and one region")
        if self.most_parts is not None and self.most_parts < 0:
            raise OptionsError(f"{self.most_parts} parts cannot be searched; give 0 or more")
        if self.rounds < 0:
            raise OptionsError(f"{self.rounds} rounds of tightening cannot be done; give 0 or more")

    def check(self, problem: ParametricProblem) -> None:
        """Refuse what cannot be asked of a problem, before any work is done.

        Raises:
            OptionsError: the problem has no such gap, threshold or formulation, or this machine no such device.
        """
        if self.threshold is not None and self.threshold < problem.least_gap:
            raise OptionsError(f"a threshold of {self.threshold} asks nothing: a gap is never negative; give 0 or more")
        if self.measure == "relative" and problem.least_gap < 0:
            raise OptionsError(
                f"a {problem.kind} problem has no optimal value for a gap to be a share of; ask for the absolute gap"
            )
        if (self.attack.device or "").startswith("cuda") and not torch.cuda.is_available():
            raise OptionsError(
                "the attack was to run on a GPU, but none can be used here; choose the device cpu or auto"
            )
        if self.formulation == "bilevel" and not problem.convex:
            raise OptionsError(
                f"a {problem.kind} problem has no bilevel formulation, which needs the optimality conditions of a "
                "linear program; use the compact one"
            )
