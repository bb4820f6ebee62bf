"""DC-OPF inside a model: the feasible set with screened branches, the overload cost, and the KKT system.

Source: Chen et al. 2024, eq. (9), (14c), (14d), (15)-(17).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyomo.environ as pyo
import torch
from numpy.typing import NDArray

from encoding.block import Entry, Value, add_binaries, add_columns, is_number, linear, numbers, rows
from encoding.bounds import Bounds
from encoding.problem import (
    Decision,
    LinearQuantity,
    ObjectiveTerms,
    encode_cost,
    encode_optimality,
    encode_optimum,
    linear_quantities,
    missing_rows,
    objective_terms,
    paid_limits,
    quantity_bounds,
)
from problems.dcopf import DcOpf
from problems.domain import Domain
from problems.interval import Interval, Vector
from solvers.errors import UnsupportedModelError
from solvers.pyomo_bridge import loosen
from solvers.safe_bound import UNDERFLOW, gamma

FLOW = "flow"
# A branch limit is missed when a flow exceeds it by this much, per unit: ten times what solvers overlook.
VIOLATED = 1e-5


def flow_bounds(problem: DcOpf, domain: Domain, dispatch: Interval) -> Interval:
    """Return valid limits of every branch flow for any dispatch in a box that meets the demand of any input.

    max over p in box, w in box, 1'p = 1'd(w) of h'p - g'w is at most, for any multiplier mu,
    max_p (h - mu)'p + max_w (mu a - g)'w, which is convex and piecewise linear in mu: its minimum is found exactly.

    Args:
        problem: the problem.
        domain: of the inputs.
        dispatch: (n_gen,) limits of the dispatch, per unit.

    Returns:
        (n_branch,) limits of the flow, per unit, rounded outward.
    """
    quantity = linear_quantities(problem, domain)[FLOW]
    h, ptdf_load, constant = quantity.of_decision, -quantity.of_latent, quantity.constant
    demand = np.asarray(domain.matrix.sum(axis=0)).ravel()
    offset = float(domain.shift.sum() + problem.fixed_demand.sum())
    box = domain.box

    def upper(sign: float, mu: Vector) -> Vector:
        p = sign * h - mu[:, None]
        w = mu[:, None] * demand - sign * ptdf_load
        best_p = np.maximum(p * dispatch.lower, p * dispatch.upper).sum(1)
        best_w = np.maximum(w * box.lower, w * box.upper).sum(1)
        return best_p + best_w + mu * offset + sign * constant

    # What the sums in `upper` lose: each is of the size of the flow's own terms, or of mu times those of the balance.
    balance = dispatch.magnitude.sum() + np.abs(demand) @ box.magnitude + abs(offset)
    size = np.abs(h) @ dispatch.magnitude + np.abs(ptdf_load) @ box.magnitude + np.abs(constant)
    terms = gamma(2 * (len(dispatch) + len(box)) + 8)
    highest, error = [], quantity.error + UNDERFLOW
    for sign in (1.0, -1.0):
        moving = demand != 0
        kinks = np.hstack([sign * h, sign * ptdf_load[:, moving] / demand[moving]])
        growth = np.concatenate([dispatch.width, np.abs(demand[moving]) * box.width[moving]])
        least_demand = np.minimum(demand * box.lower, demand * box.upper).sum() + offset
        mu = _minimiser(kinks, growth, least_demand - dispatch.upper.sum())
        highest.append(upper(sign, mu) + error + terms * (size + np.abs(mu) * balance))
    return Interval(-highest[1], highest[0])


def _minimiser(kinks: Vector, growth: Vector, slope: float) -> Vector:
    """Return the minimiser of a convex piecewise linear function a row: a weighted median of its kinks.

    Args:
        kinks: (rows, k) where the slope grows.
        growth: (k,) by how much.
        slope: left of all kinks.
    """
    order = np.argsort(kinks, axis=1)
    slopes = slope + np.cumsum(growth[order], axis=1)
    first = np.minimum((slopes < 0).sum(axis=1), kinks.shape[1] - 1)
    rows = np.arange(kinks.shape[0])
    return np.asarray(kinks[rows, order[rows, first]])


@linear_quantities.register
def _(problem: DcOpf, domain: Domain) -> dict[str, LinearQuantity]:
    ptdf = problem.grid.ptdf
    constant = problem.flow_of_nothing - ptdf @ domain.shift
    of_dispatch, of_latent = problem.flow_of_dispatch, -np.asarray(ptdf @ domain.matrix)
    demand = np.abs(domain.matrix) @ domain.box.magnitude + np.abs(domain.shift) + np.abs(problem.fixed_demand)
    dispatch = Interval(problem.grid.pmin, problem.grid.pmax).magnitude
    terms = gamma(2 * (problem.input_size + problem.decision_size + domain.size))
    rounding = terms * (np.abs(of_dispatch) @ dispatch + np.abs(ptdf) @ demand) + UNDERFLOW
    return {FLOW: LinearQuantity(of_dispatch, of_latent, constant, rounding)}


@quantity_bounds.register
def _(problem: DcOpf, domain: Domain, decision: Interval) -> dict[str, Interval]:
    return {FLOW: flow_bounds(problem, domain, decision)}


@objective_terms.register
def _(problem: DcOpf, domain: Domain) -> ObjectiveTerms:
    flow = linear_quantities(problem, domain)[FLOW]
    high, low = _limited(problem)
    zeros = np.zeros(domain.size)
    error = flow.error + gamma(1) * (np.abs(flow.constant) + _finite_size(problem.limit))
    base = LinearQuantity(problem.grid.cost[None], zeros[None], np.array([problem.grid.cost_constant.sum()]))
    paid = LinearQuantity(
        np.vstack([flow.of_decision[high], -flow.of_decision[low]]),
        np.vstack([flow.of_latent[high], -flow.of_latent[low]]),
        np.concatenate(
            [flow.constant[high] - problem.limit.upper[high], problem.limit.lower[low] - flow.constant[low]]
        ),
        np.concatenate([error[high], error[low]]),
    )
    return ObjectiveTerms(base, paid, np.full(len(paid.constant), problem.overload_cost))


@paid_limits.register
def _(problem: DcOpf, quantities: dict[str, Interval]) -> Interval:
    flow, (high, low) = quantities[FLOW], _limited(problem)
    upper, lower = problem.limit.upper[high], problem.limit.lower[low]
    return Interval(
        np.concatenate([flow.lower[high] - upper, lower - flow.upper[low]]),
        np.concatenate([flow.upper[high] - upper, lower - flow.lower[low]]),
    )


def _limited(problem: DcOpf) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the branches with an upper, and those with a lower limit."""
    return np.flatnonzero(np.isfinite(problem.limit.upper)), np.flatnonzero(np.isfinite(problem.limit.lower))


def _finite_size(limit: Interval) -> Vector:
    """Return the largest absolute value of the finite limits of each branch, 0 where there are none."""
    lower, upper = (np.where(np.isfinite(side), np.abs(side), 0.0) for side in (limit.lower, limit.upper))
    return np.maximum(lower, upper)


def candidates(limit: Interval, flow: Interval) -> NDArray[np.int64]:
    """Return the branches whose flow may leave its limits."""
    return np.flatnonzero((flow.upper > limit.upper) | (flow.lower < limit.lower))


def _flow_expressions(
    problem: DcOpf, domain: Domain, branches: Sequence[int], latent: Sequence[Value], dispatch: Sequence[Value]
) -> list[Value]:
    flow = linear_quantities(problem, domain)[FLOW]
    values = [*dispatch, *latent]
    coefficients = np.hstack([flow.of_decision[branches], flow.of_latent[branches]])
    return [linear(row, values, float(flow.constant[b])) for row, b in zip(coefficients, branches)]


@encode_optimum.register
def _(
    problem: DcOpf,
    block: pyo.Block,
    domain: Domain,
    latent: Sequence[Value],
    kept: Collection[int] | None = None,
) -> Decision:
    grid, scale = problem.grid, problem.objective_scale
    p = add_columns(block, "p", Interval(grid.pmin, grid.pmax))
    total = np.asarray(domain.matrix.sum(axis=0)).ravel()
    fixed = float(domain.shift.sum() + problem.fixed_demand.sum())
    supply, demand = linear(np.ones(len(p)), p), linear(total, latent, fixed)
    if not (is_number(supply) and is_number(demand)):
        block.balance = pyo.Constraint(expr=supply == demand)
    flow = flow_bounds(problem, domain, Interval(grid.pmin, grid.pmax))
    limit = problem.limit
    open_branches = candidates(limit, flow)
    if kept is not None:
        open_branches = open_branches[np.isin(open_branches, np.fromiter(kept, dtype=np.int64))]
    room = np.maximum(0.0, np.maximum(flow.upper - limit.upper, limit.lower - flow.lower))
    soft = problem.thermal == "soft"
    ceiling = room[open_branches] if soft else np.zeros(open_branches.size)
    xi = add_columns(block, "xi", Interval(np.zeros(open_branches.size), ceiling))
    high, low = rows(block, "flow_high"), rows(block, "flow_low")
    block.high_rows, block.low_rows = {}, {}
    flows = _flow_expressions(problem, domain, open_branches.tolist(), latent, p)
    for k, (branch, f) in enumerate(zip(open_branches.tolist(), flows)):
        if flow.upper[branch] > limit.upper[branch]:
            block.high_rows[branch] = high.add(f - xi[k] <= float(limit.upper[branch]))
        if flow.lower[branch] < limit.lower[branch]:
            block.low_rows[branch] = low.add(f + xi[k] >= float(limit.lower[branch]))
    block.branches = open_branches.tolist()
    cost = linear(
        np.concatenate([grid.cost, np.full(len(xi), problem.overload_cost)]) / scale,
        [*p, *xi],
        float(grid.cost_constant.sum()) / scale,
    )
    block.overload_values = xi
    return Decision(p, cost)


@missing_rows.register
def _(problem: DcOpf, domain: Domain, latent: Vector, decision: Vector) -> list[int]:
    x, y = torch.as_tensor(domain.to_input(latent)), torch.as_tensor(decision)
    flow = problem.flows(x[None], y[None])[0].numpy()
    beyond = np.maximum(flow - problem.limit.upper, problem.limit.lower - flow)
    return [int(branch) for branch in np.flatnonzero(beyond > VIOLATED)]


@encode_cost.register
def _(
    problem: DcOpf,
    block: pyo.Block,
    domain: Domain,
    latent: Sequence[Value],
    decision: Sequence[Value],
    bounds: Bounds,
) -> Decision:
    limit, flow, scale = problem.limit, bounds[FLOW], problem.objective_scale
    branches = candidates(limit, flow).tolist()
    f = add_columns(block, "f", flow, branches)
    equal, over = rows(block, "flow"), rows(block, "over")
    terms: list[Value] = []
    for name, sign, bound in (("high", 1.0, limit.upper), ("low", -1.0, limit.lower)):
        ends = np.stack([sign * (flow.lower - bound), sign * (flow.upper - bound)])
        beyond = Interval(np.nextafter(ends.min(0), -np.inf), np.nextafter(ends.max(0), np.inf))
        acting = [k for k, branch in enumerate(branches) if beyond.upper[branch] > 0]
        which = [branches[k] for k in acting]
        e = pyo.Var(which, bounds={b: (max(0.0, beyond.lower[b]), beyond.upper[b]) for b in which})
        block.add_component(f"over_{name}", e)
        unsure = [b for b in which if beyond.lower[b] < 0]
        active = add_binaries(block, f"over_{name}_active", unsure)
        for k in acting:
            b = branches[k]
            excess = sign * (f[k] - float(bound[b]))
            if b not in active:
                over.add(e[b] == excess)
                continue
            over.add(e[b] >= excess)
            over.add(e[b] <= excess - float(beyond.lower[b]) * (1 - active[b]))
            over.add(e[b] <= float(beyond.upper[b]) * active[b])
        terms += [e[b] for b in which]
    error = linear_quantities(problem, domain)[FLOW].error[branches].tolist()
    for k, expression in enumerate(_flow_expressions(problem, domain, branches, latent, decision)):
        if not is_number(f[k]):
            loosen(equal.add(f[k] == expression), error[k])
    cost = linear(
        np.concatenate([problem.grid.cost, np.full(len(terms), problem.overload_cost)]) / scale,
        [*decision, *terms],
        float(problem.grid.cost_constant.sum()) / scale,
    )
    low, high = limit.lower.tolist(), limit.upper.tolist()
    targets = [Entry(b, value, low[b], high[b]) for b, value in zip(branches, f) if not is_number(value)]
    return Decision(list(decision), cost, {FLOW: targets})


@encode_optimality.register
def _(problem: DcOpf, block: pyo.Block, domain: Domain, latent: Sequence[Value], optimum: Decision) -> None:
    """KKT of the soft-limit LP, complementarity by one binary and two rows a pair (eq. (16), (17)).

    Multipliers of the limits lie in [0, price]. Some generator has reduced cost zero in some dual optimum, so every
    other reduced cost is a difference of two, which bounds it; the balance multiplier follows.
    """
    if problem.thermal != "soft":
        raise UnsupportedModelError("the bilevel formulation needs soft thermal limits; use --formulation compact")
    scale, grid = problem.objective_scale, problem.grid
    price, cost = problem.overload_cost / scale, grid.cost / scale
    branches: list[int] = block.branches
    h = problem.flow_of_dispatch[branches]
    high = {b: k for k, b in enumerate(branches) if b in block.high_rows}
    low = {b: k for k, b in enumerate(branches) if b in block.low_rows}
    kkt = pyo.Block(concrete=True)
    block.kkt = kkt
    kkt.mu_high = pyo.Var(list(high), bounds=(0, price))
    kkt.mu_low = pyo.Var(list(low), bounds=(0, price))
    movable = grid.dispatchable.tolist()
    reduced = {g: _largest_reduced_cost(g, movable, cost, h, price) for g in movable}
    kkt.at_low = pyo.Var(movable, bounds=lambda _, g: (0, reduced[g]))
    kkt.at_high = pyo.Var(movable, bounds=lambda _, g: (0, reduced[g]))
    reach = np.abs(h).sum(0) * price
    row, pair = rows(kkt, "rows"), 0
    if movable:  # Where the dispatch is fixed, its balance has no multiplier.
        lowest, highest = float((cost - reach)[movable].min()), float((cost + reach)[movable].max())
        kkt.balance = pyo.Var(bounds=(lowest, highest))
    for g in movable:
        terms = [*(kkt.mu_high[b] for b in high), *(kkt.mu_low[b] for b in low)]
        weights = numbers([*(h[k, g] for k in high.values()), *(-h[k, g] for k in low.values())])
        gradient = linear(weights, terms, float(cost[g])) - kkt.balance
        row.add(gradient - kkt.at_low[g] + kkt.at_high[g] == 0)
    kkt.pair = pyo.Var(pyo.NonNegativeIntegers, domain=pyo.Binary, dense=False)

    def complementary(slack: Value, most_slack: float, dual: Value, most_dual: float) -> None:
        nonlocal pair
        row.add(slack <= most_slack * kkt.pair[pair])
        row.add(dual <= most_dual * (1 - kkt.pair[pair]))
        pair += 1

    for g in movable:
        p, width = optimum.values[g], float(grid.pmax[g] - grid.pmin[g])
        complementary(p - float(grid.pmin[g]), width, kkt.at_low[g], reduced[g])
        complementary(float(grid.pmax[g]) - p, width, kkt.at_high[g], reduced[g])
    flow = flow_bounds(problem, domain, Interval(grid.pmin, grid.pmax))
    flows = _flow_expressions(problem, domain, branches, latent, optimum.values)
    for k, (b, f) in enumerate(zip(branches, flows)):
        xi, duals = block.overload_values[k], []
        most = float(xi.ub)
        if b in high:
            slack = float(problem.limit.upper[b] - flow.lower[b]) + most
            complementary(float(problem.limit.upper[b]) + xi - f, slack, kkt.mu_high[b], price)
            duals.append(kkt.mu_high[b])
        if b in low:
            slack = float(flow.upper[b] - problem.limit.lower[b]) + most
            complementary(f - float(problem.limit.lower[b]) + xi, slack, kkt.mu_low[b], price)
            duals.append(kkt.mu_low[b])
        row.add(sum(duals) <= price)
        complementary(xi, most, price - sum(duals), price)


def _largest_reduced_cost(g: int, others: Sequence[int], cost: Vector, h: Vector, price: float) -> float:
    spread = [abs(cost[g] - cost[o]) + price * float(np.abs(h[:, g] - h[:, o]).sum()) for o in others]
    return float(max(spread))
