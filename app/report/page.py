"""The report: one self-contained HTML page that tells a result in words, numbers and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.report import figures
from app.report.family import Row, answer, question, samples_figure, sampling, setting, worst_case
from app.report.numbers import quantity
from app.report.sentences import ENDINGS, conclusion, contradiction, seconds
from app.words import Words, words
from problems.domain import Domain
from problems.interval import Vector
from problems.parametric import ParametricProblem
from proxies.layers import SortRepair
from proxies.proxy import Proxy
from verifier.result import Result, Witness
from verifier.rounding import DOWN, UP

TEMPLATES, TEMPLATE = Path(__file__).parent.parent / "templates", "report.html"


def render_report(
    result: Result,
    proxy: Proxy,
    problem: ParametricProblem,
    domain: Domain,
    facts: Mapping[str, str],
    samples: Vector,
) -> str:
    """Return the report of a verification as one HTML page that loads nothing from anywhere.

    Args:
        result: what was found.
        proxy: the proxy that was verified.
        problem: what it answers.
        domain: the inputs that count.
        facts: what else the reader may need, label to text, in order: versions, options, fingerprints, seed, command.
        samples: (count,) gaps at random inputs of the domain, in the result's unit.
    """
    # What overflows is written as infinite, and not drawn.
    with np.errstate(over="ignore", invalid="ignore"):
        return _environment().get_template(TEMPLATE).render(_content(result, proxy, problem, domain, facts, samples))


def _content(
    result: Result,
    proxy: Proxy,
    problem: ParametricProblem,
    domain: Domain,
    facts: Mapping[str, str],
    samples: Vector,
) -> dict[str, object]:
    """Return what the page's template asks for; arguments as for `render_report`."""
    gaps = np.asarray(samples, dtype=np.float64)
    gaps = gaps[np.isfinite(gaps)]
    unit, bounded, told = result.unit, math.isfinite(result.upper), words(problem)
    page: dict[str, object] = {
        "question": question(problem, domain),
        "setting": setting(problem, proxy, domain),
        "case": problem.name,
        "answer": answer(problem, result),
        "verdict": result.verdict.value,
        "conclusion": conclusion(result),
        "ending": ENDINGS[result.termination],
        "contradiction": contradiction(result, gaps),
        "lower": quantity(result.lower, unit, rounding=DOWN),
        "upper": quantity(result.upper, unit, rounding=UP) if bounded else "",
        "notes": result.notes,
        "sampling": sampling(problem, result, gaps),
        "seconds": seconds(result),
        "sizes": _sizes(result),
        "facts": _facts(result, told, facts),
        "witness": None,
        "samples_figure": Markup(samples_figure(problem, result, gaps)),
        "bounds_figure": Markup(figures.bounds_over_time(result.events, unit, result.seconds)),
        "stability_figure": Markup(_stability_figure(result)),
    }
    if result.witness is not None:
        page["witness"] = worst_case(problem, proxy, domain, result.witness)
        page["other_label"] = f"The same gap in {told.absolute}" if unit == "1" else f"Relative to the {told.best}"
        page["other_measure"] = _other_measure(result.witness, unit, problem)
    return page


def _stability_figure(result: Result) -> str:
    """Draw the layers whose units have states; the items of a sort repair are chosen against each other instead."""
    layers = [layer for layer in result.stability if not layer.layer.startswith(SortRepair.__name__)]
    return figures.stability(layers) if layers else ""


def _other_measure(witness: Witness, unit: str, problem: ParametricProblem) -> str:
    """Return the gap at the witness in the measure that the result does not use; "" where it has none."""
    if unit == "1":
        return quantity(witness.gap, problem.unit, rounding=DOWN)
    return "" if math.isnan(witness.relative_gap) else quantity(witness.relative_gap, "1", 3, DOWN)


def _sizes(result: Result) -> tuple[Row, ...]:
    """Compare the MILP of the first bounds with the one that was solved."""
    before, after = result.size_before, result.size_after
    fields = {
        "continuous": "Continuous variables",
        "integer": "Binary variables",
        "rows": "Rows",
        "nonzeros": "Nonzeros",
    }
    if before is None and after is None:
        return ()
    rows = []
    for name, label in fields.items():
        old, new = (getattr(size, name) if size is not None else None for size in (before, after))
        change = f"{100 * (new - old) / old:+.0f}\u00a0%".replace("-", "−") if old and new is not None else "–"
        change = "0\u00a0%" if change in ("+0\u00a0%", "−0\u00a0%") else change
        rows.append(Row(label, (*("–" if count is None else f"{count:,}" for count in (old, new)), change)))
    return tuple(rows)


def _facts(result: Result, told: Words, facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the caller's facts after our own; where both name one, the caller's."""
    unit = f"as a share of the {told.best}" if result.unit == "1" else result.unit
    own = {
        "Lower bound, unrounded": f"{result.lower!r} {unit}",
        "Upper bound, unrounded": f"{result.upper!r} {unit}",
        "Verdict, termination": f"{result.verdict.value}, {result.termination.value}",
        "Solver": f"{result.solver}",
        "Nodes searched": f"{result.nodes:,}",
    }
    return list({**own, **facts}.items())


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
