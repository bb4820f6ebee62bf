"""Keys that callers send with a submission, so that a repeated one makes no second job."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.store.database import now
from app.store.tables import Idempotency
from solvers.errors import CertigapError

# Seconds that a key is remembered.
REMEMBERED = 86_400.0


class KeyReusedError(CertigapError, ValueError):
    """A key came again with another body."""


def body_digest(body: dict[str, Any]) -> str:
    """Return the SHA-256 of a body, as validated: spelling does not count."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def seen(s: Session, tenant: str, key: str, body: str) -> str | None:
    """Return the job that this key made; None where it is new.

    Args:
        body: digest of the body that came with the key.

    Raises:
        KeyReusedError: it came with another body.
    """
    s.execute(delete(Idempotency).where(Idempotency.tenant == tenant, Idempotency.created_at < now() - REMEMBERED))
    row = s.get(Idempotency, (tenant, key))
    if row is None:
        return None
    if row.body_sha256 != body:
        raise KeyReusedError("this Idempotency-Key came with another body before; use a new key for a new job")
    return row.job


def remember(s: Session, tenant: str, key: str, body: str, job: str) -> None:
    """Note the job that a key made, in the transaction that made it: where two are at it, one fails."""
    s.add(Idempotency(tenant=tenant, key=key, body_sha256=body, job=job, created_at=now()))
    s.flush()
