"""DC optimal power flow: the cheapest dispatch for given loads, with thermal limits soft (priced) or hard.

Source: Chen et al. 2024 (compact optimality verification), eq. (9), section 6.3.1; MATPOWER and PowerModels (DCP).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import linprog
from torch import Tensor

from problems.case_tables import LARGEST
from problems.deadline import Deadline
from problems.distribution import check_flows
from problems.domain import Cut, Domain
from problems.errors import CaseError, DomainError, InputError
from problems.grid import Grid
from problems.interval import Interval, Vector
from problems.parametric import ParametricProblem
from solvers.safe_bound import gamma

# Price of a thermal overload, $/MWh: the paper's value.
OVERLOAD_PRICE = 1500.0
# What scipy's linprog calls an end by the limit of time or iterations.
_LIMIT_REACHED = 1
# Half-width of the element-wise noise beta of the paper's load distribution.
LOCAL_NOISE = 0.05


@dataclass(frozen=True)
class DcOpf(ParametricProblem):
    """P(d): min cost'p + price 1'xi  s.t.  1'p = 1'd, |PTDF (C p - d)| <= limit + xi, xi >= 0, pmin <= p <= pmax.

    The input x is the demand at every bus and the decision y the output of every generator, both in per unit.

    Attributes:
        grid: the grid.
        thermal: whether an overload is priced ("soft") or forbidden ("hard").
        shunts: whether shunt conductances draw power at 1 pu voltage.
        angle_limits: whether angle-difference limits bound the flows.
        price: $/MWh of overload.
        noise: half-width of beta, the load-by-load part of the input domain.
    """

    grid: Grid
    thermal: Literal["soft", "hard"] = "soft"
    shunts: bool = False
    angle_limits: bool = False
    price: float = OVERLOAD_PRICE
    noise: float = LOCAL_NOISE

    kind = "dcopf"
    unit = "$/h"

    def __post_init__(self) -> None:
        # In $/h per unit of power, as the grid's costs.
        if not 0 <= self.overload_cost <= LARGEST:
            raise CaseError(
                f"{self.name}: the price of an overload is {self.price:g} $/MWh; give one between 0 and "
                f"{LARGEST / self.grid.base_mva:g}"
            )
        if not 0 <= self.noise <= 1:
            raise CaseError(
                f"{self.name}: the noise of the loads is {self.noise:g}; give a share between 0 and 1, such as 0.05"
            )

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.grid.name

    @property
    def input_size(self) -> int:
        return self.grid.buses

    @property
    def decision_size(self) -> int:
        return self.grid.generators

    @cached_property
    def overload_cost(self) -> float:
        """$/h per unit of overload."""
        return self.price * self.grid.base_mva

    @cached_property
    def fixed_demand(self) -> Vector:
        """(n_bus,) demand that is there whatever x is: the shunts, where they count."""
        return self.grid.shunt if self.shunts else np.zeros(self.grid.buses)

    @cached_property
    def limit(self) -> Interval:
        """Limits of the branch flows; infinite where a branch has none."""
        lower, upper = -self.grid.rating, self.grid.rating.copy()
        if self.angle_limits:
            b = self.grid.susceptance
            ends = np.stack([b * self.grid.angle_min, b * self.grid.angle_max])
            lower, upper = np.maximum(lower, ends.min(0)), np.minimum(upper, ends.max(0))
        return Interval(lower, upper)

    @cached_property
    def flow_of_dispatch(self) -> Vector:
        """(n_branch, n_gen) flow per unit of generation."""
        return self.grid.ptdf[:, self.grid.gen_bus]

    @cached_property
    def flow_of_nothing(self) -> Vector:
        """(n_branch,) flow that the fixed demand causes."""
        return -self.grid.ptdf @ self.fixed_demand

    @cached_property
    def demand_range(self) -> tuple[float, float]:
        """Least and largest total of x that the generators can serve."""
        fixed = float(self.fixed_demand.sum())
        return float(self.grid.pmin.sum()) - fixed, float(self.grid.pmax.sum()) - fixed

    def domain(self, u: float) -> Domain:
        """Return d = (alpha + beta) d_ref, alpha in [1 - u, 1 + u], beta within +-noise for every load.

        The latent vector is (alpha, beta of every bus whose reference demand is not zero). Where some of these
        inputs ask for more (or less) than the generators can give, a cut keeps the others.

        Raises:
            DomainError: u is not in [0, 1), or no input can be served.
        """
        if not 0 <= u < 1:
            raise DomainError(f"u = {u} is not a share between 0 and 1; write 5 % as 0.05")
        loads = np.flatnonzero(self.grid.load)
        reference = self.grid.load[loads]
        rows = np.concatenate([loads, loads])
        columns = np.concatenate([np.zeros(loads.size, dtype=np.int64), np.arange(1, loads.size + 1)])
        matrix = sparse.csr_array(
            (np.concatenate([reference, reference]), (rows, columns)), shape=(self.grid.buses, loads.size + 1)
        )
        noise = np.full(loads.size, self.noise)
        box = Interval(np.concatenate([[1 - u], -noise]), np.concatenate([[1 + u], noise]))
        names = ("alpha", *(f"beta[{bus}]" for bus in self.grid.bus_ids[loads]))
        total = np.asarray(matrix.sum(axis=0)).ravel()
        return Domain(box, matrix, np.zeros(self.grid.buses), self._demand_cut(total, box), names)

    def _demand_cut(self, total: Vector, box: Interval) -> tuple[Cut, ...]:
        low = float(np.minimum(total * box.lower, total * box.upper).sum())
        high = float(np.maximum(total * box.lower, total * box.upper).sum())
        least, most = self.demand_range
        if low >= least and high <= most:
            return ()
        base = self.grid.base_mva
        asked = f"demands between {low * base:.1f} and {high * base:.1f} MW"
        served = f"the generators serve {least * base:.1f} to {most * base:.1f} MW"
        if low > most or high < least:
            raise DomainError(f"no input can be served: {asked}, but {served}; choose another u or case")
        return (Cut(total, least, most, f"inputs that no dispatch can serve are left out: {asked}, but {served}"),)

    def flows(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the branch flows ((batch, n_branch)) at demands x ((batch, n_bus)) and dispatch y ((batch, n_gen))."""
        ptdf = torch.as_tensor(self.grid.ptdf, dtype=x.dtype, device=x.device)
        buses = torch.as_tensor(self.grid.gen_bus, device=x.device)
        fixed = torch.as_tensor(self.fixed_demand, dtype=x.dtype, device=x.device)
        injection = (-x - fixed).index_add(-1, buses, y)
        return injection @ ptdf.T

    def pressures(self, x: Tensor, y: Tensor) -> Tensor:
        """Return by how much every branch flow is above its upper and below its lower limit, where it has one."""
        flow = self.flows(x, y)
        lower = torch.as_tensor(self.limit.lower, dtype=x.dtype, device=x.device)
        upper = torch.as_tensor(self.limit.upper, dtype=x.dtype, device=x.device)
        return torch.cat([(flow - upper)[:, upper.isfinite()], (lower - flow)[:, lower.isfinite()]], dim=-1)

    def overloads(self, x: Tensor, y: Tensor) -> Tensor:
        """Return by how much each branch flow exceeds its limit ((batch, n_branch)), per unit."""
        flow = self.flows(x, y)
        lower = torch.as_tensor(self.limit.lower, dtype=x.dtype, device=x.device)
        upper = torch.as_tensor(self.limit.upper, dtype=x.dtype, device=x.device)
        return torch.relu(torch.maximum(flow - upper, lower - flow))

    def objective(self, x: Tensor, y: Tensor) -> Tensor:
        """Return $/h ((batch,)); with hard limits the overloads of a dispatch are still priced."""
        cost = torch.as_tensor(self.grid.cost, dtype=y.dtype, device=y.device)
        constant = float(self.grid.cost_constant.sum())
        return y @ cost + constant + self.overload_cost * self.overloads(x, y).sum(-1)

    def objective_range(self, x: Vector, decision: Interval) -> tuple[float, float]:
        grid, h, demand = self.grid, self.flow_of_dispatch, x + self.fixed_demand
        centre, radius = (decision.lower + decision.upper) / 2, decision.width / 2
        flow, spread = h @ centre - grid.ptdf @ demand, np.abs(h) @ radius
        size = np.abs(h) @ decision.magnitude + np.abs(grid.ptdf) @ np.abs(demand)
        spread = spread + gamma(2 * (grid.buses + grid.generators)) * size
        beyond = np.maximum(flow - self.limit.upper, self.limit.lower - flow)
        ends = np.stack([grid.cost * decision.lower, grid.cost * decision.upper])
        paid = [self.overload_cost * np.maximum(beyond + sign * spread, 0.0).sum() for sign in (-1.0, 1.0)]
        constant = float(grid.cost_constant.sum())
        low, high = (float(part.sum()) + over + constant for part, over in zip((ends.min(0), ends.max(0)), paid))
        terms = gamma(grid.generators + flow.size + grid.cost_constant.size + 4)
        error = terms * (float(np.abs(ends).max(0).sum()) + paid[1] + float(np.abs(grid.cost_constant).sum()))
        return low - error, high + error

    def infeasibility(self, x: Tensor, y: Tensor) -> Tensor:
        low = torch.as_tensor(self.grid.pmin, dtype=y.dtype, device=y.device)
        high = torch.as_tensor(self.grid.pmax, dtype=y.dtype, device=y.device)
        demand = x.sum(-1) + float(self.fixed_demand.sum())
        parts = [torch.relu(low - y).amax(-1), torch.relu(y - high).amax(-1), (y.sum(-1) - demand).abs()]
        if self.thermal == "hard":
            parts.append(self.overloads(x, y).amax(-1))
        return torch.stack(parts).amax(0)

    @property
    def display(self) -> tuple[float, str]:
        return self.grid.base_mva, "MW"

    @property
    def objective_scale(self) -> float:
        return max(1.0, float(np.abs(self.grid.cost).max()))

    def solve(self, x: Vector, *, seconds: float = np.inf) -> tuple[float, Vector]:
        """Solve P(x) with bus angles instead of distribution factors, unscreened, through scipy.

        Raises:
            InputError: P(x) is infeasible, or x has the wrong shape or is not finite.
            CaseError: the reactances do not determine the flows.
            SolveTimeoutError: `seconds` did not suffice.
        """
        x = np.asarray(x, dtype=np.float64)
        if x.shape != (self.input_size,) or not np.isfinite(x).all():
            raise InputError(
                f"{self.name}: an input is the finite demand at each of {self.input_size} buses, not of shape {x.shape}"
            )
        deadline = Deadline(self.name, seconds)
        deadline.check()
        check_flows(self.grid)
        grid, limit = self.grid, self.limit
        # Columns: p (n_gen), bus angles, overloads of the limited branches.
        flow = sparse.csr_array(sparse.diags_array(grid.susceptance) @ grid.branch_incidence)
        limited = np.flatnonzero(np.isfinite(limit.upper) | np.isfinite(limit.lower))
        soft = limited.size if self.thermal == "soft" else 0
        slack = sparse.eye_array(limited.size, soft)
        empty = sparse.csr_array((limited.size, grid.generators))
        balance = sparse.hstack(
            [grid.generator_incidence, -grid.branch_incidence.T @ flow, sparse.csr_array((grid.buses, soft))]
        )
        upper = sparse.hstack([empty, flow[limited], -slack])
        lower = sparse.hstack([empty, -flow[limited], -slack])
        ceiling = np.concatenate([limit.upper[limited], -limit.lower[limited]])
        finite = np.isfinite(ceiling)
        angles: list[tuple[float | None, float | None]] = [(None, None)] * grid.buses
        angles[grid.reference] = (0.0, 0.0)
        answer = linprog(
            np.concatenate([grid.cost, np.zeros(grid.buses), np.full(soft, self.overload_cost)]),
            A_ub=sparse.vstack([upper, lower]).tocsr()[finite],
            b_ub=ceiling[finite],
            A_eq=balance.tocsr(),
            b_eq=x + self.fixed_demand,
            bounds=[*zip(grid.pmin, grid.pmax), *angles, *[(0.0, None)] * soft],
            method="highs",
            options={"time_limit": deadline.left} if np.isfinite(seconds) else {},
        )
        if answer.status == _LIMIT_REACHED:
            raise deadline.passed()
        if answer.x is None:
            raise InputError(f"{self.name}: the problem has no feasible dispatch at this input ({answer.message})")
        dispatch = self._balanced(answer.x[: grid.generators], float((x + self.fixed_demand).sum()))
        return float(answer.fun + grid.cost_constant.sum()), dispatch

    def _balanced(self, dispatch: Vector, demand: float) -> Vector:
        """Remove the solver's tolerance: a dispatch within its limits that meets the demand to rounding."""
        p = np.clip(dispatch, self.grid.pmin, self.grid.pmax)
        for _ in range(p.size):
            missing = demand - p.sum()
            room = self.grid.pmax - p if missing > 0 else p - self.grid.pmin
            widest = int(np.argmax(room))
            p[widest] += np.sign(missing) * min(abs(missing), room[widest])
            if abs(missing) <= room[widest]:
                break
        return p

    def fingerprint(self) -> str:
        options = (self.kind, self.thermal, self.shunts, self.angle_limits, self.price, self.noise)
        return hashlib.sha256(f"{self.grid.fingerprint()} {options}".encode()).hexdigest()
