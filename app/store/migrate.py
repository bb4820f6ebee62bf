"""Bringing a database to this version: our own tables by alembic, the queue's by DBOS."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from dbos import DBOS
from sqlalchemy import Connection, Engine, make_url, text

from app.store.database import open_database, reading, session
from app.store.keys import create_default_tenant

_STEPS = Path(__file__).with_name("migrations")
# Any number: who migrates holds the lock of this name, on PostgreSQL.
_LOCK = 5_316_917


def migrate(url: str) -> None:
    """Make or update all tables of a database; several may try at once, and one that is new enough stays as it is.

    Args:
        url: as for `app.store.database.open_database`; the folder of a SQLite file is made.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = open_database(url)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            command.upgrade(_config(connection), "head")
        DBOS.migrate(parsed.set(drivername=parsed.get_backend_name()).render_as_string(hide_password=False))
        with session(engine) as s, s.begin():
            create_default_tenant(s)
    finally:
        engine.dispose()


def version(engine: Engine) -> str | None:
    """Return which step a database is at; None before the first."""
    with reading(engine) as s:
        return MigrationContext.configure(s.connection()).get_current_revision()


@cache
def newest() -> str | None:
    """Return the last step that this version knows."""
    return ScriptDirectory(str(_STEPS)).get_current_head()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_STEPS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
