"""An interrupted search goes on from its open parts: same answer, bounds never worse, nothing lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.shipped import shipped
from verifier.attack import AttackOptions
from verifier.frontier import Change, Frontier
from verifier.node import Node
from verifier.options import VerifyOptions
from verifier.result import Event, Termination, Verdict
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
