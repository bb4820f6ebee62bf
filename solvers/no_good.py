"""The cut that forbids one integer assignment of a model and no other.

Source: Balas and Jeroslow 1972, Canonical cuts on the unit hypercube; an integer column inside its limits
gets two binaries that say on which side of the forbidden value it is.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from solvers.linear_model import LinearModel, Vector


def forbid(model: LinearModel, columns: NDArray[np.int64], value: Vector) -> LinearModel:
    """Return `model` without the points whose `columns` have this `value`.

    Args:
        model: any.
        columns: (k,) integer columns of it with finite limits.
        value: (k,) integers within the limits.

    Returns:
        A model whose first columns are those of `model`; the binaries of the cut come after them. It is
        infeasible where no other assignment is.
    """
    lower, upper = np.ceil(model.column_lower[columns]), np.floor(model.column_upper[columns])
    at_lower = value == lower
    at_upper = ~at_lower & (value == upper)
    inside = np.flatnonzero(~at_lower & ~at_upper)
    added, n = 2 * inside.size, model.columns
    rows = sparse.lil_array((1 + added, n + added))
    limits = np.zeros(1 + added)
    # A column at a limit can leave it one way only: its distance from it is a term of the cut.
    rows[[0], columns[at_lower]] = 1.0
    rows[[0], columns[at_upper]] = -1.0
    limits[0] = 1 + lower[at_lower].sum() - upper[at_upper].sum()
    for k, (j, rise) in enumerate(itertools.product(inside, (True, False))):
        # Where the new binary is 1, x_j is at least value + 1 (or at most value - 1); at 0 the row says nothing.
        sign = 1.0 if rise else -1.0
        idle = lower[j] if rise else -upper[j]
        rows[0, n + k] = 1.0
        rows[1 + k, columns[j]] = sign
        rows[1 + k, n + k] = idle - (sign * value[j] + 1)
        limits[1 + k] = idle
    old = sparse.hstack([model.matrix, sparse.csr_array((model.rows, added))], format="csr")
    return replace(
        model,
        cost=np.concatenate([model.cost, np.zeros(added)]),
        matrix=sparse.csr_array(sparse.vstack([old, rows.tocsr()], format="csr")),
        row_lower=np.concatenate([model.row_lower, limits]),
        row_upper=np.concatenate([model.row_upper, np.full(1 + added, np.inf)]),
        column_lower=np.concatenate([model.column_lower, np.zeros(added)]),
        column_upper=np.concatenate([model.column_upper, np.ones(added)]),
        integer=np.concatenate([model.integer, np.ones(added, dtype=bool)]),
    )
