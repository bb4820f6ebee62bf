"""Numbers at the ends of float64 and bounds that differ little: everything is told, rounded outward, with a unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.cli.progress import LiveProgress
from app.cli.text import summary
from app.report.numbers import cells, quantity
from app.report.page import render_report
from app.report.sentences import answer
from problems.interval import Vector
from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack
from tests.app.page import Page, assert_loads_nothing
from tests.app.test_report_knapsack import U, found, random_proxy
from verifier.certificate import statement
from verifier.result import Event, Result, Termination, Verdict
from verifier.rounding import DOWN, UP

LARGEST = 1.7976931348623157e308
BOUNDS = [
    (0.0, np.inf),
    (0.0, 0.0),
    (5e-324, 1e-310),
    (1e28, 1.5e28),
    (1e69, 1e70),
    (1e308, LARGEST),
    (-1e308, 1e308),
    (-5.0, -1e-300),
    (-np.inf, LARGEST),
]
SAMPLES = [np.zeros(0), np.zeros(3), np.full(3, 5e-324), np.full(3, LARGEST), np.array([-1e300, 1.0, 1e28])]


def setting(scale: float = 1.0) -> tuple[Knapsack, Result]:
    small = random_knapsack(6, 3)
    problem = Knapsack("odd", scale * small.values, small.weights, small.capacity)
    return problem, found(random_proxy(problem), problem)


def page(problem: Knapsack, result: Result, samples: Vector) -> Page:
    domain = problem.domain(U)
    read = Page(render_report(result, random_proxy(problem), problem, domain, {}, samples))
    assert_loads_nothing(read)
    return read


@pytest.mark.parametrize(("lower", "upper"), BOUNDS)
@pytest.mark.parametrize("unit", ["value", "1"])
def test_a_report_is_drawn_or_says_what_it_leaves_out(lower: float, upper: float, unit: str) -> None:
    problem, result = setting()
    events = (Event("attack", 0.1, lower, np.inf), Event("search", 0.5, lower, upper))
    result = replace(result, lower=lower, upper=upper, unit=unit, events=events, verdict=Verdict.BOUNDED)
    for samples in SAMPLES:
        read = page(problem, result, samples)
        drawn, left_out = read.elements.count("svg"), read.text.count("this figure is left out")
        assert drawn >= 2  # Those of the worst case.
        assert drawn + left_out >= 2 + (np.isfinite(upper) and upper > 0)
    assert summary(result, problem, U)
    assert statement(result.verdict, result.termination, (lower, upper), unit, U, problem).endswith(".")


@pytest.mark.parametrize("scale", [1e28, 1e69, 1e98])
def test_the_report_of_large_values_has_every_figure(scale: float) -> None:
    problem, result = setting(scale)
    result = replace(result, events=(Event("search", 0.5, result.lower, result.upper),))
    read = page(problem, result, scale * np.random.default_rng(0).gamma(2.0, 3.0, size=200))
    assert read.elements.count("svg") == 5
    assert "left out" not in read.text
    assert f"Up to {quantity(result.upper, 'value', rounding=UP)} less.".replace("\u00a0", " ") in read.text
    assert len(summary(result, problem, U)) < 500


def test_what_is_printed_holds_the_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    problem, result = setting()
    result = replace(result, lower=2903.27, upper=3001.0004)
    assert "between 2,903 value and 3,002 value" in summary(result, problem, U)
    assert answer(replace(result, verdict=Verdict.BOUNDED), "less") == (
        "At least 2,903\u00a0value and at most 3,002\u00a0value less."
    )
    with LiveProgress(quiet=False, unit="$/h") as live:
        live.on_event(Event("search", 1.0, 2903.27, 3001.0004))
    assert "gap >= 2,903 $/h" in (err := capsys.readouterr().err)
    assert "<= 3,002 $/h" in err
    shares = replace(result, unit="1", lower=0.0321099, upper=0.0321101)
    assert "between 3.21 % and 3.212 %" in summary(shares, problem, U)


def test_the_statement_is_rounded_outward_to_eight_digits() -> None:
    problem, _ = setting()
    told = [
        statement(Verdict.CERTIFIED, Termination.OPTIMAL, (2903.2700001, 2903.2700099), "value", U, problem),
        statement(Verdict.CERTIFIED, Termination.OPTIMAL, (0.1234567891, 0.1234567891), "1", U, problem),
        statement(Verdict.FALSIFIED, Termination.THRESHOLD_DECIDED, (5.0, np.inf), "value", U, problem),
    ]
    assert "never exceeds 2,903.2701 value over" in told[0]
    assert "; 2,903.27 value was attained" in told[0]
    assert "never exceeds 12.345679 % of the optimal value over" in told[1]
    assert "; 12.345678 % of the optimal value was attained" in told[1]
    assert told[2].startswith("No upper bound of the gap is known")


def test_quantities_of_a_report_are_rounded_outward() -> None:
    assert quantity(2903.27, "$/h", rounding=UP) == "$2,904/h"
    assert quantity(-17.0412, "$/h", rounding=UP) == "−$17.04/h"
    assert quantity(1.0001e28, "value", rounding=DOWN) == "1.000e+28\u00a0value"
    assert quantity(LARGEST, "1", rounding=UP) == "1.798e+310\u00a0%"
    assert cells((1e28, -1e308, -0.001), 2) == ("1.00000e+28", "−1.00000e+308", "0.00")
