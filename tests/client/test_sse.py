"""Server-sent events: however the bytes are cut, the same messages come out."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from certigap.sse import EventReader, Message

TEXT = (
    ': a comment\r\n\r\nid: 1\nevent: status\ndata: {"a":\ndata: 1}\n\n'
    "data:two\u2028lines\rid:2\r\rid\nevent: x\n\nretry: 5\ndata: ä\n\ndata: cut off"
).encode()
MESSAGES = [Message("1", "status", '{"a":\n1}'), Message("2", "message", "two\u2028lines"), Message("", "message", "ä")]


@given(st.lists(st.integers(0, len(TEXT)), max_size=12))
def test_cuts_change_nothing(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(TEXT)]
    reader = EventReader()
    found = [message for a, b in pairwise(places) for message in reader.feed(TEXT[a:b])]
    assert found == MESSAGES
