"""Projection onto the feasible dispatches: against the problem's own measures and against other feasible points."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from problems.dcopf import DcOpf
from problems.grid import load_grid
from proxies.layers.qp import Status
from proxies.layers.qp_projection import QPProjection


@pytest.fixture(scope="module")
def problem() -> DcOpf:
    return DcOpf(load_grid("pglib_opf_case57_ieee"), thermal="hard")


def test_projected_dispatches_are_feasible_and_nearest(problem: DcOpf) -> None:
    torch.manual_seed(0)
    x = torch.as_tensor(problem.domain(0.1).sample(6, 0) @ problem.domain(0.1).matrix.toarray().T)
    h = torch.rand(6, problem.decision_size, dtype=torch.float64) * torch.as_tensor(problem.grid.pmax)
    projection = QPProjection(problem)
    y = projection(h, x)
    assert float(problem.infeasibility(x, y).max()) < 1e-9
    # Nothing feasible is nearer than the projection, and what is feasible stays: (h - y)'(other - y) <= 0.
    cheapest = torch.as_tensor(problem.solve(x[0].numpy())[1])
    moved = projection.moved
    assert float(((h - y)[0, moved] * (cheapest - y[0])[moved]).sum()) < 1e-7
    torch.testing.assert_close(projection(y, x), y, atol=1e-9, rtol=0)
    torch.testing.assert_close(projection(cheapest[None], x[:1])[0], cheapest, atol=1e-6, rtol=0)


def test_limits_bind_and_gradients_pass(problem: DcOpf) -> None:
    """With ratings cut until they bind, flows stop at them, and gradients agree with differences."""
    tight = replace(problem, grid=replace(problem.grid, rating=0.45 * problem.grid.rating))
    x = torch.as_tensor(problem.grid.load)[None]
    torch.manual_seed(0)
    h = 2 * torch.rand(1, problem.decision_size, dtype=torch.float64) * torch.as_tensor(problem.grid.pmax)
    projection = QPProjection(tight)
    solution = projection.solve(h, x)
    assert solution.solved.all()
    generators = 2 * len(projection.moved)
    assert solution.active[0, generators:].any()
    assert float(tight.overloads(x, projection(h, x)).max()) < 1e-9
    assert torch.autograd.gradcheck(projection, (h.requires_grad_(), x.requires_grad_()), atol=1e-5, fast_mode=True)


def test_inputs_that_nothing_serves_give_nan(problem: DcOpf) -> None:
    x = torch.as_tensor(problem.grid.load)[None] * torch.tensor([[1.0], [50.0]], dtype=torch.float64)
    projection = QPProjection(problem)
    h = torch.zeros(2, problem.decision_size)
    assert projection.solve(h, x).status.tolist() == [Status.SOLVED, Status.INFEASIBLE]
    y = projection(h, x)
    assert y.dtype == torch.float32
    assert y[0].isfinite().all()
    assert y[1, projection.moved].isnan().all()
