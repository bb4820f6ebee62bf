"""Children of the service: what may happen between them and their watcher."""

from __future__ import annotations

import threading
from typing import Any

from app.sandbox import Child, Limits, outcome
from tests.app.chatter import LONG


def test_both_sides_may_talk_at_once() -> None:
    """More than a pipe holds, from both sides, before either listens."""
    child = Child("tests.app.chatter:both_talk", {"messages": 4}, Limits())
    found: list[dict[str, Any]] = []

    def talk() -> None:
        while (message := child.listen(60)) is None or "started" not in message:
            assert message is not None
        for _ in range(4):
            child.tell({"text": LONG})
        while "result" not in (message := child.listen(60) or {"result": None}):
            found.append(message)
        found.append(message)

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    thread.join(90)
    stuck = thread.is_alive()
    child.close()
    assert not stuck, "both wait for the other one to listen"
    assert [len(message["text"]) for message in found[:-1]] == [len(LONG)] * 4
    assert outcome(found[-1]) == 4
