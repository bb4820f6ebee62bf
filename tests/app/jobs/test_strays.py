"""Jobs that nobody works on are queued again: on a whole service, whose queue is made to say what a crash leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, select, text

from app.store import jobs
from app.store.database import open_database, session
from app.store.tables import Job, Worker
from benchmarks.service.harness import Service, submit, upload

LONG = {"u": 0.2, "options": {"tolerance": 1e-2, "effort": 5, "rounds": 1, "attack_seconds": 0.5, "samples": 0}}
QUICK = {"u": 0.02, "options": {"attack_seconds": 0.1, "samples": 0}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("service") / "data")
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as made:
        yield made


@pytest.fixture(scope="module")
def engine(service: Service) -> Iterator[Engine]:
    made = open_database(f"sqlite:///{Path(service.folder) / 'certigap.db'}")
    yield made
    made.dispose()


def test_no_job_waits_for_a_worker_that_does_not_know_of_it(
    client: httpx.Client, engine: Engine, service: Service
) -> None:
    proxy = upload(client, "knapsack-10")
    # It keeps the only worker busy, so that the others stay in the queue until we have changed them.
    first = submit(client, "verify", proxy, **LONG)
    waiting = [submit(client, "verify", proxy, **QUICK) for _ in range(3)]
    with session(engine) as s, s.begin():
        alive = s.scalars(select(Worker.id)).one()
        # Handed to a worker that is gone; handed to a living one that never heard of it; broken by a lost database.
        for job, status, worker in zip(waiting, ("PENDING", "PENDING", "ERROR"), ("gone/1", alive, alive), strict=True):
            found = s.execute(
                text(
                    "UPDATE workflow_status SET status = :status, executor_id = :worker, "
                    "started_at_epoch_ms = 1 WHERE workflow_uuid = :id AND status = 'ENQUEUED'"
                ),
                {"status": status, "worker": worker, "id": s.get_one(Job, job).workflow},
            )
            assert found.rowcount == 1  # type: ignore[attr-defined]
    deadline = time.monotonic() + 120
    for job in (first, *waiting):
        while (row := client.get(f"/v1/jobs/{job}").json())["finished_at"] is None:
            assert time.monotonic() < deadline, (row, service.log()[-2000:])
            time.sleep(0.1)
        assert (row["status"], row["verdict"]) == ("succeeded", "certified")
    with session(engine) as s, s.begin():
        # Nothing is left that counts against a queue.
        assert s.scalar(text("SELECT count(*) FROM workflow_status WHERE status IN ('PENDING', 'ENQUEUED')")) == 0


def test_a_job_that_was_queued_again_is_not_begun_from_its_old_place(client: httpx.Client, engine: Engine) -> None:
    proxy = upload(client, "knapsack-10")
    first = submit(client, "verify", proxy, **LONG)
    job = submit(client, "verify", proxy, **QUICK)
    with session(engine) as s, s.begin():
        old = s.get_one(Job, job).workflow
    assert client.post(f"/v1/jobs/{job}:cancel").json()["status"] == "canceled"
    assert client.post(f"/v1/jobs/{job}:resume").json()["status"] == "queued"
    with session(engine) as s, s.begin():
        assert s.get_one(Job, job).workflow != old
        assert jobs.begin(s, job, old, "worker") is None
    client.post(f"/v1/jobs/{first}:cancel")
