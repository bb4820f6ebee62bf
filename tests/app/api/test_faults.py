"""When the ground gives way: a full disk, a lost database. What was refused leaves nothing; what comes back works."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from app.store.database import open_database
from app.store.tables import Job, Problem, Proxy
from benchmarks.service.harness import Postgres
from tests.app.api.conftest import KNAPSACK, World, serve
from tests.app.api.live import live


def stored(world: World) -> int:
    """Return how many rows and files there are."""
    files = [path for path in Path(world.state.settings.data_dir, "blobs").rglob("*") if path.is_file()]
    with world.write() as s:
        return len(files) + sum(s.query(kind).count() for kind in (Proxy, Problem, Job))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, where this process may make one."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mount.returncode != 0:
        pytest.skip("making a file system needs the rights of root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_for_files(tmp_path: Path, tiny_disk: Path) -> None:
    with serve(tmp_path / "data", blobs_url=(tiny_disk / "blobs").as_uri()) as world:
        filler = tiny_disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(tiny_disk).free))
        answer = world.alice.post("/v1/proxies", content=KNAPSACK.read_bytes())
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full"), answer.text
        assert stored(world) == 0
        assert not [path for path in (tiny_disk / "blobs").rglob("*") if path.is_file()]
        filler.unlink()
        assert world.alice.post("/v1/proxies", content=KNAPSACK.read_bytes()).status_code == 201


def test_a_full_disk_for_the_upload_itself(tmp_path: Path, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tiny_disk))
    with serve(tmp_path) as world:
        answer = world.alice.post("/v1/proxies", content=b"\x08" + bytes(2 * 2**20))
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
        assert stored(world) == 0
    assert not list(tiny_disk.iterdir())


def test_a_full_disk_for_the_database(tmp_path: Path) -> None:
    with serve(tmp_path) as world:
        proxy = world.alice.proxy()
        before = stored(world)
        engine = open_database(world.state.settings.database)
        with engine.connect() as connection:
            pages = connection.scalar(text("PRAGMA page_count"))
        engine.dispose()

        def fill(connection: Any, record: object) -> None:
            connection.execute(f"PRAGMA max_page_count={pages}")

        event.listen(world.state.engine, "connect", fill)
        world.state.engine.dispose()
        large = {"kind": "sweep", "proxy": proxy, "u": [0.01] * 100}
        answers = [world.alice.post("/v1/jobs", json=large) for _ in range(60)]
        assert {answer.status_code for answer in answers} == {202, 507}
        refused = [answer for answer in answers if answer.status_code == 507]
        assert refused[0].json()["code"] == "storage_full"
        assert world.alice.get("/v1/jobs").status_code == 200
        assert stored(world) - before == len(answers) - len(refused)
        event.remove(world.state.engine, "connect", fill)
        world.state.engine.dispose()
        assert world.alice.post("/v1/jobs", json=large).status_code == 202


def test_a_file_that_cannot_be_stored_leaves_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with serve(tmp_path) as world:
        with monkeypatch.context() as patch:
            patch.setattr(world.state.blobs, "put_file", fail)
            answer = world.alice.post("/v1/proxies", content=KNAPSACK.read_bytes())
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
        assert "Retry-After" in answer.headers
        assert stored(world) == 0
        assert world.alice.post("/v1/proxies", content=KNAPSACK.read_bytes()).status_code == 201


def test_a_lost_sqlite_file(tmp_path: Path) -> None:
    with serve(tmp_path) as world:
        proxy = world.alice.proxy()
        file, away = tmp_path / "certigap.db", tmp_path / "away"
        world.state.engine.dispose()
        away.mkdir()
        for part in tmp_path.glob("certigap.db*"):
            shutil.move(part, away / part.name)
        file.mkdir()  # Something else is at its place, which cannot be opened.
        for answer in (
            world.client.get("/readyz"),
            world.alice.get(f"/v1/proxies/{proxy}"),
            world.alice.get("/v1/jobs"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert "Retry-After" in answer.headers
        assert world.client.get("/healthz").status_code == 200
        file.rmdir()
        for part in away.iterdir():
            shutil.move(part, tmp_path / part.name)
        assert world.client.get("/readyz").status_code == 200
        assert world.alice.get(f"/v1/proxies/{proxy}").status_code == 200


def test_a_lost_postgresql_server(tmp_path: Path, postgres: str, postgres_server: Postgres) -> None:
    with serve(tmp_path, database_url=postgres) as world:
        job = world.alice.job()
        postgres_server.kill()
        try:
            for answer in (
                world.client.get("/readyz"),
                world.alice.get("/v1/jobs"),
                world.alice.post("/v1/proxies", content=KNAPSACK.read_bytes()),
                world.client.get("/metrics"),
            ):
                assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), answer.text
            assert world.client.get("/healthz").status_code == 200
        finally:
            (postgres_server.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
            postgres_server.start()
        assert world.client.get("/readyz").status_code == 200
        assert world.alice.get(f"/v1/jobs/{job}").json()["status"] == "queued"
        assert world.alice.post(f"/v1/jobs/{job}:cancel").status_code == 202


def test_a_locked_database_is_no_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.database.BUSY_SECONDS", 0.2)
    with serve(tmp_path) as world:
        job = world.alice.job()
        with world.write() as s:
            s.execute(text("UPDATE jobs SET attempt = attempt"))
            answer = world.alice.post(f"/v1/jobs/{job}:cancel")
            assert world.alice.get(f"/v1/jobs/{job}").status_code == 200
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert world.alice.post(f"/v1/jobs/{job}:cancel").status_code == 202


def test_temporary_files_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    with serve(tmp_path / "data") as world:
        world.alice.proxy()
        world.alice.problem()
        world.alice.post("/v1/proxies", content=b"\x08\x08broken")
        world.alice.post("/v1/proxies", content=b"not a model at all")
    assert [name for name in os.listdir(place) if name.startswith("certigap-")] == []


def test_an_upload_that_breaks_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    with serve(tmp_path / "data") as world, live(world) as running:
        port = int(running.url.rsplit(":", 1)[1])
        lines = (
            "POST /v1/proxies HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {world.alice.key}",
            "Content-Length: 9999",
        )
        head = "\r\n".join([*lines, "", ""]).encode()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head + b"\x08" * 100)
            wait_until(lambda: any(place.glob("certigap-*")))
        wait_until(lambda: not any(place.glob("certigap-*")))
        assert stored(world) == 0
        assert world.alice.get("/v1/proxies").json()["data"] == []
    assert "defect" not in capfd.readouterr().err


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
