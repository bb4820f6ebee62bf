"""The figures of a knapsack report: the items by value for weight with both choices, and how far the values moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from app.report.chart import (
    FAINT,
    INK,
    LOG_FROM,
    OPTIMUM,
    PROXY,
    RANGE,
    bar_width,
    dashes,
    log_axis,
    named,
    sticks,
    svg,
    tick,
)
from problems.interval import Interval, Vector

# Both choices take it, or neither does: what they agree on stays in the background.
BOTH, NEITHER = "#8d98a3", "#d7dce1"
# Areas of dots, in square points, where they have all the room they want.
LARGEST_DOT, SMALLEST_DOT = 150.0, 6.0
# The dots that matter are seen among hundreds.
SMALLEST_DIFFERENCE = 14.0
# Area of the largest dot where dots stand close: its width is 1.7 bars.
DOT_ROOM = 2.2
TITLE = "items by number, most value for weight first"


@dataclass(frozen=True)
class Items:
    """The items at a witness, in the order of the figures.

    Attributes:
        names: what people call them.
        value, weight: (n,) at the witness.
        score: (n,) the network's.
        proxy, optimum: (n,) whether each choice takes them.
        shift: (n,) value in per cent of the nominal one.
        limits: (n,) what the domain allows `shift`.
        capacity: at the witness.
    """

    names: Sequence[str]
    value: Vector
    weight: NDArray[np.int64]
    score: Vector
    proxy: NDArray[np.bool_]
    optimum: NDArray[np.bool_]
    shift: Vector
    limits: Interval
    capacity: float

    @property
    def ratio(self) -> Vector:
        """(n,) value for weight."""
        return self.value / self.weight

    @property
    def order(self) -> NDArray[np.int64]:
        """(n,) the items by descending score, as the proxy's repair takes them."""
        return np.argsort(-self.score, kind="stable")

    @property
    def fitting(self) -> int:
        """How many items in the proxy's order are taken before the first that is not."""
        left = ~self.proxy[self.order]
        return int(np.argmax(left)) if left.any() else left.size

    @property
    def groups(self) -> tuple[tuple[str, NDArray[np.bool_], str], ...]:
        """Return label, members and colour of what both, one or neither of the choices take."""
        return (
            ("taken by neither", ~self.proxy & ~self.optimum, NEITHER),
            ("by both", self.proxy & self.optimum, BOTH),
            ("by the proxy only", self.proxy & ~self.optimum, PROXY),
            ("by the best choice only", ~self.proxy & self.optimum, OPTIMUM),
        )


def choices(items: Items) -> str:
    """Draw value for weight, and the place in the proxy's order, of every item, coloured by who takes it.

    Dots grow with weight.
    """
    x = np.arange(len(items.names))
    largest = min(LARGEST_DOT, DOT_ROOM * bar_width(x.size) ** 2)
    least = np.where(items.proxy != items.optimum, SMALLEST_DIFFERENCE, SMALLEST_DOT)
    area = np.maximum(largest * items.weight / items.weight.max(), least)
    places = np.empty(x.size)
    places[items.order] = 1 + x

    def draw(figure: Figure) -> None:
        ratios, order = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, 1])
        for axes, height in ((ratios, items.ratio), (order, places)):
            for label, members, colour in items.groups:
                if members.any():
                    axes.scatter(
                        x[members], height[members], s=area[members], color=colour, lw=0, label=label, zorder=2
                    )
        positive = items.ratio[items.ratio > 0]
        if positive.size and positive.max() > LOG_FROM * positive.min():
            log_axis(ratios, "y")
        else:
            ratios.set_ylim(bottom=0)
            ratios.yaxis.set_major_formatter(FuncFormatter(tick))
        ratios.set_ylabel("value / weight")
        _mark_last_fit(ratios, items)
        order.set_yticks(
            [place for place in MaxNLocator(6, integer=True).tick_values(1, x.size) if 1 <= place <= x.size]
        )
        margin = 0.5 + 0.03 * x.size
        order.set_ylim(x.size + margin, 1 - margin)
        order.set_ylabel("place in proxy's order")
        order.axhline(items.fitting + 0.5, color=FAINT, lw=0.8, ls=(0, (4, 3)), zorder=1)
        named(order, items.names, TITLE)
        figure.legend(*ratios.get_legend_handles_labels(), loc="outside upper left", ncols=4)

    return svg(draw, 4.8, "Items by value for weight, with both choices")


def shifts(items: Items, capacity: float | None) -> str:
    """Draw every item's value, and last the capacity, in per cent of nominal, within what the domain allows.

    Args:
        items: at the witness.
        capacity: in per cent of nominal; None where that is 0.
    """
    low, high, shift, names = items.limits.lower, items.limits.upper, items.shift, list(items.names)
    x = np.arange(len(names))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        sticks(axes, x, low, high, color=RANGE, lw=bar_width(x.size), label="range of the domain")
        axes.axhline(100, color=FAINT, lw=0.9, zorder=1)
        for label, members, colour in items.groups:
            if members.any():
                ink = FAINT if colour == NEITHER else INK if colour == BOTH else colour
                dashes(axes, x, np.where(members, shift, np.nan), color=ink, lw=2.2, label=label)
        if capacity is not None:
            axes.axhline(capacity, color=INK, lw=0.8, ls=(0, (4, 3)), label="capacity")
        axes.set_ylabel("% of nominal")
        axes.yaxis.set_major_formatter(FuncFormatter(tick))
        named(axes, names, TITLE)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=6)

    return svg(draw, 2.7, "Item values of the worst case found, within their ranges")


def _mark_last_fit(axes: Axes, items: Items) -> None:
    """Mark where the items in this order stop to fit into the capacity together."""
    fitting = int((np.cumsum(items.weight) <= items.capacity).sum())
    if 0 < fitting < len(items.names):
        axes.axvline(fitting - 0.5, color=FAINT, lw=0.8, ls=(0, (4, 3)), zorder=1)
        axes.annotate(
            "full, in this order",
            (fitting - 0.5, 1.0),
            (4, -2),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=FAINT,
        )
