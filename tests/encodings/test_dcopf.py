"""DC-OPF inside a model: its cost, its optimum and its flow bounds against the problem's own arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyomo.environ as pyo
import pytest
import torch

from encoding.block import add_columns, is_number
from encoding.bounds import Bounds
from encoding.compact import add_latent
from encoding.dcopf import FLOW, candidates, flow_bounds
from encoding.problem import encode_cost, encode_optimum, linear_quantities
from problems.dcopf import DcOpf
from problems.domain import Domain
from problems.errors import InputError
from problems.grid import Grid, load_grid
from problems.interval import Interval, Vector
from solvers.highs import HighsSession
from solvers.pyomo_bridge import compile_model
from solvers.session import Solution, Status

OPTIONS = [
    {},
    {"shunts": True},
    {"angle_limits": True},
    {"price": 30.0},
    {"noise": 0.0},
    {"shunts": True, "angle_limits": True},
]


def problem_with(grid: Grid, options: dict) -> DcOpf:
    """The problem on a grid that also has shunts, two parallel-sided angle limits and branches without rating."""
    rating = grid.rating.copy()
    rating[3::7] = np.inf
    angles = {"angle_min": grid.angle_min * 0.05, "angle_max": grid.angle_max * 0.04}
    shunt = 0.1 * np.linspace(0, grid.load.max(), grid.buses)
    return DcOpf(replace(grid, shunt=shunt, rating=rating, **angles), **options)


def dispatches(problem: DcOpf, domain: Domain, count: int, seed: int) -> tuple[Vector, Vector]:
    """Random inputs (latent) and dispatches that meet their demand, corners of the dispatch box among them."""
    rng, grid = np.random.default_rng(seed), problem.grid
    found = []
    points = np.concatenate([domain.sample(20 * count, seed), domain.corners(20 * count, seed)])
    for w in rng.permutation(points):
        demand = domain.to_input(w).sum() + problem.fixed_demand.sum()
        share = rng.random(grid.generators)
        p = grid.pmin + np.where(rng.random(share.size) < 0.6, np.round(share), share) * (grid.pmax - grid.pmin)
        last = rng.permutation(grid.dispatchable)
        for g in last:
            p[g] = np.clip(p[g] + demand - p.sum(), grid.pmin[g], grid.pmax[g])
        if abs(p.sum() - demand) <= 1e-12:
            found.append((w, p))
        if len(found) == count:
            break
    assert len(found) == count
    return np.stack([w for w, _ in found]), np.stack([p for _, p in found])


def solve_at(model: pyo.ConcreteModel, variables: list, point: Vector) -> Solution:
    """Solve with the variables fixed at a point; the objective is the Pyomo model's own."""
    compiled = compile_model(model)
    columns = compiled.columns([v for v in variables if not is_number(v)])
    values = np.array([value for v, value in zip(variables, point) if not is_number(v)])
    with HighsSession(compiled.linear) as session:
        session.set_column_bounds(columns[columns >= 0], values[columns >= 0], values[columns >= 0])
        solution = session.solve(mip_gap=0.0)
    return replace(solution, objective=compiled.sign * solution.objective)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("tight", [False, True])
def test_the_cost_of_a_fixed_decision_is_the_objective(congested: Grid, options: dict, tight: bool) -> None:
    problem = problem_with(congested, options)
    domain, grid = problem.domain(0.2), problem.grid
    wide = flow_bounds(problem, domain, Interval(grid.pmin, grid.pmax))
    rng = np.random.default_rng(0)
    latents, decisions = dispatches(problem, domain, 6, 2)
    overloaded = 0
    for w, p in zip(latents, decisions):
        x, y = (torch.as_tensor(v)[None] for v in (domain.to_input(w), p))
        flow = problem.flows(x, y)[0].numpy()
        bounds = wide
        if tight:  # Some ends are the flow itself.
            ends = rng.integers(0, 3, (2, flow.size)) / 2
            bounds = Interval(flow - ends[0] * (flow - wide.lower), flow + ends[1] * (wide.upper - flow))
        for sense in (pyo.minimize, pyo.maximize):
            model = pyo.ConcreteModel()
            model.latent_block, model.cost = pyo.Block(concrete=True), pyo.Block(concrete=True)
            latent = add_latent(model.latent_block, domain)
            decision = add_columns(model, "p", Interval(grid.pmin, grid.pmax))
            paid = encode_cost(problem, model.cost, domain, latent, decision, Bounds({FLOW: bounds}))
            model.goal = pyo.Objective(expr=paid.cost, sense=sense)
            solution = solve_at(model, [*latent, *decision], np.concatenate([w, p]))
            assert solution.status is Status.OPTIMAL
            expected = float(problem.objective(x, y)[0])
            assert solution.objective * problem.objective_scale == pytest.approx(expected, rel=1e-6)
        overloaded += int((problem.overloads(x, y) > 1e-6).sum())
    assert overloaded > 6


@pytest.mark.parametrize("options", [*OPTIONS, {"thermal": "hard"}], ids=str)
@pytest.mark.parametrize("name", ["pglib_opf_case5_pjm", "pglib_opf_case14_ieee", "pglib_opf_case30_ieee"])
def test_the_encoded_optimum_is_the_problems(name: str, options: dict) -> None:
    grid = load_grid(name)
    problem = problem_with(replace(grid, rating=grid.rating * 0.35), options)
    domain = problem.domain(0.2)
    priced = 0
    for w in [*domain.sample(4, 0), *domain.corners(4, 0)]:
        model = pyo.ConcreteModel()
        model.latent_block, model.optimum = pyo.Block(concrete=True), pyo.Block(concrete=True)
        latent = add_latent(model.latent_block, domain)
        model.goal = pyo.Objective(expr=encode_optimum(problem, model.optimum, domain, latent).cost)
        solution = solve_at(model, latent, w)
        try:
            expected, best = problem.solve(domain.to_input(w))
        except InputError:
            assert solution.status is Status.INFEASIBLE
            continue
        assert solution.objective * problem.objective_scale == pytest.approx(expected, rel=1e-7)
        tensors = [torch.as_tensor(v)[None] for v in (domain.to_input(w), best)]
        priced += int((problem.overloads(*tensors) > 1e-6).sum())
    assert priced > 0 or options.get("thermal") == "hard"


@pytest.mark.parametrize("options", [{}, {"shunts": True}, {"noise": 0.0}], ids=str)
def test_flow_bounds_hold_every_feasible_flow_and_are_attained(congested: Grid, options: dict) -> None:
    problem = problem_with(congested, options)
    domain, grid = problem.domain(0.2), problem.grid
    rng = np.random.default_rng(0)
    latents, decisions = dispatches(problem, domain, 300, 1)
    inputs = torch.as_tensor(domain.to_input(latents))
    flow = problem.flows(inputs, torch.as_tensor(decisions)).numpy()
    boxes = [(Interval(grid.pmin, grid.pmax), np.ones(300, dtype=bool))]
    for p in decisions[:20]:
        low = np.maximum(grid.pmin, p - 0.3 * rng.random(5))
        box = Interval(low, np.minimum(grid.pmax, p + 0.3 * rng.random(5)))
        boxes.append((box, box.contains(decisions)))
    for box, inside in boxes:
        bounds = flow_bounds(problem, domain, box)
        assert inside.any()
        assert bounds.contains(flow[inside]).all()
        # By linear programming: nothing better is valid; over the whole box nothing is lost.
        for branch in rng.choice(grid.branches, 3, replace=False):
            for sense, end in ((pyo.minimize, bounds.lower), (pyo.maximize, bounds.upper)):
                best = extreme_flow(problem, domain, box, int(branch), sense)
                gap = (end[branch] - best) * (1 if sense == pyo.maximize else -1)
                assert gap >= -1e-9
                assert gap <= 1e-6 or box is not boxes[0][0]


def extreme_flow(problem: DcOpf, domain: Domain, box: Interval, branch: int, sense: object) -> float:
    """The largest or least flow of a branch over balanced dispatches in a box, by linear programming."""
    grid, model = problem.grid, pyo.ConcreteModel()
    w = add_columns(model, "w", domain.box)
    p = add_columns(model, "p", box)
    rows = domain.matrix.toarray()
    demand = [sum(a * v for a, v in zip(row, w)) + s for row, s in zip(rows, domain.shift + problem.fixed_demand)]
    model.balance = pyo.Constraint(expr=sum(p) == sum(demand))
    injection = [-d for d in demand]
    for bus, value in zip(grid.gen_bus, p):
        injection[bus] = injection[bus] + value
    model.goal = pyo.Objective(expr=sum(a * v for a, v in zip(grid.ptdf[branch], injection)), sense=sense)
    solution = solve_at(model, [], np.zeros(0))
    assert solution.status is Status.OPTIMAL
    return solution.objective


def test_the_flow_as_a_linear_quantity_is_the_flow(congested: Grid) -> None:
    problem = problem_with(congested, {"shunts": True})
    domain = replace(problem.domain(0.2), shift=0.01 * np.arange(14.0))
    w, p = domain.sample(20, 0), np.random.default_rng(0).random((20, 5))
    found = linear_quantities(problem, domain)[FLOW]
    flow = problem.flows(torch.as_tensor(domain.to_input(w)), torch.as_tensor(p)).numpy()
    np.testing.assert_allclose(p @ found.of_decision.T + w @ found.of_latent.T + found.constant, flow, atol=1e-12)


def test_candidates_are_the_branches_that_may_leave_their_limits() -> None:
    limit = Interval(np.array([-1.0, -1.0, -1.0, -np.inf, -1.0]), np.array([1.0, 1.0, 1.0, np.inf, np.inf]))
    flow = Interval(np.array([-1.0, -1.1, 0.5, -9.0, 0.0]), np.array([1.0, 0.0, 1.0001, 9.0, 9.0]))
    np.testing.assert_array_equal(candidates(limit, flow), [1, 2])
