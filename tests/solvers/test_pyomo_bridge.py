"""A compiled Pyomo model has the matrices that one writes by hand."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest

from solvers.errors import UnsupportedModelError
from solvers.highs import HighsSession
from solvers.linear_model import ModelSize
from solvers.pyomo_bridge import compile_model
from solvers.session import Status


def small_model() -> pyo.ConcreteModel:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(bounds=(0, 4))
    model.y = pyo.Var(domain=pyo.Integers, bounds=(-2, None))
    model.z = pyo.Var()
    model.b = pyo.Var(domain=pyo.Binary)
    model.unused = pyo.Var(bounds=(0, 1))
    model.equal = pyo.Constraint(expr=model.x + 2 * model.y == 3)
    model.range = pyo.Constraint(expr=(-1, model.x - model.z + 1, 5))
    model.below = pyo.Constraint(expr=3 * model.b + model.z <= 7)
    model.above = pyo.Constraint(expr=model.y >= model.b - 2)
    model.cost = pyo.Objective(expr=2 * model.x - model.z + 5 * model.b + 10)
    return model


def test_compiled_matrices_are_those_written_by_hand() -> None:
    model = small_model()
    compiled = compile_model(model)
    linear = compiled.linear
    x, y, z, b = compiled.columns([model.x, model.y, model.z, model.b])
    assert compiled.columns([model.unused])[0] == -1
    assert linear.columns == 4
    assert linear.offset == 10
    assert linear.cost[[x, y, z, b]].tolist() == [2, 0, -1, 5]
    assert linear.column_lower[[x, y, z, b]].tolist() == [0, -2, -np.inf, 0]
    assert linear.column_upper[[x, y, z, b]].tolist() == [4, np.inf, np.inf, 1]
    assert linear.integer[[x, y, z, b]].tolist() == [False, True, False, True]
    dense = linear.matrix.toarray()[:, [x, y, z, b]]
    # A row may come multiplied by -1, and a two-sided row as two: compare sides, each as row <= limit.
    sides = {(*row, limit) for row, limit in zip(dense.tolist(), linear.row_upper.tolist()) if limit < np.inf}
    sides |= {(*row, -limit) for row, limit in zip((-dense).tolist(), linear.row_lower.tolist()) if limit > -np.inf}
    assert sides == {
        (1, 2, 0, 0, 3),
        (-1, -2, 0, 0, -3),
        (1, 0, -1, 0, 4),
        (-1, 0, 1, 0, 2),
        (0, 0, 1, 3, 7),
        (0, -1, 0, 1, 2),
    }
    size = ModelSize.of(linear)
    assert (size.continuous, size.integer, size.rows) == (2, 2, linear.rows)


def test_fixed_variables_become_constants() -> None:
    model = small_model()
    model.b.fix(1)
    linear = compile_model(model).linear
    assert linear.columns == 3
    assert linear.offset == 15


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
def test_sign_leads_back_to_the_objective_of_the_pyomo_model(sense: int) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(bounds=(1, 4))
    model.y = pyo.Var(bounds=(0, 2))
    model.row = pyo.Constraint(expr=model.x + model.y <= 5)
    model.cost = pyo.Objective(expr=3 * model.x + model.y + 7, sense=sense)
    compiled = compile_model(model)
    solution = HighsSession(compiled.linear).solve()
    assert solution.status is Status.OPTIMAL
    assert compiled.sign == (1.0 if sense == pyo.minimize else -1.0)
    expected = 10.0 if sense == pyo.minimize else 20.0
    assert compiled.sign * solution.objective == pytest.approx(expected)
    compiled.load(solution.x)
    assert pyo.value(model.cost) == pytest.approx(expected)


def test_rows_on_blocks_are_found_and_inactive_ones_left_out() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(bounds=(0, 4))
    model.block = pyo.Block()
    model.block.row = pyo.Constraint(expr=model.x >= 2)
    model.off = pyo.Constraint(expr=model.x >= 3)
    model.off.deactivate()
    model.cost = pyo.Objective(expr=model.x)
    assert HighsSession(compile_model(model).linear).solve().objective == pytest.approx(2.0)


@pytest.mark.parametrize("where", ["row", "cost"])
def test_product_of_variables_is_refused(where: str) -> None:
    model = small_model()
    if where == "row":
        model.product = pyo.Constraint(expr=model.x * model.z <= 1)
    else:
        model.cost.set_value(model.x * model.z)
    with pytest.raises(UnsupportedModelError, match="not linear"):
        compile_model(model)


def test_exactly_one_objective_is_needed() -> None:
    model = small_model()
    model.second = pyo.Objective(expr=model.x)
    with pytest.raises(UnsupportedModelError, match="2 active objectives"):
        compile_model(model)
    model.second.deactivate()
    compile_model(model)
    model.cost.deactivate()
    with pytest.raises(UnsupportedModelError, match="0 active objectives"):
        compile_model(model)
