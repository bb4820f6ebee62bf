"""What all figures of a report share: colours, marks, axes, and inline SVG."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from problems.interval import Vector

_log = logging.getLogger(__name__)

# Ink, and one colour per meaning: what the proxy does or attains, what is optimal or certified, what breaks a limit.
INK, FAINT, RANGE = "#1d2329", "#6b747d", "#d7dce1"
PROXY, OPTIMUM, OVER = "#b8620b", "#1f5582", "#c1121f"
# Inches of a full-width figure: the page's 960 px less its margins, at the 96 px of a CSS inch.
WIDTH = 9.3
# Above this ratio of largest to smallest a linear axis squeezes the small values into one line.
LOG_FROM = 20.0
# Names under the bars stay readable up to here.
MOST_NAMES = 60
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


def sticks(axes: Axes, x: NDArray[np.int64], low: Vector, high: Vector, **style: object) -> None:
    """Draw one vertical bar per entry, all as one path."""
    gap = np.full(x.size, np.nan)
    columns, rows = np.stack([x, x, gap], 1), np.stack([low, high, gap], 1)
    axes.plot(columns.ravel(), rows.ravel(), solid_capstyle="butt", zorder=1, **style)  # type: ignore[arg-type]


def dashes(axes: Axes, x: NDArray[np.int64], y: Vector, **style: object) -> None:
    """Draw one short horizontal dash per entry, all as one path."""
    half, gap = min(0.42, 0.02 * max(8, x.size)), np.full(x.size, np.nan)
    columns, rows = np.stack([x - half, x + half, gap], 1), np.stack([y, y, gap], 1)
    axes.plot(columns.ravel(), rows.ravel(), solid_capstyle="butt", zorder=2, **style)  # type: ignore[arg-type]


def bar_width(count: int) -> float:
    """Return the width in points of one of `count` bars across a full-width figure."""
    return float(min(14.0, 0.72 * 72 * (WIDTH - 0.8) / max(count, 1)))


def named(axes: Axes, names: Sequence[str], title: str) -> None:
    """Write a name under every bar, or under every second, third ... where there are too many to read."""
    count = len(names)
    margin = max(0.5, (9 - count) / 2)
    axes.set_xlim(-margin, count - 1 + margin)
    every = -(-count // MOST_NAMES)
    size = 8.5 if count <= 45 else 7.5
    axes.set_xticks(range(0, count, every), list(names[::every]), rotation=0 if count <= 8 else 90, fontsize=size)
    ordinal = {2: "second", 3: "third"}.get(every, f"{every}th")
    axes.set_xlabel(title if every == 1 else f"{title} (every {ordinal} is named)")


def log_axis(axes: Axes, which: str) -> None:
    axis = axes.yaxis if which == "y" else axes.xaxis
    (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    axis.set_major_formatter(FuncFormatter(tick))
    axis.set_minor_formatter(NullFormatter())


def tick(value: float, _: object = None) -> str:
    """Write a tick: thousands separated, no trailing zeros."""
    if value != 0 and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.0e}".replace("-", "−")
    text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")


def svg(draw: Callable[[Figure], None], height: float, label: str) -> str:
    """Return a figure as an SVG element for a page: no prolog, no size of its own, no link to anywhere.

    Where axes cannot hold its numbers (1e308, or 5e-324), a sentence that says so: a report is never without its text.
    """
    settings: Any = {**_STYLE, "svg.hashsalt": label}
    stream = StringIO()
    try:
        with _LOCK, matplotlib.rc_context(settings), np.errstate(over="raise", invalid="ignore"):
            figure = Figure(figsize=(WIDTH, height), layout="constrained")
            draw(figure)
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    except (ArithmeticError, ValueError) as error:
        _log.warning("the figure %r was left out: %s", label, error)
        return f"<p>{label}: this figure is left out, since an axis cannot hold its numbers.</p>"
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
