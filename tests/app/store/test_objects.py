"""Objects and their bytes are stored both or neither, also when an attempt fails or two are at it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from app.store import objects
from app.store.blobs import Blobs
from app.store.database import new_id, now, open_database, reading, session
from app.store.keys import DEFAULT_TENANT
from app.store.migrate import migrate
from app.store.tables import Proxy


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/x.db"
    migrate(url)
    found = open_database(url)
    yield found
    found.dispose()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs((tmp_path / "blobs").as_uri())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.write_bytes(b"weights")
    return path


SHA = hashlib.sha256(b"weights").hexdigest()


def row(manifest: str = "a") -> Proxy:
    data: dict[str, Any] = {"sha256": SHA, "manifest_sha256": manifest, "format": "onnx", "size": 7, "summary": {}}
    return Proxy(id=new_id("prx"), tenant=DEFAULT_TENANT, created_at=now(), **data)


def test_both_are_stored(engine: Engine, blobs: Blobs, file: Path) -> None:
    stored, new = objects.add(engine, blobs, row(), file, 10)
    assert new
    assert blobs.get(DEFAULT_TENANT, stored.sha256) == b"weights"
    again, new = objects.add(engine, blobs, row(), file, 10)
    assert (again.id, new) == (stored.id, False)
    assert objects.add(engine, blobs, row("b"), file, 10)[1]


def test_a_failed_commit_leaves_nothing(engine: Engine, blobs: Blobs, file: Path) -> None:
    def fail(connection: object) -> None:
        raise OperationalError("commit", {}, Exception("database or disk is full"))

    event.listen(engine, "commit", fail, once=True)
    with pytest.raises(OperationalError):
        objects.add(engine, blobs, row(), file, 10)
    assert not blobs.has(DEFAULT_TENANT, SHA)
    with reading(engine) as s:
        assert s.query(Proxy).count() == 0


def test_a_quota_leaves_the_bytes_that_others_have(engine: Engine, blobs: Blobs, file: Path) -> None:
    objects.add(engine, blobs, row(), file, 1)
    with pytest.raises(objects.QuotaError):
        objects.add(engine, blobs, row("b"), file, 1)
    assert blobs.has(DEFAULT_TENANT, SHA)


def test_many_at_once_store_one(engine: Engine, blobs: Blobs, file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: objects.add(engine, blobs, row(), file, 10), range(16)))
    assert len({stored.id for stored, _ in found}) == 1
    assert sum(new for _, new in found) == 1


def test_bytes_that_vanish_before_the_commit_are_stored_again(
    engine: Engine, blobs: Blobs, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, calls = blobs.put_file, 0

    def put_and_lose(tenant: str, name: str, path: Path) -> None:
        nonlocal calls
        calls += 1
        put(tenant, name, path)
        if calls == 1:
            blobs.delete(tenant, name)

    monkeypatch.setattr(blobs, "put_file", put_and_lose)
    stored, _ = objects.add(engine, blobs, row(), file, 10)
    assert blobs.has(DEFAULT_TENANT, stored.sha256)
    assert calls == 2


def test_readers_wait_for_no_writer(engine: Engine) -> None:
    inside, go = threading.Event(), threading.Event()

    def write() -> None:
        with session(engine) as s, s.begin():
            s.add(row())
            s.flush()
            inside.set()
            assert go.wait(20)

    writer = threading.Thread(target=write)
    writer.start()
    assert inside.wait(20)
    with reading(engine) as s:
        assert s.query(Proxy).count() == 0
    go.set()
    writer.join()
    with reading(engine) as s:
        assert s.query(Proxy).count() == 1
