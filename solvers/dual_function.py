"""A lower bound on the value of a mixed-integer program at every (A, b, c), read off a branch-and-bound tree.

The leaves of the tree are boxes that together hold every point that may be chosen. On a leaf, any multipliers y give a
bound that is valid for every (A, b, c): y'b + min over the box of (c - A'y)'x. So the least over leaves of the best
over stored multipliers bounds the value everywhere; at an instance that the tree was grown for it is tight.
`solvers.dual_tree` grows it. It is a strong dual function, in general not subadditive; `solvers.chvatal` has those.

Source: MATH 8 and 9; Schrage and Wolsey 1985, Sensitivity analysis for branch and bound integer programming; Neumaier
and Shcherbina 2004 for the rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.errors import UnsupportedModelError
from solvers.linear_model import Vector
from solvers.safe_bound import gamma

# Half of the bytes that one evaluation may hold beside its answer and a mask of the size of its arguments.
CHUNK_BYTES = 1 << 27


@dataclass(frozen=True)
class DualFunction:
    """F(A, b, c) <= min c'x + penalty's, A x + s >= b, s >= 0, x in the box, integer where it must be.

    See `solvers.elastic_program` for the form.

    Attributes:
        lower, upper: (L, n) limits of the leaves, which hold every point of the box that is integer where it must be.
        multipliers: (T, m) in [0, penalty], in [-penalty, penalty] for equalities, grouped by leaf.
        starts: (L,) where a leaf's multipliers begin; each leaf has one at least.
        integer: (n,) which columns are integer.
        penalty: (m,) price of a row's shortfall, infinite for a hard row.
        equality: (m,) which rows are equalities.
    """

    lower: Vector
    upper: Vector
    multipliers: Vector
    starts: NDArray[np.int64]
    integer: NDArray[np.bool_]
    penalty: Vector
    equality: NDArray[np.bool_]

    @property
    def leaves(self) -> int:
        """How many leaves there are."""
        return int(self.starts.size)

    @property
    def nbytes(self) -> int:
        """Bytes that it holds: 16 n + 8 for each leaf, 8 m for each multiplier vector, n + 9 m once."""
        return sum(part.nbytes for part in vars(self).values())

    def __call__(self, c: Vector, A: Vector, b: Vector) -> Vector:
        """Return ((B,)) numbers that no value of the programs is below, whatever c, A and b are.

        Args:
            c: (B, n) or (n,).
            A: (B, m, n) or (m, n).
            b: (B, m) or (m,). Without any batch axis B is one. Shared A and c are multiplied once.

        Returns:
            The bounds, rounded downward by more than the error of their evaluation; -inf where it overflows.

        Raises:
            UnsupportedModelError: the shapes do not fit, or a number is not finite.
        """
        return np.concatenate([part.min(axis=1) for part in self._chunks(c, A, b)])

    def leaf_bounds(self, c: Vector, A: Vector, b: Vector) -> Vector:
        """Return ((B, L)) the same by leaf: no point of the leaf has a lower value; arguments as for a call."""
        return np.concatenate(list(self._chunks(c, A, b)))

    def _chunks(self, c: Vector, A: Vector, b: Vector) -> Iterator[Vector]:
        """Yield the rows of `leaf_bounds`, some at a time."""
        c, A, b = self._checked(c, A, b)
        batch = max(len(c), len(A), len(b))
        # A row of the batch needs three numbers by multiplier, three by column at least, and a copy of its A.
        step = max(1, CHUNK_BYTES // (32 * (len(self.multipliers) + self.integer.size) + 8 * A[0].size))
        for k in range(0, batch, step):
            c_k, A_k, b_k = (part if len(part) == 1 else part[k : k + step] for part in (c, A, b))
            yield np.maximum.reduceat(self._multiplier_bounds(c_k, A_k, b_k), self.starts, axis=1)

    # An overflow gives -inf, or NaN that becomes it.
    @np.errstate(over="ignore", invalid="ignore")
    def _multiplier_bounds(self, c: Vector, A: Vector, b: Vector) -> Vector:
        """Return ((B, T)) the bound of each multiplier vector on its leaf; arguments as `_checked` returns them."""
        m, n = A.shape[1:]
        total, batch = len(self.multipliers), max(len(c), len(A))
        leaf = np.repeat(np.arange(self.leaves), np.diff(self.starts, append=total))
        fixed = np.empty((batch, total))
        some = max(1, CHUNK_BYTES // (32 * n * batch))
        for k in range(0, total, some):
            part = slice(k, k + some)
            reduced = c[:, None, :] - self.multipliers[part] @ A
            fixed[:, part] = np.einsum("btn,tn->bt", np.maximum(reduced, 0.0), self.lower[leaf[part]])
            fixed[:, part] += np.einsum("btn,tn->bt", np.minimum(reduced, 0.0), self.upper[leaf[part]])
        bound = fixed + b @ self.multipliers.T
        # Every error is at most this share of the sum of all terms' sizes, with |x| at most its largest in any leaf.
        reach = np.maximum(np.abs(self.lower), np.abs(self.upper)).max(axis=0)
        size = (np.abs(b) + np.abs(A) @ reach) @ np.abs(self.multipliers).T + (np.abs(c) @ reach)[:, None]
        bound = bound - gamma(m + n + 8) * size
        return np.where(np.isfinite(bound), bound, -np.inf)

    def _checked(self, c: Vector, A: Vector, b: Vector) -> tuple[Vector, Vector, Vector]:
        """Return the arguments with a batch axis in front, of one where they are shared."""
        m, n = self.penalty.size, self.integer.size
        given = {"c": (c, (n,)), "A": (A, (m, n)), "b": (b, (m,))}
        made = []
        for name, (part, own) in given.items():
            array = np.asarray(part, dtype=np.float64)
            array = array[None] if array.ndim == len(own) else array
            if array.ndim != len(own) + 1 or array.shape[1:] != own:
                raise UnsupportedModelError(f"{name} has shape {np.shape(part)}; it must be {own}, or a batch of that")
            if not np.isfinite(array).all():
                raise UnsupportedModelError(f"{name} holds a number that is not finite")
            made.append(array)
        if len({len(array) for array in made} - {1}) > 1:
            raise UnsupportedModelError("c, A and b are batches of different sizes")
        return made[0], made[1], made[2]
