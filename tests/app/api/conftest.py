"""A service with two tenants, and what their tests need: their clients, stored objects, and hands on the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy.orm import Session

from app.api.state import State
from app.main import create_app
from app.settings import Settings
from app.store.database import open_database, session
from app.store.keys import create_key
from app.store.migrate import migrate

PROXIES = Path(__file__).parents[3] / "benchmarks" / "proxies"
KNAPSACK = PROXIES / "knapsack-10.safetensors"


@dataclass(frozen=True)
class Api:
    """A tenant's client.

    Attributes:
        client: of the service.
        tenant: id.
        key: of the API.
    """

    client: TestClient
    tenant: str
    key: str

    def __getattr__(self, method: str) -> Callable[..., Response]:
        """Return a method of the client that sends the key along: `api.get("/v1/jobs")`."""

        def call(path: str, **options: Any) -> Response:
            headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
            found: Response = getattr(self.client, method)(path, headers=headers, **options)
            return found

        return call

    def proxy(self) -> str:
        """Upload a knapsack proxy (once; then it is known) and return its id."""
        return str(self.post("/v1/proxies", content=KNAPSACK.read_bytes()).json()["id"])

    def problem(self) -> str:
        """Create a problem and return its id."""
        body = {"kind": "knapsack", "name": "three", "values": [3, 5, 4], "weights": [2, 4, 3], "capacity": 6}
        return str(self.post("/v1/problems", json=body).json()["id"])

    def job(self, **more: Any) -> str:
        """Submit a job and return its id."""
        answer = self.post("/v1/jobs", json={"kind": "verify", "proxy": self.proxy(), **more})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


@dataclass(frozen=True)
class World:
    """A running service and its two tenants.

    Attributes:
        state: the service's parts.
        alice, bob: the tenants.
        client: without a key.
    """

    state: State
    client: TestClient
    alice: Api
    bob: Api

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Return a transaction, as a worker has it."""
        with session(self.state.engine) as s, s.begin():
            yield s


@contextmanager
def serve(folder: Path, **settings: Any) -> Iterator[World]:
    """Run a service on an empty database."""
    chosen = Settings.model_validate(
        {"data_dir": folder, "keys": "on", "log_level": "error", "stream_seconds": 0.5, **settings}
    )
    migrate(chosen.database)
    engine = open_database(chosen.database)
    with session(engine) as s, s.begin():
        keys = [create_key(s, name) for name in ("alice", "bob")]
    engine.dispose()
    with TestClient(create_app(chosen), raise_server_exceptions=False) as client:
        tenants = [Api(client, row.tenant, key) for row, key in keys]
        yield World(client.app.state.service, client, *tenants)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serve(tmp_path_factory.mktemp("service")) as found:
        yield found


@pytest.fixture
def alice(world: World) -> Api:
    return world.alice


@pytest.fixture
def bob(world: World) -> Api:
    return world.bob
