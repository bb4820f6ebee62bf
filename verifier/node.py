"""One node of the search: bound it, tighten it, and then prune it, solve it or split it.

A node is plain data (JSON in, JSON out), so that any process or machine that has the task can take it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from encoding.bounds import Bounds, from_plain, to_plain
from encoding.formulation import GapModel
from problems.interval import Vector
from solvers.linear_model import ModelSize
from solvers.registry import open_session, open_session_or_default
from solvers.safe_bound import safe_lower_bound
from solvers.session import Progress, Status
from verifier.bounds.obbt import Tightener, mark_cutoff
from verifier.bounds.over_domain import proxy_bounds
from verifier.branching import choose_split, widest_latent
from verifier.budget import Budget
from verifier.pace import Pace
from verifier.part_bounds import part_bounds
from verifier.task import Task

# Another round of tightening is worth its LPs while the last one took this share off the distance to the goal.
WORTH_A_ROUND = 0.15
# A node goes to the MILP solver when its relaxation is within this factor of the goal; else it is split.
SOLVABLE = 4.0
# A model with at most this many binaries is given to the MILP solver at once.
FEW_BINARIES = 120
# Each split raises a node's MILP effort by this factor: doubling it kept both cores on two parts for half an hour.
GROWTH = 1.25
# Beyond its effort, up to so many times it, a MILP goes on while the later half of its nodes took this share off the
# bound's distance to the goal: the two halves of a part that was almost closed took longer than the part itself.
CLOSING_IN, OVERTIME = 0.2, 5
# A larger model whose widest latent moves more than this times what all others do is split first.
TOO_WIDE = 0.5


@dataclass(frozen=True)
class Node:
    """A part of the domain, with all that is known of it.

    Attributes:
        bounds: intervals of the latent vector and of everything above it; splits are intervals too.
        upper: no input of the part has a larger gap, in the measure's unit.
        depth: number of splits above it.
        kept: optional rows of the optimum's side that are known to matter; None to write all of them.
    """

    bounds: Bounds
    upper: float = np.inf
    depth: int = 0
    kept: frozenset[int] | None = None

    def to_json(self) -> str:
        """Return the node as JSON text that reads back bit for bit."""
        upper = self.upper if np.isfinite(self.upper) else None
        kept = None if self.kept is None else sorted(self.kept)
        data = {"upper": upper, "depth": self.depth, "kept": kept, "cutoff": self.bounds.cutoff}
        return json.dumps({**data, "bounds": to_plain(self.bounds)})

    @classmethod
    def from_json(cls, text: str) -> Node:
        """Return the node that `to_json` wrote."""
        data = json.loads(text)
        upper = np.inf if data["upper"] is None else data["upper"]
        kept = None if data["kept"] is None else frozenset(data["kept"])
        return cls(from_plain(data["bounds"], data["cutoff"]), upper, data["depth"], kept)


@dataclass
class Outcome:
    """What became of a node.

    Attributes:
        upper: of the node, when it was left.
        children: its parts; none when it is closed.
        stuck: the node itself, where nothing is left to be done with it.
        closed: the largest bound of parts of it that are closed, where there are children as well.
        notes: what the user must know.
        before, after: model sizes at first and at last.
        bounds: the node's bounds at last.
        lps, nodes: work done.
        solver: name and version of the MILP solver, where it was used.
    """

    upper: float
    children: list[Node] = field(default_factory=list)
    stuck: Node | None = None
    closed: float = -np.inf
    notes: list[str] = field(default_factory=list)
    before: ModelSize | None = None
    after: ModelSize | None = None
    bounds: Bounds | None = None
    lps: int = 0
    nodes: int = 0
    solver: str = ""


# Called with the node's upper bound so far, and with a latent vector to replay where one was found.
Tell = Callable[[float, Vector | None], None]


def expand(task: Task, node: Node, lower: Callable[[], float], tell: Tell, budget: Budget, lanes: int = 1) -> Outcome:
    """Work on a node until it is closed, split, or the budget is spent.

    Args:
        task: what is verified.
        node: the part to work on.
        lower: the largest gap attained so far, anywhere; asked again and again.
        tell: hears every improvement at once.
        budget: when spent, the outcome holds the bounds so far, and the node itself as its only child.
        lanes: threads that tighten.
    """
    return _Expansion(task, node, lower, tell, budget, lanes).run()


@dataclass
class _Expansion:
    task: Task
    node: Node
    lower: Callable[[], float]
    tell: Tell
    budget: Budget
    lanes: int

    def __post_init__(self) -> None:
        self.kept = None if self.node.kept is None else set(self.node.kept)
        self.outcome = Outcome(self.node.upper)
        self.point: Vector | None = None

    def run(self) -> Outcome:
        task, options = self.task, self.task.options
        given, part = self.node.bounds, task.part(self.node.bounds.box)
        arguments = (task.layers, task.problem, part, options.bounds, given.intervals)
        bounds = proxy_bounds(*arguments, enough=lambda: self.budget.spent)
        bounds = mark_cutoff(bounds, given.cutoff)
        tightener: Tightener | None = None
        goal = task.goal(self.lower())
        if bounds.empty:
            self._take(goal)
            return self._leave(bounds)
        # Cheap where it suffices: no linear program.
        found = part_bounds(task, [bounds], goal)
        if found is not None:
            self._take(task.claim(float(found[0]), goal))
        last = np.inf
        for turn in range(max(1, options.rounds)):
            if self._done or self.budget.spent:
                break
            if tightener is not None:
                tightener.close()
            goal = task.goal(self.lower())
            tightener, self.point = self._relax(bounds, goal)
            if options.rounds == 0 or (turn == 0 and self._is_too_wide(bounds)):
                break
            done = tightener.run(self.budget, partial(self._count, goal))
            self.outcome.lps += done.solved
            bounds = mark_cutoff(done.bounds, goal if options.use_cutoff else None)
            self._look_at(tightener.model, done.point)
            self.point = self.point if done.point is None else done.point
            self._take(goal if done.empty else task.claim(done.upper, goal))
            if self._done or not done.finished or not self._worth_more(last, goal):
                break
            last = self.outcome.upper
        try:
            return self._solve_or_split(bounds, tightener)
        finally:
            if tightener is not None:
                tightener.close()

    def _relax(self, bounds: Bounds, goal: float) -> tuple[Tightener, Vector | None]:
        """Return the relaxation, with the rows of the optimum's side that its best point needs, and that point."""
        while True:
            model = self._build(bounds, goal)
            tightener = Tightener(model, bounds, lanes=self.lanes)
            value, empty, point = tightener.objective_bound(self.budget)
            self._take(goal if empty else self.task.claim(value, goal))
            if not self._look_at(model, point) or self._done or self.budget.spent:
                return tightener, point
            tightener.close()

    def _look_at(self, model: GapModel, point: Vector | None) -> bool:
        """Offer a model's point as a witness; return whether it showed rows that the model lacks."""
        if point is None:
            return False
        self.tell(self.outcome.upper, model.latent_of(point))
        if self.kept is None:
            return False
        missing = self.task.missing(model, point) - self.kept
        self.kept |= missing
        return bool(missing)

    def _solve_or_split(self, bounds: Bounds, tightener: Tightener | None) -> Outcome:
        task = self.task
        kept = None if self.kept is None else frozenset(self.kept)
        if not self._done and not self.budget.spent and self._is_solvable(bounds):
            # A better witness moves the ratio of a relative gap (Dinkelbach), and a point may show rows that lack:
            # then the same part is solved again.
            while self._solve(bounds) and not self._done and not self.budget.spent:
                continue
        if self._done:
            return self._leave(bounds)
        here = Node(bounds, self.outcome.upper, self.node.depth, kept)
        if self.budget.spent or tightener is None:
            return self._leave(bounds, [here])
        if not self._can_split(bounds):
            self.outcome.stuck = here
            return self._leave(bounds)
        goal = task.goal(self.lower())
        split = choose_split(task, bounds, goal, tightener, self.point, self.budget)
        return self._leave(
            bounds, [Node(part, self.outcome.upper, self.node.depth + 1, kept) for part in split.parts(bounds)]
        )

    def _build(self, bounds: Bounds, goal: float) -> GapModel:
        model = self.task.build(self.task.part(bounds.box), bounds, goal, kept=self.kept)
        size = ModelSize.of(model.linear)
        self.outcome.before, self.outcome.after = self.outcome.before or size, size
        # Valid from the start, and better than nothing where the first LP takes long.
        box_bound = safe_lower_bound(model.linear, np.zeros(model.linear.rows))
        self._take(self.task.claim(model.gap_of(box_bound), goal))
        return model

    def _worth_more(self, last: float, goal: float) -> bool:
        return bool(np.isinf(last)) or last - self.outcome.upper > WORTH_A_ROUND * (last - goal)

    def _is_large(self) -> bool:
        return self.outcome.after is not None and self.outcome.after.integer > FEW_BINARIES

    def _can_split(self, bounds: Bounds) -> bool:
        """Whether splitting is asked for and the part holds more than one input."""
        return self.task.options.split and bool((self.task.part(bounds.box).reach > 0).any())

    def _is_too_wide(self, bounds: Bounds) -> bool:
        if not self._can_split(bounds) or not self._is_large():
            return False
        return widest_latent(self.task.part(bounds.box))[1] > TOO_WIDE

    def _is_solvable(self, bounds: Bounds) -> bool:
        if not self._can_split(bounds) or not self._is_large():
            return True
        # Where gaps are signed there is no factor to the goal; the effort is limited all the same.
        near = self.task.signed or self.outcome.upper <= SOLVABLE * self.task.goal(self.lower())
        return near and not self._is_too_wide(bounds)

    def _solve(self, bounds: Bounds) -> bool:
        """Give the node to the MILP solver, within an effort that grows with depth; return whether to try again."""
        task, before = self.task, self.lower()
        goal = task.goal(self.lower())
        model = self._build(bounds, goal)
        if not model.linear.integer.any():
            # A linear program's objective is no bound, its multipliers give one.
            tightener, x = self._relax(bounds, goal)
            tightener.close()
            self._clear(bounds, goal, tightener.model, x)
            return task.relative and self.lower() > before
        session, note = open_session_or_default(task.options.solver, model.linear, task.options.seed)
        if note is not None:
            self.outcome.notes.append(note)
        self.outcome.solver = f"{session.name} {session.version()}"
        effort = task.options.effort * GROWTH**self.node.depth if self._can_split(bounds) else np.inf
        pace = Pace()

        def on_progress(progress: Progress) -> bool:
            claim = task.claim(task.trusted(model.gap_of(progress.dual_bound)), goal)
            self._take(claim)
            if self._done or self.budget.spent:
                return True
            closing_in = pace.share(progress.nodes, claim - goal) >= CLOSING_IN
            return progress.nodes >= (OVERTIME * effort if closing_in else effort)

        with session:
            solution = session.solve(
                time_limit=self.budget.left,
                start=self._start(model, bounds),
                mip_gap=task.options.tolerance / 10,
                heuristics=self._wants_points,
                on_progress=on_progress,
            )
        self.outcome.nodes += solution.nodes
        lacking = self._look_at(model, solution.x)
        if solution.status is Status.FAILED:
            then = "was split instead" if self._can_split(bounds) else "stays open"
            self.outcome.notes.append(f"{self.outcome.solver} stopped without an answer on one part, which {then}")
            return False
        self._take(task.claim(task.trusted(model.gap_of(solution.dual_bound)), goal))
        self._clear(bounds, goal, model, solution.x)
        return (lacking and solution.status is Status.OPTIMAL) or (task.relative and self.lower() > before)

    def _clear(self, bounds: Bounds, goal: float, model: GapModel, x: Vector | None) -> None:
        """Where the proxy jumps, offer the best point with the integers of `x` that stays clear of equalities."""
        if not self.task.jumps or x is None or self._done:
            return
        clear = self.task.build(self.task.part(bounds.box), bounds, goal, cutoff=False, kept=self.kept, clear=True)
        whole = np.flatnonzero(model.linear.integer)
        with open_session("highs", clear.linear.relaxed()) as session:
            session.set_column_bounds(whole, np.round(x[whole]), np.round(x[whole]))
            found = session.solve(time_limit=self.budget.left).x
        if found is not None:
            self.tell(self.outcome.upper, clear.latent_of(found))

    @property
    def _wants_points(self) -> bool:
        """Whether a MILP's feasible points matter: not beside those of the attack, unless one alone is the answer."""
        options = self.task.options
        return not options.use_cutoff or options.attack.rounds == 0 or options.threshold is not None

    def _start(self, model: GapModel, bounds: Bounds) -> Vector | None:
        """Return the witness as far as the model's columns go, the rest unknown; None where it is not in this part."""
        known, columns = self.task.start, model.latent.columns
        if known is None or not bounds.box.contains(known):
            return None
        start = np.full(model.linear.columns, np.nan)
        start[columns[columns >= 0]] = known[columns >= 0]
        return start

    def _take(self, claim: float) -> None:
        if claim < self.outcome.upper:
            self.outcome.upper = claim
            self.tell(claim, None)

    def _count(self, goal: float, lps: int, upper: float) -> bool:
        """Take in what tightening has found so far; return whether that is enough."""
        self._take(self.task.claim(upper, goal))
        if lps % 25 == 0:
            self.tell(self.outcome.upper, None)
        return self._done

    @property
    def _done(self) -> bool:
        return self.outcome.upper <= self.task.goal(self.lower())

    def _leave(self, bounds: Bounds, children: list[Node] | None = None) -> Outcome:
        self.outcome.bounds = bounds
        self.outcome.children = children or []
        return self.outcome
