"""Jobs over HTTP: submitted once, listed, waited for, cancelled, resumed, and every way in which one is refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.store import jobs
from app.store.jobs import Ending
from app.store.tables import Job
from tests.app.api.conftest import Api, World, serve


def queued(world: World, job: str) -> int:
    """Return how many workflows wait for a worker with this job."""
    with world.write() as s:
        table = "workflow_status" if s.get_bind().dialect.name == "sqlite" else "dbos.workflow_status"
        query = f"SELECT count(*) FROM {table} WHERE status = 'ENQUEUED' AND workflow_uuid LIKE :job"
        return int(s.scalar(text(query), {"job": f"{job}%"}) or 0)


def end(world: World, job: str, **ending: Any) -> None:
    """End a job as a worker does."""
    with world.write() as s:
        begun = jobs.begin(s, job, s.get_one(Job, job).workflow, "worker")
        assert begun is not None
        jobs.tell(s, job, begun.attempt, {"type": "progress", "phase": "search"}, 1.0, 2.0, "$/h")
        assert jobs.finish(s, job, begun.attempt, Ending(**{"status": "succeeded", **ending}))


def test_a_job_is_stored_and_queued_together(world: World, alice: Api) -> None:
    answer = alice.post("/v1/jobs", json={"kind": "verify", "proxy": alice.proxy(), "u": 0.1})
    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["Location"] == body["links"]["self"] == f"/v1/jobs/{body['id']}"
    assert int(answer.headers["Retry-After"]) >= 1
    assert (body["status"], body["attempt"], body["lower"], body["verdict"]) == ("queued", 0, None, None)
    assert body["request"]["u"] == 0.1
    assert body["request"]["options"]["solver"] == "highs"
    assert alice.get(f"/v1/jobs/{body['id']}").json() == body
    assert queued(world, body["id"]) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "attack"},
        {"kind": "bounds", "method": "alpha"},
        {"kind": "evaluate", "samples": 10},
        {"kind": "sweep", "u": [0.01, 0.05]},
    ],
)
def test_every_kind_of_job_on_a_proxy_is_taken(alice: Api, more: dict[str, Any]) -> None:
    assert alice.get(f"/v1/jobs/{alice.job(**more)}").json()["kind"] == more["kind"]


def test_training_is_taken_for_a_problem(alice: Api) -> None:
    answer = alice.post("/v1/jobs", json={"kind": "train", "problem": alice.problem(), "minutes": 0.1})
    assert answer.status_code == 202


def test_a_job_that_cannot_be_queued_is_not_stored(world: World, alice: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no queue")

    proxy, before = alice.proxy(), alice.get("/v1/jobs").json()
    monkeypatch.setattr("app.api.jobs.enqueue", fail)
    assert alice.post("/v1/jobs", json={"kind": "verify", "proxy": proxy}).status_code == 500
    assert alice.get("/v1/jobs").json() == before


class TestIdempotency:
    def test_the_same_request_gives_the_same_job(self, world: World, alice: Api) -> None:
        body, key = {"kind": "verify", "proxy": alice.proxy()}, {"Idempotency-Key": "one"}
        first, again = (alice.post("/v1/jobs", json=body, headers=key) for _ in range(2))
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.json()["id"] == again.json()["id"]
        assert queued(world, first.json()["id"]) == 1

    def test_spelling_and_defaults_make_no_other_body(self, alice: Api) -> None:
        key, proxy = {"Idempotency-Key": "spelling"}, alice.proxy()
        first = alice.post("/v1/jobs", json={"kind": "verify", "proxy": proxy}, headers=key)
        again = alice.post("/v1/jobs", json={"u": 0.05, "proxy": proxy, "kind": "verify"}, headers=key)
        assert first.json()["id"] == again.json()["id"]

    def test_another_body_is_refused(self, alice: Api) -> None:
        key, proxy = {"Idempotency-Key": "two"}, alice.proxy()
        alice.post("/v1/jobs", json={"kind": "verify", "proxy": proxy}, headers=key)
        other = alice.post("/v1/jobs", json={"kind": "verify", "proxy": proxy, "u": 0.2}, headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

    def test_tenants_have_keys_of_their_own(self, alice: Api, bob: Api) -> None:
        key = {"Idempotency-Key": "shared"}
        ids = {
            api.post("/v1/jobs", json={"kind": "verify", "proxy": api.proxy()}, headers=key).json()["id"]
            for api in (alice, bob)
        }
        assert len(ids) == 2

    def test_a_refused_request_leaves_its_key_free(self, alice: Api) -> None:
        key = {"Idempotency-Key": "three"}
        wrong = alice.post("/v1/jobs", json={"kind": "verify", "proxy": "prx_" + "0" * 26}, headers=key)
        assert (wrong.status_code, wrong.json()["code"]) == (422, "unknown_proxy")
        assert alice.post("/v1/jobs", json={"kind": "verify", "proxy": alice.proxy()}, headers=key).status_code == 202

    def test_a_key_in_flight_conflicts(self, world: World, alice: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        inside, go = threading.Event(), threading.Event()
        create = jobs.create

        def slow(*arguments: Any) -> Job:
            inside.set()
            assert go.wait(20)
            return create(*arguments)

        body, key = {"kind": "verify", "proxy": alice.proxy()}, {"Idempotency-Key": "four"}
        monkeypatch.setattr("app.api.jobs.jobs.create", slow)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(alice.post, "/v1/jobs", json=body, headers=key)
            assert inside.wait(20)
            second = alice.post("/v1/jobs", json=body, headers=key)
            go.set()
            assert first.result(20).status_code == 202
        assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_flight")
        assert second.headers["Retry-After"] == "1"
        assert alice.post("/v1/jobs", json=body, headers=key).json()["id"] == first.result().json()["id"]

    def test_many_at_once_make_one_job(self, world: World, alice: Api) -> None:
        body, key = {"kind": "verify", "proxy": alice.proxy()}, {"Idempotency-Key": "five"}
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: alice.post("/v1/jobs", json=body, headers=key), range(16)))
        assert {answer.status_code for answer in answers} <= {202, 409}
        ids = {answer.json()["id"] for answer in answers if answer.status_code == 202}
        assert len(ids) == 1
        assert queued(world, ids.pop()) == 1


def test_two_services_on_one_database_make_one_job_of_a_key(tmp_path: Path, postgres: str) -> None:
    shared = {"database_url": postgres, "blobs_url": (tmp_path / "blobs").as_uri()}
    with serve(tmp_path / "one", **shared) as one, serve(tmp_path / "two", **shared) as two:
        body = {"kind": "verify", "proxy": one.alice.proxy()}
        for key in ("a", "b", "c"):

            def submit(api: Api, key: str = key) -> Any:
                return api.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})

            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(submit, [one.alice, two.alice] * 6))
            assert {answer.status_code for answer in answers} <= {202, 409}
            assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
        assert len(one.alice.get("/v1/jobs").json()["data"]) == 3


class TestWaiting:
    def test_a_job_that_ends_in_time_is_answered_with_200(self, world: World, alice: Api) -> None:
        body = {"kind": "verify", "proxy": alice.proxy(), "u": 0.31}

        def work() -> None:
            for _ in range(400):
                found = [
                    job for job in alice.get("/v1/jobs?status=queued").json()["data"] if job["request"]["u"] == 0.31
                ]
                if found:
                    end(world, found[0]["id"], verdict="certified", termination="optimal")
                    return

        worker = threading.Thread(target=work)
        worker.start()
        answer = alice.post("/v1/jobs", json=body, headers={"Prefer": "respond-async, wait=30"})
        worker.join()
        assert answer.status_code == 200
        assert answer.headers["Preference-Applied"] == "wait=30"
        assert (answer.json()["status"], answer.json()["verdict"]) == ("succeeded", "certified")
        assert (answer.json()["lower"], answer.json()["upper"], answer.json()["unit"]) == (1.0, 2.0, "$/h")

    def test_one_that_does_not_is_answered_with_202(self, alice: Api) -> None:
        answer = alice.post("/v1/jobs", json={"kind": "verify", "proxy": alice.proxy()}, headers={"Prefer": "wait=0"})
        assert answer.status_code == 202
        assert answer.json()["status"] == "queued"


class TestCancelAndResume:
    def test_a_waiting_job_ends_at_once(self, alice: Api) -> None:
        job = alice.job()
        first, again = (alice.post(f"/v1/jobs/{job}:cancel") for _ in range(2))
        assert (first.status_code, again.status_code) == (202, 200)
        assert first.json()["status"] == again.json()["status"] == "canceled"

    def test_a_running_job_is_asked_to_end(self, world: World, alice: Api) -> None:
        job = alice.job()
        with world.write() as s:
            jobs.begin(s, job, s.get_one(Job, job).workflow, "worker")
        first, again = (alice.post(f"/v1/jobs/{job}:cancel") for _ in range(2))
        assert (first.status_code, again.status_code) == (202, 200)
        assert first.json()["status"] == again.json()["status"] == "canceling"

    def test_a_cancelled_job_is_queued_again(self, world: World, alice: Api) -> None:
        job = alice.job()
        alice.post(f"/v1/jobs/{job}:cancel")
        before = queued(world, job)
        first, again = (alice.post(f"/v1/jobs/{job}:resume") for _ in range(2))
        assert (first.status_code, again.status_code) == (202, 200)
        assert first.json()["status"] == again.json()["status"] == "queued"
        assert queued(world, job) == before + 1

    @pytest.mark.parametrize(("termination", "status"), [("optimal", 200), ("time_limit", 202)])
    def test_what_a_time_limit_ended_goes_on(self, world: World, alice: Api, termination: str, status: int) -> None:
        job = alice.job()
        end(world, job, termination=termination)
        answer = alice.post(f"/v1/jobs/{job}:resume")
        assert answer.status_code == status
        assert (answer.json()["lower"], answer.json()["upper"]) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("pointer", "change"),
    [
        ("/u", {"u": 1.0}),
        ("/u", {"u": "0.05"}),
        ("/u", {"u": True}),
        ("/options/time_limit", {"options": {"time_limit": 0}}),
        ("/options/speed", {"options": {"speed": 1}}),
        ("/more", {"more": 1}),
        ("/kind", {"kind": "solve"}),
        ("/u", {"kind": "sweep", "u": []}),
        ("/u/1", {"kind": "sweep", "u": [0.1, 2]}),
        ("/problem", {"problem": "prb_" + "0" * 26}),
        ("/proxy", {"proxy": "a\x00b"}),
        ("/input_unit", {"input_unit": "MW"}),
    ],
)
def test_wrong_jobs_are_told_where(alice: Api, pointer: str, change: dict[str, Any]) -> None:
    answer = alice.post("/v1/jobs", json={"kind": "verify", "proxy": alice.proxy(), **change})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] in (pointer, "" if pointer == "/kind" else pointer)


def test_proxy_and_problem_must_be_of_one_kind(alice: Api) -> None:
    grid = alice.post("/v1/problems", json={"kind": "dcopf", "case": "pglib_opf_case14_ieee"}).json()["id"]
    answer = alice.post("/v1/jobs", json={"kind": "verify", "proxy": alice.proxy(), "problem": grid})
    assert (answer.status_code, answer.json()["code"]) == (422, "other_kind")


@pytest.mark.parametrize(
    ("status", "content", "media"),
    [
        (400, b'{"kind": "verify", "u": NaN}', "application/json"),
        (400, b'{"kind": "verify", "u": Infinity}', "application/json"),
        (422, b'{"kind": "verify", "u": 1e999}', "application/json"),
        (400, b"{", "application/json"),
        (415, b"kind=verify", "application/x-www-form-urlencoded"),
        (415, b"{}", "text/plain"),
        (413, b'{"kind": "' + b"x" * 5_000_000 + b'"}', "application/json"),
        (422, b"", "application/json"),
    ],
)
def test_refusals_by_form(alice: Api, status: int, content: bytes, media: str) -> None:
    answer = alice.post("/v1/jobs", content=content, headers={"Content-Type": media})
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_lists_are_filtered_and_paged(tmp_path: Path) -> None:
    with serve(tmp_path) as world:
        made = [world.alice.job() for _ in range(5)]
        for job in made[:2]:
            world.alice.post(f"/v1/jobs/{job}:cancel")
        assert [job["id"] for job in world.alice.get("/v1/jobs?status=canceled").json()["data"]] == made[1::-1]
        first = world.alice.get("/v1/jobs?limit=3").json()
        second = world.alice.get("/v1/jobs", params={"limit": 3, "cursor": first["next_cursor"]}).json()
        assert [job["id"] for page in (first, second) for job in page["data"]] == made[::-1]
        assert second["next_cursor"] is None
        assert world.bob.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("status", "query"),
    [(400, "cursor=nonsense"), (400, "cursor=%00"), (422, "limit=0"), (422, "limit=101"), (422, "status=done")],
)
def test_wrong_queries(alice: Api, status: int, query: str) -> None:
    answer = alice.get(f"/v1/jobs?{query}")
    assert answer.status_code == status
    assert status == 422 or answer.json()["code"] == "bad_cursor"


def test_quota_and_queue_have_an_end(tmp_path: Path) -> None:
    with serve(tmp_path, active_jobs=2, queue_length=3) as world:
        first, _ = world.alice.job(), world.alice.job()
        full = world.alice.post("/v1/jobs", json={"kind": "verify", "proxy": world.alice.proxy()})
        assert (full.status_code, full.json()["code"]) == (429, "quota_exceeded")
        assert "Retry-After" in full.headers
        world.bob.job()
        queue = world.bob.post("/v1/jobs", json={"kind": "verify", "proxy": world.bob.proxy()})
        assert (queue.status_code, queue.json()["code"]) == (503, "queue_full")
        assert "Retry-After" in queue.headers
        world.alice.post(f"/v1/jobs/{first}:cancel")
        world.alice.job()
        assert world.alice.post(f"/v1/jobs/{first}:resume").status_code == 429
