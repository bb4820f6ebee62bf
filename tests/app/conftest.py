"""A PostgreSQL server for the tests that need one; they are skipped, and say so, where it is not installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.service.harness import Postgres, postgres_programs


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    if postgres_programs() is None:
        pytest.skip("PostgreSQL's server is not installed")
    # A server never runs as root: its user must be able to enter every folder above its own.
    folder = tmp_path_factory.mktemp("postgres")
    for parent in [folder, *folder.parents][:3]:
        parent.chmod(0o755)
    server = Postgres(folder / "data")
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
