"""The search: parts cover the whole, survive as JSON, and neither workers nor their deaths change the answer."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from encoding.bounds import input_key
from proxies.proxy import latent_layers
from tests.shipped import shipped
from verifier.attack import AttackOptions
from verifier.bounds.over_domain import proxy_bounds
from verifier.branching import Split
from verifier.node import Node
from verifier.options import VerifyOptions
from verifier.result import Event, Result, Verdict
from verifier.verify import verify

# So little MILP effort that the domain must be split.
SPLITTING = VerifyOptions(attack=AttackOptions(rounds=2, seconds=3), tolerance=0.01, time_limit=240, effort=1, rounds=1)


def run(options: VerifyOptions, on_event: object = None) -> Result:
    loaded = shipped("dcopf-case57-raw")
    return verify(loaded.proxy, loaded.problem, loaded.problem.domain(0.2), options, on_event)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alone() -> Result:
    return run(SPLITTING)


def test_a_node_reads_back_bit_for_bit() -> None:
    loaded = shipped("dcopf-case57-raw")
    domain = loaded.problem.domain(0.05)
    bounds = proxy_bounds(latent_layers(loaded.proxy, domain), loaded.problem, domain)
    node = Node(bounds, 1234.5678901234567, 3, frozenset({7, 2}))
    again = Node.from_json(node.to_json())
    assert (again.upper, again.depth, again.kept) == (node.upper, node.depth, node.kept)
    for key, interval in bounds.intervals.items():
        assert np.array_equal(again.bounds[key].lower, interval.lower)
        assert np.array_equal(again.bounds[key].upper, interval.upper)
    again = Node.from_json(Node(bounds).to_json())
    assert again.upper == np.inf
    assert again.kept is None


def test_the_parts_of_a_split_share_only_their_border() -> None:
    loaded = shipped("dcopf-case57-raw")
    domain = loaded.problem.domain(0.05)
    bounds = proxy_bounds(latent_layers(loaded.proxy, domain), loaded.problem, domain)
    below, above = Split(input_key(0), 0, 1.01).parts(bounds)
    assert below[input_key(0)].upper[0] == above[input_key(0)].lower[0] == 1.01
    assert below[input_key(0)].lower[0] == bounds[input_key(0)].lower[0]
    assert above[input_key(0)].upper[0] == bounds[input_key(0)].upper[0]


def test_splitting_gives_the_answer_of_one_milp(alone: Result) -> None:
    whole = run(replace(SPLITTING, split=False))
    assert alone.parts > 1
    assert whole.parts == 1
    assert alone.verdict is whole.verdict is Verdict.CERTIFIED
    assert alone.lower <= whole.upper
    assert whole.lower <= alone.upper
    assert alone.upper == pytest.approx(whole.upper, rel=0.02)


def test_two_workers_give_the_same_verdict_and_one_that_is_killed_loses_nothing(alone: Result) -> None:
    killed: list[int] = []

    def kill_one(event: Event) -> None:
        children = multiprocessing.active_children()
        if not killed and event.counters.get("done", 0) >= 1 and len(children) == 2:
            os.kill(children[0].pid or 0, signal.SIGKILL)
            killed.append(children[0].pid or 0)

    shared = run(replace(SPLITTING, workers=2), kill_one)
    assert killed
    assert shared.verdict is alone.verdict is Verdict.CERTIFIED
    assert shared.lower <= alone.upper
    assert alone.lower <= shared.upper
    assert not multiprocessing.active_children()
