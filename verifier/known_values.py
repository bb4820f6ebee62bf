"""What an attack knows of Phi: exact values where it asked, and from them an estimate everywhere.

Where Phi is convex the estimate is the largest stored tangent, nowhere above Phi: the estimated gap over-states (Chen
et al. 2024, section 5). Where it is not, it is the cost of the best stored decision that the input allows, nowhere
below Phi: the estimated gap under-states.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from problems.domain import Domain
from problems.errors import InputError, SolveTimeoutError
from problems.interval import Vector
from problems.parametric import ParametricProblem
from verifier.budget import Budget
from verifier.cut_store import CutStore
from verifier.value_function import ValueFunction

# From latent vectors ((batch, n_w)) to estimates of Phi ((batch,)), differentiable.
Estimate = Callable[[Tensor], Tensor]
# Most decisions that an estimate compares; the latest ones.
COMPARED = 64
# A climb may use its budget up; the linear programs of its points take milliseconds each, and get seconds more.
GRACE = 2.0
# A stored decision counts as allowed while it is infeasible by no more than this.
ALLOWED = 1e-9


class KnownValues(ABC):
    """Phi(T w + t) of one problem and domain, as far as it is known."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of tangents or decisions."""

    @abstractmethod
    def learn(self, points: Vector, workers: int = 1, keep: bool = True, budget: Budget | None = None) -> Vector:
        """Return Phi at latent vectors ((batch, n_w)); inf where P(x) is infeasible or its value was not found.

        Args:
            points: where.
            workers: threads; the result does not depend on how many.
            keep: remember what the estimate can use.
            budget: points whose turn comes after it is spent have no value, nor has one whose solve it ends.
        """

    @abstractmethod
    def estimate(self, device: torch.device) -> Estimate:
        """Return the estimate that what is known now gives."""


def known_values(
    problem: ParametricProblem, domain: Domain, cuts: CutStore | None = None, seconds: float = np.inf
) -> KnownValues:
    """Return an empty memory of the kind that the problem's Phi allows.

    Args:
        problem, domain: whose Phi it is.
        cuts: tangents known beforehand; left as they are.
        seconds: most that its first linear program may take, where it needs one.

    Raises:
        CutStoreError: `cuts` belongs to another problem or map.
    """
    if cuts is not None:
        cuts.check(problem, domain)
    return KnownTangents(problem, domain, cuts, seconds) if problem.convex else KnownDecisions(problem, domain)


class KnownTangents(KnownValues):
    """A convex Phi by its tangents; arguments as for `known_values`."""

    def __init__(
        self, problem: ParametricProblem, domain: Domain, cuts: CutStore | None = None, seconds: float = np.inf
    ) -> None:
        self.function = ValueFunction(problem, domain, seconds)
        self.cuts = CutStore(problem, domain) if cuts is None else cuts.copy()

    def __len__(self) -> int:
        return len(self.cuts)

    def learn(self, points: Vector, workers: int = 1, keep: bool = True, budget: Budget | None = None) -> Vector:
        found = self.function.cuts(points, workers, np.inf if budget is None else max(budget.left, GRACE))
        if keep:
            self.cuts.add(cut for cut in found if cut is not None)
        return np.array([np.inf if cut is None else cut.value for cut in found])

    def estimate(self, device: torch.device) -> Estimate:
        constants, slopes = (torch.as_tensor(part, device=device) for part in self.cuts.affine())
        return lambda w: (constants + w @ slopes.T).amax(-1)


class KnownDecisions(KnownValues):
    """Any Phi by optimal decisions of inputs that were solved."""

    def __init__(self, problem: ParametricProblem, domain: Domain) -> None:
        self.problem, self.domain = problem, domain
        self._decisions: dict[bytes, Vector] = {}

    def __len__(self) -> int:
        return len(self._decisions)

    def learn(self, points: Vector, workers: int = 1, keep: bool = True, budget: Budget | None = None) -> Vector:
        values = np.full(len(points), np.inf)
        for k, x in enumerate(self.domain.to_input(points)):
            if budget is not None and budget.spent:
                break
            try:
                values[k], decision = self.problem.solve(x, seconds=np.inf if budget is None else budget.left)
            except InputError:
                continue
            except SolveTimeoutError:
                break
            if keep:
                # The latest last: those are the ones that an estimate compares.
                self._decisions.pop(decision.tobytes(), None)
                self._decisions[decision.tobytes()] = decision
        return values

    def estimate(self, device: torch.device) -> Estimate:
        stored = torch.as_tensor(np.stack(list(self._decisions.values())[-COMPARED:]), device=device)
        matrix = torch.as_tensor(self.domain.matrix.toarray(), device=device).T.contiguous()
        shift = torch.as_tensor(self.domain.shift, device=device)

        def cost(w: Tensor) -> Tensor:
            x = w @ matrix + shift
            batch, count = len(x), len(stored)
            # Every input with every decision.
            inputs = x[:, None].expand(batch, count, -1).reshape(batch * count, -1)
            decisions = stored.expand(batch, count, -1).reshape(batch * count, -1)
            costs = self.problem.objective(inputs, decisions).reshape(batch, count)
            outside = self.problem.infeasibility(inputs, decisions).reshape(batch, count) > ALLOWED
            return costs.masked_fill(outside, torch.inf).amin(-1)

        return cost
