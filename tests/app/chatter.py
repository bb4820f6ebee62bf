"""What the tests of the sandbox have a child do."""

from __future__ import annotations

import mmap
import os
import time
from typing import Any

from app.sandbox import Channel

LONG = "x" * 2**20


def both_talk(spec: dict[str, Any], channel: Channel) -> int:
    """Say long messages before hearing any; returns how many came in."""
    for _ in range(spec["messages"]):
        channel.say({"text": LONG})
    heard, deadline = 0, time.monotonic() + 30
    while heard < spec["messages"] and time.monotonic() < deadline:
        heard += len(channel.hear())
        time.sleep(0.01)
    return heard


def write_to(spec: dict[str, Any]) -> int:
    """Write to so many bytes of memory."""
    return len(bytearray(spec["bytes"]))


def reserve(spec: dict[str, Any]) -> int:
    """Reserve so many addresses that nothing can be written to, as a GPU's driver does."""
    with mmap.mmap(-1, spec["bytes"], flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0) as reserved:
        return len(reserved)


def environment(spec: dict[str, Any]) -> list[str]:
    """Return the names of the variables that a child has."""
    return sorted(os.environ)
