"""What all nodes of one search share: the proxy, the problem, the domain, and what an objective bound is worth."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from encoding.bilevel import bilevel_model
from encoding.bounds import Bounds
from encoding.compact import compact_model
from encoding.formulation import GapModel
from encoding.margin import MARGIN
from encoding.problem import ObjectiveTerms, missing_rows, objective_terms
from problems.domain import Domain
from problems.interval import Interval, Vector
from problems.parametric import ParametricProblem
from proxies.layers import Layer
from proxies.proxy import Proxy, can_jump, latent_layers
from verifier.cut_store import CutStore
from verifier.options import VerifyOptions

# What a MILP solver's tolerances may be worth, as a share of the largest objective coefficient, or of the scores that a
# signed gap is a difference of: HiGHS was seen to prove 0 where 1e-5 is attained, and a bound that is 2.4e-6 too low.
# Inputs that show how large scores are.
SLACK, SHOWN = 1e-5, 64
# A goal is never below this many slacks: a proxy without any gap must close too.
LEAST_GOAL = 2


@dataclass(frozen=True)
class Task:
    """One verification, as a worker needs it.

    Attributes:
        proxy, problem, domain, options: what is verified, and how.
        values: limits of Phi over the domain that do not hold 0, for relative gaps.
        cuts: tangents of Phi, for bounds without a linear program.
        start: (n_w,) a latent vector that the MILP solver may start from.
    """

    proxy: Proxy
    problem: ParametricProblem
    domain: Domain
    options: VerifyOptions
    values: tuple[float, float] = (-np.inf, np.inf)
    cuts: CutStore | None = None
    start: Vector | None = None

    @cached_property
    def layers(self) -> Sequence[Layer]:
        """The proxy on the latent vector."""
        return latent_layers(self.proxy, self.domain)

    @cached_property
    def terms(self) -> ObjectiveTerms | None:
        """The objective by its terms, the same in every part of the domain; None where it has no such form."""
        return objective_terms(self.problem, self.domain)

    @property
    def relative(self) -> bool:
        return self.options.measure == "relative"

    def goal(self, lower: float) -> float:
        """Return the gap below which an input no longer matters, given the largest one attained so far."""
        threshold = self.options.threshold
        if threshold is not None and lower <= threshold:
            # What attains the threshold but for a solver's tolerances is not told apart from what exceeds it.
            return threshold - self.slack if lower < threshold - self.slack else threshold + 2 * self.slack
        # Nine tenths of the tolerance, so that rounding in a last comparison does not undo the stop.
        share = 0.9 * self.options.tolerance
        if not self.signed:
            return max(lower / (1 - share), self.least_goal)
        return lower + max(share * abs(lower), self.least_goal) if np.isfinite(lower) else lower

    def closed(self, lower: float, upper: float) -> bool:
        """Return whether an interval of the largest gap is as good as a point."""
        if not np.isfinite(upper - lower):
            return False
        tolerance, least = self.options.tolerance, self.least_goal * (1 + self.options.tolerance)
        if not self.signed:
            return upper - lower <= tolerance * upper or upper <= least
        return upper - lower <= max(tolerance * max(abs(lower), abs(upper)), least)

    @property
    def signed(self) -> bool:
        """Whether a gap may be negative: then 0 is a gap like any other, and no share of it closes an interval."""
        return self.problem.least_gap < 0

    @property
    def least_goal(self) -> float:
        """The gap (where gaps are signed: the difference of two) below which none counts, in the measure's unit."""
        if self.relative and self.least_size > 0:
            return LEAST_GOAL * self.solver_slack / self.least_size
        # A relative gap of a problem whose values are not bounded yet.
        return LEAST_GOAL * (SLACK if self.relative else self.solver_slack)

    @cached_property
    def slack(self) -> float:
        """How far a solver's answer may be off: a gap this close to a threshold is on neither side of it."""
        if self.signed:
            return self.solver_slack
        threshold = self.options.threshold
        return 0.0 if threshold is None else min(self.least_goal, threshold - self.problem.least_gap)

    @cached_property
    def solver_slack(self) -> float:
        """How far a MILP solver's bound may be off by its tolerances, in the problem's unit."""
        if not self.signed:
            return SLACK * self.problem.objective_scale
        shown = self.domain.to_input(np.vstack([self.domain.centre[None], self.domain.sample(SHOWN, 0)]))
        with torch.no_grad():
            scores = self.proxy(torch.as_tensor(shown)).abs()
        # Scores that are all 0 have no size of their own.
        return SLACK * (float(scores.max()) or self.problem.objective_scale)

    def ratio_and_cutoff(self, goal: float) -> tuple[float, float | None]:
        """Return Dinkelbach's ratio and the least objective of an input that matters, in the problem's unit."""
        cutoff = 0.0 if self.relative else goal
        return self.ratio(goal), (cutoff if self.options.use_cutoff else None)

    def ratio(self, gap: float) -> float:
        """Return the r at which c(x, pi(x)) - (1 + r) Phi(x) is positive where the gap exceeds `gap`; 0 if absolute.

        A relative gap is divided by |Phi|, and Phi may be negative.
        """
        return (gap if self.values[0] > 0 else -gap) if self.relative else 0.0

    @property
    def least_size(self) -> float:
        """A lower bound of |Phi| over the domain."""
        return max(self.values[0], -self.values[1], 0.0)

    def claim(self, objective: float, goal: float) -> float:
        """Return the gap that no input exceeds, from an upper bound of the objective at the ratio of `goal`.

        A solver's own claim must be given room first, see `trusted`.

        Inputs below the cutoff were left out of that bound, so the claim is never below the goal.
        """
        if self.signed:
            return max(objective + self.slack, goal)
        if not self.relative:
            return max(objective, goal)
        return goal + max(objective, 0.0) / self.least_size

    def trusted(self, objective: float) -> float:
        """Return a bound of the objective that a MILP solver claims, raised by what its tolerances may hide."""
        return objective if self.signed else objective + self.solver_slack

    def part(self, box: Interval) -> Domain:
        """Return the domain cut down to a latent box."""
        return replace(self.domain, box=box)

    def missing(self, model: GapModel, x: Vector) -> set[int]:
        """Return the optional rows that the optimum's y violates at a point of a model ((n,))."""
        return set(missing_rows(self.problem, self.domain, model.latent_of(x), model.optimum.of(x)))

    @property
    def jumps(self) -> bool:
        """See `can_jump`."""
        return can_jump(self.layers)

    def build(
        self,
        domain: Domain,
        bounds: Bounds,
        goal: float,
        *,
        cutoff: bool = True,
        kept: Collection[int] | None = None,
        clear: bool = False,
    ) -> GapModel:
        """Return the chosen formulation over a part of the domain.

        Args:
            domain, bounds: of the part.
            goal: see `goal`.
            cutoff: leave out what does not matter.
            kept: as in `compact_model`.
            clear: only points that stay clear of equalities at which the proxy jumps: for witnesses, not for bounds.
        """
        ratio, least = self.ratio_and_cutoff(goal)
        arguments = (self.layers, self.problem, domain, bounds, self.options.style, ratio, least if cutoff else None)
        if self.options.formulation == "bilevel":
            return bilevel_model(*arguments)
        return compact_model(*arguments, kept, MARGIN if clear and self.jumps else 0.0)
