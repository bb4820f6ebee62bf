"""Elastic programs: the same values as the models they are made from, and costs of points."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from solvers.elastic_program import ElasticProgram
from solvers.highs import HighsSession
from solvers.linear_model import LinearModel


def model_of(seed: int) -> LinearModel:
    """Ranges, one-sided rows, an equality and a free row."""
    rng = np.random.default_rng(seed)
    m, n = 5, 6
    lower = rng.normal(size=m) - 2
    upper = lower + np.array([0.0, 1, 2, 3, 4])
    lower[1], upper[2], lower[3], upper[3] = -np.inf, np.inf, -np.inf, np.inf
    whole = np.arange(n) < 3
    matrix = sparse.csr_array(rng.normal(size=(m, n)))
    return LinearModel(rng.normal(size=n), matrix, lower, upper, np.full(n, -2.0), np.full(n, 2.0), whole)


@pytest.mark.parametrize("seed", range(5))
def test_a_model_keeps_its_value(seed: int) -> None:
    model = model_of(seed)
    again = ElasticProgram.of(model).model()
    with HighsSession(model) as first, HighsSession(again) as second:
        one, two = first.solve(mip_gap=0.0), second.solve(mip_gap=0.0)
    assert one.status is two.status
    assert one.objective == pytest.approx(two.objective, abs=1e-6)


def test_rows_come_lower_limits_first() -> None:
    model = model_of(0)
    program = ElasticProgram.of(model, np.arange(1.0, 6.0))
    assert program.penalty.tolist() == [1, 3, 5, 2, 5]
    assert program.equality.tolist() == [True, False, False, False, False]
    assert program.b.tolist() == [*model.row_lower[[0, 2, 4]], *-model.row_upper[[1, 4]]]
    assert np.array_equal(program.A[3], -model.matrix.toarray()[1])


def test_cost_is_that_of_the_model_with_its_shortfall() -> None:
    """And infinite where a hard row is missed."""
    program = ElasticProgram.of(model_of(1), np.full(5, 3.0))
    x = np.array([1.0, -1, 2, 0.5, 0, -0.5])
    model = program.model(scale=2.0)
    equal = program.b[0] - program.A[0] @ x
    slack = program.shortfall(x)
    assert slack[0] == abs(equal) > 0
    slack[0] = max(equal, 0)
    point = np.concatenate([x, slack, [max(-equal, 0)]])
    assert model.violation(point) <= 1e-12
    assert model.cost @ point == pytest.approx(2 * program.cost(x))
    assert ElasticProgram.of(model_of(1)).cost(x) == np.inf
