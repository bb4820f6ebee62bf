"""MIP values as a layer: gradients against finite differences, ties, soft minima, outcomes, processes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from proxies.errors import IntegerProgramError
from proxies.layers import mip_value
from proxies.layers.mip_value import MipOptions, MipValue, Outcome, mip_value_solve, mip_value_vjp
from solvers.dual_tree import grow
from solvers.mip_pieces import Search, solve_pieces

INTEGER = torch.tensor([True, True, True, True, False, False])
BOX = 0, 3, INTEGER, 8.0


def random_parts(seed: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    n, m = len(INTEGER), 4
    parts = rng.normal(size=(batch, n)) + 0.5, rng.normal(size=(batch, m, n)), rng.normal(size=(batch, m))
    return tuple(torch.as_tensor(part) for part in parts)


@pytest.mark.parametrize("equality", [False, torch.arange(4) < 2])
def test_gradient_matches_finite_differences(equality: Tensor | bool) -> None:
    """Along one random direction for each of some hundred programs that are not at a kink."""
    batch, step = 100, 1e-6
    parts = random_parts(0, batch)
    directions = random_parts(1, batch)
    ones = torch.ones(batch, dtype=torch.float64)
    solution, grads = mip_value_vjp(dict(zip("cAb", parts)), ones, *BOX, MipOptions(pieces=2), equality=equality)
    expected = sum((grad * way).flatten(1).sum(1) for grad, way in zip(grads.values(), directions))
    ends = [
        mip_value_solve(
            *(part + sign * step * way for part, way in zip(parts, directions)), *BOX, equality=equality
        ).value
        for sign in (1, -1)
    ]
    measured = (ends[0] - ends[1]) / (2 * step)
    away = solution.solved & ~solution.at_kink & (solution.margin > 1e-3)
    match = (measured - expected).abs() <= 1e-4 * (1 + expected.abs())
    assert int(away.sum()) > 0.9 * batch
    assert float(match[away].double().mean()) >= 0.99


def test_module_and_vjp_agree_and_shared_gradients_are_sums() -> None:
    c, A, b = random_parts(2, 5)
    weight = torch.linspace(-1, 2, 5, dtype=torch.float64)
    shared = {"c": c, "A": A[0].clone().requires_grad_(), "b": b[0].clone().requires_grad_()}
    layer = MipValue(*BOX)
    (layer(**shared).value * weight).sum().backward()
    _, own = mip_value_vjp({"c": c, "A": A[:1].expand(5, -1, -1), "b": b[:1].expand(5, -1)}, weight, *BOX)
    torch.testing.assert_close(shared["A"].grad, own["A"].sum(0))
    torch.testing.assert_close(shared["b"].grad, own["b"].sum(0))


def test_two_equal_assignments_are_a_tie() -> None:
    """min -x1 - x2, one of them at most: two best assignments; a little more for one of them, and there is one."""
    c, A, b = torch.tensor([[-1.0, -1.0], [-1.0, -1.1]]), torch.tensor([[-1.0, -1.0]]), torch.tensor([-1.5])
    solution = mip_value_solve(c.double(), A.double(), b.double(), 0, 1, True, 10.0, MipOptions(pieces=2))
    assert solution.tied.tolist() == [True, False]
    assert solution.margin.tolist() == pytest.approx([0.0, 0.1])
    assert solution.at_kink.tolist() == [True, False]


def test_kink_of_a_row_that_is_just_met_is_told() -> None:
    """x = 1 meets x >= b at b = 1: below, more b costs nothing; above, its penalty."""
    c, A = torch.zeros(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    b = torch.tensor([[0.5], [1.0], [1.5]], dtype=torch.float64)
    solution = mip_value_solve(c, A, b, 1, 1, True, 4.0)
    assert solution.unique_y.tolist() == [True, False, True]
    assert solution.value.tolist() == pytest.approx([0, 0, 2])
    assert solution.shortfall[:, 0].tolist() == pytest.approx([0, 0, 0.5])
    assert solution.y[:, 0].tolist()[::2] == pytest.approx([0, 4])


def test_other_optimal_points_are_told() -> None:
    c, A, b = torch.ones(2).double(), torch.ones(1, 2).double(), torch.ones(1).double()
    assert mip_value_solve(c, A, b, 0, 1, False, 4.0).unique_x.tolist() == [False]
    assert mip_value_solve(c + torch.tensor([0.0, 0.1]), A, b, 0, 1, False, 4.0).unique_x.tolist() == [True]


def test_soft_minimum_is_that_of_the_pieces_with_its_gradient() -> None:
    parts = random_parts(3, 20)
    options = MipOptions(pieces=3, temperature=0.7)
    given = {name: part.requires_grad_() for name, part in zip("cAb", parts)}
    solution = MipValue(*BOX, options)(**given)
    found = solution.pieces.detach()
    torch.testing.assert_close(solution.value.detach(), -0.7 * torch.logsumexp(-found / 0.7, -1))
    least = found[:, 0]
    assert bool((solution.value <= least).all())
    assert bool((solution.value >= least - 0.7 * np.log(3)).all())
    made = torch.autograd.grad(solution.value.sum(), list(given.values()))
    share = torch.softmax(-found / 0.7, -1)
    x, y = solution.pieces_x, solution.pieces_y
    torch.testing.assert_close(made[0], torch.einsum("bk,bkn->bn", share, x))
    torch.testing.assert_close(made[1], -torch.einsum("bk,bkm,bkn->bmn", share, y, x))
    torch.testing.assert_close(made[2], torch.einsum("bk,bkm->bm", share, y))


def test_zero_temperature_is_the_limit_of_soft_ones() -> None:
    parts = random_parts(4, 10)
    hard = mip_value_solve(*parts, *BOX, MipOptions(pieces=3))
    soft = mip_value_solve(*parts, *BOX, MipOptions(pieces=3, temperature=1e-9))
    torch.testing.assert_close(hard.value, soft.value)


def test_a_program_without_a_value_is_no_number() -> None:
    """Hard rows: the second program is infeasible. The others keep their gradients."""
    c = torch.tensor([[1.0], [1.0]], dtype=torch.float64, requires_grad=True)
    A, b = torch.ones(1, 1, dtype=torch.float64), torch.tensor([[1.5], [5.0]], dtype=torch.float64)
    hard = 0, 3, True, float("inf")
    solution = MipValue(*hard)(c, A, b)
    assert solution.outcome.tolist() == [Outcome.SOLVED, Outcome.INFEASIBLE]
    assert solution.value[0] == 2
    assert torch.isnan(solution.value[1])
    assert torch.isnan(solution.x[1]).all()
    assert solution.lower[1] == solution.upper[1] == torch.inf
    (left,) = torch.autograd.grad(solution.value[0], c, retain_graph=True)
    assert left.tolist() == [[2.0], [0.0]]
    (spoilt,) = torch.autograd.grad(solution.value.sum(), c)
    assert torch.isnan(spoilt[1, 0])
    _, pulled = mip_value_vjp({"c": c, "A": A, "b": b}, torch.ones(2, dtype=torch.float64), *hard)
    assert pulled["c"].tolist() == [[2.0], [0.0]]


def test_a_failed_solve_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the solver left a point."""
    answer = solve_pieces(MipValue(*BOX).programs(*random_parts(0, 1))[0], Search())
    monkeypatch.setattr(mip_value, "solve_pieces", lambda _, search: replace(answer, outcome=Outcome.FAILED))
    solution = mip_value_solve(*random_parts(0, 1), *BOX)
    assert torch.isnan(solution.value).all()
    assert torch.isnan(solution.x).all()
    assert solution.upper.tolist() == [answer.upper]


def test_unbounded_is_an_outcome() -> None:
    minus, one = -torch.ones(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    solution = mip_value_solve(minus, one, minus, 0, float("inf"), False, 1.0)
    assert solution.outcome.tolist() == [Outcome.UNBOUNDED]
    assert torch.isnan(solution.value).all()


def test_penalty_above_the_multipliers_leaves_the_value_as_it_is() -> None:
    c, A, b = random_parts(5, 20)
    hard = mip_value_solve(c, A, b, 0, 3, INTEGER, float("inf"))
    soft = mip_value_solve(c, A, b, 0, 3, INTEGER, 1e4)
    assert int(hard.solved.sum()) >= 10
    torch.testing.assert_close(soft.value[hard.solved], hard.value[hard.solved], rtol=1e-6, atol=1e-6)
    met = soft.shortfall.amax(1) < 1e-7
    assert bool((met == hard.solved).all())


def test_equalities_have_gradients_of_either_sign() -> None:
    """x may be at most 1, and b pulls it to either side: the value is |b - 1| times the price, beyond the box."""
    b = torch.tensor([[-0.5], [0.5], [1.5]], dtype=torch.float64, requires_grad=True)
    c, A = torch.zeros(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    solution = MipValue(0, 1, False, 2.0, equality=True)(c, A, b)
    assert solution.value.tolist() == pytest.approx([1, 0, 1])
    (slope,) = torch.autograd.grad(solution.value.sum(), b)
    assert slope[:, 0].tolist() == pytest.approx([-2, 0, 2])
    assert not bool(solution.at_kink.any())


def test_gap_to_a_dual_function_is_zero_at_home_and_positive_elsewhere() -> None:
    layer = MipValue(*BOX)
    parts = [part.requires_grad_() for part in random_parts(10, 4)]
    value = layer(*parts).value.detach().numpy()
    function = grow(layer.programs(*parts)[0])
    gap = value - function(*(part.detach().numpy() for part in parts))
    assert 0 <= gap[0] <= 1e-6 * max(1, abs(value[0]))
    assert bool((gap[1:] > 0).all())


def test_processes_give_what_one_gives() -> None:
    parts = random_parts(6, 6)
    alone, shared = MipValue(*BOX), MipValue(*BOX, workers=2)
    torch.testing.assert_close(alone(*parts).value, shared(*parts).value, rtol=0, atol=0)
    shared.close()


def test_another_solver_gives_the_same_values() -> None:
    parts = random_parts(11, 3)
    other = mip_value_solve(*parts, *BOX, MipOptions(solver="pyomo:appsi_highs"))
    torch.testing.assert_close(other.value, mip_value_solve(*parts, *BOX).value)


def test_float32_is_answered_in_float32() -> None:
    parts = [part.float().requires_grad_() for part in random_parts(7, 3)]
    value = MipValue(*BOX)(*parts).value
    assert value.dtype == torch.float32
    assert torch.autograd.grad(value.sum(), parts)[1].dtype == torch.float32


def test_second_derivatives_are_refused() -> None:
    c, A, b = random_parts(8, 2)
    value = MipValue(*BOX)(c.requires_grad_(), A, b).value
    (first,) = torch.autograd.grad(value.square().sum(), c, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": torch.ones(4, 5).double()}, "last axes"),
        ({"b": torch.ones(3, 4).double()}, "different sizes"),
        ({"b": torch.ones(4)}, "one floating type"),
        ({"c": torch.full((2, 6), torch.nan).double()}, "not finite"),
        ({"c": torch.ones(1, 1, 6).double()}, "axes"),
        ({"upper": float("inf")}, "finite, integral limits"),
        ({"upper": -1}, "box is empty"),
        ({"lower": torch.zeros(5)}, "lower has shape"),
        ({"penalty": 0.0}, "positive"),
    ],
)
def test_unusable_parameters_are_named(changes: dict, message: str) -> None:
    c, A, b = random_parts(9, 2)
    lower, upper, integer, penalty = BOX
    parts = {"c": c, "A": A, "b": b, "lower": lower, "upper": upper, "integer": integer, "penalty": penalty}
    with pytest.raises(IntegerProgramError, match=message):
        mip_value_solve(**(parts | changes))
