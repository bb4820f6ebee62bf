"""What the rows of jobs keep, and what they take back."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.jobs.requests import VerifyJob
from app.store import jobs
from app.store.database import open_database, session
from app.store.keys import DEFAULT_TENANT
from app.store.migrate import migrate
from app.store.tables import Job


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    url = f"sqlite:///{tmp_path / 'certigap.db'}"
    migrate(url)
    return open_database(url)


def test_a_bound_that_was_found_wrong_does_not_stay(engine: Engine) -> None:
    with session(engine) as s, s.begin():
        job = jobs.create(s, DEFAULT_TENANT, VerifyJob(kind="verify", proxy="prx_1"), "cpu").id
        jobs.begin(s, job, None, "worker")
        jobs.tell(s, job, 1, {"type": "progress", "phase": "search"}, 1.0, 2.0, "$/h")
        jobs.tell(s, job, 1, {"type": "progress", "phase": "search"}, 3.0, None, "$/h")
        assert jobs.finish(s, job, 1, jobs.Ending("succeeded", "error", "unknown"))
        row = s.get_one(Job, job, populate_existing=True)
        assert (row.lower, row.upper) == (3.0, None)


def test_what_was_attained_is_never_above_the_upper_bound(engine: Engine) -> None:
    event = {"type": "progress", "phase": "search"}
    with session(engine) as s, s.begin():
        job = jobs.create(s, DEFAULT_TENANT, VerifyJob(kind="verify", proxy="prx_1"), "cpu").id
        jobs.begin(s, job, None, "worker")
        jobs.tell(s, job, 1, event, 1.0, 2.0, "$/h")
        jobs.tell(s, job, 1, event, 2.0 + 1e-13, 2.0 + 1e-13, "$/h")
        row = s.get_one(Job, job, populate_existing=True)
        assert (row.lower, row.upper) == (2.0 + 1e-13, 2.0 + 1e-13)


def test_a_sweep_knows_its_points_among_its_events(engine: Engine) -> None:
    with session(engine) as s, s.begin():
        job = jobs.create(s, DEFAULT_TENANT, VerifyJob(kind="verify", proxy="prx_1"), "cpu").id
        jobs.begin(s, job, None, "worker")
        for u in (0.1, 0.2):
            jobs.tell(s, job, 1, {"type": "progress", "phase": "search"})
            jobs.tell(s, job, 1, {"type": "point", "phase": "sweep", "point": {"u": u}})
        assert jobs.points(s, job) == [{"u": 0.1}, {"u": 0.2}]
