"""What a job leaves, when it is there, when it is not yet, and when it is no more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.store import jobs
from app.store.jobs import Ending
from app.store.tables import Job
from tests.app.api.conftest import Api, World

PARTS = {"result": b'{"lower": 1.5}', "certificate": b'{"schema": "certigap.certificate/1"}', "report": b"<h1>Gap</h1>"}


def ended(world: World, api: Api, status: str = "succeeded", **more: Any) -> str:
    """Return a job that ended and left all its parts."""
    job = api.job()
    names = {part: world.state.blobs.put(api.tenant, data) for part, data in PARTS.items()}
    with world.write() as s:
        begun = jobs.begin(s, job, s.get_one(Job, job).workflow, "worker")
        assert begun is not None
        assert jobs.finish(s, job, begun.attempt, Ending(status, "optimal", "certified", **{**names, **more}))
    return job


@pytest.mark.parametrize("status", ["succeeded", "canceled"])
def test_every_part_is_given_as_it_was_stored(world: World, alice: Api, status: str) -> None:
    job = ended(world, alice, status)
    for part, data in PARTS.items():
        answer = alice.get(f"/v1/jobs/{job}/{part}")
        assert (answer.status_code, answer.content) == (200, data)
        kind = "text/html; charset=utf-8" if part == "report" else "application/json"
        assert answer.headers["Content-Type"] == kind


def test_a_report_runs_nothing(world: World, alice: Api) -> None:
    policy = alice.get(f"/v1/jobs/{ended(world, alice)}/report").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script" not in policy


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_there_before_the_end(alice: Api, part: str) -> None:
    answer = alice.get(f"/v1/jobs/{alice.job()}/{part}")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")


def test_what_was_never_left_is_not_found(world: World, alice: Api) -> None:
    job = ended(world, alice, "failed", result=None)
    answer = alice.get(f"/v1/jobs/{job}/result")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_part")


def test_a_job_cancelled_while_nobody_worked_on_it_still_gives_its_bounds(world: World, alice: Api) -> None:
    job = alice.job()
    with world.write() as s:
        begun = jobs.begin(s, job, s.get_one(Job, job).workflow, "worker")
        assert begun is not None
        jobs.tell(s, job, begun.attempt, {"type": "progress", "phase": "search"}, 1.0, 2.0, "$/h")
        # Its worker was lost.
        jobs.hand_back(s, begun, blame=True)
    assert alice.post(f"/v1/jobs/{job}:cancel").json()["status"] == "canceled"
    answer = alice.get(f"/v1/jobs/{job}/result")
    told = {"lower": 1.0, "upper": 2.0, "unit": "$/h", "termination": "cancelled", "verdict": "bounded"}
    assert (answer.status_code, answer.json()) == (200, told)


def test_what_is_no_more_has_expired(world: World, alice: Api) -> None:
    old, lost = ended(world, alice), ended(world, alice)
    with world.write() as s:
        row = s.get_one(Job, old)
        assert row.finished_at is not None
        row.finished_at -= 91 * 86_400
        name = s.get_one(Job, lost).certificate
    assert name is not None
    world.state.blobs.delete(alice.tenant, name)
    for job in (old, lost):
        answer = alice.get(f"/v1/jobs/{job}/certificate")
        assert (answer.status_code, answer.json()["code"]) == (410, "expired")


def test_a_log_is_read_on_from_where_it_was(world: World, alice: Api) -> None:
    job, heard, offset = alice.job(), "", 0
    for piece in ("one\n", "zwölf\n", "", "three\n"):
        with world.write() as s:
            jobs.log(s, job, piece)
        answer = alice.get(f"/v1/jobs/{job}/log", params={"offset": offset})
        assert answer.headers["Content-Type"].startswith("text/plain")
        heard += answer.text
        offset = int(answer.headers["X-Next-Offset"])
    assert heard == "one\nzwölf\nthree\n"
    assert alice.get(f"/v1/jobs/{job}/log", params={"offset": -1}).status_code == 422


def test_a_failed_job_says_why(world: World, alice: Api) -> None:
    error = {"code": "out_of_memory", "message": "the child was killed"}
    job = ended(world, alice, "failed", result=None, error=error)
    assert json.loads(alice.get(f"/v1/jobs/{job}").text)["error"] == error
