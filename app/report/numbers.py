"""How the numbers of a report are written."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Decimal


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
