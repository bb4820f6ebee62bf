"""Migrations make exactly the tables that the models describe, on SQLite and PostgreSQL, once, from a wheel too."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from app.store.database import open_database, session
from app.store.keys import DEFAULT_TENANT
from app.store.migrate import migrate, newest, version
from app.store.tables import Table, Tenant

ROOT = Path(__file__).parents[3]


def ours(name: str | None, kind: str, parents: object) -> bool:
    """Leave out the queue's own tables."""
    return kind != "table" or name in Table.metadata.tables


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_models_and_migrations_agree(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path}/new/x.db" if backend == "sqlite" else request.getfixturevalue("postgres")
    migrate(url)
    engine = open_database(url)
    with engine.connect() as connection:
        options = {"compare_type": True, "include_name": ours}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Table.metadata) == []
    assert version(engine) == newest()
    engine.dispose()


def test_again_it_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    migrate(url)
    engine = open_database(url)
    with session(engine) as s, s.begin():
        s.get_one(Tenant, DEFAULT_TENANT).limits = {"proxies": 3}
    migrate(url)
    with session(engine) as s:
        assert s.get_one(Tenant, DEFAULT_TENANT).limits == {"proxies": 3}
        assert s.scalar(text("PRAGMA journal_mode")) == "wal"
    assert "workflow_status" in inspect(engine).get_table_names()
    engine.dispose()


def test_several_at_once_make_one_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    command = [sys.executable, "-c", f"from app.store.migrate import migrate; migrate({url!r})"]
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: subprocess.run(command, capture_output=True, text=True, cwd=ROOT), range(3)))
    assert [one.returncode for one in done] == [0, 0, 0], done
    engine = open_database(url)
    assert version(engine) == newest()
    engine.dispose()


@pytest.mark.slow
def test_a_wheel_holds_the_migrations(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run([*build, "--no-build-isolation"], check=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    steps = [
        f"app/store/migrations/versions/{path.name}" for path in (ROOT / "app/store/migrations/versions").glob("*.py")
    ]
    assert {"app/store/migrations/env.py", "app/templates/report.html", *steps} <= set(names)
