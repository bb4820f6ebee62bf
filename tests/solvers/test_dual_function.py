"""Dual functions of trees: tight where grown, below the value everywhere, leaf by leaf; against points and solvers."""

from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import linprog

from solvers import dual_function, dual_tree
from solvers.dual_function import DualFunction
from solvers.dual_tree import grow, sharpen, tighten
from solvers.elastic_program import ElasticProgram
from solvers.errors import SolverFailedError, TreeLimitError, UnsupportedModelError
from solvers.mip_pieces import Outcome, Search, solve_pieces

PERTURBATIONS = 1000


def knapsack(seed: int, items: int = 7) -> ElasticProgram:
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.1, 1, (2, items))
    whole = np.ones(items, dtype=bool)
    values = weights.mean(axis=0) + rng.uniform(0, 0.5, items)
    half = -weights.sum(axis=1) / 2
    return ElasticProgram(-values, -weights, half, np.zeros(items), np.ones(items), whole, *soft(2, 5.0))


def soft(rows: int, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    return np.full(rows, penalty), np.zeros(rows, dtype=bool)


def mixed(seed: int, hard: float = 0.0) -> ElasticProgram:
    """Four integer and two continuous columns, five rows, of which the first is an equality and a share is hard."""
    rng = np.random.default_rng(seed)
    n, m = 6, 5
    limit = np.array([2, 2, 1, 1, 1.5, 1.5])
    penalty = np.where(rng.random(m) < hard, np.inf, 8.0)
    whole = np.arange(n) < 4
    return ElasticProgram(
        rng.normal(size=n),
        rng.normal(size=(m, n)),
        rng.normal(size=m) - 1,
        -limit,
        limit,
        whole,
        penalty,
        np.arange(m) < 1,
    )


def changed(program: ElasticProgram, rng: np.random.Generator, size: float) -> ElasticProgram:
    """The program with normal noise on all of c, A and b."""
    noisy = {name: getattr(program, name) for name in ("c", "A", "b")}
    return replace(program, **{name: part + size * rng.normal(size=part.shape) for name, part in noisy.items()})


def stacked(programs: list[ElasticProgram]) -> tuple[np.ndarray, ...]:
    return tuple(np.stack([getattr(program, name) for program in programs]) for name in ("c", "A", "b"))


def relaxed(program: ElasticProgram) -> float:
    """The value of the linear relaxation, infinite where infeasible."""
    model, equal = program.model(), program.equality
    matrix = model.matrix.toarray()
    rows, sides = np.concatenate([-matrix, matrix[equal]]), np.concatenate([-program.b, program.b[equal]])
    found = linprog(model.cost, rows, sides, bounds=list(zip(model.column_lower, model.column_upper)))
    return float(found.fun) if found.status == 0 else np.inf


def values_of_points(programs: list[ElasticProgram]) -> np.ndarray:
    """The least cost with shortfall over all points of pure binary programs: no solver, no tolerance."""
    points = np.array(list(itertools.product((0.0, 1.0), repeat=programs[0].c.size)))
    c, A, b = stacked(programs)
    short = np.maximum(b[:, None] - points @ A.transpose(0, 2, 1), 0.0)
    return (points @ c.T + (short @ programs[0].penalty).T).min(axis=0)


@pytest.mark.parametrize("size", [0.001, 0.1, 1.0, 10.0])
def test_bound_holds_at_every_perturbation_and_is_tight_where_grown(size: float) -> None:
    program = knapsack(0)
    function = grow(program)
    rng = np.random.default_rng(1)
    programs = [changed(program, rng, size) for _ in range(PERTURBATIONS)]
    assert (function(*stacked(programs)) <= values_of_points(programs)).all()
    (here,) = function(program.c, program.A, program.b)
    (value,) = values_of_points([program])
    assert value - 1e-6 * max(1, abs(value)) <= here <= value


@pytest.mark.parametrize("seed", range(8))
def test_hard_rows_close_leaves_by_rays(seed: int) -> None:
    """Tight at the instance, below the solver's value at others; infinite values bound nothing."""
    program = mixed(seed, hard=0.6)
    function = grow(program)
    rng = np.random.default_rng(seed)
    programs = [program, *(changed(program, rng, 0.2) for _ in range(10))]
    bounds = function(*stacked(programs))
    answers = [solve_pieces(one, Search()) for one in programs]
    for bound, answer in zip(bounds, answers):
        assert answer.outcome in (Outcome.SOLVED, Outcome.INFEASIBLE)
        # Hard rows may be missed by the solver's tolerance.
        assert bound <= answer.upper + 1e-5 * max(1, abs(answer.upper))
    assert bounds[0] == pytest.approx(answers[0].upper, rel=1e-6, abs=1e-6)


def test_rays_are_met() -> None:
    """The programs above do have infeasible leaves: they hold two multiplier vectors after one instance."""
    functions = [grow(mixed(seed, hard=0.6)) for seed in range(8)]
    assert any(len(function.multipliers) > function.leaves for function in functions)


def test_leaves_hold_every_point_once() -> None:
    function = grow(mixed(1))
    points = np.array(list(itertools.product(range(-2, 3), range(-2, 3), range(-1, 2), range(-1, 2))))
    within = (points[:, None] >= function.lower[None, :, :4]) & (points[:, None] <= function.upper[None, :, :4])
    assert (within.all(axis=2).sum(axis=1) == 1).all()
    assert function.leaves > 3


@pytest.mark.parametrize("seed", range(3))
def test_each_leaf_is_below_its_relaxation_and_that_below_its_program(seed: int) -> None:
    program = mixed(seed)
    function = grow(program)
    other = changed(program, np.random.default_rng(seed), 0.3)
    for here in (program, other):
        bounds = function.leaf_bounds(here.c, here.A, here.b)[0]
        for bound, lower, upper in zip(bounds, function.lower, function.upper):
            leaf = replace(here, lower=lower, upper=upper)
            linear, whole = relaxed(leaf), solve_pieces(leaf, Search())
            assert bound <= linear + 1e-7
            assert linear <= whole.upper + 1e-6


def test_further_instances_raise_it_and_keep_the_old_one() -> None:
    first = mixed(2)
    second = changed(first, np.random.default_rng(0), 0.3)
    grown = grow(first)
    sharp, tight = sharpen(grown, second), tighten(grown, second)
    at = [function(*stacked([first, second])) for function in (grown, sharp, tight)]
    value = [solve_pieces(program, Search()).upper for program in (first, second)]
    assert at[0][1] < at[1][1] <= at[2][1] <= value[1] + 1e-9
    assert at[2] == pytest.approx(value, rel=1e-6, abs=1e-6)
    assert sharp.leaves == grown.leaves
    boxes = zip(grown.lower, grown.upper)
    least = min(relaxed(replace(second, lower=lower, upper=upper)) for lower, upper in boxes)
    assert at[1][1] == pytest.approx(least, abs=1e-6)


def test_sharpening_where_leaves_are_infeasible() -> None:
    first = mixed(3, hard=0.6)
    second = changed(first, np.random.default_rng(0), 0.5)
    sharp = sharpen(grow(first), second)
    answer = solve_pieces(second, Search())
    assert sharp(second.c, second.A, second.b)[0] <= answer.upper + 1e-6


def exact_leaf_bound(function: DualFunction, leaf: int, program: ElasticProgram) -> Fraction:
    """The best bound of one leaf in rational arithmetic."""
    ends = np.append(function.starts[1:], len(function.multipliers))
    best = None
    for y in function.multipliers[function.starts[leaf] : ends[leaf]]:
        total = sum(Fraction(v) * Fraction(side) for v, side in zip(y, program.b))
        for j in range(program.c.size):
            reduced = Fraction(program.c[j]) - sum(Fraction(v) * Fraction(a) for v, a in zip(y, program.A[:, j]))
            total += min(reduced * Fraction(side) for side in (function.lower[leaf, j], function.upper[leaf, j]))
        best = total if best is None else max(best, total)
    assert best is not None
    return best


def test_rounding_never_raises_a_bound() -> None:
    rng = np.random.default_rng(0)
    function = grow(mixed(4))
    for scale in (1e-3, 1.0, 1e8):
        other = changed(mixed(4), rng, scale)
        bounds = function.leaf_bounds(other.c, other.A, other.b)[0]
        for leaf, bound in enumerate(bounds):
            exact = exact_leaf_bound(function, leaf, other)
            assert Fraction(bound) <= exact
            assert float(exact) - bound <= 1e-11 * max(1.0, scale)


def test_chunks_and_shared_arguments_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    program = mixed(5)
    function = grow(program)
    rng = np.random.default_rng(0)
    b = program.b + rng.normal(size=(9, program.b.size))
    shared = function(program.c, program.A, b)
    spread = function(*(np.broadcast_to(part, (9, *part.shape)) for part in (program.c, program.A)), b)
    monkeypatch.setattr(dual_function, "CHUNK_BYTES", 1000)
    small = function(program.c, program.A, b)
    assert shared == pytest.approx(spread, abs=1e-11)
    assert shared == pytest.approx(small, abs=1e-11)


@pytest.mark.parametrize("shared", [False, True])
def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, shared: bool) -> None:
    """At twice the stated size of a chunk, with many programs and with one matrix for all."""
    program = knapsack(0, items=10)
    function = grow(program)
    monkeypatch.setattr(dual_function, "CHUNK_BYTES", 1_000_000)
    b = program.b + np.zeros((20_000, 2))
    c, A = (part if shared else np.broadcast_to(part, (20_000, *part.shape)).copy() for part in (program.c, program.A))
    tracemalloc.start()
    function(c, A, b)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 2_000_000 + 8 * 2 * 20_000  # The answer, in parts and joined.


def test_overflow_bounds_nothing() -> None:
    program = knapsack(0)
    assert grow(program)(program.c, program.A, np.full(2, 1e308))[0] <= 1e308
    assert grow(program)(np.full(7, 1e308), program.A, program.b)[0] == -np.inf


def test_size_is_stated() -> None:
    function = grow(knapsack(0))
    n, m = 7, 2
    assert function.nbytes == function.leaves * (16 * n + 8) + 8 * m * len(function.multipliers) + n + 9 * m


def test_what_cannot_be_grown_is_said() -> None:
    program = knapsack(0, items=12)
    with pytest.raises(TreeLimitError, match="more than 3 leaves"):
        grow(program, leaf_limit=3)
    with pytest.raises(UnsupportedModelError, match="finite box"):
        grow(replace(mixed(0), upper=np.array([2, 2, 1, 1, 1.5, np.inf])))
    with pytest.raises(SolverFailedError, match="infeasible"):
        grow(replace(program, b=np.full(2, 1.0), penalty=np.full(2, np.inf)))
    with pytest.raises(SolverFailedError, match="time_limit"):
        grow(program, time_limit=0.0)


def test_a_tree_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    program = knapsack(0, items=12)
    hours = itertools.count()
    monkeypatch.setattr(dual_tree, "time", SimpleNamespace(monotonic=lambda: 3600.0 * next(hours)))
    with pytest.raises(TreeLimitError, match="not closed after 600 s, with 2 leaves"):
        grow(program, time_limit=600.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"c": np.ones(6)}, "c has shape"),
        ({"b": np.full(2, np.nan)}, "not finite"),
        ({"c": np.ones((3, 7)), "b": np.ones((2, 2))}, "different sizes"),
    ],
)
def test_unusable_arguments_are_named(changes: dict, message: str) -> None:
    program = knapsack(0)
    given = {"c": program.c, "A": program.A, "b": program.b} | changes
    with pytest.raises(UnsupportedModelError, match=message):
        grow(program)(**given)
