"""The figures of the report, as inline SVG, and the way its numbers are written."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from io import StringIO
from itertools import groupby
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from problems.interval import Interval, Vector
from verifier.result import Event, LayerStability

# Ink, and one colour per meaning: what the proxy does or attains, what is optimal or certified, what breaks a limit.
INK, FAINT, RANGE = "#1d2329", "#6b747d", "#d7dce1"
PROXY, OPTIMUM, OVER = "#b8620b", "#1f5582", "#c1121f"
PHASES = {"attack": "#e3c9a8", "bounds": "#c3d3c2", "build": "#e6e2b8", "tightening": "#a9c3d9", "search": "#c9bfdc"}
# Inches of a full-width figure: the page's 960 px less its margins, at the 96 px of a CSS inch.
WIDTH = 9.3
# Above this ratio of largest to smallest a linear axis squeezes the small values into one line.
LOG_FROM = 20.0
# A histogram is linear while the worst case is at most this many times the largest sample.
LINEAR_UP_TO = 4.0
# Names under the bars stay readable up to here.
MOST_NAMES = 60
# A line this little above 100 % is full, not overloaded: the solver's own tolerance.
FULL = 100.01
# The report shows at most this many lines: the others are less loaded.
MOST_LINES = 150
# A histogram on a logarithmic axis starts here: the first bar also holds the few samples that are smaller still.
HISTOGRAM_START = 0.02  # quantile of the positive samples
HISTOGRAM_FLOOR = 1e-6  # share of the largest sample
# matplotlib's settings are global: one figure at a time.
_LOCK = threading.Lock()
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "font.size": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
    "text.color": INK,
}


def number(value: float, digits: int = 4, rounding: str = ROUND_HALF_EVEN) -> str:
    """Write a number with `digits` significant ones, thousands separated; whole parts are never cut."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-decimals), rounding=rounding)
    text = f"{rounded:,f}" if decimals <= digits + 2 else f"{rounded:.{digits - 1}e}"
    return text.replace("-", "−")


def quantity(value: float, unit: str, digits: int = 4, rounding: str = ROUND_HALF_EVEN) -> str:
    """Write a number with its unit: $/h before and behind, "1" as a percentage."""
    if unit == "1":
        return f"{number(value * 100, digits, rounding)}\u00a0%"
    text = number(value, digits, rounding)
    if unit == "$/h":
        return f"−${text[1:]}/h" if text.startswith("−") else f"${text}/h"
    return f"{text}\u00a0{unit}"


def plain(value: float) -> str:
    """Write a number that someone chose, such as a limit: up to four significant digits, no trailing zeros."""
    return f"{value:.4g}".replace("-", "−")


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
    known = np.concatenate([lower[lower > 0], upper[np.isfinite(upper) & (upper > 0)]])

    def draw(figure: Figure) -> None:
        strip, axes = figure.subplots(2, 1, sharex=True, height_ratios=[0.09, 1])
        _phase_strip(strip, _phases(events, spent, end), end, scale)
        logarithmic = known.size > 0 and known.max() > LOG_FROM * known.min()
        if logarithmic:
            _log_axis(axes, "y")
        shown = np.where(lower > 0, lower, np.nan) if logarithmic else lower
        axes.plot(seconds, upper, drawstyle="steps-post", color=OPTIMUM, lw=1.8, label="upper bound (certified)")
        axes.plot(seconds, shown, drawstyle="steps-post", color=PROXY, lw=1.8, label="lower bound (attained)")
        both = np.where(np.isfinite(upper), upper, np.nan)
        axes.fill_between(seconds, shown, both, step="post", color=RANGE, alpha=0.35, lw=0)
        if not np.isfinite(upper).any():
            axes.text(0.99, 0.94, "no upper bound was found", transform=axes.transAxes, ha="right", color=OPTIMUM)
        axes.set_xlim(0, end / scale)
        axes.set(xlabel=f"time, {time_unit}", ylabel=axis_label(unit))
        if not logarithmic:
            axes.set_ylim(0, 1.08 * float(known.max()) if known.size else 1)
            axes.yaxis.set_major_formatter(FuncFormatter(_tick))
        axes.legend(loc="best")

    return _svg(draw, 2.9, "Lower and upper bound over time")


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

    return _svg(draw, 0.95 + 0.3 * len(layers), "Units with a fixed state, layer by layer")


def loads(names: Sequence[str], reference: Vector, box: Interval, witness: Vector) -> str:
    """Draw each load at the witness within its range, in MW and as a share of the reference; largest load first."""
    order = np.argsort(-np.abs(reference), kind="stable")
    x = np.arange(order.size)
    r, low, high, w = reference[order], box.lower[order], box.upper[order], witness[order]

    def draw(figure: Figure) -> None:
        megawatts, shares = figure.subplots(2, 1, sharex=True, height_ratios=[1.25, 1])
        ends = np.stack([low / r, high / r])
        width = _bar_width(order.size)
        for axes, bottom, top, middle, point in (
            (megawatts, low, high, r, w),
            (shares, 100 * ends.min(0), 100 * ends.max(0), np.full(r.size, 100.0), 100 * w / r),
        ):
            _sticks(axes, x, bottom, top, color=RANGE, lw=width, label="range of the domain")
            _dashes(axes, x, middle, color=FAINT, lw=0.9, label="reference")
            _dashes(axes, x, point, color=PROXY, lw=2.2, label="worst case found")
        megawatts.set_ylabel("load, MW")
        megawatts.yaxis.set_major_formatter(FuncFormatter(_tick))
        shares.set_ylabel("% of reference")
        _named(shares, [names[k] for k in order], "loads by bus number, largest first")
        figure.legend(*megawatts.get_legend_handles_labels(), loc="outside upper left", ncols=3)

    return _svg(draw, 4.1, "Loads of the worst case found, within their ranges")


def dispatch(names: Sequence[str], limits: Interval, proxy: Vector, optimum: Vector) -> str:
    """Draw each generator's output within its limits, of the proxy and of the optimum (MW, in the order given)."""
    x = np.arange(len(names))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _sticks(axes, x, limits.lower, limits.upper, color=RANGE, lw=_bar_width(x.size), label="limits")
        _dashes(axes, x, optimum, color=OPTIMUM, lw=2.4, label="cheapest dispatch")
        axes.plot(x, proxy, "o", ms=5 if x.size <= MOST_NAMES else 2.5, color=PROXY, label="proxy")
        axes.set_ylabel("output, MW")
        axes.yaxis.set_major_formatter(FuncFormatter(_tick))
        _named(axes, names, "generators by bus number and marginal cost, cheapest first")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)

    return _svg(draw, 3.5, "Dispatch of the proxy and of the optimum")


def line_loadings(names: Sequence[str], proxy: Vector, optimum: Vector) -> str:
    """Draw how loaded each line is (% of its limit) by the proxy's and by the optimal dispatch, in the order given."""
    x = np.arange(len(names))
    over = proxy > FULL

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        width = _bar_width(x.size)
        for which, colour, label in ((~over, "#dfb98b", "proxy"), (over, OVER, "proxy, above the limit")):
            if which.any():
                _sticks(axes, x[which], np.zeros(int(which.sum())), proxy[which], color=colour, lw=width, label=label)
        _dashes(axes, x, optimum, color=OPTIMUM, lw=1.8, label="cheapest dispatch")
        axes.axhline(100, color=INK, lw=0.8, ls=(0, (4, 3)))
        axes.set_ylim(0, 1.05 * max(105.0, float(proxy.max()), float(optimum.max())))
        axes.set_ylabel("loading, % of the limit")
        axes.yaxis.set_major_formatter(FuncFormatter(_tick))
        _named(axes, names, "lines by their end buses, most loaded by the proxy first")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)

    return _svg(draw, 3.4, "Line loadings at the worst case found")


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
            _log_axis(axes, "x")
            positive = values[values > 0]
            start = max(float(np.quantile(positive, HISTOGRAM_START)), HISTOGRAM_FLOOR * float(values.max())) / 1.5
            bins = np.geomspace(start, float(values.max()) * (1 + 1e-9), 36)
            values_shown = np.maximum(values, start)
            axes.set_xlim(start / 1.2, end * (end / start) ** 0.04)
        else:
            bins = np.linspace(0, float(values.max()), 36)
            values_shown = values
            axes.set_xlim(0, 1.04 * end)
            axes.xaxis.set_major_formatter(FuncFormatter(_tick))
        counts, _, _ = axes.hist(values_shown, bins=bins.tolist(), color="#9aa7b3")
        axes.set_ylim(0, 1.32 * float(np.max(counts)))
        axes.set(xlabel=axis_label(unit) + (" (logarithmic)" if logarithmic else ""), ylabel="random inputs")
        _mark(axes, lower * factor, f"lower bound {quantity(lower, unit, rounding=ROUND_FLOOR)}", PROXY, 0.86)
        _mark(axes, upper * factor, f"upper bound {quantity(upper, unit, rounding=ROUND_CEILING)}", OPTIMUM, 0.97)

    return _svg(draw, 2.7, "Gaps at random inputs beside the certified bounds")


def _mark(axes: Axes, at: float, text: str, colour: str, height: float) -> None:
    """Draw a vertical line at `at` and write beside it, on the side with room."""
    if not (math.isfinite(at) and at > 0):
        return
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


def _sticks(axes: Axes, x: NDArray[np.int64], low: Vector, high: Vector, **style: object) -> None:
    """Draw one vertical bar per entry, all as one path."""
    gap = np.full(x.size, np.nan)
    columns, rows = np.stack([x, x, gap], 1), np.stack([low, high, gap], 1)
    axes.plot(columns.ravel(), rows.ravel(), solid_capstyle="butt", zorder=1, **style)  # type: ignore[arg-type]


def _dashes(axes: Axes, x: NDArray[np.int64], y: Vector, **style: object) -> None:
    """Draw one short horizontal dash per entry, all as one path."""
    half, gap = min(0.42, 0.02 * max(8, x.size)), np.full(x.size, np.nan)
    columns, rows = np.stack([x - half, x + half, gap], 1), np.stack([y, y, gap], 1)
    axes.plot(columns.ravel(), rows.ravel(), solid_capstyle="butt", zorder=2, **style)  # type: ignore[arg-type]


def _bar_width(count: int) -> float:
    """Return the width in points of one of `count` bars across a full-width figure."""
    return float(min(14.0, 0.72 * 72 * (WIDTH - 0.8) / max(count, 1)))


def _named(axes: Axes, names: Sequence[str], title: str) -> None:
    """Write a name under every bar, or under every second, third ... where there are too many to read."""
    count = len(names)
    margin = max(0.5, (9 - count) / 2)
    axes.set_xlim(-margin, count - 1 + margin)
    every = -(-count // MOST_NAMES)
    size = 8.5 if count <= 45 else 7.5
    axes.set_xticks(range(0, count, every), list(names[::every]), rotation=0 if count <= 8 else 90, fontsize=size)
    ordinal = {2: "second", 3: "third"}.get(every, f"{every}th")
    axes.set_xlabel(title if every == 1 else f"{title} (every {ordinal} is named)")


def _log_axis(axes: Axes, which: str) -> None:
    axis = axes.yaxis if which == "y" else axes.xaxis
    (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    axis.set_major_formatter(FuncFormatter(_tick))
    axis.set_minor_formatter(NullFormatter())


def _tick(value: float, _: object = None) -> str:
    """Write a tick: thousands separated, no trailing zeros."""
    if value != 0 and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.0e}".replace("-", "−")
    text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")


def _svg(draw: Callable[[Figure], None], height: float, label: str) -> str:
    """Return a figure as an SVG element for a page: no prolog, no size of its own, no link to anywhere."""
    settings: Any = {**_STYLE, "svg.hashsalt": label}
    with _LOCK, matplotlib.rc_context(settings):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure)
        stream = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    assert box is not None
    return f'<svg role="img" aria-label="{label}" viewBox="{box.group(1)}">{body}'
