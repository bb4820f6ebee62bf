"""An interrupted search goes on from its open parts: same answer, bounds never worse, nothing lost."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from encoding.bounds import Bounds
from tests.shipped import shipped
from verifier.attack import AttackOptions
from verifier.budget import Budget
from verifier.frontier import Change, Frontier
from verifier.node import Node
from verifier.options import VerifyOptions
from verifier.pool import Said
from verifier.result import Event, Termination, Verdict
from verifier.search import Search
from verifier.verify import verify

OPTIONS = VerifyOptions(tolerance=1e-2, effort=5, rounds=1, time_limit=120, attack=AttackOptions(rounds=1, seconds=0.5))


class Store:
    """What a database keeps of a search."""

    def __init__(self) -> None:
        self.nodes: dict[int, str] = {}
        self.closed = -np.inf
        self.changes = 0

    def hear(self, change: Change) -> None:
        self.changes += 1
        for number in change.dropped:
            self.nodes.pop(number, None)
        self.nodes.update({number: node.to_json() for number, node in change.added.items()})
        self.closed = max(self.closed, change.closed)

    def frontier(self, upper: float, latent: np.ndarray | None) -> Frontier:
        nodes = {number: Node.from_json(text) for number, text in self.nodes.items()}
        return Frontier(nodes, self.closed, upper, latent)


@pytest.fixture(scope="module")
def loaded():
    return shipped("knapsack-10")


@pytest.mark.parametrize("workers", [1, 2])
def test_goes_on_where_it_was_interrupted(loaded, workers: int) -> None:
    domain = loaded.problem.domain(0.2)
    options = replace(OPTIONS, workers=workers)
    whole = verify(loaded.proxy, loaded.problem, domain, options)
    assert whole.verdict is Verdict.CERTIFIED
    store, first = Store(), None
    for _ in range(20):
        begun = store.changes
        frontier = None if first is None else store.frontier(first.upper, first.witness.latent)
        result = verify(
            loaded.proxy,
            loaded.problem,
            domain,
            options,
            should_stop=lambda begun=begun: store.changes >= begun + 8,
            frontier=frontier,
            on_change=store.hear,
        )
        if first is not None:
            assert result.upper <= first.upper
            assert result.lower >= first.lower
        assert result.upper >= whole.lower
        assert result.lower <= whole.upper
        first = result
        if result.termination is Termination.OPTIMAL:
            break
    assert store.changes > 8
    assert first.verdict is Verdict.CERTIFIED
    # All is closed: a later call has nothing left to do.
    again = verify(loaded.proxy, loaded.problem, domain, options, frontier=store.frontier(np.inf, first.witness.latent))
    assert again.verdict is Verdict.CERTIFIED or again.upper <= first.upper * (1 + 1e-9)


def test_a_lost_witness_does_not_shrink_the_upper_bound(loaded) -> None:
    """What was left out below the goal of then still counts when the attained gap is forgotten."""
    domain = loaded.problem.domain(0.2)
    store = Store()
    whole = verify(loaded.proxy, loaded.problem, domain, OPTIONS, on_change=store.hear)
    events: list[Event] = []
    forgetful = verify(
        loaded.proxy, loaded.problem, domain, OPTIONS, events.append, frontier=store.frontier(np.inf, None)
    )
    assert forgetful.upper >= whole.lower
    assert all(event.upper >= whole.lower for event in events)


def test_a_wrong_bound_is_taken_back(loaded) -> None:
    domain = loaded.problem.domain(0.2)
    latents: list[np.ndarray] = []
    first = verify(
        loaded.proxy,
        loaded.problem,
        domain,
        replace(OPTIONS, most_parts=0),
        on_change=lambda change: latents.append(change.latent),
    )
    wrong = Frontier({}, first.lower / 3, first.lower / 2, latents[-1])
    result = verify(loaded.proxy, loaded.problem, domain, OPTIONS, frontier=wrong)
    assert (result.termination, result.verdict, result.upper) == (Termination.ERROR, Verdict.UNKNOWN, np.inf)
    assert "contradicts" in " ".join(result.notes)


class DeadlyPool:
    """Workers that die on every part."""

    idle = 1

    def __init__(self, task: object, workers: int) -> None:
        self.taken: list[int] = []

    def raise_lower(self, lower: float) -> None: ...

    def start(self, number: int, node: Node, seconds: float) -> None:
        self.taken.append(number)

    def listen(self, seconds: float) -> list[Said]:
        taken, self.taken = self.taken, []
        return [Said(number, died=True) for number in taken]

    def close(self) -> None: ...


def search_of(lower: float, **more: Any) -> Search:
    task = SimpleNamespace(goal=lambda gap: max(gap, 1.0), options=VerifyOptions(workers=2))
    return Search(cast(Any, task), lower, lambda latent: lower, lambda upper, counters: None, **more)


def test_what_a_cutoff_left_out_counts_where_its_witness_is_unknown() -> None:
    """The worker that tightened this part knew of a gap of 5; whoever takes it on may not, and closes it below 5."""
    node = Node(Bounds({}, cutoff=5.0), upper=2.0)
    search = search_of(lower=3.0)
    search.run(Frontier({0: node}), Budget(60), lambda: False)
    assert not search.frontier().nodes
    assert search.upper == 5.0
    assert search.frontier().closed == 5.0


def test_a_part_that_kills_its_workers_is_open_for_a_later_search() -> None:
    store = Store()
    parts = {number: Node(Bounds({}), upper=7.0 + number) for number in (1, 2)}
    store.hear(Change(parts))
    search = search_of(lower=3.0, on_change=store.hear, make_pool=DeadlyPool)
    search.run(Frontier(parts), Budget(60), lambda: False)
    assert len(search.frontier().nodes) == 2
    assert search.upper == 9.0
    assert sorted(node.upper for node in store.frontier(np.inf, None).nodes.values()) == [8.0, 9.0]
    assert store.closed < 7.0
