"""The figures that every report has: bounds over time, fixed units, and sampled gaps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from app.report.chart import FAINT, INK, LOG_FROM, OPTIMUM, PROXY, RANGE, log_axis, svg, tick
from app.report.numbers import quantity
from problems.interval import Vector
from verifier.result import Event, LayerStability
from verifier.rounding import DOWN, UP

PHASES = {"attack": "#e3c9a8", "bounds": "#c3d3c2", "build": "#e6e2b8", "tightening": "#a9c3d9", "search": "#c9bfdc"}
# A histogram is linear while the worst case is at most this many times the largest sample.
LINEAR_UP_TO = 4.0
# A histogram on a logarithmic axis starts here: the first bar also holds the few samples that are smaller still.
HISTOGRAM_START = 0.02  # quantile of the samples that are more than rounding
HISTOGRAM_FLOOR = 1e-6  # what counts as rounding, as a share of the largest sample


def axis_label(unit: str) -> str:
    """Name the gap's unit on an axis."""
    return "relative gap, %" if unit == "1" else f"gap, {unit}"


def bounds_over_time(events: Sequence[Event], unit: str, spent: Mapping[str, float]) -> str:
    """Draw the lower and the upper bound over time, the phases as a strip above; "" where there is nothing to draw.

    Args:
        events: the story.
        unit: of the bounds.
        spent: seconds by phase, in the order of the work, and "total".
    """
    if not events or not any(event.lower > 0 or math.isfinite(event.upper) for event in events):
        return ""
    end = max([spent.get("total", 0.0), *(event.seconds for event in events)]) or 1.0
    scale, time_unit = (60.0, "min") if end > 600 else (1.0, "s")
    seconds = np.array([event.seconds for event in events] + [end]) / scale
    factor = 100.0 if unit == "1" else 1.0
    lower = np.array([event.lower for event in events] + [events[-1].lower]) * factor
    upper = np.array([event.upper for event in events] + [events[-1].upper]) * factor
    both_ends = np.concatenate([lower, upper])
    finite = both_ends[np.isfinite(both_ends)]
    known, signed = finite[finite > 0], bool((finite < 0).any())

    def draw(figure: Figure) -> None:
        strip, axes = figure.subplots(2, 1, sharex=True, height_ratios=[0.09, 1])
        _phase_strip(strip, _phases(events, spent, end), end, scale)
        logarithmic = not signed and known.size > 0 and known.max() > LOG_FROM * known.min()
        if logarithmic:
            log_axis(axes, "y")
        shown = np.where(lower > 0, lower, np.nan) if logarithmic else lower
        axes.plot(seconds, upper, drawstyle="steps-post", color=OPTIMUM, lw=1.8, label="upper bound (certified)")
        axes.plot(seconds, shown, drawstyle="steps-post", color=PROXY, lw=1.8, label="lower bound (attained)")
        both = np.where(np.isfinite(upper), upper, np.nan)
        axes.fill_between(seconds, shown, both, step="post", color=RANGE, alpha=0.35, lw=0)
        if not np.isfinite(upper).any():
            axes.text(0.99, 0.94, "no upper bound was found", transform=axes.transAxes, ha="right", color=OPTIMUM)
        axes.set_xlim(0, end / scale)
        axes.set(xlabel=f"time, {time_unit}", ylabel=axis_label(unit))
        if signed:
            axes.axhline(0, color=FAINT, lw=0.8, zorder=0)
        elif not logarithmic:
            axes.set_ylim(0, 1.08 * float(known.max()) if known.size else 1)
        if not logarithmic:
            axes.yaxis.set_major_formatter(FuncFormatter(tick))
        axes.legend(loc="best")

    return svg(draw, 2.9, "Lower and upper bound over time")


def stability(layers: Sequence[LayerStability]) -> str:
    """Draw for each layer how many units are fixed by the first bounds, by tightening, and still open."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        rows = np.arange(len(layers))
        before = np.array([layer.stable_before for layer in layers])
        after = np.array([layer.stable_after for layer in layers])
        units = np.array([layer.units for layer in layers])
        parts = (
            ("fixed by the first bounds", before, "#5d7f9c", "white"),
            ("fixed by tightening", np.maximum(after - before, 0), "#a9c3d9", INK),
            ("still open", units - np.maximum(after, before), "#ecc894", INK),
        )
        left = np.zeros(len(layers))
        for label, counts, colour, ink in parts:
            axes.barh(rows, counts, left=left, height=0.66, color=colour, label=label)
            for row in rows[counts > 0.03 * units.max()]:
                middle = left[row] + counts[row] / 2
                axes.text(middle, row, f"{counts[row]:,}", ha="center", va="center", fontsize=8, color=ink)
            left = left + counts
        axes.set_yticks(rows, [layer.layer for layer in layers])
        axes.invert_yaxis()
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("units")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)

    return svg(draw, 0.95 + 0.3 * len(layers), "Units with a fixed state, layer by layer")


def sampled(gaps: Vector, lower: float, upper: float, unit: str) -> str:
    """Draw the histogram of sampled gaps with both bounds as lines; logarithmic where the worst case is far away.

    Args:
        gaps: (count,), at least one above 0.
        lower, upper, unit: the result's.
    """
    factor = 100.0 if unit == "1" else 1.0
    values = np.maximum(gaps, 0.0) * factor
    marks = [mark * factor for mark in (lower, upper) if math.isfinite(mark) and mark > 0]
    end = max([float(values.max()), *marks])
    logarithmic = end > LINEAR_UP_TO * float(values.max())

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if logarithmic:
            log_axis(axes, "x")
            real = values[values > HISTOGRAM_FLOOR * values.max()]
            start = float(np.quantile(real, HISTOGRAM_START)) / 1.5
            bins = np.geomspace(start, float(values.max()) * (1 + 1e-9), 36)
            values_shown = np.maximum(values, start)
            axes.set_xlim(start / 1.2, end * (end / start) ** 0.04)
        else:
            bins = np.linspace(0, float(values.max()), 36)
            values_shown = values
            axes.set_xlim(0, 1.04 * end)
            axes.xaxis.set_major_formatter(FuncFormatter(tick))
        counts, _, _ = axes.hist(values_shown, bins=bins.tolist(), color="#9aa7b3")
        axes.set_ylim(0, 1.32 * float(np.max(counts)))
        axes.set(xlabel=axis_label(unit) + (" (logarithmic)" if logarithmic else ""), ylabel="random inputs")
        mark_bounds(axes, max(lower, 0.0), max(upper, 0.0), unit)

    return svg(draw, 2.7, "Gaps at random inputs beside the certified bounds")


def mark_bounds(axes: Axes, lower: float, upper: float, unit: str) -> None:
    """Draw both bounds as vertical lines with their names; on an axis of gaps, one that is 0 says nothing."""
    factor = 100.0 if unit == "1" else 1.0
    if math.isfinite(lower) and lower != 0:
        _mark(axes, lower * factor, f"lower bound {quantity(lower, unit, rounding=DOWN)}", PROXY, 0.86)
    if math.isfinite(upper) and upper != 0:
        _mark(axes, upper * factor, f"upper bound {quantity(upper, unit, rounding=UP)}", OPTIMUM, 0.97)


def _mark(axes: Axes, at: float, text: str, colour: str, height: float) -> None:
    """Draw a vertical line at `at` and write beside it, on the side with room."""
    axes.axvline(at, color=colour, lw=1.6)
    place = float(axes.transAxes.inverted().transform(axes.transData.transform((at, 0)))[0])
    side, shift = ("right", -5) if place > 0.35 else ("left", 5)
    axes.annotate(
        text,
        (at, height),
        (shift, 0),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha=side,
        va="top",
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _phases(events: Sequence[Event], spent: Mapping[str, float], end: float) -> list[tuple[str, float, float]]:
    """Return each phase, its start and its end: by the time spent where no phase came twice, else by the events."""
    runs = [(phase, next(iter(group)).seconds) for phase, group in groupby(events, lambda event: event.phase)]
    runs = [run for run in runs if run[0] != "done"]
    parts = [(phase, seconds) for phase, seconds in spent.items() if phase != "total"]
    if parts and len({phase for phase, _ in runs}) == len(runs):
        edges = np.minimum(np.cumsum([0.0, *(seconds for _, seconds in parts)]), end).tolist()
        names = [phase for phase, _ in parts]
    else:
        edges = [0.0, *(start for _, start in runs[1:]), end]
        names = [phase for phase, _ in runs]
    return list(zip(names, edges[:-1], edges[1:]))


def _phase_strip(axes: Axes, phases: Sequence[tuple[str, float, float]], end: float, scale: float) -> None:
    """Colour the time of each phase, and name those that are long enough to hold their name."""
    for phase, left, right in phases:
        axes.axvspan(left / scale, right / scale, color=PHASES.get(phase, RANGE), lw=0)
        if right - left > 0.012 * end * len(phase):
            axes.text((left + right) / 2 / scale, 0.46, phase, ha="center", va="center", fontsize=8)
    axes.set_ylim(0, 1)
    axes.axis("off")
