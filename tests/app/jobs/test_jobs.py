"""Jobs on a whole service of our own: every kind, cancelling, resuming, and what is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from benchmarks.service.harness import ROOT, Service, kill, submit, upload

# A search of some seconds and many parts.
LONG = {"u": 0.2, "options": {"tolerance": 1e-2, "effort": 5, "rounds": 1, "attack_seconds": 0.5, "samples": 10}}
QUICK = {"u": 0.02, "options": {"samples": 10}}
TERMINAL = ("succeeded", "failed", "canceled")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("service") / "data", settings={"attempts": "3"})
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as made:
        yield made


@pytest.fixture(scope="module")
def knapsack(client: httpx.Client) -> str:
    return upload(client, "knapsack-10")


def job_until(client: httpx.Client, job: str, reached: Callable[[dict[str, Any]], bool], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        row = client.get(f"/v1/jobs/{job}").json()
        if reached(row):
            return row
        assert time.monotonic() < deadline, row
        time.sleep(0.05)


def ended(client: httpx.Client, job: str) -> Any:
    return job_until(client, job, lambda row: row["status"] in TERMINAL)


def story(client: httpx.Client, job: str) -> list[dict[str, Any]]:
    return client.get(f"/v1/jobs/{job}/events", params={"after": 0}).json()["data"]


def test_verify_gives_result_certificate_and_report(client: httpx.Client, knapsack: str) -> None:
    row = ended(client, submit(client, "verify", knapsack, **QUICK))
    assert (row["status"], row["termination"], row["verdict"]) == ("succeeded", "optimal", "certified")
    result = client.get(row["links"]["result"]).json()
    assert (result["lower"], result["upper"]) == (row["lower"], row["upper"])
    certificate = client.get(row["links"]["certificate"]).json()
    assert certificate["schema"] == "certigap.certificate/1"
    assert "<html" in client.get(row["links"]["report"]).text
    events = story(client, row["id"])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["status"] == "succeeded"
    assert {"attack", "done"} <= {event.get("phase") for event in events}


def test_other_kinds(client: httpx.Client, knapsack: str) -> None:
    jobs = {
        "attack": submit(client, "attack", knapsack, u=0.02, options={"attack_seconds": 0.5, "samples": 0}),
        "bounds": submit(client, "bounds", knapsack, u=0.2),
        "evaluate": submit(client, "evaluate", knapsack, u=0.02, samples=300),
        "sweep": submit(client, "sweep", knapsack, u=[0.01, 0.02], options={"samples": 0}),
    }
    rows = {kind: ended(client, job) for kind, job in jobs.items()}
    assert {row["status"] for row in rows.values()} == {"succeeded"}
    results = {kind: client.get(row["links"]["result"]).json() for kind, row in rows.items()}
    assert rows["attack"]["termination"] == "node_limit"
    assert 0 < results["attack"]["lower"] <= results["attack"]["upper"]
    assert all(layer["stable"] <= layer["units"] == len(layer["lower"]) for layer in results["bounds"]["layers"])
    repair = results["bounds"]["layers"][-1]
    assert repair["layer"].startswith("SortRepair")
    # Within 20 %, some items change places with others, so not every choice is fixed.
    assert repair["stable"] < repair["units"]
    assert results["evaluate"]["samples"] == 300
    assert (
        0 <= results["evaluate"]["mean"] <= results["evaluate"]["quantiles"]["0.99"] <= results["evaluate"]["largest"]
    )
    curve = results["sweep"]["curve"]
    assert [point["u"] for point in curve] == [0.01, 0.02]
    assert curve[0]["lower"] <= curve[1]["upper"]
    assert rows["sweep"]["verdict"] == "certified"


def test_train_makes_a_proxy_that_can_be_verified(client: httpx.Client) -> None:
    body = {"kind": "knapsack", "name": "five", "values": [3, 5, 4, 7, 2], "weights": [2, 4, 3, 5, 2], "capacity": 8}
    problem = client.post("/v1/problems", json=body).json()["id"]
    answer = client.post("/v1/jobs", json={"kind": "train", "problem": problem, "hidden": [8], "steps": 300})
    row = ended(client, answer.json()["id"])
    assert row["status"] == "succeeded", row
    proxy = client.get(row["links"]["result"]).json()["proxy"]
    assert client.get(f"/v1/proxies/{proxy}").json()["manifest"]["problem"]["name"] == "five"
    assert ended(client, submit(client, "verify", proxy, **QUICK))["verdict"] == "certified"


def test_a_time_limit_is_a_success_with_bounds(client: httpx.Client, knapsack: str) -> None:
    options = {**LONG["options"], "tolerance": 1e-6, "time_limit": 2.0}
    row = ended(client, submit(client, "verify", knapsack, u=0.2, options=options))
    assert (row["status"], row["termination"], row["verdict"]) == ("succeeded", "time_limit", "bounded")
    assert row["lower"] < row["upper"]


def test_what_cannot_be_asked_fails_with_the_reason(client: httpx.Client, knapsack: str) -> None:
    row = ended(client, submit(client, "verify", knapsack, u=0.02, options={"formulation": "bilevel"}))
    assert row["status"] == "failed"
    assert row["error"]["code"] == "options"
    assert "compact" in row["error"]["message"]


def test_cancel_keeps_bounds_and_resume_goes_on(client: httpx.Client, service: Service, knapsack: str) -> None:
    job = submit(client, "verify", knapsack, **LONG)
    before = job_until(client, job, lambda row: row["upper"] is not None and _searched(client, job))
    assert client.post(f"/v1/jobs/{job}:cancel").status_code == 202
    row = ended(client, job)
    assert (row["status"], row["termination"]) == ("canceled", "cancelled")
    assert row["lower"] >= before["lower"]
    assert row["upper"] <= before["upper"]
    assert client.get(row["links"]["result"]).json()["upper"] == row["upper"]
    assert service.part("child") == []
    assert client.post(f"/v1/jobs/{job}:cancel").status_code == 200
    assert client.post(f"/v1/jobs/{job}:resume").status_code == 202
    again = ended(client, job)
    assert (again["status"], again["verdict"]) == ("succeeded", "certified")
    assert again["lower"] >= row["lower"]
    assert again["upper"] <= row["upper"]
    _check_story(client, job)


def test_a_queued_job_is_cancelled_at_once(client: httpx.Client, knapsack: str) -> None:
    first = submit(client, "verify", knapsack, **LONG)
    second = submit(client, "verify", knapsack, **LONG)
    client.post(f"/v1/jobs/{second}:cancel")
    assert client.get(f"/v1/jobs/{second}").json()["status"] == "canceled"
    client.post(f"/v1/jobs/{first}:cancel")
    assert ended(client, first)["status"] == "canceled"


@pytest.mark.parametrize("part", ["child", "worker", "api"])
def test_what_is_killed_loses_nothing(client: httpx.Client, service: Service, knapsack: str, part: str) -> None:
    job = submit(client, "verify", knapsack, **LONG)
    job_until(client, job, lambda row: _searched(client, job))
    kill(service.part(part))
    service.wait_ready()
    row = ended(client, job)
    assert (row["status"], row["verdict"]) == ("succeeded", "certified")
    assert row["attempt"] > 1 or part == "api"
    _check_story(client, job)
    if part == "child":
        assert "SIGKILL" in client.get(f"/v1/jobs/{job}/log").text


def test_told_to_end_from_outside_is_not_cancelled(client: httpx.Client, service: Service, knapsack: str) -> None:
    """As when a machine shuts down and every process of it is told."""
    job = submit(client, "verify", knapsack, **LONG)
    job_until(client, job, lambda row: _searched(client, job))
    for child in service.part("child"):
        os.kill(child, signal.SIGTERM)
    row = ended(client, job)
    assert (row["status"], row["verdict"]) == ("succeeded", "certified")
    assert "from outside" in client.get(f"/v1/jobs/{job}/log").text


def test_a_job_whose_process_always_dies_is_given_up(client: httpx.Client, service: Service, knapsack: str) -> None:
    job = submit(client, "verify", knapsack, **LONG)
    deadline = time.monotonic() + 120
    while client.get(f"/v1/jobs/{job}").json()["status"] not in TERMINAL and time.monotonic() < deadline:
        kill(service.part("child"))
        time.sleep(0.1)
    row = ended(client, job)
    assert row["status"] == "failed"
    assert row["error"]["code"] == "attempts_exhausted"
    assert "SIGKILL" in row["error"]["message"]


def test_a_second_server_on_the_same_data_says_so(service: Service) -> None:
    command = [sys.executable, "-m", "app.cli.main", "serve", "--port", "0", "--data-dir", str(service.folder)]
    again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert again.returncode >= 64
    assert "another server works on" in again.stderr


def _searched(client: httpx.Client, job: str) -> bool:
    return any(event.get("phase") == "search" for event in story(client, job))


def _check_story(client: httpx.Client, job: str) -> None:
    """One end, and bounds that never get worse."""
    events = story(client, job)
    uppers = [event["upper"] for event in events if event.get("upper") is not None]
    lowers = [event["lower"] for event in events if event.get("lower") is not None]
    assert uppers == sorted(uppers, reverse=True)
    assert lowers == sorted(lowers)
    ends = [event for event in events if event["type"] == "status" and event["status"] in ("succeeded", "failed")]
    assert len(ends) == 1
