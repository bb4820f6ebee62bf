"""What all nodes of one search share: the proxy, the problem, the domain, and what an objective bound is worth."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from encoding.bilevel import bilevel_model
from encoding.bounds import Bounds
from encoding.compact import compact_model
from encoding.formulation import GapModel
from encoding.problem import ObjectiveTerms, missing_rows, objective_terms
from problems.domain import Domain
from problems.interval import Interval, Vector
from problems.parametric import ParametricProblem
from proxies.layers import Layer
from proxies.proxy import Proxy, latent_layers
from verifier.cut_store import CutStore
from verifier.options import VerifyOptions

# A goal is never below this share of an objective coefficient: a proxy without any gap must close too.
LEAST_GOAL = 1e-6


@dataclass(frozen=True)
class Task:
    """One verification, as a worker needs it.

    Attributes:
        proxy, problem, domain, options: what is verified, and how.
        least_value: a lower bound of Phi over the domain, for relative gaps.
        cuts: tangents of Phi, for bounds without a linear program.
        start: (n_w,) a latent vector that the MILP solver may start from.
    """

    proxy: Proxy
    problem: ParametricProblem
    domain: Domain
    options: VerifyOptions
    least_value: float = 0.0
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
            return threshold
        least = LEAST_GOAL if self.relative else LEAST_GOAL * self.problem.objective_scale
        # Nine tenths of the tolerance, so that rounding in a last comparison does not undo the stop.
        return max(lower / (1 - 0.9 * self.options.tolerance), least)

    def ratio_and_cutoff(self, goal: float) -> tuple[float, float | None]:
        """Return Dinkelbach's ratio and the least objective of an input that matters, in the problem's unit."""
        ratio, cutoff = (goal, 0.0) if self.relative else (0.0, goal)
        return ratio, (cutoff if self.options.use_cutoff else None)

    def claim(self, objective: float, goal: float) -> float:
        """Return the gap that no input exceeds, from an upper bound of the objective at the ratio of `goal`.

        Inputs below the cutoff were left out of that bound, so the claim is never below the goal.
        """
        if not self.relative:
            return max(objective, goal)
        return goal + max(objective, 0.0) / self.least_value

    def part(self, box: Interval) -> Domain:
        """Return the domain cut down to a latent box."""
        return replace(self.domain, box=box)

    def missing(self, model: GapModel, x: Vector) -> set[int]:
        """Return the optional rows that the optimum's y violates at a point of a model ((n,))."""
        return set(missing_rows(self.problem, self.domain, model.latent_of(x), model.optimum.of(x)))

    def build(
        self, domain: Domain, bounds: Bounds, goal: float, *, cutoff: bool = True, kept: Collection[int] | None = None
    ) -> GapModel:
        """Return the chosen formulation over a part of the domain; `kept` as in `compact_model`."""
        ratio, least = self.ratio_and_cutoff(goal)
        arguments = (self.layers, self.problem, domain, bounds, self.options.style, ratio, least if cutoff else None)
        if self.options.formulation == "bilevel":
            return bilevel_model(*arguments)
        return compact_model(*arguments, kept)
