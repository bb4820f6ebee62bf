"""Branch and bound that leaves a dual function behind: tight at the instances it was run on, valid at all others.

Each node is a box of the integer columns, bounded by the multipliers of its linear relaxation with the bound of
`solvers.dual_function`, which trusts no solver. Where the relaxation is infeasible, its parent's multipliers plus a
multiple of a Farkas ray give a bound as high as is needed. Branching tries several columns and keeps the one whose
children rise most (strong branching: Applegate et al. 1995), since every leaf is paid for at every evaluation.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from solvers.dual_function import DualFunction
from solvers.elastic_program import ElasticProgram
from solvers.errors import SolverFailedError, TreeLimitError, UnsupportedModelError
from solvers.highs import HighsSession
from solvers.linear_model import Vector
from solvers.mip_pieces import Outcome, Search, solve_pieces
from solvers.session import Status

# A leaf is closed when its bound is this near the value, relative to max(1, |value|).
TIGHT = 5e-7
# Columns that branching tries at most, those whose values are furthest from integers.
CANDIDATES = 8
# A child's rise counts as at least this share of what is missing, so that one good child still counts.
LEAST_RISE = 1e-3
# How far a ray raises an infeasible leaf: times what it needs, so that it stays high under small changes.
RAY_REACH = 2.0
LEAF_LIMIT = 10_000


@dataclass(frozen=True)
class _Node:
    """A box with multipliers, and what is known of it at the instance.

    Attributes:
        lower, upper: (n,) the box.
        kept: multipliers from earlier instances.
        bound: of the value in the box at the instance, by its multipliers.
        x: (n,) the optimal point of its relaxation, None where that is not solved or infeasible.
        fresh: multipliers from this instance; where the box is not solved yet, those of the box it was split from.
    """

    lower: Vector
    upper: Vector
    kept: tuple[Vector, ...] = ()
    bound: float = -np.inf
    x: Vector | None = None
    fresh: tuple[Vector, ...] = ()


def grow(program: ElasticProgram, leaf_limit: int = LEAF_LIMIT, time_limit: float = np.inf) -> DualFunction:
    """Return a dual function that is tight at `program`.

    Args:
        program: its box is finite, and it has a value.
        leaf_limit: of the tree. It needs 16 n + 8 (1 + m) bytes for a leaf, the same again for a leaf that a Farkas
            ray closes.
        time_limit: seconds, for the solver that finds the value first and for the tree together.

    Returns:
        F with F(program) >= value - `TIGHT` max(1, |value|), and F <= value at every (A, b, c).

    Raises:
        UnsupportedModelError: the box is not finite.
        TreeLimitError: the tree has more leaves than allowed, or is not closed in time.
        SolverFailedError: the program has no value, or its solver did not find it in time.
    """
    if not np.isfinite([program.lower, program.upper]).all():
        raise UnsupportedModelError("a dual function needs a finite box; give every column finite limits")
    whole = replace(
        program,
        lower=np.where(program.integer, np.ceil(program.lower), program.lower),
        upper=np.where(program.integer, np.floor(program.upper), program.upper),
    )
    return _closed([_Node(whole.lower, whole.upper)], whole, leaf_limit, time_limit)


def tighten(
    function: DualFunction, program: ElasticProgram, leaf_limit: int = LEAF_LIMIT, time_limit: float = np.inf
) -> DualFunction:
    """Return `function` made tight at a further instance, by more multipliers and by splitting leaves.

    It stays tight where it was: leaves only shrink and keep their multipliers. Arguments and errors as for `grow`; of
    `program` only c, A and b are looked at, the rest is the function's.
    """
    here = _at(function, program)
    return _closed(_nodes(function, here), here, leaf_limit, time_limit)


def sharpen(function: DualFunction, program: ElasticProgram) -> DualFunction:
    """Return `function` with multipliers of a further instance, at the same leaves.

    Only leaves that determine F there get one. At the instance F becomes the least relaxed value over the leaves: the
    most that these leaves allow. Of `program` only c, A and b are looked at.

    Raises:
        SolverFailedError: a relaxation has neither an optimum nor a proof that it is infeasible.
    """
    here = _at(function, program)
    nodes = _nodes(function, here)
    # No point of the box costs more than this, at any shortfall of the rows that may have one.
    reach = np.maximum(np.abs(here.lower), np.abs(here.upper))
    soft = np.isfinite(here.penalty)
    most = np.abs(here.c) @ reach + here.penalty[soft] @ (np.abs(here.b) + np.abs(here.A) @ reach)[soft]
    with _Relaxation(here, float(most)) as relaxation:
        lowest = [(node.bound, k) for k, node in enumerate(nodes)]
        heapq.heapify(lowest)
        while not nodes[lowest[0][1]].fresh:
            k = lowest[0][1]
            nodes[k] = relaxation.solved(nodes[k])
            heapq.heapreplace(lowest, (nodes[k].bound, k))
    return _collected(here, nodes)


def _closed(nodes: list[_Node], program: ElasticProgram, leaf_limit: int, time_limit: float) -> DualFunction:
    """Split `nodes` until the bound of each is the value of `program`, within `TIGHT`."""
    began = time.monotonic()
    answer = solve_pieces(program, Search(time_limit=time_limit))
    if answer.outcome is not Outcome.SOLVED:
        how = answer.outcome.name.lower()
        raise SolverFailedError(f"the program to be tight at ended with {how}; choose one with a value, or allow time")
    target = answer.upper - TIGHT * max(1.0, abs(answer.upper))
    todo, done = nodes, []
    with _Relaxation(program, target) as relaxation:
        while todo:
            node = todo.pop()
            if node.bound < target and node.x is None:
                node = relaxation.solved(node)
            if node.bound >= target:
                done.append(node)
                continue
            todo.extend(relaxation.split(node))
            if len(todo) + len(done) > leaf_limit:
                raise TreeLimitError(
                    f"the tree has more than {leaf_limit} leaves; raise leaf_limit, or take a smaller program"
                )
            if time.monotonic() - began > time_limit:
                raise TreeLimitError(
                    f"the tree is not closed after {time_limit:g} s, with {len(todo) + len(done)} leaves so far; raise "
                    "time_limit, or take a smaller program"
                )
    return _collected(program, done)


class _Relaxation:
    """The linear relaxation of one program over boxes; a node's bound is never the solver's claim."""

    def __init__(self, program: ElasticProgram, target: float) -> None:
        self.program, self.target = program, target
        self._scale = program.scale
        self._session = HighsSession(program.model(self._scale).relaxed())
        self._columns = np.flatnonzero(program.integer)

    def __enter__(self) -> _Relaxation:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.close()

    def solved(self, node: _Node) -> _Node:
        """Return the node with the multipliers of its relaxation, or a ray's where that is infeasible."""
        columns = self._columns
        self._session.set_column_bounds(columns, node.lower[columns], node.upper[columns])
        solution = self._session.solve()
        if solution.status is Status.OPTIMAL and solution.x is not None and solution.row_duals is not None:
            y = np.clip(solution.row_duals / self._scale, self.program.least, self.program.penalty)
            bound = float(_bounds(self.program, node, [*node.kept, y]).max())
            return replace(node, bound=bound, x=solution.x[: node.lower.size], fresh=(y,))
        if solution.status is Status.INFEASIBLE and solution.ray is not None:
            hard = np.isinf(self.program.penalty)
            return self._raised(node, np.where(hard, np.maximum(solution.ray, self.program.least), 0.0))
        raise SolverFailedError(f"HiGHS ended the relaxation of a leaf with {solution.status.value} and no proof")

    def _raised(self, node: _Node, ray: Vector) -> _Node:
        """Return an infeasible node with its best multipliers, and with those plus a multiple of `ray`."""
        known = [*node.kept, *node.fresh] or [np.zeros_like(ray)]
        start = known[int(_bounds(self.program, node, known).argmax())]
        before = float(_bounds(self.program, node, [start])[0])
        # Without costs the bound of a ray that proves infeasibility is positive; every further ray adds that at least.
        rate = float(_bounds(replace(self.program, c=np.zeros_like(self.program.c)), node, [ray])[0])
        y = start + (RAY_REACH * max(self.target - before, 0.0) / rate if rate > 0 else 0.0) * ray
        bound = float(_bounds(self.program, node, [y])[0])
        if bound < self.target:
            raise SolverFailedError("HiGHS called the relaxation of a leaf infeasible, but its ray does not prove it")
        return replace(node, bound=bound, fresh=(start, y))

    def split(self, node: _Node) -> list[_Node]:
        """Return the two solved children of a node whose bound is below the target."""
        assert node.x is not None
        open_columns = self._columns[node.lower[self._columns] < node.upper[self._columns]]
        if open_columns.size == 0:
            raise SolverFailedError("a leaf with all integers fixed is better than the solver's optimum")
        away = np.abs(node.x[open_columns] - np.rint(node.x[open_columns]))
        order = np.argsort(-away, kind="stable")
        tried = [j for j in order[:CANDIDATES] if away[j] > TIGHT] or [order[0]]
        best: tuple[float, list[_Node]] = (-1.0, [])
        for j in open_columns[tried]:
            children = [self.solved(child) for child in _halves(node, int(j))]
            missing = self.target - node.bound
            rises = [min(max((child.bound - node.bound) / missing, LEAST_RISE), 1.0) for child in children]
            score = rises[0] * rises[1]
            if score > best[0]:
                best = score, children
        return best[1]


def _halves(node: _Node, j: int) -> list[_Node]:
    """Return the two boxes below and above the relaxed value of column j, both smaller than the node's."""
    assert node.x is not None
    at = float(np.clip(np.floor(node.x[j]), node.lower[j], node.upper[j] - 1))
    upper, lower = node.upper.copy(), node.lower.copy()
    upper[j], lower[j] = at, at + 1
    child = replace(node, x=None)
    return [replace(child, upper=upper), replace(child, lower=lower)]


def _bounds(program: ElasticProgram, node: _Node, multipliers: Sequence[Vector]) -> Vector:
    """Return the bound of `program` on a node's box by each of some multipliers."""
    k = len(multipliers)
    lower, upper = (np.broadcast_to(part, (k, part.size)) for part in (node.lower, node.upper))
    each = DualFunction(
        lower, upper, np.array(multipliers), np.arange(k), program.integer, program.penalty, program.equality
    )
    return each.leaf_bounds(program.c, program.A, program.b)[0]


def _at(function: DualFunction, program: ElasticProgram) -> ElasticProgram:
    """Return c, A and b of `program` with all else of `function`."""
    return replace(
        program,
        lower=function.lower.min(axis=0),
        upper=function.upper.max(axis=0),
        integer=function.integer,
        penalty=function.penalty,
        equality=function.equality,
    )


def _nodes(function: DualFunction, program: ElasticProgram) -> list[_Node]:
    bounds = function.leaf_bounds(program.c, program.A, program.b)[0]
    ends = np.append(function.starts[1:], len(function.multipliers))
    return [
        _Node(function.lower[k], function.upper[k], tuple(function.multipliers[start:end]), float(bounds[k]))
        for k, (start, end) in enumerate(zip(function.starts, ends))
    ]


def _collected(program: ElasticProgram, nodes: Sequence[_Node]) -> DualFunction:
    multipliers = [[*node.kept, *node.fresh] for node in nodes]
    counts = np.array([len(own) for own in multipliers])
    return DualFunction(
        lower=np.array([node.lower for node in nodes]),
        upper=np.array([node.upper for node in nodes]),
        multipliers=np.array([y for own in multipliers for y in own]),
        starts=np.cumsum(counts) - counts,
        integer=program.integer,
        penalty=program.penalty,
        equality=program.equality,
    )
