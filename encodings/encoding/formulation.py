"""A gap-maximisation model as Pyomo and as matrices, with what the engine must find again in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray

from encoding.block import Entry, is_number
from solvers.linear_model import LinearModel, Vector
from solvers.pyomo_bridge import CompiledModel, compile_model


@dataclass(frozen=True)
class Target:
    """One named family of quantities in a compiled model: which entries of the interval, their columns and goals.

    See `encoding.block.Entry` for the goals; all arrays are (k,).
    """

    key: str
    indices: NDArray[np.int64]
    columns: NDArray[np.int64]
    low_goal: Vector
    high_goal: Vector
    joint: NDArray[np.bool_]


@dataclass(frozen=True)
class Places:
    """Where the entries of a vector are in a compiled model.

    Attributes:
        columns: (n,) -1 where the model has no column for an entry.
        fixed: (n,) the value of such an entry.
    """

    columns: NDArray[np.int64]
    fixed: Vector

    def of(self, x: Vector) -> Vector:
        """Return the vector ((n,)) at a point of the linear model."""
        return np.where(self.columns >= 0, x[self.columns], self.fixed)

    @classmethod
    def find(cls, compiled: CompiledModel, values: Sequence[Any], otherwise: Vector) -> Places:
        """Return where `values` are; `otherwise` ((n,)) counts for variables that the model does not mention."""
        columns = np.array([-1 if is_number(v) else int(compiled.columns([v])[0]) for v in values], dtype=np.int64)
        fixed = np.array([float(v) if is_number(v) else other for v, other in zip(values, otherwise)])
        return cls(columns, fixed)


@dataclass(frozen=True)
class GapModel:
    """A compiled formulation: minimising `linear` maximises the gap.

    Attributes:
        pyomo: the readable model.
        compiled: its matrices.
        unit: gap = -unit * (linear objective), in the problem's unit.
        latent: where w ((n_w,)) is.
        optimum: where the optimum's y ((n_y,)) is.
        targets: quantities worth tightening.
    """

    pyomo: pyo.ConcreteModel
    compiled: CompiledModel
    unit: float
    latent: Places
    optimum: Places
    targets: tuple[Target, ...]

    @property
    def linear(self) -> LinearModel:
        return self.compiled.linear

    def gap_of(self, linear_value: float) -> float:
        """Return the gap that an objective (or bound) of the linear model stands for."""
        return -self.unit * linear_value

    def latent_of(self, x: Vector) -> Vector:
        """Return the latent vector at a point of the linear model ((n,))."""
        return self.latent.of(x)


def finish(
    model: pyo.ConcreteModel,
    unit: float,
    latent: Sequence[Any],
    optimum: Sequence[Any],
    centre: Vector,
    targets: Mapping[str, Sequence[Entry]],
) -> GapModel:
    """Compile a finished model; `centre` ((n_w,)) is used for latent coordinates that the model does not mention."""
    compiled = compile_model(model)
    places = Places.find(compiled, latent, centre), Places.find(compiled, optimum, np.zeros(len(optimum)))
    found = []
    for key, entries in targets.items():
        where = compiled.columns([entry.value for entry in entries])
        used = [(entry, column) for entry, column in zip(entries, where.tolist()) if column >= 0]
        found.append(
            Target(
                key,
                np.array([entry.index for entry, _ in used], dtype=np.int64),
                np.array([column for _, column in used], dtype=np.int64),
                np.array([entry.low_goal for entry, _ in used]),
                np.array([entry.high_goal for entry, _ in used]),
                np.array([entry.joint for entry, _ in used], dtype=bool),
            )
        )
    return GapModel(model, compiled, unit, *places, tuple(found))
