"""What the tests of the sandbox have a child do."""

from __future__ import annotations

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
