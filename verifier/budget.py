"""How long a verification may still take, and whether someone asked it to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Budget:
    """A deadline and a stop signal that every phase obeys.

    Attributes:
        seconds: in all.
        should_stop: asked often; True ends the work at the next safe moment.
    """

    seconds: float
    should_stop: Callable[[], bool] = lambda: False
    _began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.seconds - self.elapsed)

    @property
    def spent(self) -> bool:
        """Whether to stop now."""
        return self.left <= 0.0 or self.should_stop()

    def part(self, seconds: float) -> Budget:
        """Return a budget of at most `seconds` from now, within this one."""
        return Budget(min(seconds, self.left), self.should_stop)
