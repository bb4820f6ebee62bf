"""`certigap migrate`: bring the service's database to this version."""

from __future__ import annotations

from app.settings import Settings
from app.store.migrate import migrate as migrate_database


def migrate() -> None:
    """Make or update the tables of the database that CERTIGAP_DATABASE_URL or CERTIGAP_DATA_DIR names."""
    settings = Settings()
    migrate_database(settings.database)
    print("the database is of this version")
