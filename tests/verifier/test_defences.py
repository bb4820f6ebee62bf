"""What is wrong below the engine (a model, a solver's answer, a bound) is told, and never certifies anything."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from encoding.formulation import GapModel
from problems.domain import Domain
from problems.knapsack_instances import random_knapsack
from problems.parametric import ParametricProblem
from proxies.proxy import Proxy
from solvers.errors import SolverFailedError
from solvers.highs import HighsSession
from solvers.linear_model import LinearModel
from solvers.session import Solution, Status
from tests.encodings.test_knapsack import random_proxy
from tests.shipped import shipped
from verifier import node, search
from verifier.attack import AttackOptions
from verifier.bounds.obbt import Tightener
from verifier.budget import Budget
from verifier.known_values import KnownDecisions
from verifier.options import VerifyOptions
from verifier.result import Result, Termination, Verdict
from verifier.task import Task
from verifier.value_function import ValueFunction
from verifier.verify import verify

ALONE = AttackOptions(rounds=0)


def run(u: float = 0.05, **options: Any) -> Result:
    loaded = shipped("dcopf-case57-raw")
    chosen = VerifyOptions(**{"attack": AttackOptions(rounds=2), "time_limit": 300, **options})
    return verify(loaded.proxy, loaded.problem, loaded.problem.domain(u), chosen)


def small(seed: int = 14) -> tuple[Proxy, ParametricProblem, Domain]:
    """A knapsack of two items and a proxy with random weights."""
    problem = random_knapsack(2, seed, largest=random.Random(seed).choice([3, 9, 30]))
    return random_proxy(problem, seed, "prefix"), problem, problem.domain(0.3)


def change_models(monkeypatch: pytest.MonkeyPatch, change: Callable[[LinearModel], LinearModel]) -> None:
    """Let every model that the engine builds be a wrong one."""
    build = Task.build

    def wrong(self: Task, *args: Any, **options: Any) -> GapModel:
        model = build(self, *args, **options)
        return replace(model, compiled=replace(model.compiled, linear=change(model.linear)))

    monkeypatch.setattr(Task, "build", wrong)


def change_answers(monkeypatch: pytest.MonkeyPatch, mip: bool, change: Callable[[Solution], Solution]) -> None:
    """Let HiGHS answer every linear model, or every one with integers, wrongly."""
    solve = HighsSession.solve

    def wrong(self: HighsSession, **options: Any) -> Solution:
        found = solve(self, **options)
        return change(found) if bool(self.model.integer.any()) == mip else found

    monkeypatch.setattr(HighsSession, "solve", wrong)


def no_integers(linear: LinearModel) -> LinearModel:
    return replace(linear, column_upper=np.where(linear.integer, linear.column_lower, linear.column_upper))


def too_much(linear: LinearModel) -> LinearModel:
    return replace(linear, offset=linear.offset - 0.01 * np.abs(linear.cost).sum())


def is_taken_back(result: Result) -> bool:
    return (result.verdict, result.termination, result.upper) == (Verdict.UNKNOWN, Termination.ERROR, np.inf)


def test_a_model_that_has_no_point_at_the_witness_certifies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    change_models(monkeypatch, no_integers)
    result = run()
    assert is_taken_back(result)
    assert any("the model has no point at a random input" in note for note in result.notes)


@pytest.mark.parametrize("attack", [ALONE, AttackOptions(rounds=2)])
def test_a_model_with_another_objective_certifies_nothing(
    attack: AttackOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_models(monkeypatch, too_much)
    result = run(attack=attack, time_limit=20)
    assert is_taken_back(result)
    assert any(note.startswith("the model gives") for note in result.notes)


def test_a_bound_below_what_was_attained_takes_all_bounds_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "expand", lambda task, part, lower, *others: node.Outcome(0.5 * lower()))
    result = run()
    assert is_taken_back(result)
    assert any("contradicts the upper bound" in note for note in result.notes)


def test_a_solver_that_fails_ends_no_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> None:
        raise SolverFailedError("it is broken")

    monkeypatch.setattr(search, "expand", fails)
    result = run()
    assert result.verdict is Verdict.BOUNDED
    assert 0 < result.lower < result.upper < np.inf
    assert any("it is broken" in note for note in result.notes)


@pytest.mark.parametrize("status", [Status.FAILED, Status.INTERRUPTED])
def test_a_part_that_is_not_to_be_split_stays_open(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(split=False)
    assert whole.verdict is Verdict.CERTIFIED
    change_answers(monkeypatch, True, lambda found: Solution(status, np.inf, -np.inf))
    result = run(split=False, rounds=0)
    assert (result.verdict, result.parts) == (Verdict.BOUNDED, 1)
    assert whole.lower <= result.upper < np.inf
    assert ("stays open" in " ".join(result.notes)) == (status is Status.FAILED)


@pytest.mark.parametrize("wrong", [1e9, np.inf])
def test_a_linear_models_objective_is_not_believed(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the nominal loads no unit is open, so that the model has no integers."""
    right = run(u=0.0, attack=ALONE)
    change_answers(monkeypatch, False, lambda found: replace(found, objective=wrong, dual_bound=wrong))
    result = run(u=0.0, attack=ALONE, time_limit=20)
    assert result.upper >= right.lower > 0


def test_a_gap_that_is_a_number_needs_no_cutoff(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = verify(*small(), VerifyOptions(time_limit=60, attack=ALONE))
    monkeypatch.setattr(node, "FEW_BINARIES", 0)
    parts = verify(*small(), VerifyOptions(time_limit=60, effort=1, most_parts=200, attack=ALONE))
    assert whole.verdict is Verdict.CERTIFIED
    assert parts.lower <= whole.upper
    assert whole.lower <= parts.upper


def test_a_split_looks_at_a_point_of_its_own_relaxation(monkeypatch: pytest.MonkeyPatch) -> None:
    choose, seen = node.choose_split, []

    def spy(task: Task, bounds: Any, goal: float, tightener: Tightener, point: Any, budget: Budget) -> Any:
        seen.append(point is None or point.shape == (tightener.linear.columns,))
        return choose(task, bounds, goal, tightener, point, budget)

    monkeypatch.setattr(node, "choose_split", spy)
    loaded = shipped("dcopf-case118-raw")
    options = VerifyOptions(time_limit=300, effort=1, most_parts=4, attack=ALONE)
    verify(loaded.proxy, loaded.problem, loaded.problem.domain(0.05), options)
    assert len(seen) > 1
    assert all(seen)


def test_exact_solves_of_an_attack_end_with_its_budget() -> None:
    _, problem, domain = small()
    asked = iter(range(100))
    budget = Budget(1e6, lambda: next(asked) >= 3)
    values = KnownDecisions(problem, domain).learn(domain.sample(8, 0), budget=budget)
    assert np.isfinite(values).tolist() == [True] * 3 + [False] * 5


def test_a_tangent_of_wrong_multipliers_is_below_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = shipped("dcopf-case57-raw")
    domain = loaded.problem.domain(0.2)
    points = domain.sample(6, 0)
    right = ValueFunction(loaded.problem, domain)
    values = [right.value(point) for point in points]
    solve = HighsSession.solve

    def wrong(self: HighsSession, **options: Any) -> Solution:
        found = solve(self, **options)
        assert found.row_duals is not None
        senseless = np.isneginf(self.model.row_lower) & (found.row_duals == 0)
        assert senseless.any()
        return replace(found, row_duals=np.where(senseless, 1e3, found.row_duals))

    monkeypatch.setattr(HighsSession, "solve", wrong)
    for cut in ValueFunction(loaded.problem, domain).cuts(points):
        assert cut is not None
        assert all(cut(point) <= value for point, value in zip(points, values))
