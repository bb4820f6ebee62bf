"""Gradients of integer programs: CombOptNet's against loops over the equations, the others against sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from proxies.errors import IntegerProgramError
from proxies.layers.ilp import Blackbox, CombOptNet, ILPLayer, Perturbed, fenchel_young_loss, ilp_solve, ilp_vjp
from proxies.layers.ilp_constraints import ConstraintModule
from proxies.layers.ilp_gradient import Basis, decompose

Parts = tuple[Tensor, Tensor, Tensor]


def random_parts(seed: int, batch: int = 3, n: int = 4, m: int = 3) -> Parts:
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(batch, n)), rng.normal(size=(batch, m, n)), rng.normal(size=(batch, m)) * 2 + 1
    return tuple(torch.as_tensor(part) for part in parts)


def steps_of(dy: list[float], basis: Basis) -> list[tuple[float, list[int]]]:
    """Pairs (lambda_k, Delta_k) by (8), (9) and Proposition 1."""
    n = len(dy)
    sign = [(value > 0) - (value < 0) for value in dy]
    if basis == "canonical":
        return [(abs(dy[k]), [sign[k] if j == k else 0 for j in range(n)]) for k in range(n)]
    order = sorted(range(n), key=lambda j: -abs(dy[j]))
    pairs = []
    for k in range(n):
        following = abs(dy[order[k + 1]]) if k + 1 < n else 0.0
        pairs.append((abs(dy[order[k]]) - following, [sign[j] if j in order[: k + 1] else 0 for j in range(n)]))
    return pairs


def mismatch(c: Tensor, A: Tensor, b: Tensor, y: list[float], dy: list[float], box: tuple[int, int], how: CombOptNet):
    """sum_k lambda_k (P(A, b) + P(c)) by (4), (5), (7), (11), (12), (13), differentiated by torch."""
    n, m = len(y), len(b)
    projected = [y[i] - max(min(y[i] - dy[i], box[1]), box[0]) for i in range(n)]
    total = torch.zeros((), dtype=c.dtype)
    for weight, step in steps_of(projected, how.basis):
        target = torch.tensor([y[i] - step[i] for i in range(n)], dtype=c.dtype)
        point = torch.tensor(y, dtype=c.dtype)
        if torch.equal(target, point) or bool(((target < box[0]) | (target > box[1])).any()):
            continue
        outside = [j for j in range(m) if bool(A[j] @ target > b[j])]
        if outside:
            for j in outside:
                total = total + weight * (A[j] @ target - b[j]).abs() / A[j].norm()
            continue
        distances = [(A[j] @ point - b[j]).abs() / A[j].norm() for j in range(m)]
        if how.tau > 0:
            least = -how.tau * torch.log(sum(torch.exp(-distance / how.tau) for distance in distances))
        else:
            least = min(distances, key=Tensor.item)
        total = total + weight * (least + c @ (target - point))
    return total


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["delta", "canonical"]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.3, 3.0]),
)
@settings(max_examples=60, deadline=None)
def test_comboptnet_is_the_gradient_of_the_papers_mismatch(seed: int, basis: Basis, tau: float, size: float) -> None:
    """Feasible and infeasible programs, gradients within one step and far beyond the box."""
    c, A, b = (part.requires_grad_() for part in random_parts(seed))
    lower, upper = -1, 2
    how = CombOptNet(tau, basis)
    found = ilp_solve(c, A, b, lower, upper)
    dy = torch.as_tensor(np.random.default_rng(seed).normal(size=c.shape) * size)
    made = ilp_vjp(c, A, b, lower, upper, found.y, dy, how)
    total = sum(
        mismatch(c[k], A[k], b[k], found.y[k].tolist(), dy[k].tolist(), (lower, upper), how) for k in range(len(c))
    )
    if not total.requires_grad:
        expected = [torch.zeros_like(part) for part in (c, A, b)]
    else:
        expected = torch.autograd.grad(total, (c, A, b), materialize_grads=True)
    for ours, theirs in zip((made.c, made.A, made.b), expected):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("basis", ["delta", "canonical"])
def test_steps_sum_to_the_gradient(basis: Basis) -> None:
    dy = torch.tensor([[0.5, -2.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    steps, weights = decompose(dy, basis)
    assert torch.equal((weights[..., None] * steps).sum(1), dy)
    assert bool((weights >= 0).all())
    assert set(steps.unique().tolist()) <= {-1.0, 0.0, 1.0}


def test_targets_stay_in_the_box() -> None:
    """A gradient that leads out of the box is dropped: without rows, nothing else is left."""
    c = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    A, b = torch.zeros(0, 2, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    y = ilp_solve(c, A, b, 0, 1).y
    assert y.tolist() == [[0, 1]]
    outward = torch.tensor([[5.0, -5.0]], dtype=torch.float64)
    assert ilp_vjp(c, A, b, 0, 1, y, outward).c.tolist() == [[0, 0]]
    # Inward, a gradient of 5 counts as the one step there is: costs make the target cheaper.
    assert ilp_vjp(c, A, b, 0, 1, y, -outward).c.tolist() == [[1, -1]]


@pytest.mark.parametrize("gradient", [CombOptNet(), Blackbox(0.5), Perturbed(0.5, 3)])
def test_shared_parameters_get_the_sum(gradient: CombOptNet | Blackbox | Perturbed) -> None:
    c, A, b = random_parts(4, batch=6)
    c, A, b = c[:1].expand(6, -1).clone(), A[0], b[0]
    dy = torch.as_tensor(np.random.default_rng(1).normal(size=c.shape))
    apart = [part.clone().requires_grad_() for part in (c, A.expand(6, -1, -1), b.expand(6, -1))]
    layer = ILPLayer(-1, 2, gradient)
    torch.manual_seed(0)
    (layer(*apart).y * dy).sum().backward()
    for shared in ({0}, {1}, {2}, {1, 2}, {0, 1}):
        whole = [(c[0], A, b)[i] if i in shared else apart[i].detach() for i in range(3)]
        mixed = [part.clone().requires_grad_() for part in whole]
        torch.manual_seed(0)
        (layer(*mixed).y * dy).sum().backward()
        for i in range(3):
            if apart[i].grad is None:
                assert mixed[i].grad is None
            else:
                expected = apart[i].grad.sum(0) if i in shared else apart[i].grad
                torch.testing.assert_close(mixed[i].grad, expected)


def test_infeasible_programs_push_their_rows_outward() -> None:
    """Following the gradient makes the program feasible, and its costs are left alone."""
    c = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    A = torch.tensor([[1.0, 0.0, 1.0], [-1.0, -1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([-1.0, -0.5], dtype=torch.float64, requires_grad=True)
    wanted = torch.tensor([[0.0, 1.0, 1.0]], dtype=torch.float64)
    layer = ILPLayer(0, 1)
    found = layer(c, A, b)
    assert not bool(found.feasible[0])
    (found.y - wanted).square().mean().backward()
    assert torch.equal(c.grad, torch.zeros_like(c))
    assert bool((b.grad <= 0).all())
    assert float(b.grad[0]) < 0
    optimizer = torch.optim.SGD([A, b], lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        found = layer(c, A, b)
        (found.y - wanted).square().mean().backward()
        optimizer.step()
    assert bool(found.feasible[0])


def test_a_row_of_zeros_gets_no_gradient() -> None:
    c, A, b = random_parts(2, batch=2)
    A, b = A[0].clone(), b[0].abs()
    A[1] = 0.0
    y = ilp_solve(c, A, b, -1, 1).y
    for tau in (0.0, 0.5):
        made = ilp_vjp(c, A, b, -1, 1, y, torch.ones_like(y), CombOptNet(tau))
        assert bool(made.A.isfinite().all())
        assert made.A[1].tolist() == [0, 0, 0, 0]
        assert float(made.b[1]) == 0


def test_blackbox_is_the_slope_of_its_interpolation() -> None:
    c, A, b = random_parts(5, batch=8)
    y = ilp_solve(c, A, b, -1, 2).y
    dy = torch.as_tensor(np.random.default_rng(5).normal(size=c.shape))
    for scale in (0.1, 2.0):
        made = ilp_vjp(c, A, b, -1, 2, y, dy, Blackbox(scale))
        moved = ilp_solve(c + scale * dy, A, b, -1, 2).y
        torch.testing.assert_close(made.c, -(y - moved) / scale)
        # The moved solution is no worse for dy: the slope falls along dy.
        assert bool(((made.c * dy).sum(-1) <= 1e-12).all())


def test_perturbed_gradients_are_those_of_the_mean_solution() -> None:
    """One variable: the mean solution under noise is known, P(c + Z < 0), and so is its slope."""
    c = torch.tensor([[0.3], [-0.8]], dtype=torch.float64)
    A, b = torch.zeros(0, 1, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    spread = 0.7
    torch.manual_seed(3)
    y = ilp_solve(c, A, b, 0, 1).y
    made = ilp_vjp(c, A, b, 0, 1, y, torch.ones_like(y), Perturbed(spread, 20_000))
    for k, value in enumerate(c[:, 0].tolist()):
        density = math.exp(-0.5 * (value / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
        assert made.c[k, 0].item() == pytest.approx(-density, abs=0.03)


def test_fenchel_young_gradient_is_target_minus_mean_solution() -> None:
    c, A, b = random_parts(6, batch=5)
    b = b.abs()
    target = ilp_solve(-c, A, b, -1, 2).y
    c.requires_grad_()
    how = Perturbed(0.4, 7)
    torch.manual_seed(1)
    loss = fenchel_young_loss(c, A, b, -1, 2, target, how)
    loss.sum().backward()
    torch.manual_seed(1)
    samples = [ilp_solve(c.detach() + how.spread * torch.randn_like(target), A, b, -1, 2).y for _ in range(7)]
    torch.testing.assert_close(c.grad, target - torch.stack(samples).mean(0))
    # Costs whose solutions are the targets lose least: training on the loss finds them.
    optimizer = torch.optim.Adam([c], lr=0.1)
    for _ in range(80):
        optimizer.zero_grad()
        fenchel_young_loss(c, A, b, -1, 2, target, Perturbed(0.1, 8)).sum().backward()
        optimizer.step()
    assert torch.equal(ilp_solve(c.detach(), A, b, -1, 2).y, target)


def test_a_second_derivative_is_refused() -> None:
    c, A, b = random_parts(1)
    c.requires_grad_()
    y = ILPLayer(-1, 2)(c, A, b).y
    (first,) = torch.autograd.grad(y.square().sum(), c, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_gradients_of_another_shape_are_refused() -> None:
    c, A, b = random_parts(1)
    with pytest.raises(IntegerProgramError, match="y and dy have shapes"):
        ilp_vjp(c, A, b, 0, 1, torch.zeros(3, 4).double(), torch.zeros(4).double())


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_constraints_are_half_spaces_with_own_origins(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    normal, distance, origin = torch.randn(3, 5, dtype=kind), torch.randn(3, dtype=kind), torch.randn(3, 5, dtype=kind)
    module = ConstraintModule(normal, distance, origin)
    A, b = module()
    assert A.dtype is kind
    torch.testing.assert_close(A.norm(dim=-1), torch.ones(3, dtype=kind))
    points = torch.randn(50, 5, dtype=kind)
    inside = ((points[:, None, :] - origin) * normal).sum(-1) - distance
    torch.testing.assert_close(points @ A.T - b, inside / normal.norm(dim=-1))
    assert {name for name, _ in module.named_parameters()} == {"normal", "distance", "origin"}
    fixed = ConstraintModule(normal, distance, origin, learn_origin=False)
    assert {name for name, _ in fixed.named_parameters()} == {"normal", "distance"}
    assert set(fixed.state_dict()) == {"normal", "distance", "origin"}
    # Independent sets at once.
    many = ConstraintModule(normal.expand(2, 3, 5), distance.expand(2, 3), origin.expand(2, 3, 5))()
    torch.testing.assert_close(many[0][1], A)
    with pytest.raises(IntegerProgramError, match="shapes"):
        ConstraintModule(normal, distance[:2], origin)
