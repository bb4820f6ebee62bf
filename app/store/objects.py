"""Proxies and problems in the database: found by what they are, counted by tenant, stored with their bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from app.store.blobs import Blobs
from app.store.database import session
from app.store.tables import Problem, Proxy, Tenant
from solvers.errors import CertigapError

Row = TypeVar("Row", Proxy, Problem)
# Anything else is no id of ours, and may hold what a database does not take.
_ID = re.compile("[a-z]{3}_[0-9A-Z]{26}")


class QuotaError(CertigapError, RuntimeError):
    """A tenant has as many objects as it may have."""


def digest(data: Mapping[str, Any] | None) -> str:
    """Return the SHA-256 of plain data, the same for equal data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def as_json(data: Mapping[str, Any]) -> bytes:
    """Return plain data as the text of a file."""
    return json.dumps(data, allow_nan=False).encode()


def find_proxy(s: Session, tenant: str, proxy: str) -> Proxy | None:
    """Return a tenant's proxy."""
    if not _ID.fullmatch(proxy):
        return None
    return s.scalar(select(Proxy).where(Proxy.id == proxy, Proxy.tenant == tenant))


def find_problem(s: Session, tenant: str, problem: str) -> Problem | None:
    """Return a tenant's problem."""
    if not _ID.fullmatch(problem):
        return None
    return s.scalar(select(Problem).where(Problem.id == problem, Problem.tenant == tenant))


def same_proxy(s: Session, row: Proxy) -> Proxy | None:
    """Return the tenant's proxy of the same bytes and manifest."""
    same = (Proxy.tenant == row.tenant, Proxy.sha256 == row.sha256, Proxy.manifest_sha256 == row.manifest_sha256)
    return s.scalar(select(Proxy).where(*same))


def same_problem(s: Session, row: Problem) -> Problem | None:
    """Return the tenant's problem of the same data."""
    return s.scalar(select(Problem).where(Problem.tenant == row.tenant, Problem.spec_sha256 == row.spec_sha256))


def lay_out(blobs: Blobs, proxy: Proxy | None, problem: Problem | None, folder: Path) -> dict[str, Any]:
    """Write the stored files of a proxy and a problem as their readers in the sandbox want them.

    Returns:
        The `folder`; in it the names of the `model` and of the `case`, "" where there is none; and the `problem` as in
        a manifest, or None for the manifest's.

    Raises:
        FileNotFoundError: a stored file is gone.
    """
    told: dict[str, Any] = {"folder": str(folder), "model": "", "case": "", "problem": None}
    if proxy is not None:
        model = folder / f"model.{proxy.format}"
        blobs.get_file(proxy.tenant, proxy.sha256, model)
        if proxy.manifest is not None and proxy.format == "onnx":
            model.with_suffix(".json").write_bytes(as_json(proxy.manifest))
        told["model"] = model.name
    if problem is not None:
        told["problem"] = problem.spec
        if problem.sha256 is not None:
            told["case"] = f"{problem.summary['name']}.m"
            blobs.get_file(problem.tenant, problem.sha256, folder / told["case"])
    return told


def page(s: Session, kind: type[Row], tenant: str, after: str | None, limit: int) -> Sequence[Row]:
    """Return a tenant's objects, newest first, that are older than the id `after`."""
    query = select(kind).where(kind.tenant == tenant).order_by(kind.id.desc()).limit(limit)
    return s.scalars(query if after is None else query.where(kind.id < after)).all()


def add(engine: Engine, blobs: Blobs, row: Row, path: Path | None, most: int) -> tuple[Row, bool]:
    """Store an object and its bytes, both or neither.

    Args:
        engine, blobs: where.
        row: the object, not yet in a session.
        path: the file of its bytes; None where it has none.
        most: how many objects of this kind its tenant may have.

    Returns:
        The stored object, and whether it is new: the same one may have been there.

    Raises:
        QuotaError: the tenant has as many.
    """
    if path is not None and row.sha256 is not None:
        blobs.put_file(row.tenant, row.sha256, path)
    try:
        with session(engine) as s, s.begin():
            return _insert(s, blobs, row, path, most)
    except BaseException:
        _drop_unused(engine, blobs, row)
        raise


def _insert(s: Session, blobs: Blobs, row: Row, path: Path | None, most: int) -> tuple[Row, bool]:
    _lock(s, row.tenant)
    known = same_proxy(s, row) if isinstance(row, Proxy) else same_problem(s, row)
    if known is not None:
        return known, False
    kind = type(row)
    if (s.scalar(select(func.count()).select_from(kind).where(kind.tenant == row.tenant)) or 0) >= most:
        raise QuotaError(f"you have {most} of these, as many as you may; ask the service's operator for more")
    s.add(row)
    s.flush()
    if path is not None and row.sha256 is not None and not blobs.has(row.tenant, row.sha256):
        # Somebody whose own attempt failed removed the same bytes meanwhile; now that the tenant is locked, nobody can.
        blobs.put_file(row.tenant, row.sha256, path)
    return row, True


def _drop_unused(engine: Engine, blobs: Blobs, row: Proxy | Problem) -> None:
    """Remove the bytes of an object that could not be stored, unless another one has them too.

    Where the database is lost it cannot be asked, and they stay: the next attempt takes them.
    """
    if row.sha256 is None:
        return
    with session(engine) as s, s.begin():
        _lock(s, row.tenant)
        users = [
            s.scalar(select(kind.id).where(kind.tenant == row.tenant, kind.sha256 == row.sha256).limit(1))
            for kind in (Proxy, Problem)
        ]
        if users == [None, None]:
            blobs.delete(row.tenant, row.sha256)


def _lock(s: Session, tenant: str) -> None:
    """Let one transaction at a time change what a tenant has."""
    s.scalar(select(Tenant.id).where(Tenant.id == tenant).with_for_update())
