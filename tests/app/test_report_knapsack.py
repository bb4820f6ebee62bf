"""The report of a knapsack proxy: both choices, their values, and where they part, against a count by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import torch

from app.report.family import question
from app.report.knapsack_figures import Items
from app.report.numbers import number
from app.report.page import render_report
from problems.interval import Interval
from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack
from proxies.knapsack import knapsack_manifest, knapsack_proxy
from proxies.layers import Affine, Relu
from proxies.layers.sort_repair import Greedy
from proxies.proxy import Proxy
from tests.app.page import Page, assert_loads_nothing
from verifier.replay import replay
from verifier.result import LayerStability, Result, Termination, Verdict, Witness
from verifier.rounding import DOWN

U = 0.2
SAMPLES = np.random.default_rng(0).gamma(2.0, 3.0, size=200)


def random_proxy(problem: Knapsack, greedy: Greedy = "prefix", seed: int = 0) -> Proxy:
    """Return a proxy with random scores."""
    draw = torch.Generator().manual_seed(seed)
    sizes = (problem.input_size, 6, problem.items)
    weights = [torch.randn((n, m), generator=draw, dtype=torch.float64) for m, n in pairwise(sizes)]
    layers = [Affine(weights[0], torch.zeros(6).double()), Relu(), Affine(weights[1], torch.zeros(sizes[-1]).double())]
    return knapsack_proxy(layers, knapsack_manifest(problem, greedy), problem)


def found(proxy: Proxy, problem: Knapsack) -> Result:
    """Return a closed result whose witness is the worst of some random inputs."""
    domain = problem.domain(U)
    witness = max((replay(proxy, problem, domain, w) for w in domain.sample(40, 1)), key=lambda w: w.gap)
    assert witness.gap > 1
    return Result(
        lower=witness.gap,
        upper=witness.gap * (1 + 1e-7),
        unit="value",
        verdict=Verdict.CERTIFIED,
        termination=Termination.OPTIMAL,
        witness=witness,
        seconds={"attack": 1.0, "total": 1.0},
        size_before=None,
        size_after=None,
        stability=(LayerStability("Relu 1", 6, 2, 3), LayerStability("SortRepair 3", 6, 6, 6)),
        events=(),
        notes=(),
        solver="highs 1.11.0",
    )


def render(result: Result, proxy: Proxy, problem: Knapsack) -> str:
    page = Page(render_report(result, proxy, problem, problem.domain(U), {}, SAMPLES))
    assert_loads_nothing(page)
    return page.text


def best_value(witness: Witness, problem: Knapsack) -> float:
    """Return the most that any choice is worth, by trying them all."""
    choices = np.array(list(product((0, 1), repeat=problem.items)))
    fits = choices @ problem.weights <= witness.input[-1]
    return float((choices[fits] @ witness.input[:-1]).max())


def test_the_page_compares_both_choices() -> None:
    problem = random_knapsack(6, 3)
    proxy = random_proxy(problem)
    result = found(proxy, problem)
    witness, text = result.witness, render(result, proxy, problem)
    assert witness is not None
    assert f"when item values and capacity of {problem.name} each move by up to ±20 %?" in text
    assert "The 6 item values and the capacity lie between 80 and 120 % of their nominal values" in text
    assert "stops at the first that does not fit" in text
    assert "value less." in text
    taken, best = float(witness.decision @ witness.input[:-1]), best_value(witness, problem)
    assert f"Value {taken:.2f} {best:.2f} −{best - taken:.2f}" in text
    weights = [round(float(d @ problem.weights)) for d in (witness.decision, witness.optimum)]
    assert f"Weight {weights[0]} {weights[1]}" in text
    assert f"{number(witness.relative_gap, 3, DOWN, 2)} % at the worst case found" in text
    for word in ("dispatch", "load", "money", "$", "pays", "more than"):
        assert word not in text
    assert "Relu 1" in text
    assert "SortRepair" not in text


def test_the_items_that_only_one_choice_takes_are_named() -> None:
    problem = random_knapsack(8, 5)
    proxy = random_proxy(problem, seed=2)
    result = found(proxy, problem)
    witness, text = result.witness, render(result, proxy, problem)
    assert witness is not None
    for k in range(problem.items):
        named = f"{k + 1} {number(float(witness.input[k]))} {problem.weights[k]} " in text
        assert named == (witness.decision[k] != witness.optimum[k])


def test_a_relative_result_tells_the_value_too() -> None:
    problem = random_knapsack(6, 3)
    proxy = random_proxy(problem)
    result = found(proxy, problem)
    share = result.relative
    text = render(replace(result, lower=share, upper=share, unit="1"), proxy, problem)
    assert "% less." in text
    assert "The same gap in value" in text
    assert "as a share of the best choice" in text


def test_the_repair_that_skips_is_described_so() -> None:
    problem = random_knapsack(6, 3)
    proxy = random_proxy(problem, "skip", 5)
    assert "leaves out those that do not fit" in render(found(proxy, problem), proxy, problem)


def test_worthless_items_room_for_all_and_markup_in_a_name_do_no_harm() -> None:
    problem = Knapsack("<b>&", np.array([0.0, 5.0, 3.0]), np.array([2.0, 1.0, 4.0]), 100.0)
    proxy = random_proxy(problem)
    result = found(random_proxy(random_knapsack(6, 3)), random_knapsack(6, 3))
    witness = replay(proxy, problem, problem.domain(U), problem.domain(U).box.upper)
    text = render(replace(result, lower=0.0, witness=witness), proxy, problem)
    assert "<b>&" in text
    assert "is the first that does not fit" not in text
    empty = replace(problem, capacity=0.0)
    nothing = replay(proxy, empty, empty.domain(U), empty.domain(U).box.upper)
    assert "is the first that does not fit" in render(replace(result, lower=0.0, witness=nothing), proxy, empty)


def test_a_domain_that_is_no_box_around_nominal_is_not_told_as_one() -> None:
    problem = random_knapsack(6, 3)
    below, _ = problem.domain(U).split(2)
    assert "any inputs of the given domain" in question(problem, below)
    assert "stand at their nominal values" in question(problem, problem.domain(0.0))


def test_the_first_item_that_does_not_fit_ends_the_prefix() -> None:
    share = np.full(4, 100.0)
    items = Items(
        names=["1", "2", "3", "4"],
        value=np.array([4.0, 3.0, 2.0, 1.0]),
        weight=np.array([1, 1, 5, 1]),
        score=np.array([1.0, 9.0, 5.0, 5.0]),
        proxy=np.array([False, True, False, True]),
        optimum=np.array([True, True, False, True]),
        shift=share,
        limits=Interval(share, share),
        capacity=3.0,
    )
    assert items.order.tolist() == [1, 2, 3, 0]  # ties by index
    assert items.fitting == 1
    assert [int(members.sum()) for _, members, _ in items.groups] == [1, 2, 0, 1]
    assert replace(items, proxy=np.ones(4, dtype=bool)).fitting == 4
