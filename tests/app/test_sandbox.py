"""Children of the service: what may happen between them and their watcher."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from multiprocessing import forkserver
from typing import Any

import pytest

from app.sandbox import Child, Limits, SandboxError, SandboxMemoryError, call, outcome
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


@pytest.mark.parametrize("gpu", [False, True])
def test_memory_is_limited(gpu: bool) -> None:
    limits = Limits(seconds=60, memory=2**26, gpu=gpu)
    assert call("tests.app.chatter:write_to", {"bytes": 2**20}, limits) == 2**20
    with pytest.raises(SandboxMemoryError):
        call("tests.app.chatter:write_to", {"bytes": 2**27}, limits)


def test_with_a_gpu_addresses_alone_cost_nothing() -> None:
    spec, limits = {"bytes": 2**33}, Limits(seconds=60, memory=2**26)
    assert call("tests.app.chatter:reserve", spec, replace(limits, gpu=True)) == 2**33
    with pytest.raises(SandboxError):
        call("tests.app.chatter:reserve", spec, limits)


def test_children_do_not_inherit_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    # A server that is running has the environment of its start.
    forkserver._forkserver._stop()
    for name in ("CERTIGAP_DATABASE_URL", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    names = call("tests.app.chatter:environment", {}, Limits(seconds=60))
    assert "PATH" in names
    assert not [name for name in names if name.startswith(("CERTIGAP_", "PG", "AWS_"))]
    assert os.environ["PGPASSWORD"] == "secret"
