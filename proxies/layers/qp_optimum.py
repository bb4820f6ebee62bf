"""Find the active sets of a batch of quadratic programs and prove them: solvers propose, the KKT system decides.

A proposal is polished: one solve of the equations of its active set; where residuals and signs are then right, the
point is optimal, whoever proposed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from proxies.layers.qp_batched import batched_interior_point
from proxies.layers.qp_kkt import Factor, Factors, Prepared, factorise, parts
from proxies.layers.qp_problem import QPError, QuadraticPrograms, times
from proxies.layers.qp_search import Found, Status, active_set_search, interior_point_search

# Residuals, negative slacks and negative duals up to this share of one plus the largest term of their equation are
# rounding: variables and duals much smaller than that cannot be told from zero, and want other units.
PROOF = 1e-9
# How often a wrong active set is mended (violated rows in, rows with a negative dual out) before another solver is run.
MENDS = 2
# The last interior point's tolerance, to tell weakly active rows from others.
FINE = 1e-12


@dataclass(frozen=True)
class Optimum:
    """What was found for a batch.

    Attributes:
        z, y: (batch, n) and (batch, rows); arbitrary where not solved.
        status: (batch,) `Status` codes.
        polished: (batch,) proven by the KKT system of the active set.
        factors: that system, of every problem; of problems that are not solved, with an empty active set.
    """

    z: Tensor
    y: Tensor
    status: Tensor
    polished: Tensor
    factors: Factors


@dataclass(frozen=True)
class Search:
    """How to look for optima; attributes as in `proxies.layers.qp.QPOptions`.

    `per_problem` takes solvers that run on one problem after the other instead of the batched interior point.
    """

    per_problem: bool
    tolerance: float
    max_iterations: int
    workers: int


def find_optimum(problems: QuadraticPrograms, search: Search, guess: Tensor | None = None) -> Optimum:
    """Solve every problem of a batch, trying first the active sets in `guess` ((batch, inequalities)), where given.

    Raises:
        QPError: a Q is not positive semidefinite, or the guess has another shape than the inequalities.
    """
    shape = (problems.batch, problems.rows - problems.equalities)
    if guess is not None and (tuple(guess.shape) != shape or guess.dtype != torch.bool):
        raise QPError(f"a guess of the active set needs shape {shape} and type bool, not {tuple(guess.shape)}")
    if guess is None and not shape[1]:
        guess = torch.zeros(shape, dtype=torch.bool, device=problems.q.device)
    found, first = [], 0
    numbers, scale = problems.numbers()
    for part in parts(numbers):
        last = first + part.problems.batch
        found.append(_find(part, search, None if guess is None else guess[first:last]))
        first = last
    z, y, status, polished, active = (torch.cat(side) for side in list(zip(*found))[:-1])
    factors = Factors(tuple(part[-1] for part in found), active, scale)
    return Optimum(z, y * scale, status, polished, factors)


def _find(
    prepared: Prepared, search: Search, guess: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Factor]:
    """Return z, y, status, polished, active sets and the factor of one part of a batch."""
    problems = prepared.problems
    z, y = torch.zeros_like(problems.q), torch.zeros_like(problems.t)
    active = torch.zeros_like(y, dtype=torch.bool)
    status = torch.full((problems.batch,), int(Status.MAX_ITERATIONS), device=z.device)
    polished = torch.zeros_like(status, dtype=torch.bool)
    factor: Factor | None = None
    for trusted, propose in _proposals(search, guess):
        index = (~polished & (status != Status.INFEASIBLE) & (status != Status.UNBOUNDED)).nonzero()[:, 0]
        if not len(index):
            break
        part = _select(prepared, index)
        found = propose(part)
        proof = _polish(part, found)
        factor = proof.whole if part is prepared else None
        better = proof.right | (trusted & (found.status == Status.SOLVED))
        where = index[better]
        z[where], y[where], active[where] = proof.z[better], proof.y[better], proof.active[better]
        status[where], polished[where] = int(Status.SOLVED), proof.right[better]
        # That an active-set search fails says nothing; an interior point's word does, where no solution is known.
        ended = trusted & ~better & (status[index] != Status.SOLVED)
        status[index[ended]] = found.status[ended]
    if factor is None:
        factor = factorise(prepared, active)
    return z, y, status, polished, active, factor


# What can be tried, and whether its word counts where the polish cannot prove it.
Proposal = tuple[bool, Callable[[Prepared], Found]]


def _proposals(search: Search, guess: Tensor | None) -> Iterator[Proposal]:
    """Yield what to try, cheapest first; each is given the problems that those before it left open."""
    if guess is not None:
        yield False, partial(_as_found, guess=guess)
    if search.per_problem:
        yield False, partial(active_set_search, workers=search.workers)
    interior_point = interior_point_search if search.per_problem else batched_interior_point
    yield True, partial(interior_point, tolerance=search.tolerance, max_iterations=search.max_iterations)
    # The few that are left: on the processor, wherever the batch is.
    yield (
        True,
        partial(interior_point_search, tolerance=min(FINE, search.tolerance), max_iterations=search.max_iterations),
    )


def _as_found(prepared: Prepared, guess: Tensor) -> Found:
    problems = prepared.problems
    equal = guess.new_ones(problems.batch, problems.equalities)
    solved = torch.full((problems.batch,), int(Status.SOLVED), device=guess.device)
    return Found(problems.q, problems.t, torch.cat([equal, guess], 1), solved)


@dataclass(frozen=True)
class _Proof:
    """A proposal after the polish: the proven point where `right`, the proposed one elsewhere.

    `whole` is the factor of the batch if it was one from the start to the end.
    """

    right: Tensor
    z: Tensor
    y: Tensor
    active: Tensor
    whole: Factor | None


def _polish(prepared: Prepared, found: Found) -> _Proof:
    """Solve the equations of the proposed active sets, mend wrong sets, and leave out weakly active rows."""
    z, y, active = found.z.clone(), found.y.clone(), found.active.clone()
    right = torch.zeros_like(found.status, dtype=torch.bool)
    whole: Factor | None = None
    trial, index = active.clone(), (found.status == Status.SOLVED).nonzero()[:, 0]
    for attempt in range(MENDS + 1):
        if not len(index):
            break
        judged = _judge(_select(prepared, index), trial[index])
        good = index[judged.right]
        if attempt == 0 and len(good) == prepared.problems.batch:
            whole = judged.factor
        elif len(good):
            whole = None
        z[good], y[good], active[good] = judged.z[judged.right], judged.y[judged.right], trial[good]
        right[good] = True
        # A set that was right, but is not without its weakly active rows, needs them: its proof stands.
        retry = (judged.mended != trial[index]).any(-1) & (judged.right | ~right[index])
        trial[index] = judged.mended
        index = index[retry]
    return _Proof(right, z, y, active, whole)


@dataclass(frozen=True)
class _Judged:
    """The points of given active sets, which are optimal, and the sets with violated rows in, dual-less ones out."""

    factor: Factor
    z: Tensor
    y: Tensor
    right: Tensor
    mended: Tensor


def _judge(prepared: Prepared, active: Tensor) -> _Judged:
    problems, factor = prepared.problems, factorise(prepared, active)
    z, y = factor.solve(-problems.q, problems.t)
    pull, push, reach = times(problems.Q, z), times(problems.E.mT, y), times(problems.E, z)
    dual_scale = PROOF * (1 + torch.stack([part.abs().amax(-1) for part in (problems.q, pull, push)]).amax(0))
    right = (pull + problems.q + push).abs().amax(-1) <= dual_scale
    mended = active.clone()
    if problems.rows:
        p = problems.equalities
        slack = problems.t - reach
        tolerance = PROOF * (1 + torch.maximum(problems.t.abs(), reach.abs()).amax(-1, keepdim=True))
        smallest = PROOF * (1 + y.abs().amax(-1, keepdim=True))
        right &= torch.where(active, slack.abs() <= tolerance, slack >= -tolerance).all(-1)
        right &= (y[:, p:] >= -smallest).all(-1)
        mended[:, p:] = (active & (y > smallest) | (slack < -tolerance))[:, p:]
    return _Judged(factor, z, y, right, mended)


def _select(prepared: Prepared, index: Tensor) -> Prepared:
    """Return the problems at `index` (increasing); the batch itself where that is all of them."""
    return prepared if len(index) == prepared.problems.batch else prepared.select(index)
