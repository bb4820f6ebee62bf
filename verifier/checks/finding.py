"""A finding: one claim of a certificate and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Standing(Enum):
    """What became of one claim."""

    HOLDS = "holds"
    FAILS = "fails"
    TRUSTED = "trusted"


@dataclass(frozen=True)
class Finding:
    """One claim of a certificate and what became of it."""

    claim: str
    standing: Standing
    detail: str


def finding(claim: str, holds: bool, detail: str) -> Finding:
    """Return the finding of a claim that was checked."""
    return Finding(claim, Standing.HOLDS if holds else Standing.FAILS, detail)


def compared(claim: str, parts: Mapping[str, bool]) -> Finding:
    """Return the finding of a claim about many fields: whether each of them is as it should be."""
    wrong = ", ".join(name for name, holds in parts.items() if not holds)
    return finding(claim, not wrong, f"not so: {wrong}" if wrong else "compared: " + ", ".join(parts))
