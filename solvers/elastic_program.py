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

    In a row of `equality`, s is |A x - b|. A row with an infinite penalty is hard: its s is zero. With finite penalties
    and a finite box the value is finite and locally Lipschitz in (A, b, c): a minimum over finitely many integer
    assignments of values of linear programs that are always feasible.

    Attributes:
        c: (n,) costs.
        A: (m, n) rows.
        b: (m,) right sides.
        lower, upper: (n,) the box; finite for integer columns.
        integer: (n,) which columns are integer.
        penalty: (m,) price of one unit of a row's shortfall s, positive, infinite for hard rows.
        equality: (m,) which rows are equalities.
    """

    c: Vector
    A: Vector
    b: Vector
    lower: Vector
    upper: Vector
    integer: NDArray[np.bool_]
    penalty: Vector
    equality: NDArray[np.bool_]

    @classmethod
    def of(cls, model: LinearModel, penalty: Vector | float = np.inf) -> ElasticProgram:
        """Return a model in this form; its offset is left out.

        Args:
            model: any; infinite limits of integer columns are not mended.
            penalty: (model.rows,) or scalar, of each row.

        Returns:
            Its rows are those of `model` with a finite lower limit as they are, in their order, equalities among
            them, then those that have a finite upper limit and are no equalities, negated.
        """
        equal = model.row_lower == model.row_upper
        low = np.flatnonzero(np.isfinite(model.row_lower))
        high = np.flatnonzero(np.isfinite(model.row_upper) & ~equal)
        dense = model.matrix.toarray()
        price = np.broadcast_to(np.asarray(penalty, dtype=np.float64), model.rows)
        return cls(
            model.cost,
            np.concatenate([dense[low], -dense[high]]),
            np.concatenate([model.row_lower[low], -model.row_upper[high]]),
            model.column_lower,
            model.column_upper,
            model.integer,
            np.concatenate([price[low], price[high]]),
            np.concatenate([equal[low], np.zeros(high.size, dtype=bool)]),
        )

    def model(self, scale: float = 1.0) -> LinearModel:
        """Return the matrix form, with all costs times `scale`.

        Columns are x, then one s for each row that is not hard, then one more, with a minus, for such equalities.
        """
        soft = np.flatnonzero(np.isfinite(self.penalty))
        both = soft[self.equality[soft]]
        sign = np.concatenate([np.ones(soft.size), -np.ones(both.size)])
        soft = np.concatenate([soft, both])
        m = self.b.size
        slack = sparse.csr_array((sign, (soft, np.arange(soft.size))), shape=(m, soft.size))
        return LinearModel(
            np.concatenate([self.c, self.penalty[soft]]) * scale,
            sparse.csr_array(sparse.hstack([sparse.csr_array(self.A), slack], format="csr")),
            self.b,
            np.where(self.equality, self.b, np.inf),
            np.concatenate([self.lower, np.zeros(soft.size)]),
            np.concatenate([self.upper, np.full(soft.size, np.inf)]),
            np.concatenate([self.integer, np.zeros(soft.size, dtype=bool)]),
        )

    @property
    def scale(self) -> float:
        """What to multiply costs by for a solver, by the largest of c, or of the penalties where c is zero."""
        prices = self.c if self.c.any() else self.penalty[np.isfinite(self.penalty)]
        return SOLVER_COST / (float(np.abs(prices).max(initial=0.0)) or 1.0)

    @property
    def least(self) -> Vector:
        """(m,) what no multiplier of a row is below: zero, or for an equality what none is above, negated."""
        return np.where(self.equality, -self.penalty, 0.0)

    def shortfall(self, x: Vector) -> Vector:
        """Return ((m,)) by how much the rows are missed at `x` ((n,))."""
        missing = self.b - self.A @ x
        return np.maximum(missing, np.where(self.equality, -missing, 0.0))

    def cost(self, x: Vector) -> float:
        """Return c'x + penalty's at the point `x` ((n,)) of the box, infinite where it misses a hard row."""
        short = self.shortfall(x)
        return float(self.c @ x + self.penalty[short > 0] @ short[short > 0])
