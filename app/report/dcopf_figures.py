"""The figures of a DC-OPF report: loads, dispatch and line loadings at the worst case found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from app.report.chart import (
    FAINT,
    INK,
    MOST_NAMES,
    OPTIMUM,
    OVER,
    PROXY,
    RANGE,
    bar_width,
    dashes,
    named,
    sticks,
    svg,
    tick,
)
from problems.interval import Interval, Vector

# A line this little above 100 % is full, not overloaded: the solver's own tolerance.
FULL = 100.01
# The report shows at most this many lines: the others are less loaded.
MOST_LINES = 150


def loads(names: Sequence[str], reference: Vector, box: Interval, witness: Vector) -> str:
    """Draw each load at the witness within its range, in MW and as a share of the reference; largest load first."""
    order = np.argsort(-np.abs(reference), kind="stable")
    x = np.arange(order.size)
    r, low, high, w = reference[order], box.lower[order], box.upper[order], witness[order]

    def draw(figure: Figure) -> None:
        megawatts, shares = figure.subplots(2, 1, sharex=True, height_ratios=[1.25, 1])
        ends = np.stack([low / r, high / r])
        width = bar_width(order.size)
        for axes, bottom, top, middle, point in (
            (megawatts, low, high, r, w),
            (shares, 100 * ends.min(0), 100 * ends.max(0), np.full(r.size, 100.0), 100 * w / r),
        ):
            sticks(axes, x, bottom, top, color=RANGE, lw=width, label="range of the domain")
            dashes(axes, x, middle, color=FAINT, lw=0.9, label="reference")
            dashes(axes, x, point, color=PROXY, lw=2.2, label="worst case found")
        megawatts.set_ylabel("load, MW")
        megawatts.yaxis.set_major_formatter(FuncFormatter(tick))
        shares.set_ylabel("% of reference")
        named(shares, [names[k] for k in order], "loads by bus number, largest first")
        figure.legend(*megawatts.get_legend_handles_labels(), loc="outside upper left", ncols=3)

    return svg(draw, 4.1, "Loads of the worst case found, within their ranges")


def dispatch(names: Sequence[str], limits: Interval, proxy: Vector, optimum: Vector) -> str:
    """Draw each generator's output within its limits, of the proxy and of the optimum (MW, in the order given)."""
    x = np.arange(len(names))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        sticks(axes, x, limits.lower, limits.upper, color=RANGE, lw=bar_width(x.size), label="limits")
        dashes(axes, x, optimum, color=OPTIMUM, lw=2.4, label="cheapest dispatch")
        axes.plot(x, proxy, "o", ms=5 if x.size <= MOST_NAMES else 2.5, color=PROXY, label="proxy")
        axes.set_ylabel("output, MW")
        axes.yaxis.set_major_formatter(FuncFormatter(tick))
        named(axes, names, "generators by bus number and marginal cost, cheapest first")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)

    return svg(draw, 3.5, "Dispatch of the proxy and of the optimum")


def line_loadings(names: Sequence[str], proxy: Vector, optimum: Vector) -> str:
    """Draw how loaded each line is (% of its limit) by the proxy's and by the optimal dispatch, in the order given."""
    x = np.arange(len(names))
    over = proxy > FULL

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        width = bar_width(x.size)
        for which, colour, label in ((~over, "#dfb98b", "proxy"), (over, OVER, "proxy, above the limit")):
            if which.any():
                sticks(axes, x[which], np.zeros(int(which.sum())), proxy[which], color=colour, lw=width, label=label)
        dashes(axes, x, optimum, color=OPTIMUM, lw=1.8, label="cheapest dispatch")
        axes.axhline(100, color=INK, lw=0.8, ls=(0, (4, 3)))
        axes.set_ylim(0, 1.05 * max(105.0, float(proxy.max()), float(optimum.max())))
        axes.set_ylabel("loading, % of the limit")
        axes.yaxis.set_major_formatter(FuncFormatter(tick))
        named(axes, names, "lines by their end buses, most loaded by the proxy first")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)

    return svg(draw, 3.4, "Line loadings at the worst case found")
