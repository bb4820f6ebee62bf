"""How the numbers of a report are written."""

from __future__ import annotations

from collections.abc import Sequence

from verifier import rounding as outward
from verifier.rounding import DIGITS, NEAREST


def number(value: float, digits: int = DIGITS, rounding: str = NEAREST, shift: int = 0) -> str:
    """Write a number with `digits` significant ones, thousands separated; arguments as in `verifier.rounding`."""
    return outward.number(value, digits, rounding, shift).replace("-", "−")


def quantity(value: float, unit: str, digits: int = DIGITS, rounding: str = NEAREST) -> str:
    """Write a number with its unit: $/h before and behind, "1" as a percentage."""
    if unit == "1":
        return f"{number(value, digits, rounding, 2)}\u00a0%"
    text = number(value, digits, rounding)
    if unit == "$/h":
        return f"−${text[1:]}/h" if text.startswith("−") else f"${text}/h"
    return f"{text}\u00a0{unit}"


def cells(values: Sequence[float], decimals: int) -> tuple[str, ...]:
    """Write the numbers of a table's row with so many decimals; those from 10^15 on with six digits."""
    # Adding zero turns a rounded "-0" into "0".
    return tuple(
        f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−")
        if abs(value) < 10**outward.LARGEST_WHOLE
        else number(value, 6)
        for value in values
    )


def plain(value: float) -> str:
    """Write a number that someone chose, such as a limit: up to four significant digits, no trailing zeros."""
    return f"{value:.4g}".replace("-", "−")
