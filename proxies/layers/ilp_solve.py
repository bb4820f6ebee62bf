"""Exact solution of a batch of integer programs: the compiled search, then a solver for what it gives up."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from proxies.layers.ilp_program import Programs
from proxies.layers.ilp_search import Array, search
from solvers.errors import SolverFailedError
from solvers.linear_model import LinearModel
from solvers.registry import DEFAULT_SOLVER, open_session_or_default
from solvers.session import Status

_log = logging.getLogger(__name__)
# Solvers stop at absolute tolerances of about 1e-6. Costs of this size bring that to 1e-9 of the largest cost.
SOLVER_COST = 1e3


@dataclass(frozen=True)
class ILPOptions:
    """How to solve.

    Attributes:
        node_limit: values tried and relaxations solved by the search before it gives a program up.
        solver: what then solves it, a name that `solvers.registry.open_session` takes.
        time_limit: seconds for each program that is given up.
        threads: how many share the batch in the search.
    """

    node_limit: int = 1_000_000
    solver: str = DEFAULT_SOLVER
    time_limit: float = np.inf
    threads: int = 1


DEFAULT_OPTIONS = ILPOptions()


@dataclass(frozen=True)
class ILPResult:
    """Optimal points of a batch of integer programs.

    Attributes:
        y: (B, n) integers in the kind of c. Where a program is infeasible: zero, or the point of the box next to it.
        value: (B,) c'y, infinite where infeasible.
        feasible: (B,) whether the program has a feasible point.
        nodes: (B,) work of the search.
        by_solver: (B,) whether the search gave up and the solver finished.
    """

    y: Tensor
    value: Tensor
    feasible: Tensor
    nodes: Tensor
    by_solver: Tensor


def ilp_solve(
    c: Tensor,
    A: Tensor,
    b: Tensor,
    lower: Tensor | float,
    upper: Tensor | float,
    options: ILPOptions = DEFAULT_OPTIONS,
) -> ILPResult:
    """Minimise c'y subject to A y <= b over the integer points of a box, for each program of a batch.

    Args:
        c: (B, n) or (n,) costs, float64 or float32.
        A: (B, m, n) or (m, n) rows.
        b: (B, m) or (m,) right sides.
        lower, upper: (n,) or scalars, integral limits of y.
        options: how.

    Returns:
        The optima, without gradients. Rows hold within `ilp_program.FEASIBILITY`. No feasible point is cheaper by more
        than `ilp_search.OBJECTIVE` of sum |c_j| max(|lower_j|, |upper_j|), or, where a solver finished, than 1e-9 of
        the largest |c_j|; among points that are that close, any may be returned.

    Raises:
        IntegerProgramError: the parameters are unusable.
        SolverFailedError: a program that the search gave up was not solved within the time limit either.
    """
    return solve_programs(Programs.of(c, A, b, lower, upper), options)


def solve_programs(programs: Programs, options: ILPOptions = DEFAULT_OPTIONS) -> ILPResult:
    """Solve checked programs; see `ilp_solve`."""
    batch, n = programs.batch, programs.c.shape[-1]
    device, kind = programs.c.device, programs.c.dtype
    parts = (programs.c, programs.A, programs.right_side)
    c, A, b = (_array(part) if part.ndim == axes else _array(part)[None] for part, axes in zip(parts, (2, 3, 2)))
    lower, upper = _array(programs.lower), _array(programs.upper)
    y, cost, spent = np.zeros((batch, n)), np.full(batch, np.inf), np.zeros(batch, dtype=np.int64)
    if batch:
        y, cost, spent = search(c, A, b, lower, upper, options.node_limit, options.threads)
    by_solver = spent < 0
    for k in np.flatnonzero(by_solver):
        one = c[k if len(c) > 1 else 0], A[k if len(A) > 1 else 0], b[k if len(b) > 1 else 0]
        y[k], cost[k] = _solve_one(*one, lower, upper, y[k], cost[k], options)
    feasible = np.isfinite(cost)
    y = np.where(feasible[:, None], y, np.clip(0.0, lower, upper))
    return ILPResult(
        *(torch.as_tensor(part, dtype=kind, device=device) for part in (y, cost)),
        *(torch.as_tensor(part, device=device) for part in (feasible, np.abs(spent), by_solver)),
    )


def _array(part: Tensor) -> Array:
    return np.ascontiguousarray(part.double().cpu().numpy())


def _solve_one(
    c: Array, A: Array, b: Array, lower: Array, upper: Array, start: Array, best: float, options: ILPOptions
) -> tuple[Array, float]:
    """Solve one program by a solver, from the search's best point, and hold the answer against the search's own test.

    The solver may exceed rows by its tolerance, so it decides over at least as many points as the search: a point of
    its that passes the test is optimal, and what it calls infeasible is. Else the search goes on without a limit.
    """
    magnitude = float(np.abs(c).max()) or 1.0
    every = np.ones(c.size, dtype=bool)
    rows = sparse.csr_array(A)
    model = LinearModel(c * (SOLVER_COST / magnitude), rows, np.full(b.size, -np.inf), b, lower, upper, every)
    session, note = open_session_or_default(options.solver, model)
    _log.info("an integer program reached %d nodes and went to %s", options.node_limit, session.name)
    if note is not None:
        _log.warning(note)
    known = np.isfinite(best)
    with session:
        solution = session.solve(start=start if known else None, mip_gap=0.0, time_limit=options.time_limit)
    if solution.status is Status.INFEASIBLE and not known:
        return start, np.inf
    if solution.status is Status.OPTIMAL and solution.x is not None:
        point = np.clip(np.rint(solution.x), lower, upper)
        if bool((A @ point <= b).all()):
            value = float(c @ point)
            return (start, best) if best <= value else (point, value)
    elif solution.status is not Status.INFEASIBLE:
        raise SolverFailedError(
            f"{session.name} ended an integer program with {solution.status.value}; allow it more time, "
            "or the search more nodes"
        )
    _log.warning("the answer of %s fails the test of feasibility; the search goes on", session.name)
    y, cost, spent = search(c[None], A[None], b[None], lower, upper, np.iinfo(np.int64).max)
    if spent[0] < 0:
        raise SolverFailedError("an integer program was given up by the search, and its solver's answer is infeasible")
    return y[0], float(cost[0])
