"""Optima of quadratic programs one problem at a time on the processor: dual active set (DAQP), interior point (PIQP).

Sources: Arnström, Bemporad, Axehill 2022 (DAQP); Schwan, Jiang, Kuhn, Jones 2023 (PIQP).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum

import daqp
import numpy as np
import piqp
import torch
from torch import Tensor

from proxies.layers.qp_kkt import Prepared, solve_triangular
from proxies.layers.qp_problem import QuadraticPrograms, times

# DAQP calls a limit met within this; what it misses by that, the polish would have to put right.
ACTIVE_SET_TOLERANCE = 1e-10
# It may switch every variable and row this often before it counts as cycling.
SWITCHES = 10
# Larger than any slack: DAQP's lower limit of a row that has none.
NO_LIMIT = 1e30
# Below this many numbers in all constraint rows, starting threads costs more than they save.
WORTH_THREADS = 50_000


class Status(IntEnum):
    """How the search for one problem's optimum ended."""

    SOLVED = 0
    INFEASIBLE = 1
    UNBOUNDED = 2
    MAX_ITERATIONS = 3


@dataclass(frozen=True)
class Found:
    """What a solver says about every problem of a batch.

    Attributes:
        z: (batch, n); arbitrary where not solved.
        y: (batch, rows) duals, equalities first.
        active: (batch, rows) equalities, and inequalities whose dual exceeds their slack.
        status: (batch,) `Status` codes.
    """

    z: Tensor
    y: Tensor
    active: Tensor
    status: Tensor


def active_set_search(prepared: Prepared, workers: int) -> Found:
    """Run DAQP on every problem, in threads; what it does not solve is left as MAX_ITERATIONS, whatever the reason.

    Where every Q is regular it is given the problem in lower' z, whose Q is the identity: the factor and the product
    that this needs are those that the polish needs in any case. There, the points found are left at zero.
    """
    problems, p = prepared.problems, prepared.problems.equalities
    sense = np.zeros(problems.rows, dtype=np.int32)
    sense[:p] = 5  # Its code for an equality.
    lower = np.full(problems.rows, -NO_LIMIT)
    shifted = _least_distance(prepared) if prepared.regular else problems

    def solve(k: int, data: _Arrays, out: _Arrays) -> int:
        limits = lower.copy()
        limits[:p] = data.t[k, :p]
        cost = (None, None) if prepared.regular else (data.Q[k], data.q[k])
        z, _, flag, info = daqp.solve(
            *cost,
            data.E[k],
            data.t[k],
            limits,
            sense.copy(),
            primal_tol=ACTIVE_SET_TOLERANCE,
            iter_limit=SWITCHES * (problems.n + problems.rows),
        )
        if flag != 1:
            return Status.MAX_ITERATIONS
        out.t[k] = info["lam"]
        if not prepared.regular:
            out.q[k] = z
        return Status.SOLVED

    found = _each(shifted, solve, workers if problems.batch * problems.rows * problems.n > WORTH_THREADS else 1)
    active = found.y > 0
    active[:, :p] = True
    return Found(found.z, found.y, active, found.status)


def _least_distance(prepared: Prepared) -> QuadraticPrograms:
    """Return the problems in u = lower' z + lower^-1 q, whose objective is u'u/2 and whose rows are whole'."""
    problems, whole = prepared.problems, prepared.whole()
    start = solve_triangular(prepared.lower, problems.q[..., None], upper=False)[..., 0]
    return QuadraticPrograms(problems.Q, problems.q, whole.mT, problems.t + times(whole.mT, start), problems.equalities)


def interior_point_search(prepared: Prepared, tolerance: float, max_iterations: int) -> Found:
    """Run PIQP on every problem; it holds Python's lock, so threads would not help."""
    problems = prepared.problems
    p = problems.equalities
    names = {
        piqp.PIQP_SOLVED: Status.SOLVED,
        piqp.PIQP_PRIMAL_INFEASIBLE: Status.INFEASIBLE,
        piqp.PIQP_DUAL_INFEASIBLE: Status.UNBOUNDED,
    }
    slack = np.zeros((problems.batch, problems.rows))

    def solve(k: int, data: _Arrays, out: _Arrays) -> int:
        solver = piqp.DenseSolver()
        settings = solver.settings
        settings.eps_abs = settings.eps_duality_gap_abs = tolerance
        settings.eps_rel = settings.eps_duality_gap_rel = tolerance
        settings.max_iter = max_iterations
        E, t = data.E[k], data.t[k]
        equal = (E[:p], t[:p]) if p else (None, None)
        below = (E[p:], None, t[p:]) if p < problems.rows else (None, None, None)
        solver.setup(data.Q[k], data.q[k], *equal, *below)
        status = solver.solve()
        result = solver.result
        out.q[k], out.t[k, :p] = result.x, result.y
        out.t[k, p:], slack[k, p:] = result.z_u, result.s_u
        return names.get(status, Status.MAX_ITERATIONS)

    found = _each(problems, solve, 1)
    active = found.y > torch.as_tensor(slack).to(found.y.device)
    active[:, :p] = True
    return Found(found.z, found.y, active, found.status)


@dataclass(frozen=True)
class _Arrays:
    """A batch as numpy arrays; as output, q holds z and t holds y."""

    Q: np.ndarray
    q: np.ndarray
    E: np.ndarray
    t: np.ndarray


def _each(problems: QuadraticPrograms, solve: Callable[[int, _Arrays, _Arrays], int], workers: int) -> Found:
    batch = problems.batch

    def rows(values: Tensor) -> np.ndarray:
        return values.cpu().contiguous().expand(batch, *values.shape[1:]).numpy()

    data = _Arrays(rows(problems.Q), rows(problems.q), rows(problems.E), rows(problems.t))
    out = _Arrays(data.Q, np.zeros_like(data.q), data.E, np.zeros_like(data.t))
    status = np.full(batch, Status.MAX_ITERATIONS, dtype=np.int64)

    def part(first: int) -> None:
        for k in range(first, batch, workers):
            status[k] = solve(k, data, out)

    if workers == 1:
        part(0)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(part, range(workers)))
    z, y, code = (torch.as_tensor(array).to(problems.q.device) for array in (out.q, out.t, status))
    return Found(z, y, torch.zeros_like(y, dtype=torch.bool), code)
