"""One node of the search: bound it, tighten it, and then prune it, solve it or split it.

A node is plain data (JSON in, JSON out), so that any process or machine that has the task can take it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from encoding.bounds import Bounds, from_plain, to_plain
from encoding.formulation import GapModel
from problems.domain import Domain
from problems.interval import Vector
from solvers.linear_model import ModelSize
from solvers.registry import open_session_or_default
from solvers.safe_bound import safe_lower_bound
from solvers.session import Progress, Status
from verifier.bounds.obbt import Tightened, Tightener, mark_cutoff
from verifier.bounds.over_domain import proxy_bounds
from verifier.branching import choose_split, widest_latent
from verifier.budget import Budget
from verifier.task import Task

# Another round of tightening is worth its LPs while the last one took this share off the distance to the goal.
WORTH_A_ROUND = 0.15
# A node goes to the MILP solver when its relaxation is within this factor of the goal; else it is split.
SOLVABLE = 4.0
# A model with at most this many binaries is given to the MILP solver at once.
FEW_BINARIES = 120
# A larger model whose widest latent moves more than this times what all others do is split first.
TOO_WIDE = 2.0


@dataclass(frozen=True)
class Node:
    """A part of the domain, with all that is known of it.

    Attributes:
        bounds: intervals of the latent vector and of everything above it; splits are intervals too.
        upper: no input of the part has a larger gap, in the measure's unit.
        depth: number of splits above it.
    """

    bounds: Bounds
    upper: float = np.inf
    depth: int = 0

    def to_json(self) -> str:
        """Return the node as JSON text that reads back bit for bit."""
        upper = self.upper if np.isfinite(self.upper) else None
        bounds = to_plain(self.bounds)
        return json.dumps({"upper": upper, "depth": self.depth, "cutoff": self.bounds.cutoff, "bounds": bounds})

    @classmethod
    def from_json(cls, text: str) -> Node:
        """Return the node that `to_json` wrote."""
        data = json.loads(text)
        upper = np.inf if data["upper"] is None else data["upper"]
        return cls(from_plain(data["bounds"], data["cutoff"]), upper, data["depth"])


@dataclass
class Outcome:
    """What became of a node.

    Attributes:
        upper: of the node, when it was left.
        children: its parts; none when it is closed.
        notes: what the user must know.
        before, after: model sizes at first and at last.
        bounds: the node's bounds at last.
        lps, nodes: work done.
        solver: name and version of the MILP solver, where it was used.
    """

    upper: float
    children: list[Node] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    before: ModelSize | None = None
    after: ModelSize | None = None
    bounds: Bounds | None = None
    lps: int = 0
    nodes: int = 0
    solver: str = ""


# Called with the node's upper bound so far, and with a latent vector to replay where one was found.
Tell = Callable[[float, Vector | None], None]


def expand(task: Task, node: Node, lower: Callable[[], float], tell: Tell, budget: Budget) -> Outcome:
    """Work on a node until it is closed, split, or the budget is spent.

    Args:
        task: what is verified.
        node: the part to work on.
        lower: the largest gap attained so far, anywhere; asked again and again.
        tell: hears every improvement at once.
        budget: when spent, the outcome holds the bounds so far, and the node itself as its only child.
    """
    return _Expansion(task, node, lower, tell, budget).run()


@dataclass
class _Expansion:
    task: Task
    node: Node
    lower: Callable[[], float]
    tell: Tell
    budget: Budget

    def __post_init__(self) -> None:
        self.domain: Domain = self.task.part(self.node.bounds.box)
        self.outcome = Outcome(self.node.upper)

    def run(self) -> Outcome:
        task, options = self.task, self.task.options
        given = self.node.bounds.intervals
        bounds = proxy_bounds(task.layers, task.problem, self.domain, options.bounds, given)
        bounds = mark_cutoff(bounds, self.node.bounds.cutoff)
        tightener: Tightener | None = None
        point, last = None, np.inf
        for turn in range(max(1, options.rounds)):
            if self._done or self.budget.spent:
                break
            if tightener is not None:
                tightener.close()
            goal = task.goal(self.lower())
            model = self._build(bounds, goal)
            tightener = Tightener(model, bounds)
            if options.rounds == 0:
                break
            done = tightener.run(self.budget, lambda lps, _: self._count(lps))
            self.outcome.lps += done.solved
            bounds, point = mark_cutoff(done.bounds, goal if options.use_cutoff else None), done.point
            if point is not None:
                self.tell(self.outcome.upper, model.latent_of(point))
            if self._closed_by(done, goal):
                return self._leave(bounds)
            if not done.finished or not self._worth_more(last, goal, turn):
                break
            last = self.outcome.upper
        return self._solve_or_split(bounds, tightener, point)

    def _solve_or_split(self, bounds: Bounds, tightener: Tightener | None, point: Vector | None) -> Outcome:
        task = self.task
        try:
            if not self._done and not self.budget.spent and self._is_solvable():
                # A better witness moves the ratio of a relative gap (Dinkelbach): then the same part is solved again.
                while self._solve(bounds) and task.relative and not self._done and not self.budget.spent:
                    continue
            if self._done:
                return self._leave(bounds)
            if self.budget.spent or tightener is None:
                return self._leave(bounds, [Node(bounds, self.outcome.upper, self.node.depth)])
            split = choose_split(self.domain, bounds, tightener, point, self.budget)
            parts = []
            for part in split.parts(bounds):
                box = part["input[0]"]
                parts.append(Node(Bounds(box, part.intervals, part.cutoff), self.outcome.upper, self.node.depth + 1))
            return self._leave(bounds, parts)
        finally:
            if tightener is not None:
                tightener.close()

    def _build(self, bounds: Bounds, goal: float) -> GapModel:
        model = self.task.build(self.domain, bounds, goal)
        size = ModelSize.of(model.linear)
        self.outcome.before, self.outcome.after = self.outcome.before or size, size
        # Valid from the start, and better than nothing where the first LP takes long.
        box_bound = safe_lower_bound(model.linear, np.zeros(model.linear.rows))
        self._take(self.task.claim(model.gap_of(box_bound), goal))
        return model

    def _closed_by(self, done: Tightened, goal: float) -> bool:
        self._take(goal if done.empty else self.task.claim(done.upper, goal))
        return self._done

    def _worth_more(self, last: float, goal: float, turn: int) -> bool:
        return turn == 0 or last - self.outcome.upper > WORTH_A_ROUND * (last - goal)

    def _is_solvable(self) -> bool:
        if not self.task.options.split:
            return True
        goal = self.task.goal(self.lower())
        if self.outcome.after is not None and self.outcome.after.integer <= FEW_BINARIES:
            return True
        return self.outcome.upper <= SOLVABLE * goal and widest_latent(self.domain)[1] <= TOO_WIDE

    def _solve(self, bounds: Bounds) -> bool:
        """Give the node to the MILP solver, within an effort that grows with depth; return whether `lower` rose."""
        task, before = self.task, self.lower()
        goal = task.goal(self.lower())
        model = self._build(bounds, goal)
        session, note = open_session_or_default(task.options.solver, model.linear, task.options.seed)
        if note is not None:
            self.outcome.notes.append(note)
        self.outcome.solver = f"{session.name} {session.version()}"
        effort = task.options.effort * 2**self.node.depth if task.options.split else np.inf

        def on_progress(progress: Progress) -> bool:
            self._take(task.claim(model.gap_of(progress.dual_bound), goal))
            return self._done or self.budget.spent or progress.nodes >= effort

        with session:
            solution = session.solve(
                time_limit=self.budget.left, mip_gap=task.options.tolerance / 10, on_progress=on_progress
            )
        self.outcome.nodes += solution.nodes
        if solution.x is not None:
            self.tell(self.outcome.upper, model.latent_of(solution.x))
        if solution.status is Status.FAILED:
            self.outcome.notes.append(
                f"{self.outcome.solver} stopped without an answer on one part; it was split instead"
            )
            return False
        self._take(task.claim(model.gap_of(solution.dual_bound), goal))
        return self.lower() > before

    def _take(self, claim: float) -> None:
        if claim < self.outcome.upper:
            self.outcome.upper = claim
            self.tell(claim, None)

    def _count(self, lps: int) -> None:
        if lps % 25 == 0:
            self.tell(self.outcome.upper, None)

    @property
    def _done(self) -> bool:
        return self.outcome.upper <= self.task.goal(self.lower())

    def _leave(self, bounds: Bounds, children: list[Node] | None = None) -> Outcome:
        self.outcome.bounds = bounds
        self.outcome.children = children or []
        return self.outcome
