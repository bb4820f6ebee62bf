"""Numbers for people: gaps rounded outward, intervals, and a moment of a job in one line."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from certigap.models import Event


# Significant digits; below 10^15 the whole part is never cut, from there on numbers have an exponent.
_DIGITS, _LARGEST_WHOLE = 4, 15
# Whatever a float is, no step below loses a digit of it.
_EXACT = Context(prec=400, Emin=-9999, Emax=9999)


def upper_amount(value: float | None, unit: str | None) -> str:
    """Return an upper bound rounded up: "1,235 $/h", "3.22 %", or "unknown"."""
    return _amount(value, unit, ROUND_CEILING)


def lower_amount(value: float | None, unit: str | None) -> str:
    """Return a lower bound, or what was attained, rounded down: "1,234 $/h", "3.21 %", or "unknown"."""
    return _amount(value, unit, ROUND_FLOOR)


def _amount(value: float | None, unit: str | None, rounding: str) -> str:
    if value is None or not math.isfinite(value):
        return "unknown"
    exact, unit = Decimal(repr(float(value))), unit or ""
    if unit == "1":
        exact, unit = _EXACT.scaleb(exact, 2), "%"
    return f"{_number(exact, rounding)} {unit}".rstrip()


def _number(exact: Decimal, rounding: str) -> str:
    if exact == 0:
        return "0"
    last = exact.adjusted() - _DIGITS + 1
    last = min(last, 0) if exact.adjusted() < _LARGEST_WHOLE else last
    told = exact.quantize(Decimal(1).scaleb(last), rounding, _EXACT)
    if told == 0 or -5 < told.adjusted() < _LARGEST_WHOLE:
        text, exponent = f"{told:,f}", ""
    else:
        text, _, exponent = f"{told:.{_DIGITS - 1}e}".partition("e")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text}e{exponent}" if exponent else text


def interval(lower: float | None, upper: float | None, unit: str | None) -> str:
    """Return "gap between 1,234 $/h and 2,345 $/h", as far as it is known; empty where nothing is."""
    if lower is None and upper is None:
        return ""
    if upper is None or not math.isfinite(upper):
        return f"gap at least {lower_amount(lower, unit)}"
    if lower is None:
        return f"gap at most {upper_amount(upper, unit)}"
    return f"gap between {lower_amount(lower, unit)} and {upper_amount(upper, unit)}"


def line(event: Event) -> str:
    """Return an event as one line."""
    counters = " ".join(f"{name} {value:,.0f}" for name, value in event.counters.items() if name != "incumbent")
    when = "" if event.seconds is None else f"{event.seconds:7.1f} s"
    what = event.phase or event.status or event.type
    return f"{when:>9}  {what:<11} {interval(event.lower, event.upper, event.unit):<44} {counters}".rstrip()
