"""Numbers for people: gaps, intervals, and a moment of a job in one line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from certigap.models import Event


def amount(value: float | None, unit: str | None) -> str:
    """Return a gap: "1,234 $/h", "3.21 %", or "unknown"."""
    if value is None or not math.isfinite(value):
        return "unknown"
    if unit == "1":
        return f"{100 * value:.4g} %"
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{number} {unit}" if unit else number


def interval(lower: float | None, upper: float | None, unit: str | None) -> str:
    """Return "gap between 1,234 $/h and 2,345 $/h", as far as it is known; empty where nothing is."""
    if lower is None and upper is None:
        return ""
    if upper is None or not math.isfinite(upper):
        return f"gap at least {amount(lower, unit)}"
    if lower is None:
        return f"gap at most {amount(upper, unit)}"
    return f"gap between {amount(lower, unit)} and {amount(upper, unit)}"


def line(event: Event) -> str:
    """Return an event as one line."""
    counters = " ".join(f"{name} {value:,.0f}" for name, value in event.counters.items() if name != "incumbent")
    when = "" if event.seconds is None else f"{event.seconds:7.1f} s"
    what = event.phase or event.status or event.type
    return f"{when:>9}  {what:<11} {interval(event.lower, event.upper, event.unit):<44} {counters}".rstrip()
