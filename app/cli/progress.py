"""Live progress of a verification on a terminal: one line that moves; elsewhere one line for each new phase."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from verifier.result import Event
from verifier.rounding import lower_amount, upper_amount

# A terminal line is redrawn this often at most, in seconds.
REDRAW = 0.1


class LiveProgress:
    """Shows events on stderr.

    Args:
        quiet: show nothing unless stderr is a terminal.
        unit: of the bounds.
    """

    def __init__(self, quiet: bool, unit: str) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=8) if self._console.is_terminal else None
        self._quiet, self._unit = quiet, unit
        self._phase, self._drawn = "", 0.0

    def __enter__(self) -> LiveProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def on_event(self, event: Event) -> None:
        """Show an event."""
        if self._live is not None:
            if time.monotonic() - self._drawn >= REDRAW or event.phase != self._phase:
                self._drawn = time.monotonic()
                self._live.update(Text(self._line(event)))
        elif event.phase != self._phase and not self._quiet:
            self._console.print(Text(self._line(event)))
        self._phase = event.phase

    def _line(self, event: Event) -> str:
        counters = " ".join(f"{key} {value:,.0f}" for key, value in event.counters.items() if key != "incumbent")
        lower, upper = lower_amount(event.lower, self._unit), upper_amount(event.upper, self._unit)
        return f"{event.seconds:7.1f} s  {event.phase:<11} gap >= {lower:<14} <= {upper:<16} {counters}".rstrip()
