"""Cursors of lists: opaque to callers, an id to us."""

from __future__ import annotations

import base64
import re

from app.api.errors import Refusal

_ID = re.compile(r"[a-z]{3}_[0-9A-Z]{26}")


def encode(last_id: str) -> str:
    """Return the cursor of what comes after an id."""
    return base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def decode(cursor: str | None) -> str | None:
    """Return the id in a cursor, or None without one; raises Refusal (400) where it is none of ours."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        text = ""
    if not _ID.fullmatch(text) or encode(text) != cursor:
        raise Refusal(
            400,
            "bad_cursor",
            "the cursor is not one that a page named; start without one",
            [("query:cursor", "unknown")],
        )
    return text
