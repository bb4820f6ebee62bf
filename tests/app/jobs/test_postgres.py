"""Several workers on PostgreSQL: taking over, spreading a search, and a database that is killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select

from app.jobs.queue import PART_WORKFLOW, open_queue
from app.store.database import open_database, reading
from app.store.tables import Worker
from benchmarks.service.harness import Postgres, Service, postgres_programs, submit, upload

pytestmark = pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed")

# A search of some seconds and many parts, for one process of its own.
LONG = {
    "u": 0.2,
    "options": {"tolerance": 1e-2, "effort": 5, "rounds": 1, "attack_seconds": 0.5, "samples": 0, "workers": 1},
}


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    # Not below the folders of pytest: the server does not run as root, and those are root's alone.
    folder = Path(f"/tmp/certigap-postgres-{time.time_ns()}")
    made = Postgres(folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def service(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("service") / "data", postgres.url, settings={"cores": "1"})
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def proxy(client: httpx.Client) -> str:
    return upload(client, "knapsack-10")


def test_a_killed_database_loses_nothing(
    client: httpx.Client, postgres: Postgres, service: Service, proxy: str
) -> None:
    job = submit(client, "verify", proxy, **LONG)
    _until(client, job, lambda row: row["upper"] is not None)
    postgres.kill()
    answer = client.get(f"/v1/jobs/{job}")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    postgres.start()
    service.wait_ready()
    row = _until(client, job, lambda row: row["finished_at"] is not None)
    assert (row["status"], row["verdict"]) == ("succeeded", "certified")


def test_another_worker_takes_over_the_job_of_a_dead_one(client: httpx.Client, service: Service, proxy: str) -> None:
    first = submit(client, "verify", proxy, **LONG)
    _until(client, first, lambda row: row["status"] == "running")
    # The service's own worker is busy, so the other one takes the next job.
    other = service.another_worker()
    try:
        second = submit(client, "verify", proxy, **LONG)
        attempt = _until(client, second, lambda row: row["upper"] is not None)["attempt"]
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    rows = [_until(client, job, lambda row: row["finished_at"] is not None) for job in (first, second)]
    assert [row["verdict"] for row in rows] == ["certified", "certified"]
    assert rows[1]["attempt"] > attempt


def test_another_worker_takes_parts_of_a_search(
    client: httpx.Client, postgres: Postgres, service: Service, proxy: str
) -> None:
    engine = open_database(postgres.url)
    queue = open_queue(engine)
    other = service.another_worker()
    try:
        deadline = time.monotonic() + 120
        while _workers(engine) < 2:
            assert time.monotonic() < deadline, service.log()[-2000:]
            time.sleep(0.1)
        taken: list[object] = []
        # One search may end before the other worker looks for parts.
        for _ in range(5):
            row = _until(client, submit(client, "verify", proxy, **LONG), lambda row: row["finished_at"] is not None)
            assert (row["status"], row["verdict"]) == ("succeeded", "certified")
            taken = [*queue.list_workflows(name=PART_WORKFLOW, status="SUCCESS", executor_id=_other(engine, service))]
            if taken:
                break
        assert taken
        other.send_signal(signal.SIGTERM)
        assert other.wait(60) == 0
        assert _workers(engine) == 1
    finally:
        other.kill()
        queue.destroy()
        engine.dispose()


def _workers(engine: Engine) -> int:
    with reading(engine) as s:
        return s.scalar(select(func.count()).select_from(Worker)) or 0


def _other(engine: Engine, service: Service) -> list[str]:
    """Return the workers that the service's supervisor did not start."""
    own = {str(pid) for pid in service.part("worker")}
    with reading(engine) as s:
        names = s.scalars(select(Worker.id)).all()
    return [name for name in names if name.split("/")[1].split("-")[0] not in own]


def _until(client: httpx.Client, job: str, reached: Callable[[dict[str, Any]], bool], seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        answer = client.get(f"/v1/jobs/{job}")
        if answer.status_code == 200 and reached(answer.json()):
            return answer.json()
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
