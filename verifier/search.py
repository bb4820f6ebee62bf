"""Branch and bound over the domain: best bound first, in this process or a pool of them, with bounds at any moment.

The upper bound is the largest one of all parts that are open, being worked on, or closed.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from problems.interval import Vector
from solvers.errors import CertigapError
from verifier.budget import Budget
from verifier.frontier import Change, Frontier, OnChange
from verifier.node import Node, Outcome, expand
from verifier.pool import GRACE, MakePool, Pool, Said
from verifier.task import Task

# A node whose worker died this often is not tried again: it stays open, and its bound counts.
MOST_DEATHS = 2
# Seconds between two looks at the clock while workers work.
TICK = 0.2


@dataclass
class Search:
    """The state of one search.

    Attributes:
        task: what is verified.
        lower: the largest gap attained so far; raised through `on_latent`.
        on_latent: replays a latent vector and returns the largest gap attained now.
        on_upper: hears every new global upper bound with counters.
        on_change: hears what is open now, whenever that changes, so that a later search can go on from there.
        make_pool: the workers; see `Pool`.
        closed: the largest bound of the parts that are done with.
    """

    task: Task
    lower: float
    on_latent: Callable[[Vector], float]
    on_upper: Callable[[float, dict[str, float]], None]
    on_change: OnChange | None = None
    make_pool: MakePool = Pool
    closed: float = -np.inf
    last: Outcome | None = None
    first: Outcome | None = None
    notes: list[str] = field(default_factory=list)
    explored: int = 0
    lps: int = 0
    milp_nodes: int = 0
    solver: str = ""

    def __post_init__(self) -> None:
        self._open: list[tuple[float, int, Node]] = []
        self._running: dict[int, Node] = {}
        self._uppers: dict[int, float] = {}
        self._stuck: dict[int, Node] = {}
        self._deaths: dict[int, int] = {}
        self._count = itertools.count()
        self._added: dict[int, Node] = {}
        self._dropped: list[int] = []

    @property
    def upper(self) -> float:
        """What no input of the domain exceeds, as far as this search knows."""
        parts = [self.closed, *(node.upper for node in self._stuck.values()), *self._uppers.values()]
        if self._open:
            parts.append(-self._open[0][0])
        return max(parts)

    def run(self, frontier: Frontier, budget: Budget, decided: Callable[[], bool]) -> None:
        """Search until nothing is left, `decided` says so, or the budget is spent.

        Args:
            frontier: the whole domain, or where an earlier search stopped.
            budget: obeyed within a few seconds.
            decided: whether the bounds answer the question already.
        """
        self.closed = max(self.closed, frontier.closed)
        self._count = itertools.count(1 + max(frontier.nodes, default=-1))
        for number, node in frontier.nodes.items():
            self._enter(number, node)
        self._tell_change()
        # The root is worked on here: most questions need no more, and workers take seconds to start.
        alone = self.task.options.workers == 1 and self.make_pool is Pool
        while (alone or len(frontier.nodes) == 1) and self._open and not budget.spent and not decided():
            self._expand_here(budget)
            if not alone:
                break
        if self._open and not budget.spent and not decided():
            self._run_pool(budget, decided)

    def frontier(self) -> Frontier:
        """Return what is open now, after `run`."""
        return Frontier({number: node for _, number, node in self._open} | self._stuck, self.closed)

    def _expand_here(self, budget: Budget) -> None:
        taken = self._pop()
        if taken is None:
            return
        number, node = taken

        def tell(upper: float, latent: Vector | None) -> None:
            self._hear(Said(number, upper, latent))

        try:
            outcome = expand(self.task, node, lambda: self.lower, tell, budget, self.task.options.workers)
        except CertigapError as error:
            self.notes.append(f"work on one part of the domain failed, so that it stays open: {error}")
            outcome = Outcome(self._uppers[number], stuck=replace(node, upper=self._uppers[number]))
        self._finish(number, outcome)

    def _run_pool(self, budget: Budget, decided: Callable[[], bool]) -> None:
        pool = self.make_pool(self.task, self.task.options.workers)
        try:
            while (self._open or self._running) and not decided():
                late = budget.left <= 0 and budget.elapsed > budget.seconds + GRACE
                if late or budget.should_stop() or (budget.spent and not self._running):
                    break
                pool.raise_lower(self.lower)
                while self._open and pool.idle and not budget.spent:
                    taken = self._pop()
                    if taken is not None:
                        pool.start(*taken, budget.left)
                for word in pool.listen(TICK):
                    self._hear(word)
                    if word.outcome is not None:
                        self._finish(word.node, word.outcome)
                    elif word.died:
                        self._revive(word.node)
                    pool.raise_lower(self.lower)
        finally:
            pool.close()
            # What was being worked on is as open as before, with the bound that its worker had told.
            for number, node in self._running.items():
                self._enter(number, replace(node, upper=self._uppers.pop(number)))
            self._running.clear()

    def _push(self, node: Node) -> int:
        """Take a part in and return its number."""
        number = next(self._count)
        self._added[number] = node
        self._enter(number, node)
        return number

    def _keep(self, node: Node) -> None:
        """Take in a part that this search cannot do: its bound counts, and a later search may try."""
        number = next(self._count)
        self._added[number] = self._stuck[number] = node

    def _enter(self, number: int, node: Node) -> None:
        if node.bounds.cutoff is not None:
            # Its bounds leave out inputs with smaller gaps. The witness that allowed this may not be known here: it may
            # have been found elsewhere, or lost in an interruption.
            self.closed = max(self.closed, node.bounds.cutoff)
        if node.upper <= self.task.goal(self.lower):
            self._close(number, node.upper)
        else:
            heapq.heappush(self._open, (-node.upper, number, node))

    def _close(self, number: int, upper: float) -> None:
        self.closed = max(self.closed, upper)
        self._drop(number)

    def _drop(self, number: int) -> None:
        if self._added.pop(number, None) is None:
            self._dropped.append(number)

    def _pop(self) -> tuple[int, Node] | None:
        """Take the node with the largest bound; None where a better witness has closed it meanwhile."""
        _, number, node = heapq.heappop(self._open)
        if node.upper <= self.task.goal(self.lower):
            self._close(number, node.upper)
            return None
        self._running[number], self._uppers[number] = node, node.upper
        return number, node

    def _hear(self, word: Said) -> None:
        if word.upper is not None and word.node in self._uppers:
            self._uppers[word.node] = min(self._uppers[word.node], word.upper)
        if word.latent is not None:
            self.lower = max(self.lower, self.on_latent(word.latent))
        self._report()

    def _finish(self, number: int, outcome: Outcome) -> None:
        self._running.pop(number, None)
        self._uppers.pop(number, None)
        self.explored += 1
        self.lps += outcome.lps
        self.milp_nodes += outcome.nodes
        self.solver = outcome.solver or self.solver
        self.first, self.last = self.first or outcome, outcome
        self.notes += outcome.notes
        for child in outcome.children:
            self._push(child)
        if outcome.stuck is not None:
            self._keep(outcome.stuck)
        self.closed = max(self.closed, outcome.closed if outcome.children or outcome.stuck else outcome.upper)
        self._drop(number)
        self._tell_change()
        self._report()

    def _revive(self, number: int) -> None:
        node = self._running.pop(number)
        upper = self._uppers.pop(number)
        deaths = self._deaths.pop(number, 0) + 1
        self._drop(number)
        if deaths >= MOST_DEATHS:
            self._keep(replace(node, upper=upper))
            self.notes.append(f"a worker died {deaths} times on one part of the domain; that part stays open")
        else:
            self._deaths[self._push(replace(node, upper=upper))] = deaths
        self._tell_change()

    def _tell_change(self) -> None:
        if self.on_change is not None and (self._added or self._dropped):
            # What was left out so far lies below the goal of now, whatever a later search knows.
            closed = max(self.closed, self.task.goal(self.lower))
            self.on_change(Change(self._added, self._dropped, closed))
        self._added, self._dropped = {}, []

    def _report(self) -> None:
        parts = len(self._open) + len(self._running)
        self.on_upper(self.upper, {"parts": parts, "done": self.explored, "lps": self.lps, "nodes": self.milp_nodes})
