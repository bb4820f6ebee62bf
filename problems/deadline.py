"""The time that one exact solve may take."""

from __future__ import annotations

import time

from problems.errors import SolveTimeoutError


class Deadline:
    """A moment after which an exact solve is of no use any more.

    Args:
        name: of the problem, for messages.
        seconds: from now; inf for none.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds, self._ends = name, seconds, time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, at least 0."""
        return max(0.0, self._ends - time.monotonic())

    def check(self) -> None:
        """Raise SolveTimeoutError where it has passed."""
        if self.left <= 0.0:
            raise self.passed()

    def passed(self) -> SolveTimeoutError:
        """Return the error that says so."""
        return SolveTimeoutError(
            f"{self._name}: {max(0.0, self._seconds):.3g} s do not suffice for an exact solve; allow more time"
        )
