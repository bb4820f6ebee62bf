"""Costs and optimal values of many inputs at once, by enumeration: nothing is shared with the engine or its solvers."""

from __future__ import annotations

from itertools import combinations, product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from problems.classification import Classification
from problems.dcopf import DcOpf
from problems.interval import Vector
from problems.knapsack import Knapsack
from problems.parametric import ParametricProblem

# A dispatch outside its limits by this share of them is rounding.
ROUNDING = 1e-12
# Systems of equations whose condition is worse than this are left to the vertices of others.
WORST_CONDITION = 1e10
# Flows are sums of a few numbers of the size of the demand. Their rounding, priced, counts as that of a cost which is
# this share of that size at the price of an overload: 64 roundings, as a judge allows a share of 1e-9 of a cost.
FLOW_SHARE = 64 * float(np.finfo(np.float64).eps) / 1e-9


class Values(Protocol):
    """What costs are compared with."""

    def costs(self, x: Vector, y: Vector) -> Vector:
        """Return c(x, y) ((batch,)) for inputs (batch, n_x) and decisions (batch, n_y); NaN where y is infeasible."""
        ...

    def optima(self, x: Vector) -> Vector:
        """Return Phi(x) ((batch,)), never below it; infinity where no decision is feasible."""
        ...

    def sizes(self, y: Vector, costs: Vector, optima: Vector) -> Vector:
        """Return the size of the numbers whose difference each gap is ((batch,)): what rounding is a share of."""
        ...


def values_of(problem: ParametricProblem) -> Values:
    """Return the enumeration of a problem."""
    if isinstance(problem, Classification):
        return Margins(problem)
    if isinstance(problem, Knapsack):
        return Subsets(problem)
    assert isinstance(problem, DcOpf)
    return Vertices(problem)


class Margins:
    """The best other score less the label's; Phi = 0."""

    def __init__(self, problem: Classification) -> None:
        self.label = problem.label

    def costs(self, x: Vector, y: Vector) -> Vector:
        with np.errstate(invalid="ignore"):
            return np.asarray(np.delete(y, self.label, axis=1).max(1) - y[:, self.label])

    def optima(self, x: Vector) -> Vector:
        return np.zeros(len(x))

    def sizes(self, y: Vector, costs: Vector, optima: Vector) -> Vector:
        return np.asarray(np.abs(y).max(1))


class Subsets:
    """All choices of items."""

    def __init__(self, problem: Knapsack) -> None:
        self.choices = np.array(list(product([0.0, 1.0], repeat=problem.items)))
        self.weight = self.choices @ problem.weights.astype(np.float64)
        self.weights = problem.weights

    def costs(self, x: Vector, y: Vector) -> Vector:
        feasible = (y @ self.weights <= x[:, -1]) & ((y == 0) | (y == 1)).all(1)
        return np.where(feasible, -(x[:, :-1] * y).sum(1), np.nan)

    def optima(self, x: Vector) -> Vector:
        fits = self.weight <= x[:, -1:]
        return -np.where(fits, x[:, :-1] @ self.choices.T, -np.inf).max(1)

    def sizes(self, y: Vector, costs: Vector, optima: Vector) -> Vector:
        return np.maximum(np.abs(costs), np.abs(optima))


class Vertices:
    """All points where as many limits of generators and branches bind as there are free generators, less one."""

    def __init__(self, problem: DcOpf) -> None:
        grid = problem.grid
        self.problem, self.grid = problem, grid
        self.fixed = problem.fixed_demand
        self.flow = self._flow_of_injection()
        self.place = np.zeros((grid.buses, grid.generators))
        self.place[grid.gen_bus, np.arange(grid.generators)] = 1.0
        self.price = problem.price * grid.base_mva
        self.constant = float(grid.cost_constant.sum())
        rating = grid.rating
        ends = np.stack([grid.susceptance * grid.angle_min, grid.susceptance * grid.angle_max])
        angles = problem.angle_limits
        self.flow_low = np.maximum(-rating, ends.min(0)) if angles else -rating
        self.flow_high = np.minimum(rating, ends.max(0)) if angles else rating
        self._list_vertices()

    def _flow_of_injection(self) -> Vector:
        """Return the flows ((branches, buses)) by solving for the angles."""
        grid = self.grid
        incidence = np.zeros((grid.branches, grid.buses))
        rows = np.arange(grid.branches)
        np.add.at(incidence, (rows, grid.branch_from), 1.0)
        np.add.at(incidence, (rows, grid.branch_to), -1.0)
        keep = [bus for bus in range(grid.buses) if bus != grid.reference]
        to_flow = grid.susceptance[:, None] * incidence
        flow = np.zeros((grid.branches, grid.buses))
        flow[:, keep] = to_flow[:, keep] @ np.linalg.inv((incidence.T @ to_flow)[np.ix_(keep, keep)])
        return flow

    def _list_vertices(self) -> None:
        """Write every vertex as factor r(x), where r holds the total demand and the limits that bind."""
        grid = self.grid
        free = np.flatnonzero(grid.pmax > grid.pmin)
        held = np.where(grid.pmax > grid.pmin, 0.0, grid.pmin)
        of_dispatch = self.flow @ self.place
        # Rows a'p = constant + slope'x that can bind: limits of generators, then of flows.
        rows = [(np.eye(grid.generators)[k], limit, None) for k in free for limit in (grid.pmin[k], grid.pmax[k])]
        for k in range(grid.branches):
            for limit in {self.flow_low[k], self.flow_high[k]}:
                if np.isfinite(limit) and np.abs(of_dispatch[k]).any():
                    rows.append((of_dispatch[k], limit + self.flow[k] @ self.fixed, self.flow[k]))
        self.base = held
        self.factors: list[Vector] = []
        self.constants: list[Vector] = []
        self.slopes: list[Vector] = []
        zero = np.zeros(grid.buses)
        for chosen in combinations(rows, max(len(free) - 1, 0)):
            if not len(free):
                break
            matrix = np.array([np.ones(len(free)), *[row[free] for row, _, _ in chosen]])
            if np.linalg.cond(matrix) > WORST_CONDITION:
                continue
            self.factors.append(np.linalg.inv(matrix))
            shift = [float(self.fixed.sum() - held.sum()), *[limit - row @ held for row, limit, _ in chosen]]
            self.constants.append(np.array(shift))
            self.slopes.append(np.array([np.ones(grid.buses), *[zero if s is None else s for _, _, s in chosen]]))
        self.free = free
        self.kept: NDArray[np.int64] | None = None

    def _overloads(self, x: Vector, y: Vector) -> Vector:
        flow = (y @ self.place.T - x - self.fixed) @ self.flow.T
        return np.maximum(np.maximum(flow - self.flow_high, self.flow_low - flow), 0.0)

    def _cost(self, x: Vector, y: Vector) -> Vector:
        over = self._overloads(x, y)
        if self.problem.thermal == "hard":
            return np.where((over <= ROUNDING * (1 + np.abs(x).sum(1))[:, None]).all(1), y @ self.grid.cost, np.inf)
        return np.asarray(y @ self.grid.cost + self.price * over.sum(1))

    def costs(self, x: Vector, y: Vector) -> Vector:
        cost = self._cost(x, y) + self.constant
        return np.where(np.isfinite(cost), cost, np.nan)

    def optima(self, x: Vector) -> Vector:
        grid, least = self.grid, np.full(len(x), np.inf)
        slack = ROUNDING * (1 + np.abs(x).sum(1) + np.abs(grid.pmax).sum())
        if not len(self.free):
            even = np.abs((x + self.fixed).sum(1) - grid.pmin.sum()) <= 1e3 * slack
            return np.where(even, self._cost(x, np.tile(grid.pmin, (len(x), 1))), np.inf) + self.constant
        self.winners = np.zeros(len(x), dtype=np.int64)
        for k in range(len(self.factors)) if self.kept is None else self.kept:
            y = np.tile(self.base, (len(x), 1))
            y[:, self.free] = (self.constants[k] + x @ self.slopes[k].T) @ self.factors[k].T
            inside = ((y >= grid.pmin - slack[:, None]) & (y <= grid.pmax + slack[:, None])).all(1)
            cost = np.where(inside, self._cost(x, y), np.inf)
            self.winners = np.where(cost < least, k, self.winners)
            least = np.minimum(least, cost)
        return least + self.constant

    def keep_winners(self) -> None:
        """Look only at the vertices that were best at the inputs of the last call: Phi may be overestimated then."""
        self.kept = np.unique(self.winners) if len(self.free) else None

    def keep_all(self) -> None:
        """Look at all vertices again."""
        self.kept = None

    def sizes(self, y: Vector, costs: Vector, optima: Vector) -> Vector:
        return np.maximum(np.abs(costs), np.abs(optima)) + FLOW_SHARE * self.price * np.abs(y).sum(1)
