"""An operation, written once and run by both clients: a generator that asks for input and output and is handed it.

A flow yields what it needs (`Send`, `Open`, `Read`, `Sleep`), gets the answer or the error of it, and returns its
result. A stream is a flow that also yields values (`Emit`). `runners.py` does what is asked, blocking or with asyncio.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

File = tuple[str, bytes, str]


@dataclass(frozen=True)
class Request:
    """A request, as often as it must be sent.

    Attributes:
        path: below the server's address.
        json, content, files: the body; at most one of them.
        silence: seconds without a byte after which the connection counts as dead; None for the client's time-out.
    """

    method: str
    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    files: Mapping[str, File] | None = None
    silence: float | None = None


@dataclass(frozen=True)
class Send:
    """Send a request; the answer is the whole response, whatever its status."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send a request whose response is read piece by piece; the answer is the response, whole if it is an error."""

    request: Request


@dataclass(frozen=True)
class Read:
    """The answer is the next bytes of the response opened last; None at its end."""


@dataclass(frozen=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Emit(Generic[T_co]):
    """Hand a value to whoever iterates."""

    value: T_co


Effect: TypeAlias = Send | Open | Read | Sleep
Flow: TypeAlias = Generator[Effect, Any, T]
Stream: TypeAlias = Generator[Effect | Emit[T], Any, None]


class Progress:
    """Where a flow stands.

    Attributes:
        effect: what it asks for now; None when it has returned.
        result: what it returned.
    """

    def __init__(self, flow: Generator[Any, Any, Any]) -> None:
        self._flow = flow
        self.effect: Effect | Emit[Any] | None = None
        self.result: Any = None
        self.answer(None)

    def answer(self, value: object) -> None:
        """Give what was asked for, and go on to the next effect."""
        self._go(self._flow.send, value)

    def fail(self, error: Exception) -> None:
        """Say that it could not be had; the flow may mend it, or this raises."""
        self._go(self._flow.throw, error)

    def close(self) -> None:
        """Give the flow up where it stands."""
        self._flow.close()

    def _go(self, step: Callable[[Any], Any], value: object) -> None:
        try:
            self.effect = step(value)
        except StopIteration as end:
            self.effect, self.result = None, end.value


def hand(stream: Stream[T], to: Callable[[T], object]) -> Flow[None]:
    """Run a stream inside a flow and hand each value to a function."""
    progress = Progress(stream)
    while (effect := progress.effect) is not None:
        if isinstance(effect, Emit):
            to(effect.value)
            progress.answer(None)
            continue
        try:
            answer = yield effect
        except Exception as error:
            progress.fail(error)
        else:
            progress.answer(answer)
