"""The one matrix form of a linear or mixed-integer linear model, always a minimisation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class LinearModel:
    """min cost'x + offset  s.t.  row_lower <= matrix x <= row_upper, column_lower <= x <= column_upper.

    Attributes:
        cost: (n,) objective coefficients.
        matrix: (m, n) rows.
        row_lower, row_upper: (m,) row limits, possibly infinite.
        column_lower, column_upper: (n,) column limits, possibly infinite.
        integer: (n,) whether a column must be integral.
        offset: constant of the objective.
    """

    cost: Vector
    matrix: sparse.csr_array
    row_lower: Vector
    row_upper: Vector
    column_lower: Vector
    column_upper: Vector
    integer: NDArray[np.bool_]
    offset: float = 0.0

    @property
    def rows(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def columns(self) -> int:
        return int(self.matrix.shape[1])

    @property
    def binaries(self) -> int:
        return int(self.integer.sum())

    def relaxed(self) -> LinearModel:
        """Return the same model without integrality."""
        return replace(self, integer=np.zeros(self.columns, dtype=bool))

    def violation(self, x: Vector) -> float:
        """Return the largest violation of a row, a column limit or integrality at `x` ((n,))."""
        activity = self.matrix @ x
        parts = [
            self.row_lower - activity,
            activity - self.row_upper,
            self.column_lower - x,
            x - self.column_upper,
            np.abs(x - np.round(x))[self.integer],
        ]
        return float(max((part.max() for part in parts if part.size), default=0.0))


EMPTY_MODEL = LinearModel(
    np.zeros(1), sparse.csr_array((0, 1)), np.zeros(0), np.zeros(0), np.zeros(1), np.zeros(1), np.zeros(1, dtype=bool)
)


@dataclass(frozen=True)
class ModelSize:
    """How large a model is: continuous columns, binary or integer columns, rows, nonzeros."""

    continuous: int
    integer: int
    rows: int
    nonzeros: int

    @classmethod
    def of(cls, model: LinearModel) -> ModelSize:
        """Return the size of `model`."""
        return cls(model.columns - model.binaries, model.binaries, model.rows, int(model.matrix.nnz))
