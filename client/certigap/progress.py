"""Showing a job's events while somebody waits: in a notebook, with rich, with tqdm, or as one plain line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, Literal, TypeAlias

from certigap.errors import UsageError
from certigap.models import Event
from certigap.text import line

OnEvent: TypeAlias = Callable[[Event], object]
Progress: TypeAlias = Literal["auto", "rich", "tqdm"] | OnEvent | None


@contextmanager
def shown(progress: Progress, title: str) -> Iterator[OnEvent]:
    """Give a function that shows events, for as long as the context lasts.

    Args:
        progress: "auto" takes what suits: a line that moves in a notebook or on a terminal, nothing elsewhere; a
            function is called with every event; None shows nothing.
        title: what the events are of.

    Raises:
        UsageError: there is no such display, or its package is not installed.
    """
    with _display(progress)(title) as show:
        yield show


def _display(progress: Progress) -> Callable[[str], Any]:
    if progress is None:
        return _nothing
    if callable(progress):
        return lambda title: _function(progress)
    if progress == "auto":
        if "ipykernel" in sys.modules:
            return _notebook
        return _terminal() if sys.stderr.isatty() else _nothing
    if progress not in ("rich", "tqdm"):
        raise UsageError(f'progress is "auto", "rich", "tqdm", a function or None, not {progress!r}')
    display = _rich if progress == "rich" else _tqdm
    if not _installed(progress):
        raise UsageError(f'progress="{progress}" needs the package {progress}: pip install {progress}')
    return display


def _terminal() -> Callable[[str], Any]:
    if _installed("rich"):
        return _rich
    return _tqdm if _installed("tqdm") else _plain


def _installed(package: str) -> bool:
    try:
        __import__(package)
    except ImportError:
        return False
    return True


@contextmanager
def _nothing(title: str) -> Iterator[OnEvent]:
    yield lambda event: None


@contextmanager
def _function(on_event: OnEvent) -> Iterator[OnEvent]:
    yield on_event


@contextmanager
def _notebook(title: str) -> Iterator[OnEvent]:
    from IPython.display import HTML, display  # type: ignore[import-not-found, unused-ignore]

    def html(text: str) -> Any:
        return HTML(f"<pre>{escape(title)} {escape(text)}</pre>")

    handle = display(html("..."), display_id=True)
    yield lambda event: handle.update(html(line(event)))


@contextmanager
def _rich(title: str) -> Iterator[OnEvent]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(Text(title), console=Console(stderr=True), refresh_per_second=8) as live:
        yield lambda event: live.update(Text(f"{title} {line(event)}"))


@contextmanager
def _tqdm(title: str) -> Iterator[OnEvent]:
    from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

    with tqdm(bar_format="{desc}", desc=title) as bar:
        yield lambda event: bar.set_description_str(f"{title} {line(event)}")


@contextmanager
def _plain(title: str) -> Iterator[OnEvent]:
    wide = 0

    def show(event: Event) -> None:
        nonlocal wide
        text = f"{title} {line(event)}"
        wide = max(wide, len(text))
        print(f"\r{text:<{wide}}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print(file=sys.stderr)
