"""Tenants and their API keys, of which only a keyed digest is stored: `cg_<id>_<256-bit secret>`.

A fast digest is right for secrets that nobody chose: there is nothing to guess. The comparison takes constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session
from ulid import ULID

from app.store.database import new_id, now
from app.store.tables import ApiKey, Setting, Tenant
from solvers.errors import CertigapError

DEFAULT_TENANT = "ten_default"
_PEPPER = "pepper"
_KEY = re.compile(r"cg_([0-9A-Z]{26})_([0-9a-f]{64})")


class KeyNotFoundError(CertigapError, LookupError):
    """No key has this id."""


@dataclass(frozen=True)
class Caller:
    """Who calls.

    Attributes:
        tenant: whose objects they may see.
        rate: what their requests are counted under.
        limits: what differs from the settings' limits, by name.
    """

    tenant: str
    rate: str
    limits: dict[str, float]


def create_default_tenant(s: Session) -> None:
    """Make the tenant that everything belongs to where keys are off; it is no error if it is there."""
    if s.get(Tenant, DEFAULT_TENANT) is None:
        s.add(Tenant(id=DEFAULT_TENANT, name="default", limits={}, created_at=now()))
        s.flush()


def create_key(s: Session, tenant_name: str) -> tuple[ApiKey, str]:
    """Make a key for a tenant, and the tenant if there is none of this name.

    Returns:
        The key's row, and the key itself, which is nowhere else.
    """
    tenant = s.scalar(select(Tenant).where(Tenant.name == tenant_name))
    if tenant is None:
        tenant = Tenant(id=new_id("ten"), name=tenant_name, limits={}, created_at=now())
        s.add(tenant)
        s.flush()
    secret = secrets.token_hex(32)
    row = ApiKey(id=str(ULID()), tenant=tenant.id, digest=_digest(_pepper(s), secret), created_at=now())
    s.add(row)
    s.flush()
    return row, f"cg_{row.id}_{secret}"


def revoke_key(s: Session, key_id: str) -> ApiKey:
    """Make a key worthless; repeated, it changes nothing.

    Args:
        key_id: the part of the key between its underscores.

    Raises:
        KeyNotFoundError: there is no such key.
    """
    row = s.get(ApiKey, key_id)
    if row is None:
        raise KeyNotFoundError(f"no key has the id {key_id!r}; `certigap keys list` shows them")
    row.revoked_at = row.revoked_at or now()
    return row


def list_keys(s: Session) -> Sequence[tuple[ApiKey, Tenant]]:
    """Return all keys with their tenants, oldest first."""
    rows = s.execute(select(ApiKey, Tenant).join(Tenant, ApiKey.tenant == Tenant.id).order_by(ApiKey.id)).all()
    return [(key, tenant) for key, tenant in rows]


def who(s: Session, key: str) -> Caller | None:
    """Return whose key this is; None for one that is unknown, wrong or revoked."""
    parts = _KEY.fullmatch(key)
    if parts is None:
        return None
    row = s.execute(
        select(ApiKey.digest, ApiKey.revoked_at, Tenant.id, Tenant.limits, Setting.value)
        .join(Tenant, ApiKey.tenant == Tenant.id)
        .join(Setting, Setting.name == _PEPPER)
        .where(ApiKey.id == parts[1])
    ).one_or_none()
    if row is None:
        return None
    digest, revoked_at, tenant, limits, pepper = row
    right = hmac.compare_digest(digest, _digest(pepper, parts[2]))
    return Caller(tenant, parts[1], limits) if right and revoked_at is None else None


def _pepper(s: Session) -> str:
    row = s.get(Setting, _PEPPER)
    if row is None:
        row = Setting(name=_PEPPER, value=secrets.token_hex(32))
        s.add(row)
        s.flush()
    return row.value


def _digest(pepper: str, secret: str) -> str:
    return hmac.new(pepper.encode(), secret.encode(), hashlib.sha256).hexdigest()
