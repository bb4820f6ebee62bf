"""A mixed-integer program whose rows have prices: the form in which its value is a function of its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from solvers.linear_model import LinearModel, Vector

# Solvers stop at absolute tolerances of about 1e-6. A largest cost of this size brings that to 1e-9 of it.
SOLVER_COST = 1e3


@dataclass(frozen=True)
class ElasticProgram:
    """min c'x + penalty's  s.t.  A x + s >= b, s >= 0, lower <= x <= upper, x_j integer where `integer`.

    A row with an infinite penalty is hard: its s is zero. An equality is two rows. With finite penalties and a finite
    box the value is finite and locally Lipschitz in (A, b, c): a minimum over finitely many integer assignments of
    values of linear programs that are always feasible.

    Attributes:
        c: (n,) costs.
        A: (m, n) rows.
        b: (m,) right sides.
        lower, upper: (n,) the box; finite for integer columns.
        integer: (n,) which columns are integer.
        penalty: (m,) price of one unit of a row's shortfall s, positive, infinite for hard rows.
    """

    c: Vector
    A: Vector
    b: Vector
    lower: Vector
    upper: Vector
    integer: NDArray[np.bool_]
    penalty: Vector

    def model(self, scale: float = 1.0) -> LinearModel:
        """Return the matrix form, with all costs times `scale`: columns x, then one s for each row that is not hard."""
        soft = np.flatnonzero(np.isfinite(self.penalty))
        m = self.b.size
        slack = sparse.csr_array((np.ones(soft.size), (soft, np.arange(soft.size))), shape=(m, soft.size))
        return LinearModel(
            np.concatenate([self.c, self.penalty[soft]]) * scale,
            sparse.csr_array(sparse.hstack([sparse.csr_array(self.A), slack], format="csr")),
            self.b,
            np.full(m, np.inf),
            np.concatenate([self.lower, np.zeros(soft.size)]),
            np.concatenate([self.upper, np.full(soft.size, np.inf)]),
            np.concatenate([self.integer, np.zeros(soft.size, dtype=bool)]),
        )

    @property
    def scale(self) -> float:
        """What to multiply costs by for a solver, by the largest of c, or of the penalties where c is zero."""
        prices = self.c if self.c.any() else self.penalty[np.isfinite(self.penalty)]
        return SOLVER_COST / (float(np.abs(prices).max(initial=0.0)) or 1.0)

    def shortfall(self, x: Vector) -> Vector:
        """Return ((m,)) by how much the rows are missed at `x` ((n,))."""
        return np.maximum(self.b - self.A @ x, 0.0)
