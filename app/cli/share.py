"""Shares as users write them on a command line: 5% or 0.05."""

from __future__ import annotations

import typer


def parse_share(text: str, option: str) -> float:
    """Read "5%", "5 %" or "0.05" as 0.05.

    Raises:
        typer.BadParameter: the text is no share from 0 up to (not including) 1.
    """
    stripped = text.strip()
    try:
        value = float(stripped.removesuffix("%")) / 100 if stripped.endswith("%") else float(stripped)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a share; write 5% or 0.05", param_hint=option) from None
    if not 0 <= value < 1:
        raise typer.BadParameter(f"{text!r} is not below 100 %; write 5 per cent as 5% or 0.05", param_hint=option)
    return value
