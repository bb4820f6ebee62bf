"""What the engine needs to know of a parametric optimization problem P(x): min c(x, y) s.t. y in Y(x)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from problems.domain import Domain
from problems.interval import Interval, Vector


class ParametricProblem(ABC):
    """A family of optimization problems, one for each input x. Immutable.

    Attributes:
        kind: the family's name, as in a manifest ("dcopf").
        name: the instance's name, as a user knows it.
        unit: unit of the objective and so of every gap.
        convex: whether Phi is convex in x (x only moves right-hand sides of a linear program), so that it has tangents.
        least_gap: no gap is smaller: 0 where Phi is an optimal value, -inf where c is compared with a level that a
            proxy may also be better than.
    """

    kind: str
    name: str
    unit: str
    convex: bool = True
    least_gap: float = 0.0

    @property
    @abstractmethod
    def input_size(self) -> int:
        """Number of entries of x."""

    @property
    @abstractmethod
    def decision_size(self) -> int:
        """Number of entries of y."""

    @abstractmethod
    def domain(self, u: float) -> Domain:
        """Return the inputs within the relative size `u` of the nominal one; raises DomainError where none is left."""

    @abstractmethod
    def objective(self, x: Tensor, y: Tensor) -> Tensor:
        """Return c(x, y) ((batch,)) for x (batch, n_x) and y (batch, n_y), differentiable."""

    @abstractmethod
    def objective_range(self, x: Vector, decision: Interval) -> tuple[float, float]:
        """Return limits of c(x, y) at one x ((n_x,)) for every y in a box ((n_y,)), rounded outward."""

    def pressures(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the terms whose positive part the objective pays ((batch, m)): what an attack drives up first.

        Where none is positive yet the objective has no slope toward them. A problem without such terms has m = 0.
        """
        return y[:, :0]

    def value_floor(self, x: Tensor) -> Tensor | None:
        """Return a lower limit of Phi for each x ((batch,)) that costs little, None where the problem knows none.

        An attack ranks inputs by it before it asks for their exact values.
        """
        return None

    @abstractmethod
    def infeasibility(self, x: Tensor, y: Tensor) -> Tensor:
        """Return how far y is outside Y(x) ((batch,)), in the unit of y; 0 when feasible."""

    @property
    def display(self) -> tuple[float, str]:
        """Factor and unit that turn the engine's inputs and decisions into what people read."""
        return 1.0, ""

    @property
    @abstractmethod
    def objective_scale(self) -> float:
        """Typical size of an objective coefficient; models are divided by it to suit the solvers' tolerances."""

    @abstractmethod
    def solve(self, x: NDArray[np.float64], *, seconds: float = np.inf) -> tuple[float, NDArray[np.float64]]:
        """Return (Phi(x), an optimal y) for one x ((n_x,)), by a path that shares nothing with the engine's models.

        Args:
            x: the input.
            seconds: most wall-clock time that it may take.

        Raises:
            InputError: P(x) is infeasible.
            SolveTimeoutError: `seconds` did not suffice.
        """

    def value_range(self, domain: Domain, *, seconds: float = np.inf) -> tuple[float, float]:
        """Return valid limits of Phi over the domain, (-inf, inf) where the problem knows none by itself.

        They are valid, and wider, where `seconds` do not suffice.
        """
        return -np.inf, np.inf

    def reading(self, lower: float, upper: float, decided: bool = True) -> str:
        """Return what an interval of the largest gap says in the family's own words; "" where nothing more.

        Args:
            lower, upper: the interval.
            decided: False where something speaks against the interval, or it does not answer what was asked.
        """
        return ""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a sha256 over all data of the problem."""
