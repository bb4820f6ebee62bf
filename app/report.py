"""The report: one self-contained HTML page that tells a result in words, numbers and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR
from pathlib import Path

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app import report_figures as figures
from app.report_figures import number, plain, quantity
from problems.dcopf import DcOpf
from problems.domain import Domain
from problems.interval import Interval, Vector
from proxies.proxy import Proxy
from verifier.result import Result, Termination, Verdict, Witness

TEMPLATE = "report.html"
# A sampled gap above the upper bound by more than this share is a contradiction, not rounding.
CONTRADICTION = 1e-6
# Bounds within this share of each other are told as one number; both stand beside it.
CLOSED = 2e-3
# Rows of the table of overloaded lines: the figure shows them all.
MOST_OVERLOADS = 10

_ENDINGS = {
    Termination.OPTIMAL: "The search ran to its end.",
    Termination.TIME_LIMIT: "The time limit ended the work; more time could bring the bounds closer.",
    Termination.NODE_LIMIT: "The node limit ended the search; more nodes could bring the bounds closer.",
    Termination.THRESHOLD_DECIDED: "The work ended as soon as the threshold was decided; the bounds go no further.",
    Termination.CANCELLED: "The work was cancelled; the bounds are those reached until then.",
    Termination.ERROR: "An error ended the work; see the notes before using any of these numbers.",
}


@dataclass(frozen=True)
class _Row:
    """A line of a table: a label, and its cells."""

    label: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class _Lines:
    """The limited lines at the witness: names, limits (MW), flows (MW) and loadings (%) of proxy and optimum."""

    names: list[str]
    limit: Vector
    flow: Vector
    proxy: Vector
    optimum: Vector


def render_report(
    result: Result, proxy: Proxy, problem: DcOpf, domain: Domain, facts: Mapping[str, str], samples: Vector
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
    gaps = np.asarray(samples, dtype=np.float64)
    gaps = gaps[np.isfinite(gaps)]
    unit, bounded = result.unit, math.isfinite(result.upper)
    page: dict[str, object] = {
        "question": question(problem, domain),
        "setting": _setting(proxy, problem, domain),
        "case": problem.name,
        "answer": answer(result),
        "verdict": result.verdict.value,
        "conclusion": conclusion(result),
        "ending": _ENDINGS[result.termination],
        "contradiction": _contradiction(result, gaps),
        "lower": quantity(result.lower, unit, rounding=ROUND_FLOOR),
        "upper": quantity(result.upper, unit, rounding=ROUND_CEILING) if bounded else "",
        "notes": result.notes,
        "sampling": _sampling(result, gaps),
        "seconds": _seconds(result),
        "sizes": _sizes(result),
        "facts": _facts(result, facts),
        "witness": None,
        "samples_figure": "",
        "bounds_figure": Markup(figures.bounds_over_time(result.events, unit, result.seconds)),
        "stability_figure": Markup(figures.stability(result.stability)) if result.stability else "",
    }
    if np.any(gaps > 0):
        page["samples_figure"] = Markup(figures.sampled(gaps, result.lower, result.upper, unit))
    if result.witness is not None:
        page["witness"] = _worst_case(result.witness, unit, problem, domain)
    return _environment().get_template(TEMPLATE).render(page)


def _worst_case(witness: Witness, unit: str, problem: DcOpf, domain: Domain) -> dict[str, object]:
    """Return what the page tells of the witness."""
    lines, base = _lines(witness, problem), problem.grid.base_mva
    return {
        "other_label": "The same gap in money" if unit == "1" else "Relative to the cheapest cost",
        "other_measure": _other_measure(witness, unit, problem),
        "demand": f"{number(float(witness.input.sum()) * base)}\u00a0MW",
        "place": _place(witness, problem, domain),
        "costs": _costs(witness, problem),
        "overload_count": int((lines.proxy > figures.FULL).sum()),
        "overloads": _overloads(lines),
        "line_count": len(lines.names),
        "lines_drawn": min(len(lines.names), figures.MOST_LINES),
        **{name: Markup(svg) for name, svg in _witness_figures(witness, lines, problem, domain).items()},
    }


def question(problem: DcOpf, domain: Domain) -> str:
    """Return the question that the result answers, in one sentence."""
    asked = "How much more than the cheapest dispatch can this proxy cost"
    limits = _alpha_limits(domain)
    if limits is None:
        return f"{asked}, for any loads of the given domain of {_case(problem)}?"
    low, high = limits
    if not math.isclose(1 - low, high - 1, abs_tol=1e-12):
        together = f"stand between {plain(100 * low)} and {plain(100 * high)}\u00a0% together"
    else:
        together = f"move by up to ±{plain(100 * (high - 1))}\u00a0% together" if high > low else ""
    noise = _noise(domain)
    alone = (
        f"each by up to another ±{plain(100 * noise)}\u00a0%"
        if together
        else f"each move by up to ±{plain(100 * noise)}\u00a0%"
    )
    moves = " and ".join(part for part in (together, alone if noise > 0 else "") if part)
    return f"{asked} when the loads of {_case(problem)} {moves or 'stand at their reference'}?"


def answer(result: Result) -> str:
    """Return the certified interval in one sentence, the lower bound rounded down and the upper one up."""
    lower = quantity(result.lower, result.unit, rounding=ROUND_FLOOR)
    known = result.witness is not None
    if not math.isfinite(result.upper):
        return (
            f"At least {lower} more, and how much at most is not known."
            if known
            else "Not known: neither a costly input nor an upper bound was found."
        )
    upper = quantity(result.upper, result.unit, rounding=ROUND_CEILING)
    if not known:
        return f"At most {upper} more; no input with a gap was found."
    if result.closed <= CLOSED and result.verdict in (Verdict.CERTIFIED, Verdict.FALSIFIED):
        return f"Up to {upper} more."
    return f"At least {lower} and at most {upper} more."


def conclusion(result: Result) -> str:
    """Return what a verdict means together with why the work ended, in one or two sentences."""
    known, bounded = result.witness is not None, math.isfinite(result.upper)
    by_threshold = result.termination is Termination.THRESHOLD_DECIDED
    if result.verdict is Verdict.CERTIFIED:
        if by_threshold:
            return "The threshold holds: no input of the domain has a larger gap."
        if known and result.termination is Termination.OPTIMAL:
            return "The worst case is known: one input attains it, and no input of the domain is worse."
        return "The upper bound holds for every input of the domain."
    if result.verdict is Verdict.FALSIFIED:
        shown = "the worst case found below shows it" if known else "its input is not part of this result"
        return f"The threshold does not hold: an input with a larger gap was found ({shown})."
    if result.verdict is Verdict.BOUNDED:
        if not bounded:
            return "The worst case is at least the lower bound; there is no upper bound yet."
        if result.closed <= CLOSED:
            return "The two bounds meet, but something speaks against certifying them: see the notes."
        share = f"{number(100 * result.closed, 3)}\u00a0%"
        return f"The worst case lies between the two bounds; they are still {share} of the upper one apart."
    if result.termination is Termination.ERROR:
        return "Nothing is certified: the work ran into a defect."
    if known and not bounded:
        return "Nothing is certified from above. The lower bound is real: its input was replayed."
    if bounded:
        return "The two bounds hold, but they do not answer what was asked."
    return "Nothing is certified yet."


# ------------------------------------------------------------------------------------------------- words


def _case(problem: DcOpf) -> str:
    return problem.name.removeprefix("pglib_opf_") or "the case"


def _alpha_limits(domain: Domain) -> tuple[float, float] | None:
    """Return the range of the factor common to all loads; None where the domain has none."""
    if not domain.names or domain.names[0] != "alpha":
        return None
    return float(domain.box.lower[0]), float(domain.box.upper[0])


def _noise(domain: Domain) -> float:
    """Return by how much each load moves on its own: the domain's limit, since that is what was verified."""
    return float(np.abs(np.concatenate([domain.box.lower[1:], domain.box.upper[1:], [0.0]])).max())


def _setting(proxy: Proxy, problem: DcOpf, domain: Domain) -> str:
    """Describe domain, grid, proxy and the price of overloads in a few sentences."""
    grid, limits, loads = problem.grid, _alpha_limits(domain), np.count_nonzero(problem.grid.load)
    if limits is None:
        range_of_loads = f"The domain has {domain.size:,} coordinates, which move {loads:,} loads."
    else:
        low, high = (plain(100 * end) for end in (limits[0] - _noise(domain), limits[1] + _noise(domain)))
        range_of_loads = f"Each of the {loads:,} loads lies between {low} and {high}\u00a0% of its reference value."
    size = f"{grid.buses:,} buses, {grid.generators:,} generators and {grid.branches:,} lines"
    price = f"${problem.price:,.10g} per MWh"
    if problem.thermal == "soft":
        rule = f"A line may be overloaded at a price of {price}, which counts as cost."
    else:
        rule = f"No line may be overloaded; where the proxy does it, that counts as cost, at {price}."
    return f"{range_of_loads} The grid has {size}; the proxy is {_network_in_words(proxy)}. {rule}"


def _network_in_words(proxy: Proxy) -> str:
    kinds = [type(layer).__name__ for layer in proxy.layers]
    hidden = [size for kind, size in zip(kinds, proxy.sizes[1:]) if kind == "Relu"]
    shape = f"{' and '.join(str(size) for size in hidden)} hidden ReLU units" if hidden else "no hidden units"
    repair = " and ".join(kind.lower() for kind in kinds if kind in ("Clamp", "Hypersimplex"))
    return f"a network with {shape}" + (f", repaired by {repair}" if repair else "")


def _other_measure(witness: Witness, unit: str, problem: DcOpf) -> str:
    """Return the gap at the witness in the measure that the result does not use; "" where it has none."""
    if unit == "1":
        return quantity(witness.gap, problem.unit)
    return "" if math.isnan(witness.relative_gap) else quantity(witness.relative_gap, "1", 3)


def _place(witness: Witness, problem: DcOpf, domain: Domain) -> str:
    """Say where in the domain the witness lies: its total demand and its common factor."""
    reference = float(problem.grid.load.sum())
    parts = ["total demand"]
    if reference:
        parts.append(f", {number(100 * float(witness.input.sum()) / reference)}\u00a0% of the reference")
    limits = _alpha_limits(domain)
    if limits is not None:
        alpha, (low, high) = float(witness.latent[0]), limits
        ends = {high: ", the top of its range", low: ", the bottom of its range"} if low < high else {}
        parts.append(f"; α = {plain(alpha)}{ends.get(alpha, '')}")
    return "".join(parts)


# ------------------------------------------------------------------------------------------------ tables


def _costs(witness: Witness, problem: DcOpf) -> tuple[_Row, ...]:
    """Split both costs into generation and overloads."""
    decisions = (witness.decision, witness.optimum)
    generation = [float(d @ problem.grid.cost + problem.grid.cost_constant.sum()) for d in decisions]
    totals = [witness.proxy_cost, witness.optimal_cost]
    overload = [total - part for total, part in zip(totals, generation)]
    decimals = 0 if min(abs(total) for total in totals) >= 1000 else 2

    def row(label: str, proxy: float, optimum: float) -> _Row:
        values = (proxy, optimum, proxy - optimum)
        # Adding zero turns a rounded "-0" into "0".
        return _Row(label, tuple(f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−") for value in values))

    return (row("Generation", *generation), row("Line overloads", *overload), row("Total", *totals))


def _lines(witness: Witness, problem: DcOpf) -> _Lines:
    """Return the limited lines, most loaded by the proxy first."""
    grid, limit = problem.grid, problem.limit
    x = torch.as_tensor(witness.input)[None]
    flows = [problem.flows(x, torch.as_tensor(d)[None])[0].numpy() for d in (witness.decision, witness.optimum)]
    keep = np.flatnonzero((np.isfinite(limit.upper) | np.isfinite(limit.lower)) & (limit.upper > 0) & (limit.lower < 0))
    loading = [100 * np.maximum(flow[keep] / limit.upper[keep], flow[keep] / limit.lower[keep]) for flow in flows]
    order = np.argsort(-loading[0], kind="stable")
    keep = keep[order]
    ends = grid.bus_ids[np.stack([grid.branch_from[keep], grid.branch_to[keep]], 1)]
    flow = flows[0][keep]
    side = np.where(flow >= 0, limit.upper[keep], -limit.lower[keep])
    base = grid.base_mva
    names = [f"{a}–{b}" for a, b in ends]
    return _Lines(names, side * base, np.abs(flow) * base, loading[0][order], loading[1][order])


def _overloads(lines: _Lines) -> tuple[_Row, ...]:
    shown = np.flatnonzero(lines.proxy > figures.FULL)[:MOST_OVERLOADS]
    return tuple(
        _Row(
            lines.names[k],
            (
                number(float(lines.limit[k])),
                number(float(lines.flow[k])),
                f"{lines.proxy[k]:,.1f}\u00a0%",
                f"{lines.optimum[k]:,.1f}\u00a0%",
            ),
        )
        for k in shown
    )


def _sizes(result: Result) -> tuple[_Row, ...]:
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
        rows.append(_Row(label, (*("–" if count is None else f"{count:,}" for count in (old, new)), change)))
    return tuple(rows)


def _seconds(result: Result) -> str:
    parts = [f"{phase} {_duration(spent)}" for phase, spent in result.seconds.items() if phase != "total"]
    total = result.seconds.get("total", sum(result.seconds.values()))
    return f"{_duration(total)} in all" + (f": {', '.join(parts)}" if parts else "")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{number(seconds, 2)}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min {rest}\u00a0s"
    return f"{minutes // 60}\u00a0h {minutes % 60}\u00a0min"


def _facts(result: Result, facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the caller's facts after our own; where both name one, the caller's."""
    unit = "as a share of the cheapest cost" if result.unit == "1" else result.unit
    own = {
        "Lower bound, unrounded": f"{result.lower!r} {unit}",
        "Upper bound, unrounded": f"{result.upper!r} {unit}",
        "Verdict, termination": f"{result.verdict.value}, {result.termination.value}",
        "Solver": f"{result.solver}",
        "Nodes searched": f"{result.nodes:,}",
    }
    return list({**own, **facts}.items())


# ---------------------------------------------------------------------------------------------- sampling


def _sampling(result: Result, gaps: Vector) -> str:
    """Compare the largest sampled gap with the worst case, in one or two sentences."""
    if gaps.size == 0:
        return "No random inputs were tried."
    largest = max(float(gaps.max()), 0.0)
    text = f"The largest of {gaps.size:,} random inputs was {quantity(largest, result.unit)}"
    if largest == 0:
        return f"None of {gaps.size:,} random inputs had a gap." + (
            " Only the search for the worst case found one." if result.lower > 0 else ""
        )
    if result.lower > largest:
        return f"{text}, {number(result.lower / largest, 2)} times smaller than the worst case that is attained."
    return f"{text}, more than the lower bound: the attack found nothing worse."


def _contradiction(result: Result, gaps: Vector) -> str:
    """Say so where a sampled gap refutes the upper bound."""
    largest = float(gaps.max()) if gaps.size else 0.0
    if largest <= result.upper * (1 + CONTRADICTION) + CONTRADICTION:
        return ""
    return (
        f"A sampled gap of {quantity(largest, result.unit)} lies above the certified upper bound. One of the two is "
        "wrong: do not use this result, and report it as a defect."
    )


# ----------------------------------------------------------------------------------------------- figures


def _witness_figures(witness: Witness, lines: _Lines, problem: DcOpf, domain: Domain) -> dict[str, str]:
    """Draw loads, dispatch and lines; "" where the case has none of them."""
    grid, base = problem.grid, problem.grid.base_mva
    drawn = dict.fromkeys(("loads_figure", "dispatch_figure", "lines_figure"), "")
    at = np.flatnonzero(grid.load)
    if at.size:
        names = [str(bus) for bus in grid.bus_ids[at]]
        limits = _input_range(domain)
        box = Interval(limits.lower[at] * base, limits.upper[at] * base)
        drawn["loads_figure"] = figures.loads(names, grid.load[at] * base, box, witness.input[at] * base)
    units = grid.dispatchable
    if units.size:
        units = units[np.lexsort((-grid.pmax[units], grid.cost[units]))]
        names = [f"{grid.bus_ids[grid.gen_bus[k]]} · ${number(grid.cost[k] / base, 3)}/MWh" for k in units]
        limits = Interval(grid.pmin[units] * base, grid.pmax[units] * base)
        outputs = (decision[units] * base for decision in (witness.decision, witness.optimum))
        drawn["dispatch_figure"] = figures.dispatch(names, limits, *outputs)
    most = figures.MOST_LINES
    if lines.names:
        drawn["lines_figure"] = figures.line_loadings(lines.names[:most], lines.proxy[:most], lines.optimum[:most])
    return drawn


def _input_range(domain: Domain) -> Interval:
    """Return the smallest and largest value of every input over the latent box."""
    up, down = domain.matrix.maximum(0), domain.matrix.minimum(0)
    low, high = domain.box.lower, domain.box.upper
    return Interval(up @ low + down @ high + domain.shift, up @ high + down @ low + domain.shift)


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
