"""The value of an elastic mixed-integer program, and the linear pieces that it is the minimum of.

With the integer columns fixed to an assignment, the program is linear: a piece, whose value has the optimal multipliers
and the optimal point as derivatives by b and c. The best assignment is the active piece; the next ones, found by
forbidding those before, tell how far it is from a tie.

Source: MATH 9; Bolte et al. 2021, Nonsmooth implicit differentiation, for the derivative of the active piece.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from solvers.elastic_program import ElasticProgram
from solvers.highs import HighsSession
from solvers.linear_model import LinearModel, Vector
from solvers.lp_uniqueness import uniqueness
from solvers.no_good import forbid
from solvers.registry import DEFAULT_SOLVER, open_session_or_default
from solvers.session import Session, Solution, Status

_log = logging.getLogger(__name__)
# Relative distance of the value of the active piece and the solver's bound beyond which they contradict each other: the
# solver's assignment was only integral within its own tolerance, and is worse once rounded.
CONTRADICTION = 1e-5


class Outcome(IntEnum):
    """What is known of a program's value. FAILED: the solver stopped without an answer, or with one that is wrong."""

    SOLVED = 0
    INFEASIBLE = 1
    UNBOUNDED = 2
    TIME_LIMIT = 3
    FAILED = 4


@dataclass(frozen=True)
class Search:
    """How to look for the pieces.

    Attributes:
        pieces: how many distinct integer assignments, best first, at most.
        solver: a name that `solvers.registry.open_session` takes.
        time_limit: seconds for one program, all pieces together.
        tolerance: relative size below which a slack, a multiplier or a difference of values counts as zero.
    """

    pieces: int = 1
    solver: str = DEFAULT_SOLVER
    time_limit: float = np.inf
    tolerance: float = 1e-6


@dataclass(frozen=True)
class Piece:
    """The linear program that is left with the integers fixed.

    Attributes:
        value: its optimal value.
        x: (n,) its optimal point: the derivative of its value by c.
        y: (m,) its optimal multipliers: the derivative by b; by A it is -y x'.
        unique_x, unique_y: whether these are the only ones.
    """

    value: float
    x: Vector
    y: Vector
    unique_x: bool
    unique_y: bool


@dataclass(frozen=True)
class MipAnswer:
    """What was found of one program.

    Attributes:
        outcome: of the search for the value, and for the further pieces: TIME_LIMIT where either ran out of time.
        lower, upper: the value lies between them; both +inf where infeasible, both -inf where unbounded.
        pieces: distinct assignments, best first; empty where no point was found.
        margin: value of the second piece less that of the first: infinite where there is no second assignment, NaN
            where none was looked for or its search did not end.
    """

    outcome: Outcome
    lower: float
    upper: float
    pieces: tuple[Piece, ...] = ()
    margin: float = np.nan


def solve_pieces(program: ElasticProgram, search: Search) -> MipAnswer:
    """Solve `program`: its value between two bounds, its active piece, and the next best ones as `search` asks."""
    deadline = time.monotonic() + search.time_limit
    scale = program.scale
    model = program.model(scale)
    solution = _solve(model, search, deadline)
    if solution.status is Status.INFEASIBLE:
        return MipAnswer(Outcome.INFEASIBLE, np.inf, np.inf)
    if solution.status is Status.UNBOUNDED:
        return MipAnswer(Outcome.UNBOUNDED, -np.inf, -np.inf)
    outcome = {Status.OPTIMAL: Outcome.SOLVED, Status.TIME_LIMIT: Outcome.TIME_LIMIT}.get(
        solution.status, Outcome.FAILED
    )
    bound = solution.dual_bound / scale
    with HighsSession(model.relaxed()) as session:
        active = None if solution.x is None else _piece(program, model, session, solution.x, scale, search)
        if active is None:
            return MipAnswer(Outcome.FAILED if outcome is Outcome.SOLVED else outcome, bound, np.inf)
        lower = min(bound, active.value)
        if outcome is Outcome.SOLVED and active.value - lower > CONTRADICTION * max(1.0, abs(active.value)):
            _log.warning("%s's optimum %g became %g with its integers rounded", search.solver, lower, active.value)
            return MipAnswer(Outcome.FAILED, lower, active.value, (active,))
        pieces, ended = [active], True
        if outcome is Outcome.SOLVED:
            ended = _find_more(program, model, session, scale, search, deadline, pieces)
    pieces.sort(key=lambda piece: piece.value)
    if not ended:
        outcome = Outcome.TIME_LIMIT
    margin = np.nan
    if len(pieces) > 1:
        margin = pieces[1].value - pieces[0].value
    elif search.pieces > 1 and outcome is Outcome.SOLVED:
        margin = np.inf
    value = pieces[0].value
    return MipAnswer(outcome, min(lower, value), value, tuple(pieces), margin)


def _find_more(
    program: ElasticProgram,
    model: LinearModel,
    session: Session,
    scale: float,
    search: Search,
    deadline: float,
    pieces: list[Piece],
) -> bool:
    """Append the next best pieces; return whether the search for them ended by itself."""
    rest, columns = model, np.flatnonzero(program.integer)
    while len(pieces) < search.pieces:
        rest = forbid(rest, columns, pieces[-1].x[columns])
        solution = _solve(rest, search, deadline)
        if solution.status is Status.INFEASIBLE:
            return True
        if solution.status is not Status.OPTIMAL or solution.x is None:
            return False
        piece = _piece(program, model, session, solution.x, scale, search)
        if piece is None:
            return False
        pieces.append(piece)
    return True


def _solve(model: LinearModel, search: Search, deadline: float) -> Solution:
    session, note = open_session_or_default(search.solver, model)
    if note is not None:
        _log.warning(note)
    with session:
        return session.solve(mip_gap=0.0, time_limit=max(0.0, deadline - time.monotonic()))


def _piece(
    program: ElasticProgram, model: LinearModel, session: Session, x: Vector, scale: float, search: Search
) -> Piece | None:
    """Solve the linear program with the integers of `x`; None where rounding them has made it infeasible."""
    n = program.c.size
    fixed = np.flatnonzero(program.integer)
    values = np.clip(np.rint(x[fixed]), program.lower[fixed], program.upper[fixed])
    session.set_column_bounds(fixed, values, values)
    solution = session.solve()
    if solution.status is not Status.OPTIMAL or solution.x is None or solution.row_duals is None:
        return None
    point = solution.x[:n].copy()
    point[fixed] = values
    y = np.clip(solution.row_duals / scale, program.least, program.penalty)
    free = ~program.integer & (program.lower < program.upper)
    one = uniqueness(
        program.c[free],
        program.A[:, free],
        program.b - program.A[:, ~free] @ point[~free],
        program.lower[free],
        program.upper[free],
        program.least,
        program.penalty,
        point[free],
        y,
        search.tolerance,
    )
    return Piece(solution.objective / scale, point, y, one.x, one.y)
