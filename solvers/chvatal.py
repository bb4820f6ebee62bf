"""Gomory-Chvatal functions: subadditive lower bounds on the value of small pure integer programs.

A Chvatal function is built from v by non-negative combinations and ceilings, so it is subadditive, nondecreasing and
zero at zero. With F(a_j) <= c_j for every column, F(b) <= F(A x) <= sum_j F(a_j) x_j <= c'x for every feasible x and
for every b: one function bounds the values of all right sides. It is made from the multipliers of Gomory's fractional
cuts; its arithmetic is in whole numbers, since a ceiling of a rounded number need not be subadditive.

Source: Blair and Jeroslow 1982, The value function of an integer program; Gomory 1958 for the cuts.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from solvers.errors import SolverFailedError, UnsupportedModelError
from solvers.highs import HighsSession
from solvers.linear_model import LinearModel, Vector
from solvers.session import Solution, Status

# Arrays of Python's own integers, which do not overflow.
Integers = NDArray[Any]

# A value this near an integer is one; a cut must be violated by more than that.
INTEGRAL = 1e-6
# A basis with a larger determinant gives multipliers that floats cannot be trusted to find.
LARGEST_DETERMINANT = 1e6


@dataclass(frozen=True)
class ChvatalFunction:
    """F(v) = sum of weights times w(v), with w = (ceil(v_1), ..., ceil(v_m), w_1, ..., w_K).

    Attributes:
        rows: m.
        steps: for each w_k its multipliers of ceil(v) and of the w before it, as non-negative numerators and one
            denominator: w_k is the ceiling of their combination.
        weights: (m + K) non-negative, of all of w.
    """

    rows: int
    steps: tuple[tuple[tuple[int, ...], int], ...]
    weights: tuple[Fraction, ...]

    def exact(self, v: Vector) -> list[Fraction]:
        """Return F of each row of `v` ((B, m), finite), without rounding."""
        total = np.zeros(len(v), dtype=object)
        for weight, part in zip(self.weights, self.parts(v)):
            total = total + weight * part
        return [Fraction(value) for value in total]

    def parts(self, v: Vector) -> list[Integers]:
        """Return all of w, each as (B,) whole numbers, at each row of `v` ((B, m))."""
        if np.ndim(v) != 2 or np.shape(v)[1] != self.rows or not np.isfinite(v).all():
            raise UnsupportedModelError(f"a vector for this function has {self.rows} finite entries; give them as rows")
        w = list(_whole(np.ceil(v)).T)
        for numerators, denominator in self.steps:
            w.append(_ceiling(sum((p * part for p, part in zip(numerators, w) if p), 0 * w[0]), denominator))
        return w

    def __call__(self, v: Vector) -> Vector:
        """Return ((B,)) F of each row of `v`, rounded downward."""
        return np.array([_down(value) for value in self.exact(v)])

    def bounds(self, c: Vector, A: Vector, b: Vector, upper: Vector | None = None) -> Vector:
        """Return ((B,)) lower bounds of min c'x, A x >= b, x >= 0 integer, for each row of `b`.

        Args:
            c, A: (n,) and (m, n), any; those the function was made for lose nothing.
            b: (B, m) right sides.
            upper: (n,) limits of x that hold as well: needed where F(a_j) > c_j for a column, else the bound is -inf.
        """
        loss = Fraction(0)
        for j, value in enumerate(self.exact(A.T)):
            short = value - Fraction(float(c[j]))
            if short > 0:
                if upper is None or not np.isfinite(upper[j]):
                    return np.full(len(b), -np.inf)
                loss += short * Fraction(float(upper[j]))
        return np.array([_down(value - loss) for value in self.exact(b)])


def chvatal_function(c: Vector, A: Vector, b: Vector, rounds: int = 50, cuts: int = 300) -> ChvatalFunction:
    """Return a Chvatal function F with F(a_j) <= c_j, as large at `b` as Gomory's cuts make it.

    Args:
        c: (n,) costs; A: (m, n) and b: (m,), integers: min c'x, A x >= b, x >= 0 integer. Limits of x are rows too.
        rounds: of cuts, one for each fractional column.
        cuts: in all. Evaluation takes time in proportion to their square.

    Returns:
        F. It equals the value at `b` where the cuts made the relaxation integral; compare F(b) with the value to know.

    Raises:
        UnsupportedModelError: A or b is not integral.
        SolverFailedError: the relaxation has no optimum.
    """
    if not (np.array_equal(A, np.rint(A)) and np.array_equal(b, np.rint(b))):
        raise UnsupportedModelError("Gomory's cuts need integral rows and right sides; multiply rows up, or round b up")
    m = b.size
    function = ChvatalFunction(m, (), ())
    # Column j of these rows is w(a_j), and the right sides are w(b).
    table = _whole(np.column_stack([A, b]))
    for _ in range(rounds):
        solution = _relaxation(c, table)
        assert solution.x is not None
        steps = _gomory_steps(solution.x, table)[: max(0, cuts - len(function.steps))]
        if not steps:
            break
        new = [_ceiling(np.array(numerators, dtype=object) @ table, d) for numerators, d in steps]
        table = np.concatenate([table, np.array(new, dtype=object)])
        function = ChvatalFunction(m, (*function.steps, *steps), ())
    y = _relaxation(c, table).row_duals
    assert y is not None
    weights = [Fraction(max(float(v), 0.0)).limit_denominator(int(LARGEST_DETERMINANT)) for v in y]
    return _feasible(_pruned(m, function.steps, weights), c, A)


def _gomory_steps(x: Vector, table: Integers) -> list[tuple[tuple[int, ...], int]]:
    """Return the multipliers of the fractional cuts at a vertex `x`, one for each fractional column."""
    rows, sides = table[:, :-1].astype(np.float64), table[:, -1].astype(np.float64)
    support = np.flatnonzero(x > INTEGRAL)
    fractional = np.flatnonzero(np.abs(x[support] - np.rint(x[support])) > INTEGRAL)
    tight = np.flatnonzero(np.abs(rows @ x - sides) <= INTEGRAL * np.maximum(1.0, np.abs(sides)))
    if fractional.size == 0 or tight.size < support.size:
        return []
    _, _, order = linalg.qr(rows[np.ix_(tight, support)].T, pivoting=True, mode="economic")
    basis = tight[order[: support.size]]
    square = rows[np.ix_(basis, support)]
    determinant = abs(round(float(np.linalg.det(square))))
    if not 0 < determinant <= LARGEST_DETERMINANT:
        return []
    inverse = np.linalg.inv(square)
    steps = []
    for i in fractional:
        share = np.rint(inverse[i] * determinant).astype(np.int64) % determinant
        numerators = np.zeros(len(rows), dtype=np.int64)
        numerators[basis] = share
        cut = _ceiling(_whole(numerators) @ table, determinant).astype(np.float64)
        if cut[-1] - cut[:-1] @ x > INTEGRAL:
            steps.append((tuple(int(v) for v in numerators), determinant))
    return steps


def _relaxation(c: Vector, table: Integers) -> Solution:
    rows, n = table.astype(np.float64), c.size
    free = np.full(n, np.inf)
    model = LinearModel(
        c,
        sparse.csr_array(rows[:, :-1]),
        rows[:, -1],
        np.full(len(rows), np.inf),
        np.zeros(n),
        free,
        np.zeros(n, dtype=bool),
    )
    with HighsSession(model) as session:
        solution = session.solve()
    if solution.status is not Status.OPTIMAL:
        raise SolverFailedError(
            f"the relaxation ended with {solution.status.value}; a Chvatal function needs its optimum"
        )
    return solution


def _pruned(m: int, steps: tuple[tuple[tuple[int, ...], int], ...], weights: list[Fraction]) -> ChvatalFunction:
    """Return the function without the steps that nothing with a weight needs."""
    needed = {k for k, weight in enumerate(weights) if weight}
    for k in reversed(range(len(steps))):
        if m + k in needed:
            needed |= {i for i, p in enumerate(steps[k][0]) if p}
    kept = [k for k in range(len(weights)) if k < m or k in needed]
    return ChvatalFunction(
        m,
        tuple((tuple(p for i, p in enumerate(steps[k - m][0]) if i in kept), steps[k - m][1]) for k in kept if k >= m),
        tuple(weights[k] for k in kept),
    )


def _feasible(function: ChvatalFunction, c: Vector, A: Vector) -> ChvatalFunction:
    """Return the function with its weights lowered by their rounding error, so that F(a_j) <= c_j exactly."""
    values = function.exact(A.T)
    shares = [Fraction(float(cost)) / value for cost, value in zip(c, values) if value > Fraction(float(cost))]
    if not shares:
        return function
    if min(shares) < 1 - INTEGRAL:
        raise SolverFailedError("the multipliers of the relaxation are not exact enough for a Chvatal function")
    return ChvatalFunction(function.rows, function.steps, tuple(weight * min(shares) for weight in function.weights))


def _ceiling(numerator: Any, denominator: int) -> Any:
    return -(-numerator // denominator)


def _whole(part: Any) -> Integers:
    """Return integral numbers as Python's own."""
    return np.vectorize(int, otypes=[object])(part)


def _down(value: Fraction) -> float:
    near = float(value)
    return near if Fraction(near) <= value else float(np.nextafter(near, -np.inf))
