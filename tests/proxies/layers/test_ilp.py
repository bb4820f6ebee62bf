"""Integer programs: optima against enumeration and HiGHS, refusals, and the layer in a network."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch import Tensor

from proxies.errors import IntegerProgramError
from proxies.layers.ilp import ILPLayer, ILPOptions, ilp_solve
from proxies.layers.ilp_program import FEASIBILITY, Programs
from proxies.layers.ilp_solve import DEFAULT_OPTIONS
from solvers.linear_model import LinearModel
from solvers.registry import open_session
from solvers.session import Status

Case = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def random_case(rng: np.random.Generator, batch: int, whole: bool, largest: int = 4, spread: int = 3) -> Case:
    """A batch whose points can be listed: integer data, with many ties and rows that are met exactly, or real data."""
    n, m = int(rng.integers(1, largest + 1)), int(rng.integers(0, 5))
    lower = rng.integers(-spread, 2, n)
    upper = lower + rng.integers(0, spread + 1, n)
    if whole:
        c, A = rng.integers(-3, 4, (batch, n)), rng.integers(-3, 4, (batch, m, n))
        b = rng.integers(-4, 8, (batch, m))
    else:
        c, A = rng.normal(size=(batch, n)), rng.normal(size=(batch, m, n))
        b = rng.normal(size=(batch, m)) * 2 + 1
    return tuple(torch.as_tensor(part, dtype=torch.float64) for part in (c, A, b, lower, upper))


def by_listing(case: Case) -> np.ndarray:
    """The least cost of each program over all points of the box, infinite where none obeys every row."""
    c, A, b, lower, upper = (part.numpy() for part in case)
    points = np.array(list(itertools.product(*(np.arange(lo, up + 1) for lo, up in zip(lower, upper)))))
    size = np.abs(A) @ np.maximum(np.abs(lower), np.abs(upper)) + np.abs(b)
    allowed = b + FEASIBILITY[torch.float64] * size
    feasible = (np.einsum("kmn,pn->kpm", A, points) <= allowed[:, None, :]).all(-1)
    return np.where(feasible, c @ points.T, np.inf).min(-1)


def assert_optimal(case: Case, options: ILPOptions = DEFAULT_OPTIONS) -> None:
    c, A, b, lower, upper = case
    found, least = ilp_solve(*case, options), by_listing(case)
    np.testing.assert_array_equal(found.feasible.numpy(), np.isfinite(least))
    np.testing.assert_allclose(found.value.numpy(), least, atol=1e-8, rtol=0)
    assert torch.equal(found.y, found.y.round())
    assert bool(((found.y >= lower) & (found.y <= upper)).all())
    size = (A.abs() @ torch.maximum(lower.abs(), upper.abs())) + b.abs()
    inside = ((A @ found.y[..., None])[..., 0] <= b + 1e-8 * size).all(-1)
    assert bool((inside | ~found.feasible).all())
    priced = torch.where(found.feasible, (c * found.y).sum(-1), torch.inf)
    np.testing.assert_allclose(priced.numpy(), found.value.numpy(), atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=150, deadline=None)
def test_optima_are_those_of_a_list_of_all_points(seed: int, whole: bool) -> None:
    assert_optimal(random_case(np.random.default_rng(seed), 16, whole))


def test_ten_thousand_optima_are_those_of_a_list_of_all_points() -> None:
    for seed in range(500):
        assert_optimal(random_case(np.random.default_rng(seed), 20, seed % 2 == 0, largest=6))


def test_badly_scaled_rows_change_no_optimum() -> None:
    """Rows times 10^-6 to 10^6, rows twice, pairs of rows that leave equality, costs along a row, zero costs."""
    for seed in range(300):
        rng = np.random.default_rng(seed)
        c, A, b, lower, upper = random_case(rng, 8, seed % 3 == 0, largest=5)
        m = A.shape[1]
        factor = torch.as_tensor(10.0 ** rng.integers(-6, 7, (8, m)))
        A, b = A * factor[..., None], b * factor
        if m > 1 and seed % 5 == 0:
            A[:, 1], b[:, 1] = -A[:, 0], -b[:, 0]
        if m > 2 and seed % 7 == 0:
            A[:, 2], b[:, 2] = A[:, 0], b[:, 0]
        if m and seed % 11 == 0:
            c = torch.nn.functional.normalize(A[:, 0])
        assert_optimal((c * (seed % 13 > 0), A, b, lower, upper))


@pytest.mark.parametrize("solver", ["highs", "gurobi", "scip"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_solver_finishes_what_the_search_gives_up(solver: str, whole: bool) -> None:
    if solver != "highs":
        pytest.importorskip({"gurobi": "gurobipy", "scip": "pyscipopt"}[solver])
    rng = np.random.default_rng(7)
    options = ILPOptions(node_limit=1, solver=solver)
    given_up = 0
    for _ in range(12):
        case = random_case(rng, 4, whole, spread=5)
        assert_optimal(case, options)
        given_up += int(ilp_solve(*case, options).by_solver.sum())
    assert given_up >= 12
    hard = hard_programs(4, seed=3)
    alone, helped = ilp_solve(*hard), ilp_solve(*hard, options)
    assert bool(helped.by_solver.any())
    assert not bool(alone.by_solver.any())
    np.testing.assert_allclose(helped.value.numpy(), alone.value.numpy(), atol=1e-8)


def hard_programs(batch: int, seed: int, m: int = 8, spread: float = 5.0) -> Case:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(m, 16))
    A /= np.linalg.norm(A, axis=1, keepdims=True)
    parts = rng.normal(size=(batch, 16)), A, rng.random(m) * 2, np.full(16, -spread), np.full(16, spread)
    return tuple(torch.as_tensor(part) for part in parts)


@pytest.mark.parametrize(("m", "spread"), [(1, 5), (4, 5), (6, 5), (8, 1), (16, 1), (3, 1000)])
def test_optima_are_those_of_highs(m: int, spread: int) -> None:
    case = hard_programs(6, 11, m, spread)
    found = ilp_solve(*case)
    c, A, b, lower, upper = (part.numpy() for part in case)
    every = np.ones(16, dtype=bool)
    for k in range(len(c)):
        rows = sparse.csr_array(A)
        model = LinearModel(1e3 * c[k], rows, np.full(m, -np.inf), b, lower, upper, every)
        with open_session("highs", model) as session:
            solution = session.solve(mip_gap=0.0)
        assert solution.status is Status.OPTIMAL
        assert found.value[k].item() == pytest.approx(1e-3 * solution.objective, abs=1e-6)
        # HiGHS may exceed rows by 1e-6, so it may be cheaper by that; never dearer.
        assert found.value[k].item() >= 1e-3 * solution.objective - 1e-6


def test_infeasible_programs_are_flagged() -> None:
    A = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    b = torch.tensor([[0.0, -1.0], [1.0, -1.0]], dtype=torch.float64)
    c = torch.ones(2, 2, dtype=torch.float64)
    found = ilp_solve(c, A, b, 0, 3)
    assert found.feasible.tolist() == [False, True]
    assert found.y[0].tolist() == [0, 0]
    assert found.value[0].item() == np.inf
    assert ilp_solve(c, A, b, 2, 3).y[0].tolist() == [2, 2]


def test_infeasible_by_parity_alone() -> None:
    """2 y_1 + 2 y_2 + ... = 5 has real points only."""
    A = torch.tensor([[2.0] * 6, [-2.0] * 6])
    found = ilp_solve(torch.ones(1, 6), A, torch.tensor([5.0, -5.0]), 0, 4)
    assert found.feasible.tolist() == [False]


def test_sums_that_floats_cannot_hold_are_feasible() -> None:
    """0.1 + 0.2 <= 0.3 is false in floating point, and meant."""
    for kind in (torch.float32, torch.float64):
        A = torch.tensor([[0.1, 0.2]], dtype=kind)
        found = ilp_solve(torch.tensor([-1.0, -1.0], dtype=kind), A, torch.tensor([0.3], dtype=kind), 0, 1)
        assert found.y.tolist() == [[1, 1]]
        assert found.y.dtype is kind


def test_shared_parameters_and_threads_change_nothing() -> None:
    c, A, b, lower, upper = hard_programs(9, 5, 4)
    alone = ilp_solve(c, A, b, lower, upper)
    apart = ilp_solve(c, A.expand(9, -1, -1), b.expand(9, -1), -5, 5, ILPOptions(threads=3))
    assert torch.equal(alone.y, apart.y)
    assert torch.equal(alone.nodes, apart.nodes)
    assert torch.equal(ilp_solve(c[2], A, b, lower, upper).y[0], alone.y[2])


def test_an_empty_batch_and_no_rows() -> None:
    empty = torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)
    A = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    y = ILPLayer(0, 1)(empty, A, torch.ones(2, dtype=torch.float64)).y
    assert y.shape == (0, 3)
    y.sum().backward()
    assert torch.equal(A.grad, torch.zeros(2, 3, dtype=torch.float64))
    found = ilp_solve(torch.tensor([1.0, -1.0]), torch.zeros(0, 2), torch.zeros(0), -2, 7)
    assert found.y.tolist() == [[-2, 7]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"c": torch.tensor([1.0, torch.nan])}, "c holds a number that is not finite"),
        ({"A": torch.full((1, 2), torch.inf)}, "A holds a number that is not finite"),
        ({"b": torch.tensor([1e35])}, "b holds a number that is not finite, or beyond 1e\\+30"),
        ({"c": torch.zeros(2, dtype=torch.float64)}, "make all float64 or float32"),
        ({"c": torch.zeros(2, dtype=torch.int64)}, "make all float64 or float32"),
        ({"A": torch.zeros(2, 2)}, "the last axes must be"),
        ({"c": torch.zeros(3, 2), "b": torch.zeros(4, 1)}, "different sizes"),
        ({"c": torch.zeros(1, 1, 2)}, "axes"),
        ({"lower": 0.5}, "lower must be integers"),
        ({"upper": torch.inf}, "upper must be integers"),
        ({"upper": torch.ones(3)}, "upper has shape"),
        ({"lower": 2}, "the box is empty"),
    ],
)
def test_unusable_numbers_are_refused(change: dict[str, object], words: str) -> None:
    parts = {"c": torch.zeros(2), "A": torch.zeros(1, 2), "b": torch.zeros(1), "lower": 0, "upper": 1}
    with pytest.raises(IntegerProgramError, match=words):
        ilp_solve(**{**parts, **change})


def test_what_is_feasible_is_said_once() -> None:
    case = random_case(np.random.default_rng(2), 3, True)
    programs = Programs.of(*case)
    assert programs.right_side.shape == case[2].shape
    assert bool((programs.right_side >= case[2]).all())


def test_the_layer_learns_a_row_from_solutions() -> None:
    """A knapsack's weights from its solutions alone: the layer as a module of a network, trained by any loss."""
    torch.manual_seed(0)
    c = -torch.rand(256, 8, dtype=torch.float64)
    wanted = ilp_solve(c, 0.1 + torch.rand(1, 8, dtype=torch.float64), torch.tensor([1.5]).double(), 0, 1).y
    layer = ILPLayer(0, 1)
    A = torch.nn.Parameter(torch.full((1, 8), 0.5, dtype=torch.float64))
    b = torch.tensor([1.5], dtype=torch.float64)
    optimizer = torch.optim.Adam([A], lr=0.01)

    def accuracy() -> float:
        return (layer(c, A, b).y == wanted).all(-1).double().mean().item()

    before = accuracy()
    for step in range(150):
        optimizer.zero_grad()
        some = slice(32 * (step % 8), 32 * (step % 8) + 32)
        (layer(c[some], A, b).y - wanted[some]).square().mean().backward()
        optimizer.step()
    assert accuracy() > max(0.8, before)
