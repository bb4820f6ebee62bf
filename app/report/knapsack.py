"""The report of a knapsack proxy: which items it takes, which ones the best choice takes, and what both are worth."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray

from app.report import knapsack_figures as figures
from app.report.family import Row, WorstCase, input_range, network_in_words, question, setting, worst_case
from app.report.knapsack_figures import Items
from app.report.numbers import cells, number, plain
from problems.domain import Domain
from problems.interval import Interval, Vector
from problems.knapsack import Knapsack
from proxies.layers import SortRepair
from proxies.proxy import Proxy
from verifier.result import Witness

# Rows of the table of items that one choice takes and the other leaves: the figure shows them all.
MOST_DIFFERENCES = 12
# Values from here on are told without decimals.
LARGE = 100_000
# Ends of a range are met to this share of the nominal value.
AT_END = 1e-9


@question.register
def _(problem: Knapsack, domain: Domain) -> str:
    asked = "How much less than the best choice can this proxy's choice be worth"
    share = _half_width(problem, domain)
    if share is None:
        return f"{asked}, for any inputs of the given domain of {problem.name}?"
    if share == 0:
        return f"{asked} when item values and capacity of {problem.name} stand at their nominal values?"
    return f"{asked} when item values and capacity of {problem.name} each move by up to ±{plain(100 * share)}\u00a0%?"


@setting.register
def _(problem: Knapsack, proxy: Proxy, domain: Domain) -> str:
    share, total = _half_width(problem, domain), int(problem.weights.sum())
    inputs = f"The {problem.items:,} item values and the capacity"
    if share is None:
        moves = f"{inputs} move within the given domain."
    else:
        low, high = plain(100 * (1 - share)), plain(100 * (1 + share))
        moves = f"{inputs} lie between {low} and {high}\u00a0% of their nominal values, each on its own."
    fits = f"The items weigh {total:,} in all; the nominal capacity is {_weight(problem.capacity)}."
    repair = proxy.layers[-1]
    skips = isinstance(repair, SortRepair) and repair.greedy == "skip"
    rule = "leaves out those that do not fit" if skips else "stops at the first that does not fit"
    return (
        f"{moves} {fits} The proxy is {network_in_words(proxy)}, which scores the items; its repair takes them by "
        f"descending score and {rule}."
    )


@worst_case.register
def _(problem: Knapsack, proxy: Proxy, domain: Domain, witness: Witness) -> WorstCase:
    items = _items(problem, proxy, domain, witness)
    different = np.flatnonzero(items.proxy != items.optimum)
    capacity = _weight(items.capacity)
    capacity_shift = 100 * items.capacity / problem.capacity if problem.capacity > 0 else None
    content = {
        "stop": _stop(items),
        "totals": _totals(witness, problem),
        "capacity": capacity,
        "proxy_only": int((items.proxy & ~items.optimum).sum()),
        "optimum_only": int((~items.proxy & items.optimum).sum()),
        "differences": _differences(items, different),
        "difference_count": different.size,
        "choices_figure": Markup(figures.choices(items)),
        "inputs_figure": Markup(figures.shifts(items, capacity_shift)),
    }
    return WorstCase(f"capacity {capacity}", _place(witness, problem, domain), "worst_case_knapsack.html", content)


# ------------------------------------------------------------------------------------------------- words


def _weight(weight: float) -> str:
    """Write a weight or a capacity, rounded down: what does not fit must not look as if it did."""
    text = f"{Decimal(weight).quantize(Decimal('0.01'), ROUND_FLOOR):,f}"
    return text.rstrip("0").rstrip(".")


def _half_width(problem: Knapsack, domain: Domain) -> float | None:
    """Return u where the domain is all inputs within (1 +- u) of the nominal one, else None."""
    limits, moving = input_range(domain), problem.nominal > 0
    if not moving.any():
        return 0.0
    nominal = problem.nominal[moving]
    shares = np.concatenate([limits.upper[moving] / nominal - 1, 1 - limits.lower[moving] / nominal])
    return float(shares.max()) if np.ptp(shares) <= AT_END and not domain.cuts else None


def _stop(items: Items) -> str:
    """Say which item in the proxy's order is the first that did not fit; "" where all did."""
    if items.fitting == len(items.names):
        return ""
    first = items.order[items.fitting]
    left = items.capacity - float(items.weight[items.order[: items.fitting]].sum())
    return (
        f"In its order item {items.names[first]} is the first that does not fit: it weighs {items.weight[first]:,} "
        f"where {_weight(left)} is left."
    )


def _place(witness: Witness, problem: Knapsack, domain: Domain) -> str:
    """Say where in the domain the witness lies: its capacity, and how many values are at an end of their range."""
    limits, x = input_range(domain), witness.input
    parts = []
    if problem.capacity > 0:
        parts.append(f"{number(100 * float(x[-1]) / problem.capacity)}\u00a0% of the nominal one")
    near = AT_END * np.maximum(problem.nominal, 1.0)
    free = limits.upper - limits.lower > near
    low, high = free & (x <= limits.lower + near), free & (x >= limits.upper - near)
    counts = [f"{int(at[:-1].sum())} at the {end}" for at, end in ((high, "top"), (low, "bottom")) if at[:-1].any()]
    if counts:
        parts.append(f"of {problem.items} item values {' and '.join(counts)} of their range")
    return "; ".join(parts)


# ------------------------------------------------------------------------------------------------ tables


def _totals(witness: Witness, problem: Knapsack) -> tuple[Row, ...]:
    """Compare both choices by number of items, weight and value."""
    decisions = (witness.decision, witness.optimum)
    counts = [round(float(d.sum())) for d in decisions]
    weights = [round(float(d @ problem.weights)) for d in decisions]
    values = [-witness.proxy_cost, -witness.optimal_cost]
    decimals = 0 if max(values) >= LARGE else 2

    def row(label: str, proxy: float, optimum: float, *, decimals: int = 0) -> Row:
        return Row(label, cells((proxy, optimum, proxy - optimum), decimals))

    return (row("Items taken", *counts), row("Weight", *weights), row("Value", *values, decimals=decimals))


def _differences(items: Items, different: NDArray[np.int64]) -> tuple[Row, ...]:
    """Return the items that only one of the choices takes, the most valuable first."""
    shown = different[np.argsort(-items.value[different], kind="stable")][:MOST_DIFFERENCES]
    return tuple(
        Row(
            items.names[k],
            (
                number(float(items.value[k])),
                f"{items.weight[k]:,}",
                number(float(items.ratio[k]), 5),
                number(float(items.score[k]), 5),
                "proxy" if items.proxy[k] else "best choice",
            ),
        )
        for k in shown
    )


# ----------------------------------------------------------------------------------------------- figures


def _items(problem: Knapsack, proxy: Proxy, domain: Domain, witness: Witness) -> Items:
    """Return the items at the witness, those with most value for their weight first."""
    values = witness.input[:-1]
    limits, nominal = input_range(domain), problem.values
    order = np.argsort(-values / problem.weights, kind="stable")
    share = 100 / np.where(nominal > 0, nominal, np.inf)[order]
    return Items(
        names=[str(k + 1) for k in order],
        value=values[order],
        weight=problem.weights[order],
        score=_scores(proxy, witness.input)[order],
        proxy=witness.decision[order] > 0.5,
        optimum=witness.optimum[order] > 0.5,
        shift=values[order] * share,
        limits=Interval(limits.lower[:-1][order] * share, limits.upper[:-1][order] * share),
        capacity=float(witness.input[-1]),
    )


def _scores(proxy: Proxy, x: Vector) -> Vector:
    """Return what enters the sort repair at an input ((n,))."""
    inputs = torch.as_tensor(x)[None]
    h = inputs
    with torch.no_grad():
        for layer in list(proxy.layers)[:-1]:
            h = layer(h, inputs)
    return h[0].numpy()
