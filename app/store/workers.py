"""Workers in the database: their signs of life, by the database's own clock."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from app.store.database import now
from app.store.jobs import changes
from app.store.tables import Worker


def new_name(slot: str) -> str:
    """Return a name for a worker that starts here; it begins with its slot, or with the machine where it has none."""
    return f"{slot or socket.gethostname()}/{os.getpid()}-{secrets.token_hex(4)}"


def sign_in(s: Session, name: str, queues: Sequence[str], cores: int) -> None:
    """Add a worker."""
    moment = _clock(s)
    s.add(Worker(id=name, queues=",".join(queues), cores=cores, started_at=moment, seen_at=moment))


def beat(s: Session, name: str, queues: Sequence[str], cores: int) -> None:
    """Take in a sign of life; a worker that was thought dead is back, without its jobs."""
    worker = s.get(Worker, name)
    if worker is None:
        sign_in(s, name, queues, cores)
    else:
        worker.seen_at = _clock(s)


def silent(s: Session, seconds: float) -> list[str]:
    """Return the workers that have given no sign of life for so long."""
    return list(s.scalars(select(Worker.id).where(Worker.seen_at < _clock(s) - seconds)))


def names(s: Session) -> Sequence[str]:
    """Return all workers."""
    return s.scalars(select(Worker.id)).all()


def cores_beside(s: Session, name: str) -> int:
    """Return the cores of all other workers together."""
    return s.scalar(select(func.coalesce(func.sum(Worker.cores), 0)).where(Worker.id != name)) or 0


def of_slot(s: Session, slot: str) -> list[str]:
    """Return the workers of a slot."""
    return list(s.scalars(select(Worker.id).where(_in_slot(slot))))


def lives(s: Session, slot: str, seconds: float) -> bool:
    """Return whether a worker of a slot, or of this machine where it has none, gave a sign of life within so long."""
    seen = select(Worker.id).where(_in_slot(slot or socket.gethostname()), Worker.seen_at > _clock(s) - seconds)
    return s.scalar(seen.limit(1)) is not None


def sign_out(s: Session, name: str) -> bool:
    """Remove a worker; False where somebody else did."""
    return changes(s, delete(Worker).where(Worker.id == name)) > 0


def _in_slot(slot: str) -> ColumnElement[bool]:
    return Worker.id.startswith(f"{slot}/", autoescape=True)


def _clock(s: Session) -> float:
    if s.get_bind().dialect.name == "postgresql":
        return float(s.scalar(select(func.extract("epoch", func.clock_timestamp()))) or 0.0)
    return now()
