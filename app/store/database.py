"""The database: SQLite in a file, or PostgreSQL by URL; the same code for both."""

from __future__ import annotations

import threading
import time
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session
from ulid import ULID

# Seconds that a writer waits for another one's transaction before SQLite gives up.
BUSY_SECONDS = 30
# The execution option that marks a transaction without writes.
_READS = "certigap_reads"


def open_database(url: str) -> Engine:
    """Return an engine for a database URL, `sqlite:///file` or `postgresql+psycopg://...`; it connects when used.

    Raises:
        ValueError: the URL names another kind of database.
    """
    backend = make_url(url).get_backend_name()
    if backend == "sqlite":
        options = {"timeout": BUSY_SECONDS, "check_same_thread": False}
        engine = create_engine(url, connect_args=options, pool_size=10, max_overflow=40)
        turns = _Turns()
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", turns.begin)
        event.listen(engine, "commit", turns.end)
        event.listen(engine, "rollback", turns.end)
        return engine
    if backend == "postgresql":
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
    raise ValueError(f"a {backend} database cannot be used; give sqlite:///FILE or postgresql+psycopg://...")


def system_url(url: str) -> str:
    """Return a database URL as DBOS wants it: without the name of a driver."""
    parsed = make_url(url)
    return parsed.set(drivername=parsed.get_backend_name()).render_as_string(hide_password=False)


def session(engine: Engine) -> Session:
    """Return a session; `with session(engine) as s, s.begin():` is one transaction."""
    return Session(engine, expire_on_commit=False)


def reading(engine: Engine) -> Session:
    """Return a session that only reads: on SQLite it waits for no writer, and no writer waits for it."""
    return Session(engine.execution_options(**{_READS: True}), expire_on_commit=False)


def new_id(prefix: str) -> str:
    """Return a fresh id, such as "job_01J...", that sorts by time of creation."""
    return f"{prefix}_{ULID()}"


def now() -> float:
    """Return the seconds since 1970."""
    return time.time()


def _prepare_sqlite(connection: Any, record: object) -> None:
    # Transactions are ours to begin: see `_Turns`.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={1000 * BUSY_SECONDS}"):
        connection.execute(f"PRAGMA {pragma}")


class _Turns:
    """Begins transactions on SQLite: the writers of this process one after the other.

    Left to themselves they would ask SQLite again and again, each time later: measured with 20 at once, some waited
    for seconds. A reader that turns writer meets "database is locked" at once, so a writer is one from the start.
    """

    _MINE = "certigap_turn"

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def begin(self, connection: Connection) -> None:
        if connection.get_execution_options().get(_READS, False):
            connection.exec_driver_sql("BEGIN")
            return
        # Who waited in vain asks SQLite, which says why.
        connection.info[self._MINE] = self._lock.acquire(timeout=BUSY_SECONDS)
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except BaseException:
            self.end(connection)
            raise

    def end(self, connection: Connection) -> None:
        if connection.info.pop(self._MINE, False):
            self._lock.release()
