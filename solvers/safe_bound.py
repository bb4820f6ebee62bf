"""A lower bound on a linear program from any multipliers, valid in spite of rounding.

Source: Neumaier and Shcherbina, Safe bounds in linear and mixed-integer linear programming, 2004.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from solvers.linear_model import LinearModel, Vector

UNIT_ROUNDOFF = float(np.finfo(np.float64).eps) / 2
# Covers what is lost where products fall below the smallest normal number.
UNDERFLOW = 1e-300


def gamma(terms: int) -> float:
    """Return Higham's constant, the relative error of a sum of `terms` products, with factor two to spare."""
    return 2 * (terms + 2) * UNIT_ROUNDOFF


def usable(multipliers: Vector, row_lower: Vector, row_upper: Vector) -> Vector:
    """Return multipliers ((m,)) with zero for those that are no numbers or whose sign meets an infinite row limit."""
    y = np.where(np.isfinite(multipliers), multipliers, 0.0)
    y = np.where((y > 0) & np.isneginf(row_lower), 0.0, y)
    return np.where((y < 0) & np.isposinf(row_upper), 0.0, y)


class SafeBound:
    """Evaluates the bound for one matrix and many costs, limits and multipliers."""

    def __init__(self, matrix: sparse.csr_array) -> None:
        self.transposed = sparse.csr_array(matrix.T)
        self.transposed.sort_indices()
        self.magnitude = abs(self.transposed)
        self._longest = int(np.diff(self.transposed.indptr).max(initial=0)) + 1

    # Multipliers may be so large that a product overflows; the bound then is -inf.
    @np.errstate(invalid="ignore", over="ignore")
    def __call__(
        self,
        cost: Vector,
        row_lower: Vector,
        row_upper: Vector,
        column_lower: Vector,
        column_upper: Vector,
        multipliers: Vector,
        offset: float = 0.0,
    ) -> float:
        """Return a number below cost'x + offset for every x within the rows and the column limits.

        Args:
            cost, column_lower, column_upper: (n,).
            row_lower, row_upper, multipliers: (m,). Multipliers of any sign and accuracy are valid: only the
                `usable` ones count.
            offset: constant of the objective.

        Returns:
            The bound, rounded downward; -inf where a column without a limit has a non-zero reduced cost.
        """
        y = usable(multipliers, row_lower, row_upper)
        reduced = cost - self.transposed @ y
        error = gamma(self._longest) * (np.abs(cost) + self.magnitude @ np.abs(y))
        # Columns that no row and no cost touch have an exact zero, and may then be unlimited.
        low, high = reduced - error, reduced + error
        at_lower = np.where(high == 0, 0.0, high * column_lower)
        at_upper = np.where(low == 0, 0.0, low * column_upper)
        inside = np.where(low == 0, 0.0, low * column_lower)
        outside = np.where(high == 0, 0.0, high * column_upper)
        columns = np.minimum(np.minimum(at_lower, at_upper), np.minimum(inside, outside))
        rows = y * np.where(y > 0, row_lower, np.where(y < 0, row_upper, 0.0))
        total = float(columns.sum() + rows.sum()) + offset
        if not np.isfinite(total):
            return -np.inf
        size = float(np.abs(columns).sum() + np.abs(rows).sum()) + abs(offset)
        # Where every term is zero nothing was rounded.
        return total - gamma(columns.size + rows.size + 1) * size - (UNDERFLOW if size > 0 else 0.0)


def safe_lower_bound(model: LinearModel, multipliers: Vector) -> float:
    """Return a rounding-proof lower bound of the relaxation of `model` from `multipliers` ((m,))."""
    return SafeBound(model.matrix)(
        model.cost,
        model.row_lower,
        model.row_upper,
        model.column_lower,
        model.column_upper,
        multipliers,
        model.offset,
    )
