"""What is known of Phi when the time for an exact value runs out: nothing, and the work goes on."""

from __future__ import annotations

import numpy as np
import pytest

from problems.dcopf import DcOpf
from problems.errors import SolveTimeoutError
from problems.grid import Grid
from problems.interval import Vector
from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack
from verifier.budget import Budget
from verifier.known_values import GRACE, known_values


def test_a_solve_gets_what_is_left_and_one_that_it_ends_has_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_knapsack(6, 0)
    domain = problem.domain(0.1)
    solve, asked = Knapsack.solve, []

    def third_is_late(self: Knapsack, x: Vector, *, seconds: float = np.inf) -> tuple[float, Vector]:
        asked.append(seconds)
        if len(asked) == 3:
            raise SolveTimeoutError("late")
        return solve(self, x)

    monkeypatch.setattr(Knapsack, "solve", third_is_late)
    values = known_values(problem, domain).learn(domain.sample(5, 0), budget=Budget(60.0))
    assert np.isfinite(values).tolist() == [True, True, False, False, False]
    assert len(asked) == 3
    assert all(0 < seconds <= 60.0 for seconds in asked)
    assert known_values(problem, domain).learn(domain.sample(2, 0), budget=Budget(0.0)).tolist() == [np.inf, np.inf]


def test_linear_programs_have_a_moment_of_grace(case5: Grid) -> None:
    problem = DcOpf(case5)
    domain = problem.domain(0.1)
    known = known_values(problem, domain)
    given: list[float] = []
    cuts = known.function.cuts
    known.function.cuts = lambda points, workers, seconds: given.append(seconds) or cuts(points, workers, seconds)
    assert np.isfinite(known.learn(domain.sample(3, 0), budget=Budget(0.0))).all()
    assert np.isfinite(known.learn(domain.sample(3, 0), budget=Budget(1e6))).all()
    assert np.isfinite(known.learn(domain.sample(3, 0))).all()
    assert given == [GRACE, pytest.approx(1e6, rel=1e-3), np.inf]
