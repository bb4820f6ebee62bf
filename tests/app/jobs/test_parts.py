"""Parts of a search on other machines: what comes of one that nobody has time for."""

from __future__ import annotations

from typing import Any, cast

import pytest

from app.jobs import parts
from app.sandbox import Channel
from encoding.bounds import Bounds
from verifier.node import Node
from verifier.options import VerifyOptions
from verifier.task import Task


def test_a_part_that_nobody_takes_is_as_open_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often: other machines may be busy for long, and only a part that kills its workers is left alone."""
    monkeypatch.setattr(parts, "LATE", -10.0)
    said: list[dict[str, Any]] = []
    heard = [[{"lanes": 1}]]
    channel = Channel(said.append, lambda: False, lambda: heard.pop() if heard else [])
    task = Task(cast(Any, None), cast(Any, None), cast(Any, None), VerifyOptions())
    pool = parts.SpreadPool(channel, task, 0)
    assert pool.listen(0.0) == []
    node = Node(Bounds({}), upper=7.0)
    for number in (1, 2, 3):
        assert pool.idle == 1
        pool.start(number, node, 60.0)
        assert pool.idle == 0
        (word,) = pool.listen(0.0)
        assert (word.node, word.died) == (number, False)
        assert word.outcome is not None
        assert (word.outcome.upper, word.outcome.children) == (7.0, [node])
    assert [message["part"]["number"] for message in said] == [1, 2, 3]
