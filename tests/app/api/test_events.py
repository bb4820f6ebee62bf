"""Events of a job: pages of JSON, streams that go on while the job does, and taking one up again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import delete

from app.store import jobs
from app.store.jobs import Ending
from app.store.tables import Job, JobEvent
from benchmarks.service.server import START
from tests.app.api.conftest import Api, World
from tests.app.api.live import Live, live


def read(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream as {id, event, data}."""
    event: dict[str, Any] = {}
    for line in lines:
        if line == "" and "data" in event:
            yield event
            event = {}
        elif line and not line.startswith(":"):
            name, value = line.split(": ", 1)
            event[name] = json.loads(value) if name == "data" else value


def progress(world: World, job: str, count: int, upper: float = 9.0) -> int:
    """Have a worker begin a job and tell of progress; return the attempt."""
    with world.write() as s:
        begun = jobs.begin(s, job, s.get_one(Job, job).workflow, "worker")
        assert begun is not None
        for k in range(count):
            jobs.tell(s, job, begun.attempt, {"type": "progress", "phase": "search", "seconds": k}, k, upper - k, "$/h")
        return begun.attempt


def finish(world: World, job: str, attempt: int) -> None:
    with world.write() as s:
        assert jobs.finish(s, job, attempt, Ending("succeeded", "optimal", "certified"))


def test_pages_hold_every_event_once(world: World, alice: Api) -> None:
    job = alice.job()
    attempt = progress(world, job, 5)
    found, after = [], 0
    while True:
        page = alice.get(f"/v1/jobs/{job}/events", params={"after": after, "limit": 2}).json()
        if not page["data"]:
            break
        found += page["data"]
        after = page["next_after"]
        assert not page["ended"]
    assert [event["seq"] for event in found] == [1, 2, 3, 4, 5, 6, 7]
    assert [event["type"] for event in found] == ["status"] * 2 + ["progress"] * 5
    assert [event["upper"] for event in found[2:]] == [9.0, 8.0, 7.0, 6.0, 5.0]
    finish(world, job, attempt)
    last = alice.get(f"/v1/jobs/{job}/events", params={"after": after}).json()
    assert last["ended"]
    assert (last["data"][-1]["status"], last["data"][-1]["verdict"]) == ("succeeded", "certified")
    assert alice.get(f"/v1/jobs/{job}/events", params={"after": last["next_after"]}).json()["ended"]


def test_json_is_given_to_who_asks_for_it(alice: Api) -> None:
    job = alice.job()
    answer = alice.get(f"/v1/jobs/{job}/events", headers={"Accept": "application/json"})
    assert answer.json()["data"][0]["status"] == "queued"
    assert answer.json()["data"][0]["at"].endswith("Z")


def test_a_stream_of_an_ended_job_ends(world: World, alice: Api) -> None:
    job = alice.job()
    finish(world, job, progress(world, job, 3))
    answer = alice.get(f"/v1/jobs/{job}/events")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    events = list(read(iter(answer.text.split("\n"))))
    assert [int(event["id"]) for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event["event"] for event in events] == [event["data"]["type"] for event in events]
    again = alice.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "4"})
    assert [int(event["id"]) for event in read(iter(again.text.split("\n")))] == [5, 6]


def test_a_stream_of_a_waiting_job_ends_when_its_time_is_over(alice: Api) -> None:
    answer = alice.get(f"/v1/jobs/{alice.job()}/events")
    assert [event["data"]["status"] for event in read(iter(answer.text.split("\n")))] == ["queued"]


def test_a_job_whose_events_have_expired_has_ended(world: World, alice: Api) -> None:
    job = alice.job()
    finish(world, job, progress(world, job, 1))
    with world.write() as s:
        s.execute(delete(JobEvent).where(JobEvent.job == job))
    assert alice.get(f"/v1/jobs/{job}/events", params={"after": 0}).json() == {
        "data": [],
        "next_after": 0,
        "ended": True,
    }
    assert list(read(iter(alice.get(f"/v1/jobs/{job}/events").text.split("\n")))) == []


@pytest.mark.parametrize(
    ("status", "options"),
    [
        (422, {"params": {"after": -1}}),
        (422, {"params": {"after": "x"}}),
        (422, {"params": {"after": 2**31}}),
        (422, {"params": {"after": 0, "limit": 0}}),
        (422, {"headers": {"Last-Event-ID": "x"}}),
        (422, {"headers": {"Last-Event-ID": "9" * 5000}}),
    ],
)
def test_wrong_places_in_a_stream(alice: Api, status: int, options: dict[str, Any]) -> None:
    answer = alice.get(f"/v1/jobs/{alice.job()}/events", **options)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.fixture(scope="module")
def running(world: World) -> Iterator[Live]:
    with live(world) as found:
        yield found


def test_a_live_stream_tells_while_the_job_runs(world: World, alice: Api, running: Live) -> None:
    job = alice.job()
    headers = {"Authorization": f"Bearer {alice.key}"}
    heard: list[int] = []
    with httpx.stream("GET", f"{running.url}/v1/jobs/{job}/events", headers=headers, timeout=START) as answer:
        events = read(answer.iter_lines())
        assert next(events)["data"]["status"] == "queued"
        attempt = progress(world, job, 2)
        heard += [next(events)["data"]["seq"] for _ in range(3)]
        threading.Timer(0.2, finish, (world, job, attempt)).start()
        heard += [event["data"]["seq"] for event in events]
    assert heard == [2, 3, 4, 5]


def test_a_stream_is_taken_up_where_it_broke(world: World, alice: Api, running: Live) -> None:
    job = alice.job()
    headers = {"Authorization": f"Bearer {alice.key}"}
    last, heard = 0, []
    attempt = progress(world, job, 3)
    ended = False
    for round_ in range(20):
        if round_ == 1:
            finish(world, job, attempt)
        with httpx.stream(
            "GET", f"{running.url}/v1/jobs/{job}/events", headers={**headers, "Last-Event-ID": str(last)}, timeout=START
        ) as answer:
            for event in read(answer.iter_lines()):
                last = int(event["id"])
                heard.append(last)
                ended = event["data"].get("status") == "succeeded"
                if len(heard) == 2:
                    break
        if ended:
            break
        time.sleep(0.05)
    assert heard == [1, 2, 3, 4, 5, 6]


def test_many_streams_share_one_look_at_the_database(world: World, alice: Api, running: Live) -> None:
    job = alice.job()
    headers = {"Authorization": f"Bearer {alice.key}"}
    found: list[list[int]] = []

    def listen() -> None:
        with httpx.stream("GET", f"{running.url}/v1/jobs/{job}/events", headers=headers, timeout=START) as answer:
            found.append([event["data"]["seq"] for event in read(answer.iter_lines())])

    listeners = [threading.Thread(target=listen) for _ in range(12)]
    for listener in listeners:
        listener.start()
    finish(world, job, progress(world, job, 2))
    for listener in listeners:
        listener.join(30)
    assert found == [[1, 2, 3, 4, 5]] * 12
