"""Knapsack: the most valuable choice of items within a capacity, where item values and the capacity are the inputs.

Source: Chen et al. 2024 (compact optimality verification), eq. (10), (20), section 7; the recursion is Bellman's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from problems.deadline import Deadline
from problems.domain import Domain
from problems.errors import DomainError, InputError, InstanceError, SolveTimeoutError
from problems.interval import Interval, Vector, affine_range
from problems.knapsack_choice import ROUNDING, best_choice
from problems.parametric import ParametricProblem
from solvers.errors import SolverFailedError
from solvers.linear_model import LinearModel
from solvers.registry import open_session
from solvers.safe_bound import gamma
from solvers.session import Status

# Items times units of capacity that an exact solve may have to go through: some seconds, and below a gigabyte.
LARGEST_TABLE = 2_000_000_000
# Totals of integer weights below this are exact in float64, with room to spare.
LARGEST_TOTAL_WEIGHT = 2**50
# The largest value is 0 or between these: no sum, quotient or product of two leaves the range of float64.
VALUE_RANGE = (1e-100, 1e100)


@dataclass(frozen=True)
class Knapsack(ParametricProblem):
    """P(v, C): min -v'y  s.t.  weights'y <= C, y in {0, 1}^n.

    The input x is the n item values, then the capacity C, which need not be an integer.

    Attributes:
        name: of the instance.
        values: (n,) nominal item values, not negative.
        weights: (n,) positive integers.
        capacity: nominal capacity, in the unit of the weights, not negative.
    """

    name: str
    values: Vector
    weights: NDArray[np.int64]
    capacity: float

    kind = "knapsack"
    unit = "value"
    convex = False

    def __post_init__(self) -> None:
        values, weights = (np.asarray(part, dtype=np.float64) for part in (self.values, self.weights))
        if values.ndim != 1 or values.size == 0 or values.shape != weights.shape:
            raise InstanceError(
                f"{self.name}: there are {values.size} values and {weights.size} weights; give one of each an item"
            )
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise InstanceError(f"{self.name}: item values must be finite and not negative")
        most = float(values.max())
        if most > 0 and not VALUE_RANGE[0] <= most <= VALUE_RANGE[1]:
            raise InstanceError(
                f"{self.name}: the largest item value is {most:g}; use a unit in which it is between "
                f"{VALUE_RANGE[0]:g} and {VALUE_RANGE[1]:g}"
            )
        if not (np.isfinite(weights).all() and (weights == np.floor(weights)).all() and (weights >= 1).all()):
            raise InstanceError(f"{self.name}: weights must be positive integers; multiply or round them")
        with np.errstate(over="ignore"):
            total = float(weights.sum())
        if total > LARGEST_TOTAL_WEIGHT:
            raise InstanceError(
                f"{self.name}: the items weigh {total:.3g} in all, more than {LARGEST_TOTAL_WEIGHT:.3g}; use a coarser "
                "unit of weight"
            )
        if not 0 <= self.capacity <= LARGEST_TOTAL_WEIGHT:
            raise InstanceError(
                f"{self.name}: the capacity is {self.capacity}; it must be finite, not negative, and at most "
                f"{LARGEST_TOTAL_WEIGHT:.3g}"
            )
        # No domain asks for more than twice the nominal capacity.
        room = min(2 * self.capacity, total)
        if values.size * (room + 1) > LARGEST_TABLE:
            raise InstanceError(
                f"{self.name}: an exact solve could need {values.size} items times {room:.3g} units of capacity, more "
                f"than {LARGEST_TABLE:.3g} steps; use a coarser unit of weight"
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "weights", weights.astype(np.int64))
        object.__setattr__(self, "capacity", float(self.capacity))

    @property
    def items(self) -> int:
        """Number of items, n."""
        return int(self.values.size)

    @property
    def input_size(self) -> int:
        return self.items + 1

    @property
    def decision_size(self) -> int:
        return self.items

    @cached_property
    def nominal(self) -> Vector:
        """(n + 1,) the input at u = 0."""
        return np.append(self.values, self.capacity)

    def domain(self, u: float) -> Domain:
        """Return the inputs whose every entry is within (1 +- u) of its nominal value; the latent vector is x itself.

        Raises:
            DomainError: u is not in [0, 1).
        """
        if not 0 <= u < 1:
            raise DomainError(f"u = {u} is not a share between 0 and 1; write 5 % as 0.05")
        box = Interval((1 - u) * self.nominal, (1 + u) * self.nominal)
        names = (*(f"value[{i}]" for i in range(self.items)), "capacity")
        identity = sparse.csr_array(sparse.eye_array(self.input_size))
        return Domain(box, identity, np.zeros(self.input_size), (), names)

    def objective(self, x: Tensor, y: Tensor) -> Tensor:
        """Return minus the total value of the chosen items ((batch,))."""
        return -(x[:, :-1] * y).sum(-1)

    def objective_range(self, x: Vector, decision: Interval) -> tuple[float, float]:
        ends = np.stack([x[:-1] * decision.lower, x[:-1] * decision.upper])
        error = gamma(self.items) * float(np.abs(ends).max(axis=0).sum())
        return -float(ends.max(axis=0).sum()) - error, -float(ends.min(axis=0).sum()) + error

    def value_floor(self, x: Tensor) -> Tensor:
        """Return the value of the relaxation in which items can be divided: the best by weight first (Dantzig 1957)."""
        values, weights = x[:, :-1].clamp(min=0), torch.as_tensor(self.weights, dtype=x.dtype, device=x.device)
        order = (values / weights).argsort(-1, descending=True)
        ordered = weights[order]
        room = x[:, -1:].floor() - (ordered.cumsum(-1) - ordered)
        return -((room / ordered).clamp(0.0, 1.0) * values.gather(-1, order)).sum(-1)

    def infeasibility(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the largest of: weight above the capacity, distance of an entry from 0 and 1 ((batch,))."""
        weights = torch.as_tensor(self.weights, dtype=y.dtype, device=y.device)
        overweight = torch.relu(y @ weights - x[:, -1])
        fraction = torch.minimum(y.abs(), (y - 1).abs()).amax(-1)
        return torch.maximum(overweight, fraction)

    @property
    def objective_scale(self) -> float:
        return float(self.values.max()) or 1.0

    def solve(self, x: Vector, *, seconds: float = np.inf) -> tuple[float, Vector]:
        """Solve P(x) for the integer capacity floor(C), exact to rounding of values; see `knapsack_choice`.

        Raises:
            InputError: x has the wrong shape, is not finite, or its capacity is negative.
            SolveTimeoutError: `seconds` did not suffice.
        """
        deadline = Deadline(self.name, seconds)
        deadline.check()
        values, room = self._checked(x)
        chosen = best_choice(values, self.weights, room, deadline)
        return 0.0 - float(values @ chosen), chosen  # Never -0.

    def value_range(self, domain: Domain, *, seconds: float = np.inf) -> tuple[float, float]:
        """Return the values at the largest and at the least input: the optimum's value rises with every entry.

        Where `seconds` do not suffice, the value of divided items at the largest, and that of no item at the least.
        """
        ends = [
            affine_range(row, domain.box, shift) for row, shift in zip(domain.matrix.toarray(), domain.shift.tolist())
        ]
        least, most = np.maximum(np.array(ends).T, 0.0)
        deadline = Deadline(self.name, seconds)
        try:
            lowest = self.solve(most, seconds=deadline.left)[0]
        except SolveTimeoutError:
            lowest = float(self.value_floor(torch.as_tensor(most)[None])[0])
        try:
            highest = self.solve(least, seconds=deadline.left)[0]
        except SolveTimeoutError:
            highest = 0.0
        return lowest * (1 + ROUNDING), highest * (1 - ROUNDING)

    def solve_by_milp(self, x: Vector, solver: str = "highs") -> tuple[float, Vector]:
        """Solve P(x) as a mixed-integer program: an independent check of `solve`, with the same result and errors.

        Raises:
            SolverFailedError: the solver did not prove an optimum.
        """
        values, room = self._checked(x)
        model = LinearModel(
            cost=-values,
            matrix=sparse.csr_array(self.weights[None].astype(np.float64)),
            row_lower=np.array([-np.inf]),
            row_upper=np.array([float(room)]),
            column_lower=np.zeros(self.items),
            column_upper=np.ones(self.items),
            integer=np.ones(self.items, dtype=bool),
        )
        with open_session(solver, model) as session:
            solution = session.solve(mip_gap=0.0)
        if solution.status is not Status.OPTIMAL or solution.x is None:
            raise SolverFailedError(f"{self.name}: the knapsack program ended as {solution.status.value}")
        chosen = np.round(solution.x)
        return 0.0 - float(values @ chosen), chosen  # Never -0.

    def _checked(self, x: Vector) -> tuple[Vector, int]:
        """Return the values and the integer capacity, which is never more than all items weigh."""
        x = np.asarray(x, dtype=np.float64)
        if x.shape != (self.input_size,) or not np.isfinite(x).all():
            raise InputError(f"{self.name}: an input is {self.items} finite values and a capacity, not shape {x.shape}")
        if x[-1] < 0:
            raise InputError(f"{self.name}: a capacity of {x[-1]} leaves no feasible choice, not even the empty one")
        with np.errstate(over="ignore"):
            total = float(np.abs(x[:-1]).sum())
        if not np.isfinite(total):
            raise InputError(f"{self.name}: the item values are so large that their sum is not a number; scale them")
        return x[:-1], int(min(np.floor(x[-1]), self.weights.sum()))

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.kind} {self.items}".encode())
        digest.update(self.nominal.astype("<f8").tobytes())
        digest.update(self.weights.astype("<i8").tobytes())
        return digest.hexdigest()
