"""Whether a linear program has one optimal point and one optimal multiplier vector: is its value differentiable here?

Optimal multipliers other than y differ from it by a direction that keeps A'y + (reduced costs) and the signs of the
zeros of y; optimal points other than x by one that keeps every constraint with a multiplier and the signs of the slacks
that are zero. Both are cones, and both are {0} or not.

Source: Mangasarian 1979, Uniqueness of solution in linear programming.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from solvers.highs import HighsSession
from solvers.linear_model import LinearModel, Vector


@dataclass(frozen=True)
class Unique:
    """Whether the optimal point, and the optimal multipliers, are the only ones."""

    x: bool
    y: bool


def uniqueness(
    c: Vector,
    A: Vector,
    b: Vector,
    lower: Vector,
    upper: Vector,
    least: Vector,
    most: Vector,
    x: Vector,
    y: Vector,
    tolerance: float,
) -> Unique:
    """Judge the optimum of min over x of the max over y of c'x + y'(b - A x), both in boxes.

    Args:
        c, lower, upper, x: (n,) costs, box (lower < upper) and an optimal point.
        A: (m, n) rows.
        b, y: (m,) right sides and optimal multipliers.
        least, most: (m,) the box of y: a row A x >= b that may be missed at a price has zero and the price, one that
            must hold zero and infinity, an equality minus and plus.
        tolerance: relative size below which a slack or a multiplier counts as zero.
    """
    slack = A @ x - b
    reduced = c - A.T @ y
    size = tolerance * np.maximum(1.0, np.maximum(np.abs(b), (np.abs(A) * np.abs(x)).max(axis=1, initial=0.0)))
    price = tolerance * max(1.0, float(np.abs(c).max(initial=0.0)))
    at_kink = np.abs(slack) <= size
    at_lower, at_upper = (np.abs(x - limit) <= tolerance * np.maximum(1.0, np.abs(x)) for limit in (lower, upper))
    eye = np.eye(c.size)
    # Constraints that are tight, turned so that a multiplier of zero may only grow.
    kinds = [
        (A[at_kink & (y - least <= price)], False),
        (-A[at_kink & (most - y <= price)], False),
        (A[at_kink & (y - least > price) & (most - y > price)], True),
        (eye[at_lower & (reduced <= price)], False),
        (-eye[at_upper & (reduced >= -price)], False),
        (eye[(at_lower & (reduced > price)) | (at_upper & (reduced < -price))], True),
    ]
    held = np.concatenate([rows for rows, strict in kinds if strict])
    weak = np.concatenate([rows for rows, strict in kinds if not strict])
    both = np.concatenate([held, weak])
    signs = np.eye(len(both))[len(held) :]
    return Unique(x=_is_trivial(held, weak), y=_is_trivial(both.T, signs))


def _is_trivial(equal: Vector, least: Vector) -> bool:
    """Return whether {v: equal v = 0, least v >= 0} is {0}."""
    size = equal.shape[1]
    if size == 0:
        return True
    if _rank(np.concatenate([equal, least])) < size:
        return False
    if len(least) == 0 or _rank(equal) == size:
        return True
    # No v is left that makes all of it zero, so the cone holds more than zero exactly if `least` v can be positive.
    model = LinearModel(
        -least.sum(axis=0),
        sparse.csr_array(np.concatenate([equal, least])),
        np.zeros(len(equal) + len(least)),
        np.concatenate([np.zeros(len(equal)), np.ones(len(least))]),
        np.full(size, -np.inf),
        np.full(size, np.inf),
        np.zeros(size, dtype=bool),
    )
    with HighsSession(model) as session:
        return session.solve().objective > -0.5


def _rank(rows: Vector) -> int:
    return int(np.linalg.matrix_rank(rows)) if rows.size else 0
