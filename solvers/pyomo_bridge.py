"""From a finished Pyomo model to a LinearModel, compiled once by Pyomo's own standard-form compiler."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray
from pyomo.common.collections import ComponentMap
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler
from scipy import sparse

from solvers.errors import UnsupportedModelError
from solvers.linear_model import LinearModel, Vector

_LOOSENED = "certigap_loosened"


def loosen(row: Any, amount: float) -> None:
    """Let an equation hold to within `amount`: what rounding may add to a quantity that it defines."""
    model = row.model()
    if not hasattr(model, _LOOSENED):
        setattr(model, _LOOSENED, ComponentMap())
    getattr(model, _LOOSENED)[row] = float(amount)


@dataclass(frozen=True)
class CompiledModel:
    """A Pyomo model as matrices.

    Attributes:
        linear: the model, as a minimisation.
        sign: +1 if the Pyomo objective is minimised, -1 if maximised: Pyomo value = sign * linear value.
        variables: the Pyomo variable of each column.
    """

    linear: LinearModel
    sign: float
    variables: tuple[Any, ...]
    _column: ComponentMap

    def columns(self, variables: Iterable[Any]) -> NDArray[np.int64]:
        """Return the column of each variable, -1 for one that no row and no objective uses."""
        return np.array([self._column.get(variable, -1) for variable in variables], dtype=np.int64)

    def load(self, x: Vector) -> None:
        """Write the point `x` ((n,)) into the Pyomo variables."""
        for variable, value in zip(self.variables, x):
            variable.set_value(float(value), skip_validation=True)


def compile_model(model: pyo.ConcreteModel) -> CompiledModel:
    """Compile a linear or mixed-integer linear Pyomo model with exactly one active objective.

    Raises:
        UnsupportedModelError: the model is not linear, or has no objective or several.
    """
    objectives = list(model.component_data_objects(pyo.Objective, active=True, descend_into=True))
    if len(objectives) != 1:
        raise UnsupportedModelError(f"the model has {len(objectives)} active objectives; it needs exactly one")
    sign = 1.0 if objectives[0].sense == pyo.minimize else -1.0
    try:
        form = LinearStandardFormCompiler().write(model, mixed_form=True, set_sense=None)
    except Exception as error:
        raise UnsupportedModelError(f"the model has a term that is not linear: {error}") from error
    matrix = sparse.csr_array(form.A)
    rhs = np.asarray(form.rhs, dtype=np.float64)
    bound_type = np.array([row.bound_type for row in form.rows], dtype=np.int64)
    loosened = getattr(model, _LOOSENED, {})
    slack = np.array([loosened.get(row.constraint, 0.0) for row in form.rows], dtype=np.float64)
    columns = list(form.columns)
    bounds = np.array([variable.bounds for variable in columns], dtype=np.float64).reshape(-1, 2)
    return CompiledModel(
        LinearModel(
            cost=sign * np.asarray(form.c.todense(), dtype=np.float64).ravel(),
            matrix=matrix,
            row_lower=np.where(bound_type <= 0, rhs - slack, -np.inf),
            row_upper=np.where(bound_type >= 0, rhs + slack, np.inf),
            column_lower=np.where(np.isnan(bounds[:, 0]), -np.inf, bounds[:, 0]),
            column_upper=np.where(np.isnan(bounds[:, 1]), np.inf, bounds[:, 1]),
            integer=np.array([not variable.is_continuous() for variable in columns], dtype=bool),
            offset=sign * float(np.asarray(form.c_offset).ravel()[0]),
        ),
        sign,
        tuple(columns),
        ComponentMap((variable, index) for index, variable in enumerate(columns)),
    )
