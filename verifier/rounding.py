"""Numbers for people, rounded outward: a printed upper bound is never below its number, a lower one never above it.

The number is the decimal that reads back as the float, which is what a certificate's JSON holds: 0.1 is 0.1.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal

UP, DOWN, NEAREST = ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN
# Digits of a bound on the command line and in a report.
DIGITS = 4
# Numbers from 10^15 on, and those with more zeros behind the point than this, are written with an exponent.
LARGEST_WHOLE, MOST_ZEROS = 15, 3
# What a bound is called that is not known.
UNKNOWN = "unknown"
# Whatever a float64 is, no step below loses a digit of it.
_EXACT = Context(prec=400, Emin=-9999, Emax=9999)


def rounded(value: float, digits: int, rounding: str = NEAREST, shift: int = 0) -> Decimal:
    """Return a number times 10^shift with `digits` significant digits; below 10^15 its whole part is never cut.

    Args:
        value: finite.
        digits: at least 1.
        rounding: UP, DOWN or NEAREST.
        shift: 2 for per cent.
    """
    exact = _EXACT.scaleb(Decimal(repr(float(value))), shift)
    if exact == 0:
        return Decimal(0)
    last = exact.adjusted() - digits + 1
    last = min(last, 0) if exact.adjusted() < LARGEST_WHOLE else last
    return exact.quantize(Decimal(1).scaleb(last), rounding, _EXACT)


def number(value: float, digits: int = DIGITS, rounding: str = NEAREST, shift: int = 0, *, short: bool = False) -> str:
    """Write a number with `digits` significant ones, thousands separated; arguments as for `rounded`.

    Args:
        value: any float; infinities are written as such, NaN as "not a number".
        digits, rounding, shift: see above.
        short: without zeros at the end of a fraction.
    """
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    told = rounded(value, digits, rounding, shift)
    if told == 0:
        return "0"
    if -MOST_ZEROS - 2 < told.adjusted() < LARGEST_WHOLE:
        text, exponent = f"{told:,f}", ""
    else:
        # Of exactly `digits` digits, or one more zero.
        text, _, exponent = f"{told:.{digits - 1}e}".partition("e")
    if short and "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text}e{exponent}" if exponent else text


def amount(value: float, unit: str, rounding: str, digits: int = DIGITS) -> str:
    """Write a gap with its unit: "1,234 $/h", "3.21 %", or "unknown" where it is not finite.

    Args:
        value: the gap.
        unit: "1" for a share, which is written in per cent.
        rounding: UP for an upper bound, DOWN for a lower one and for what was attained.
        digits: see `rounded`.
    """
    if not math.isfinite(value):
        return UNKNOWN
    shift, unit = (2, "%") if unit == "1" else (0, unit)
    return f"{number(value, digits, rounding, shift, short=True)} {unit}".rstrip()


def upper_amount(value: float, unit: str, digits: int = DIGITS) -> str:
    """Write an upper bound; see `amount`."""
    return amount(value, unit, UP, digits)


def lower_amount(value: float, unit: str, digits: int = DIGITS) -> str:
    """Write a lower bound, or what was attained; see `amount`."""
    return amount(value, unit, DOWN, digits)
