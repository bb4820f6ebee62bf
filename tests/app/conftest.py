"""A PostgreSQL server for the tests that need one; they are skipped, and say so, where it is not installed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.service.harness import Postgres, postgres_programs


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    if postgres_programs() is None:
        pytest.skip("PostgreSQL's server is not installed")
    # Not among pytest's own folders, which are closed to the server's user: it never runs as root.
    with tempfile.TemporaryDirectory(prefix="certigap-postgres-") as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder) / "data")
        yield server
        server.close()


@pytest.fixture
def postgres(postgres_server: Postgres, request: pytest.FixtureRequest) -> str:
    """The URL of an empty database."""
    import psycopg

    name = f"test_{abs(hash(request.node.nodeid))}"
    with psycopg.connect(postgres_server.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
    return postgres_server.url.rsplit("/", 1)[0] + f"/{name}"
