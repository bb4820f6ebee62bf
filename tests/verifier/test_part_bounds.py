"""The bound without a linear program is above every sampled gap of its part, also after splits of any kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from encoding.bounds import Bounds, inner_key, input_key
from encoding.dcopf import FLOW
from encoding.problem import objective_terms, paid_limits
from problems.dcopf import DcOpf
from problems.grid import Grid
from problems.interval import Vector
from proxies.layers import Hypersimplex, Relu
from proxies.proxy import Proxy
from verifier.bounds.over_domain import proxy_bounds
from verifier.branching import Split
from verifier.cut_store import CutStore
from verifier.options import VerifyOptions
from verifier.part_bounds import part_bounds
from verifier.task import Task
from verifier.value_function import ValueFunction

SAMPLES = 400
GOAL = 0.25


@pytest.fixture(params=range(3))
def task(request: pytest.FixtureRequest, congested: Grid, case5: Grid, make_proxy: Callable[..., Proxy]) -> Task:
    seed = request.param
    problem = DcOpf([congested, case5][seed % 2])
    domain = problem.domain(0.2)
    cuts = CutStore(problem, domain)
    cuts.add(cut for cut in ValueFunction(problem, domain).cuts(domain.sample(20, seed)) if cut is not None)
    measure = "relative" if seed == 2 else "absolute"
    return Task(make_proxy(problem, seed, hidden=(7, 6)), problem, domain, VerifyOptions(measure=measure), cuts=cuts)


def objectives(task: Task, latent: Vector, goal: float) -> Vector:
    """c(x, pi(x)) - (1 + ratio) Phi(x) at each latent vector."""
    x = torch.as_tensor(task.domain.to_input(latent))
    with torch.no_grad():
        cost = task.problem.objective(x, task.proxy(x)).numpy()
    return cost - (1 + task.ratio_and_cutoff(goal)[0]) * np.array([task.problem.solve(row)[0] for row in x.numpy()])


def splits(task: Task, bounds: Bounds) -> list[Split]:
    found = [Split(input_key(0), 0, float(task.domain.box.lower[0] + 0.3 * task.domain.box.width[0]))]
    for k, layer in enumerate(task.layers):
        z = bounds[input_key(k)]
        if isinstance(layer, Relu):
            found += [Split(input_key(k), i, 0.0) for i in range(len(z)) if z.lower[i] < 0 < z.upper[i]]
        if isinstance(layer, Hypersimplex) and bounds[inner_key(k)].contains(np.zeros(1)):
            found.append(Split(inner_key(k), 0, 0.0))
    limit, flow = task.problem.limit, bounds[FLOW]
    over = np.flatnonzero((flow.upper > limit.upper) & (flow.lower < limit.upper))
    return found + [Split(FLOW, int(b), float(limit.upper[b])) for b in over]


def test_the_bound_of_every_part_is_above_its_sampled_gaps(task: Task, trace: Callable) -> None:
    bounds = proxy_bounds(task.layers, task.problem, task.domain)
    latent = np.concatenate([task.domain.sample(SAMPLES, 0), task.domain.corners(SAMPLES, 1)])
    values, shifts = trace(task.layers, torch.as_tensor(latent))
    flow = task.problem.flows(torch.as_tensor(task.domain.to_input(latent)), values[-1]).numpy()
    quantities = {input_key(k): v.numpy() for k, v in enumerate(values)} | {FLOW: flow}
    quantities |= {inner_key(k): v.numpy()[:, None] for k, v in shifts.items()}
    gaps = objectives(task, latent, GOAL)
    chosen = splits(task, bounds)
    assert len({split.key.split("[")[0] for split in chosen}) >= 2
    parts = [part for split in chosen for part in split.parts(bounds)]
    found = part_bounds(task, parts, GOAL)
    assert found is not None
    for k, split in enumerate(chosen):
        at = quantities[split.key][:, split.index]
        for upper, inside in zip(found[2 * k : 2 * k + 2], (at <= split.at, at >= split.at)):
            assert gaps[inside].max(initial=-np.inf) <= upper + 1e-12 * abs(upper), split
    alone = [part_bounds(task, [part], GOAL)[0] for part in parts]
    assert found == pytest.approx(alone, rel=1e-6)


def test_without_tangents_there_is_no_bound(task: Task) -> None:
    bounds = proxy_bounds(task.layers, task.problem, task.domain)
    assert part_bounds(Task(task.proxy, task.problem, task.domain, task.options), [bounds], GOAL) is None


def test_the_terms_are_the_objective(task: Task) -> None:
    terms = objective_terms(task.problem, task.domain)
    latent = task.domain.sample(50, 3)
    x = torch.as_tensor(task.domain.to_input(latent))
    with torch.no_grad():
        y = task.proxy(x)
    base, paid = (y.numpy() @ q.of_decision.T + latent @ q.of_latent.T + q.constant for q in (terms.base, terms.paid))
    total = base[:, 0] + np.maximum(paid, 0.0) @ terms.price
    np.testing.assert_allclose(total, task.problem.objective(x, y).numpy(), rtol=1e-10)
    flow = proxy_bounds(task.layers, task.problem, task.domain)
    assert paid_limits(task.problem, dict(flow.intervals)).contains(paid, 1e-9).all()
