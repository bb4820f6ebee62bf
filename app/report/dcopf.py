"""The report of a DC-OPF proxy: how far loads move, what both dispatches cost, and which lines they overload."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from markupsafe import Markup

from app.report import dcopf_figures as figures
from app.report.family import Row, WorstCase, input_range, network_in_words, question, setting, worst_case
from app.report.numbers import cells, number, plain
from problems.dcopf import DcOpf
from problems.domain import Domain
from problems.interval import Interval, Vector
from proxies.proxy import Proxy
from verifier.result import Witness

# Rows of the table of overloaded lines: the figure shows them all.
MOST_OVERLOADS = 10


@dataclass(frozen=True)
class _Lines:
    """The limited lines at the witness: names, limits (MW), flows (MW) and loadings (%) of proxy and optimum."""

    names: list[str]
    limit: Vector
    flow: Vector
    proxy: Vector
    optimum: Vector


@question.register
def _(problem: DcOpf, domain: Domain) -> str:
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


@setting.register
def _(problem: DcOpf, proxy: Proxy, domain: Domain) -> str:
    grid, limits, loads = problem.grid, _alpha_limits(domain), np.count_nonzero(problem.grid.load)
    if limits is None:
        range_of_loads = f"The domain has {domain.size:,} coordinates, which move {loads:,} loads."
    else:
        low, high = (plain(100 * end) for end in (limits[0] - _noise(domain), limits[1] + _noise(domain)))
        range_of_loads = f"Each of the {loads:,} loads lies between {low} and {high}\u00a0% of its reference value."
    size = f"{grid.buses:,} buses, {grid.generators:,} generators and {grid.branches:,} lines"
    repairs = [kind for kind in (type(layer).__name__ for layer in proxy.layers) if kind in ("Clamp", "Hypersimplex")]
    repair = f", repaired by {' and '.join(kind.lower() for kind in repairs)}" if repairs else ""
    price = f"${problem.price:,.10g} per MWh"
    if problem.thermal == "soft":
        rule = f"A line may be overloaded at a price of {price}, which counts as cost."
    else:
        rule = f"No line may be overloaded; where the proxy does it, that counts as cost, at {price}."
    return f"{range_of_loads} The grid has {size}; the proxy is {network_in_words(proxy)}{repair}. {rule}"


@worst_case.register
def _(problem: DcOpf, proxy: Proxy, domain: Domain, witness: Witness) -> WorstCase:
    lines = _lines(witness, problem)
    content = {
        "costs": _costs(witness, problem),
        "overload_count": int((lines.proxy > figures.FULL).sum()),
        "overloads": _overloads(lines),
        "line_count": len(lines.names),
        "lines_drawn": min(len(lines.names), figures.MOST_LINES),
        **{name: Markup(svg) for name, svg in _figures(witness, lines, problem, domain).items()},
    }
    demand = f"{number(float(witness.input.sum()) * problem.grid.base_mva)}\u00a0MW"
    return WorstCase(demand, _place(witness, problem, domain), "worst_case_dcopf.html", content)


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


def _costs(witness: Witness, problem: DcOpf) -> tuple[Row, ...]:
    """Split both costs into generation and overloads."""
    decisions = (witness.decision, witness.optimum)
    generation = [float(d @ problem.grid.cost + problem.grid.cost_constant.sum()) for d in decisions]
    totals = [witness.proxy_cost, witness.optimal_cost]
    overload = [total - part for total, part in zip(totals, generation)]
    decimals = 0 if min(abs(total) for total in totals) >= 1000 else 2

    def row(label: str, proxy: float, optimum: float) -> Row:
        return Row(label, cells((proxy, optimum, proxy - optimum), decimals))

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


def _overloads(lines: _Lines) -> tuple[Row, ...]:
    shown = np.flatnonzero(lines.proxy > figures.FULL)[:MOST_OVERLOADS]
    return tuple(
        Row(
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


def _figures(witness: Witness, lines: _Lines, problem: DcOpf, domain: Domain) -> dict[str, str]:
    """Draw loads, dispatch and lines; "" where the case has none of them."""
    grid, base = problem.grid, problem.grid.base_mva
    drawn = dict.fromkeys(("loads_figure", "dispatch_figure", "lines_figure"), "")
    at = np.flatnonzero(grid.load)
    if at.size:
        names = [str(bus) for bus in grid.bus_ids[at]]
        limits = input_range(domain)
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
