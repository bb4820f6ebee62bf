"""Results are dropped after their days, but not what somebody else still has."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from app.jobs.queue import open_queue
from app.jobs.requests import VerifyJob
from app.store import jobs
from app.store.blobs import Blobs
from app.store.cleanup import DAY, expire, forget_workflows
from app.store.database import now, open_database, session
from app.store.keys import DEFAULT_TENANT
from app.store.migrate import migrate
from app.store.tables import Job, SearchPart


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    url = f"sqlite:///{tmp_path / 'certigap.db'}"
    migrate(url)
    return open_database(url)


def _ended(engine: Engine, blobs: Blobs, days_ago: float, result: bytes) -> str:
    with session(engine) as s, s.begin():
        job = jobs.create(s, DEFAULT_TENANT, VerifyJob(kind="verify", proxy="prx_1"), "cpu")
        jobs.begin(s, job.id, job.workflow, "worker")
        name = blobs.put(DEFAULT_TENANT, result)
        assert jobs.finish(s, job.id, 1, jobs.Ending("succeeded", "optimal", "certified", result=name))
        s.get_one(Job, job.id).finished_at = now() - days_ago * DAY
        return job.id


def test_only_old_results_that_nobody_else_has_are_dropped(engine: Engine, tmp_path: Path) -> None:
    blobs = Blobs((tmp_path / "blobs").as_uri())
    old = _ended(engine, blobs, 100, b"old")
    shared = _ended(engine, blobs, 100, b"same")
    young = _ended(engine, blobs, 1, b"same")
    with session(engine) as s, s.begin():
        assert expire(s, blobs, 90) == 2
        assert expire(s, blobs, 90) == 0
        rows = {job: s.get_one(Job, job) for job in (old, shared, young)}
        assert rows[old].result is None
        assert rows[shared].result is None
        assert rows[young].result is not None
        assert blobs.get(DEFAULT_TENANT, rows[young].result) == b"same"
        assert jobs.events_after(s, old, 0) == []
        assert len(jobs.events_after(s, young, 0)) == 3
    assert not any(path.read_bytes() == b"old" for path in (tmp_path / "blobs").rglob("*") if path.is_file())


def test_of_a_job_that_failed_long_ago_only_its_row_stays(engine: Engine, tmp_path: Path) -> None:
    blobs = Blobs((tmp_path / "blobs").as_uri())
    with session(engine) as s, s.begin():
        job = jobs.create(s, DEFAULT_TENANT, VerifyJob(kind="verify", proxy="prx_1"), "cpu").id
        jobs.begin(s, job, None, "worker")
        s.add(SearchPart(job=job, attempt=1, number=1, given={}, created_at=now()))
        jobs.log(s, job, "what it said")
        assert jobs.finish(s, job, 1, jobs.Ending("failed", "error", error={"code": "memory", "message": "too large"}))
        assert s.scalar(select(func.count()).select_from(SearchPart)) == 0
        assert expire(s, blobs, 90) == 0
        s.get_one(Job, job).finished_at = now() - 100 * DAY
        s.flush()
        assert expire(s, blobs, 90) == 1
        assert jobs.events_after(s, job, 0) == []
        assert jobs.read_log(s, job, 0) == ""
        assert s.get_one(Job, job).error is not None
        assert expire(s, blobs, 90) == 0


def test_a_queue_without_old_workflows_forgets_none(engine: Engine) -> None:
    queue = open_queue(engine)
    assert forget_workflows(queue) == 0
    queue.destroy()
