"""The figures of a classifier's report: the margins of random inputs, and how far each feature moved."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from app.report.chart import FAINT, INK, PROXY, RANGE, bar_width, dashes, named, sticks, svg, tick
from app.report.figures import mark_bounds
from problems.interval import Interval, Vector


def margins(gaps: Vector, lower: float, upper: float, unit: str) -> str:
    """Draw the histogram of random inputs' gaps with both bounds and the border between right and wrong.

    Args:
        gaps: (count,), at least one.
        lower, upper, unit: the result's.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        ends = [0.0, float(gaps.min()), float(gaps.max()), *(end for end in (lower, upper) if math.isfinite(end))]
        room = 0.04 * (max(ends) - min(ends) or 1.0)
        counts, _, _ = axes.hist(gaps, bins=36, color="#9aa7b3")
        axes.set_xlim(min(ends) - room, max(ends) + room)
        axes.set_ylim(0, 1.32 * float(np.max(counts)))
        axes.axvline(0, color=INK, lw=0.8, ls=(0, (4, 3)))
        axes.xaxis.set_major_formatter(FuncFormatter(tick))
        axes.set(xlabel=f"gap, {unit}: right up to 0, wrong above", ylabel="random inputs")
        mark_bounds(axes, lower, upper, unit)

    return svg(draw, 2.7, "Gaps at random inputs beside the certified bounds")


def features(names: Sequence[str], limits: Interval, moved: Vector, ranged: bool) -> str:
    """Draw how far each feature is from the sample's in the worst case found, within what the domain allows.

    Args:
        names: of the features, in order.
        limits: (n,) the least and the most that each may move.
        moved: (n,) how far each did.
        ranged: whether all three are shares of a feature's range; else they are in its own unit.
    """
    x, factor = np.arange(len(names)), 100.0 if ranged else 1.0

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        low, high = factor * limits.lower, factor * limits.upper
        sticks(axes, x, low, high, color=RANGE, lw=bar_width(x.size), label="what the domain allows")
        axes.axhline(0, color=FAINT, lw=0.9, zorder=1)
        dashes(axes, x, factor * moved, color=PROXY, lw=2.2, label="worst case found")
        axes.set_ylabel("moved by, % of its range" if ranged else "moved by")
        axes.yaxis.set_major_formatter(FuncFormatter(tick))
        named(axes, names, "features")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)

    return svg(draw, 2.7, "Features of the worst case found, within their ranges")
