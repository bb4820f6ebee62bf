"""A model in units that suit a solver: columns and rows times powers of two, which is exact and undone on the way out.

A solver reads numbers against fixed tolerances: HiGHS drops matrix entries of 1e-9 and less in silence, SCIP treats
them as zero, and rows hold to 1e-6 or 1e-7. So a column is counted in units of its interval and a row in units of its
largest entry. What would still be dropped is left out here, and the row's sides move outward by what it may add.

Source: Curtis and Reid 1972 (scaling by powers of the base); Neumaier and Shcherbina 2004 (outward rounding).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from solvers.errors import SolverFailedError
from solvers.linear_model import LinearModel, Vector
from solvers.safe_bound import UNDERFLOW, gamma

Exponents = NDArray[np.int64]

# Numbers between 2^-10 and 2^10 suit every solver as they are: such columns, rows and costs keep their units, so that
# the tolerances of a solver mean what they say on models that are well scaled from the start.
MODERATE = 10
# A column whose interval is this much narrower than its distance from zero is counted from its middle instead.
NARROW = 2.0**-10
# ... but in units of no less than this share of the distance, so that rounding stays far below a solver's tolerances.
FINEST = 2.0**-24
# Sides of an equation that lie no further apart than this are one side for a solver, which holds rows to 1e-7 at best.
ONE_SIDE = 1e-12


@dataclass(frozen=True)
class ScaledModel:
    """A model in a solver's units: x = origin + 2^columns x', and each row times 2^rows.

    Attributes:
        original: the model in its own units.
        model: the model in the solver's units.
        columns, rows: (n,), (m,) exponents of the units.
        origin: (n,) where x' is zero.
        low, high: (m,) limits, in the solver's units, of what each row of `model` lacks: the entries that were left out
            and the origin's share.
        cost: exponent of the objective's unit.
    """

    original: LinearModel
    model: LinearModel
    columns: Exponents
    rows: Exponents
    origin: Vector
    low: Vector
    high: Vector
    cost: int

    def column_limits(self, columns: NDArray[np.int64], lower: Vector, upper: Vector) -> tuple[Vector, Vector]:
        """Return limits ((k,)) of some columns in the solver's units, outward where they are counted from an origin.

        Raises:
            SolverFailedError: a limit lies outside of the model's own, on which the entries left out depend.
        """
        columns = np.asarray(columns, dtype=np.int64)
        low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
        own = self.original
        beyond = (low < own.column_lower[columns]) | (high > own.column_upper[columns])
        if beyond.any() and self._depends_on_limits[columns[beyond]].any():
            raise SolverFailedError(
                "a column got limits outside of those that its model was loaded with; load the wider model instead"
            )
        return _inside(low, high, self.origin[columns], self.columns[columns])

    def row_limits(self, rows: NDArray[np.int64], lower: Vector, upper: Vector) -> tuple[Vector, Vector]:
        """Return limits ((k,)) of some rows in the solver's units."""
        rows = np.asarray(rows, dtype=np.int64)
        low = _less(np.ldexp(np.asarray(lower, dtype=np.float64), self.rows[rows]), self.high[rows])
        high = -_less(np.ldexp(-np.asarray(upper, dtype=np.float64), self.rows[rows]), -self.low[rows])
        equal = (low < high) & (high <= low + ONE_SIDE)
        middle = np.where(equal, low, 0.0) / 2 + np.where(equal, high, 0.0) / 2
        return np.where(equal, middle, low), np.where(equal, middle, high)

    def objective(self, columns: NDArray[np.int64], values: Vector, offset: float) -> tuple[Vector, float, int]:
        """Return costs ((k,)), constant and the exponent of the unit of an objective, in the solver's units.

        The constant is rounded downward, so that a lower bound stays one.
        """
        columns, values = np.asarray(columns, dtype=np.int64), np.asarray(values, dtype=np.float64)
        exponent = int(-_moderate(_largest_exponent(values, self.columns[columns])))
        moved = self.origin[columns] * values
        constant = float(moved.sum()) + offset
        if moved.any():
            constant -= gamma(moved.size + 2) * (float(np.abs(moved).sum()) + abs(offset))
        return np.ldexp(values, self.columns[columns] + exponent), float(np.ldexp(constant, exponent)), exponent

    def to_solver(self, x: Vector) -> Vector:
        """Return a point ((n,), possibly with NaN) in the solver's units."""
        return np.ldexp(x - self.origin, -self.columns)

    def to_original(self, x: Vector) -> Vector:
        """Return a point ((n,)) of the solver in the model's own units."""
        return np.ldexp(x, self.columns) + self.origin

    def multipliers(self, duals: Vector, cost: int) -> Vector:
        """Return row multipliers ((m,)) in the model's own units, for an objective in units of 2^-cost."""
        with np.errstate(over="ignore"):
            return np.ldexp(duals, self.rows - cost)

    @property
    def _depends_on_limits(self) -> NDArray[np.bool_]:
        own, here = self.original.matrix, self.model.matrix
        if own.nnz == here.nnz and not self.origin.any():
            return np.zeros(self.original.columns, dtype=bool)
        left_out = np.asarray((abs(own).sign() - abs(here).sign()).sum(axis=0)).ravel() > 0
        return left_out | (self.origin != 0)


def scale(model: LinearModel, smallest: float) -> ScaledModel:
    """Return `model` in a solver's units.

    Args:
        model: the model in its own units.
        smallest: entries below this are left out, which the solver would drop or might.

    Raises:
        SolverFailedError: an entry, a cost or a limit is not a number, or an entry is infinite.
    """
    _check(model)
    matrix = sparse.csr_array(model.matrix, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    origin, columns = _column_units(model)
    of_row = np.repeat(np.arange(model.rows), np.diff(matrix.indptr))
    rows = _row_units(model, matrix, columns, of_row)
    lower, upper = _inside(model.column_lower, model.column_upper, origin, columns)
    data = np.ldexp(matrix.data, columns[matrix.indices] + rows[of_row])
    small = (np.abs(data) < smallest) & np.isfinite(lower[matrix.indices]) & np.isfinite(upper[matrix.indices])
    low, high = _sums(data[small], lower[matrix.indices[small]], upper[matrix.indices[small]], of_row[small], rows.size)
    moved = _origin_share(matrix, origin, rows, of_row)
    kept = sparse.csr_array((data[~small], (of_row[~small], matrix.indices[~small])), shape=matrix.shape)
    kept.sort_indices()
    scaled = ScaledModel(model, model, columns, rows, origin, low + moved[0], high + moved[1], 0)
    row_lower, row_upper = scaled.row_limits(np.arange(rows.size), model.row_lower, model.row_upper)
    cost, offset, exponent = scaled.objective(np.arange(model.columns), model.cost, model.offset)
    here = LinearModel(cost, kept, row_lower, row_upper, lower, upper, model.integer, offset)
    return replace(scaled, model=here, cost=exponent)


def _check(model: LinearModel) -> None:
    finite = {"matrix": model.matrix.data, "cost": model.cost, "offset": np.array([model.offset])}
    limits = {
        "row limit": np.concatenate([model.row_lower, model.row_upper]),
        "column limit": np.concatenate([model.column_lower, model.column_upper]),
    }
    wrong = [name for name, part in finite.items() if not np.isfinite(part).all()]
    wrong += [name for name, part in limits.items() if np.isnan(part).any()]
    if wrong:
        raise SolverFailedError(f"the model has a {wrong[0]} entry that is not a finite number, so it was not solved")


def _column_units(model: LinearModel) -> tuple[Vector, Exponents]:
    """Return origin and exponent of the unit of every column: integers and unlimited ones keep theirs."""
    lower, upper = model.column_lower, model.column_upper
    bounded = np.isfinite(lower) & np.isfinite(upper) & ~model.integer
    low, high = np.where(bounded, lower, 0.0), np.where(bounded, upper, 0.0)
    far = np.maximum(np.abs(low), np.abs(high))
    half = high / 2 - low / 2
    narrow = bounded & (half > 0) & (half <= NARROW * far)
    origin = np.where(narrow, low / 2 + high / 2, 0.0)
    size = np.where(narrow, np.maximum(half, FINEST * far), far)
    exponents = np.frexp(size)[1].astype(np.int64)
    return origin, np.where(narrow, exponents, np.where(size > 0, _moderate(exponents), 0))


def _row_units(
    model: LinearModel, matrix: sparse.csr_array, columns: Exponents, of_row: NDArray[np.int64]
) -> Exponents:
    """Return the exponent of every row's unit: its largest entry becomes about 1.

    A row with integer columns is counted in units of theirs, as far as that makes no entry too large: an integer that
    moves by one must move the row by far more than a solver's tolerance. Rows of whole numbers alone stay as they are.
    """
    size = np.frexp(matrix.data)[1] + columns[matrix.indices]
    whole = model.integer[matrix.indices]
    none = np.iinfo(np.int64).min
    largest, of_integers = np.full(model.rows, none), np.full(model.rows, none)
    np.maximum.at(largest, of_row, size)
    np.maximum.at(of_integers, of_row[whole], size[whole])
    empty, mixed = largest == none, of_integers != none
    largest = np.where(empty, 0, largest)
    largest = np.where(mixed, np.clip(of_integers, largest - 2 * MODERATE, largest), largest)
    counted = np.ones(model.rows, dtype=bool)
    np.logical_and.at(counted, of_row, whole & (matrix.data == np.rint(matrix.data)))
    return np.where(counted, 0, -_moderate(largest))


def _moderate(exponents: Exponents) -> Exponents:
    return np.where(np.abs(exponents) <= MODERATE, 0, exponents)


def _largest_exponent(values: Vector, exponents: Exponents) -> Exponents:
    used = values != 0
    return np.array((np.frexp(values[used])[1] + exponents[used]).max() if used.any() else 0, dtype=np.int64)


def _inside(lower: Vector, upper: Vector, origin: Vector, exponents: Exponents) -> tuple[Vector, Vector]:
    """Return column limits in the solver's units, one step outward where an origin is taken off."""
    low, high = np.ldexp(lower - origin, -exponents), np.ldexp(upper - origin, -exponents)
    moved = origin != 0
    return np.where(moved, np.nextafter(low, -np.inf), low), np.where(moved, np.nextafter(high, np.inf), high)


def _sums(data: Vector, lower: Vector, upper: Vector, of_row: NDArray[np.int64], count: int) -> tuple[Vector, Vector]:
    """Return limits ((count,)) of each row's sum of data * x over lower <= x <= upper, rounded outward."""
    low, high, size = np.zeros(count), np.zeros(count), np.zeros(count)
    ends = np.stack([data * lower, data * upper])
    np.add.at(low, of_row, ends.min(axis=0))
    np.add.at(high, of_row, ends.max(axis=0))
    np.add.at(size, of_row, np.abs(ends).max(axis=0) + UNDERFLOW)
    error = gamma(data.size) * size
    return low - error, high + error


def _origin_share(matrix: sparse.csr_array, origin: Vector, rows: Exponents, of_row: NDArray[np.int64]) -> Vector:
    """Return limits ((2, m)) of matrix @ origin in the solver's units, rounded outward."""
    if not origin.any():
        return np.zeros((2, rows.size))
    products = matrix.data * origin[matrix.indices]
    total, size = np.zeros(rows.size), np.zeros(rows.size)
    np.add.at(total, of_row, products)
    np.add.at(size, of_row, np.abs(products))
    error = gamma(int(np.diff(matrix.indptr).max(initial=0))) * size
    return np.ldexp(np.stack([total - error, total + error]), rows)


def _less(value: Vector, amount: Vector) -> Vector:
    """Return value - amount, one step downward unless nothing is taken off."""
    return np.where(amount == 0, value, np.nextafter(value - amount, -np.inf))
