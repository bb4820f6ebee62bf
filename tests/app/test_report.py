"""The report as a page: well formed, self-contained, escaped, and with the numbers of the result in it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from app.report.family import question
from app.report.figures import sampled
from app.report.numbers import number, quantity
from app.report.page import render_report
from app.report.sentences import answer, conclusion
from problems.dcopf import DcOpf
from problems.domain import Domain
from problems.grid import grid_from_tables
from proxies.dcopf import dcopf_proxy
from proxies.layers import Affine, Relu
from proxies.manifest import DcOpfSpec, Manifest
from proxies.proxy import Proxy
from solvers.linear_model import ModelSize
from tests.app.page import Page, assert_loads_nothing
from verifier.replay import replay
from verifier.result import Event, LayerStability, Result, Termination, Verdict

SAMPLES = np.random.default_rng(0).gamma(2.0, 3.0, size=1000)
ATTACK = '<script>alert("x")</script><img src=http://evil.example/x onerror=alert(1)> $\\frac{1}{2}$'


@pytest.fixture(scope="module")
def problem() -> DcOpf:
    """Return three buses in a ring; the cheap generator is far away, behind a weak line; one line has no limit."""
    bus = np.zeros((3, 13))
    bus[:, 0], bus[:, 1], bus[:, 2] = [1, 2, 7], [3, 1, 1], [0, 80, 40]
    gen = np.zeros((2, 10))
    gen[:, 0], gen[:, 7], gen[:, 8] = [1, 2], 1, [200, 150]
    cost = np.array([[2, 0, 0, 2, 10, 0], [2, 0, 0, 2, 40, 0]], dtype=float)
    branch = np.zeros((3, 13))
    branch[:, 0], branch[:, 1], branch[:, 3], branch[:, 5] = [1, 2, 1], [2, 7, 7], 0.1, [50, 0, 60]
    branch[:, 10], branch[:, 11], branch[:, 12] = 1, -360, 360
    return DcOpf(grid_from_tables("ring & co", 100.0, bus, gen, cost, branch))


@pytest.fixture(scope="module")
def proxy(problem: DcOpf) -> Proxy:
    draw = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=draw, dtype=torch.float64) / 100 for shape in ((8, 3), (2, 8))]
    layers = [
        Affine(weights[0], torch.zeros(8).double()),
        Relu(),
        Affine(weights[1], torch.tensor([150.0, 1.0]).double()),
    ]
    return dcopf_proxy(layers, Manifest(problem=DcOpfSpec(case="ring")), problem)


@pytest.fixture(scope="module")
def domain(problem: DcOpf) -> Domain:
    return problem.domain(0.1)


@pytest.fixture(scope="module")
def closed(proxy: Proxy, problem: DcOpf, domain: Domain) -> Result:
    witness = replay(proxy, problem, domain, domain.box.upper)
    assert witness.gap > 100
    events = (
        Event("attack", 0.1, 1.0, np.inf),
        Event("attack", 2.0, witness.gap, np.inf),
        Event("tightening", 4.0, witness.gap, 900 * witness.gap),
        Event("search", 9.0, witness.gap, witness.gap * (1 + 1e-7)),
        Event("done", 9.5, witness.gap, witness.gap * (1 + 1e-7)),
    )
    return Result(
        lower=witness.gap,
        upper=witness.gap * (1 + 1e-7),
        unit="$/h",
        verdict=Verdict.CERTIFIED,
        termination=Termination.OPTIMAL,
        witness=witness,
        seconds={"attack": 3.0, "bounds": 0.2, "tightening": 2.0, "search": 4.0, "total": 9.5},
        size_before=ModelSize(1200, 48, 900, 12345),
        size_after=ModelSize(1000, 12, 700, 9000),
        stability=(LayerStability("Relu 1", 64, 40, 57),),
        events=events,
        notes=(),
        solver="highs 1.11.0",
        nodes=1234,
    )


@pytest.fixture
def render(proxy: Proxy, problem: DcOpf, domain: Domain):
    def call(result: Result, facts=None, samples=SAMPLES) -> Page:
        page = Page(render_report(result, proxy, problem, domain, facts or {}, samples))
        assert_loads_nothing(page)
        return page

    return call


def test_closed_result_tells_question_answer_and_worst_case(render, closed):
    page = render(closed, {"Command": "certigap verify p.onnx -u 10%"})
    witness = closed.witness
    assert "when the loads of ring & co move by up to ±10 % together and each by up to another ±5 %?" in page.text
    assert "Each of the 2 loads lies between 85 and 115 % of its reference value" in page.text
    assert f"Up to {quantity(closed.upper, '$/h', rounding='ROUND_CEILING')} more." in page.text
    assert "one input attains it, and no input of the domain is worse" in page.text
    assert f"{number(100 * witness.relative_gap, 3)} % at the worst case found" in page.text
    assert f"{number(1.15 * 120)} MW" in page.text
    assert "α = 1.1, the top of its range" in page.text
    assert f"{witness.proxy_cost:,.0f}" in page.text
    assert f"{witness.optimal_cost:,.0f}" in page.text
    assert "The largest of 1,000 random inputs was" in page.text
    assert "times smaller than the worst case" in page.text
    assert "12,345" in page.text  # nonzeros
    assert "−75 %" in page.text  # binaries, 48 to 12
    assert "certigap verify p.onnx -u 10%" in page.text
    assert repr(closed.upper) in page.text
    assert page.elements.count("svg") == 6


def test_overloaded_lines_are_named_with_limit_and_flow(render, closed, problem):
    witness = closed.witness
    x, y = torch.as_tensor(witness.input)[None], torch.as_tensor(witness.decision)[None]
    flow = problem.flows(x, y)[0].abs().numpy() * 100
    over = np.flatnonzero(flow > problem.grid.rating * 100)
    assert over.size
    text = render(closed).text
    assert f"overloads {over.size} line" in text
    for k in over:
        name = f"{problem.grid.bus_ids[problem.grid.branch_from[k]]}–{problem.grid.bus_ids[problem.grid.branch_to[k]]}"
        limit = 100 * problem.grid.rating[k]
        assert f"{name} {number(limit)} {number(flow[k])} {100 * flow[k] / limit:,.1f} %" in text


def test_time_limit_without_upper_bound(render, closed):
    events = (Event("attack", 1.0, closed.lower, np.inf), Event("done", 60.0, closed.lower, np.inf))
    result = replace(
        closed,
        upper=np.inf,
        verdict=Verdict.UNKNOWN,
        termination=Termination.TIME_LIMIT,
        events=events,
        size_after=None,
        stability=(),
    )
    text = render(result).text
    assert "how much at most is not known" in text
    assert "The time limit ended the work" in text
    assert "no upper bound was found" in text
    assert "not known" in text


def test_nothing_found_at_all(render, closed):
    result = replace(
        closed,
        lower=0.0,
        upper=np.inf,
        verdict=Verdict.UNKNOWN,
        termination=Termination.CANCELLED,
        witness=None,
        size_before=None,
        size_after=None,
        stability=(),
        events=(),
        seconds={},
    )
    page = render(result, samples=np.zeros(10))
    assert "Not known: neither a costly input nor an upper bound was found." in page.text
    assert "None of 10 random inputs had a gap." in page.text
    assert "No input with a gap was found" in page.text
    assert "svg" not in page.elements


def test_relative_result_is_in_percent(render, closed):
    share = closed.witness.relative_gap
    result = replace(closed, lower=share, upper=share, unit="1", events=(Event("search", 1.0, share / 2, share),))
    text = render(result, samples=SAMPLES / 1e4).text
    assert f"Up to {quantity(share, '1', rounding='ROUND_CEILING')} more.".replace("\u00a0", " ") in text
    assert f"The same gap in money {quantity(closed.witness.gap, '$/h')}" in text
    assert "relative gap, %" in text


def test_text_of_a_result_cannot_become_markup(render, closed):
    result = replace(closed, notes=(ATTACK,), solver=ATTACK, stability=(LayerStability(ATTACK, 4, 1, 2),))
    page = render(result, {ATTACK: ATTACK})
    assert page.text.count('<script>alert("x")</script>') == 5


@pytest.mark.parametrize(("verdict", "termination"), itertools.product(Verdict, Termination))
def test_every_verdict_and_ending_has_words(closed, verdict, termination):
    for upper, witness in itertools.product((2 * closed.lower, np.inf), (closed.witness, None)):
        lower = closed.lower if witness is not None else 0.0
        result = replace(closed, lower=lower, upper=upper, verdict=verdict, termination=termination, witness=witness)
        for sentence in (answer(result, "more"), conclusion(result)):
            assert sentence.endswith(".")
            assert "inf" not in sentence.split()
            assert "∞" not in sentence


def test_a_sample_above_the_upper_bound_raises_an_alarm(render, closed):
    assert "report it as a defect" in render(closed, samples=np.array([2 * closed.upper])).text
    assert "report it as a defect" not in render(closed, samples=np.array([closed.upper])).text


def test_gaps_of_rounding_size_do_not_stretch_the_histogram():
    exact = np.full(100, 1e-13)
    drawn = sampled(np.concatenate([exact, SAMPLES]), lower=30.0, upper=500.0, unit="value")
    assert "0.0001" not in drawn
    assert sampled(exact, lower=30.0, upper=500.0, unit="value")


def test_question_without_noise_or_range(problem):
    still = replace(problem, noise=0.0)
    assert question(still, still.domain(0.0)).endswith("when the loads of ring & co stand at their reference?")
    assert question(problem, problem.domain(0.0)).endswith("each move by up to ±5\u00a0%?")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234567.8, "1,234,568"), (1250.83, "1,251"), (17.0412, "17.04"), (-0.0123456, "−0.01235")],
)
def test_numbers_are_written_for_people(value, text):
    assert number(value) == text


def test_bounds_are_rounded_outward():
    assert quantity(2903.9, "$/h", rounding="ROUND_FLOOR") == "$2,903/h"
    assert quantity(2903.1, "$/h", rounding="ROUND_CEILING") == "$2,904/h"
    assert quantity(0.080401, "1", rounding="ROUND_CEILING") == "8.041\u00a0%"
