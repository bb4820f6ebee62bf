"""One request: what is sent again and when, and what errors know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

import certigap
from certigap import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    ConflictError,
    NotFoundError,
    RateLimitError,
    ServerError,
    UnprocessableError,
    UsageError,
)
from certigap.errors import error_of
from tests.client.fake import Both, Clock, Script, job, problem

JOBS, JOB = "/v1/jobs", "/v1/jobs/job_1"
SUBMIT = {"kind": "verify", "proxy": "prx_1", "u": 0.05}


def submit(client: Any) -> Any:
    return client.jobs.create(SUBMIT)


def get(client: Any) -> Any:
    return client.jobs.get("job_1")


def test_a_submission_is_sent_again_under_one_key(both: Both, clock: Clock) -> None:
    answers = [problem(503, "queue_full"), httpx.ConnectError("refused"), httpx.Response(202, json=job("queued"))]
    script = Script({f"POST {JOBS}": answers})
    assert both(script, submit).id == "job_1"
    keys = {request.headers["Idempotency-Key"] for request in script.requests}
    assert len(script.requests) == 3
    assert len(keys) == 1
    assert len({request.content for request in script.requests}) == 1
    assert 0.375 <= clock.slept[0] <= 0.5
    assert 0.75 <= clock.slept[1] <= 1.0


def test_two_submissions_have_two_keys_and_a_given_one_is_kept(both: Both) -> None:
    script = Script({f"POST {JOBS}": [httpx.Response(202, json=job())]})
    both(script, submit)
    both(script, submit)
    both(script, lambda client: client.jobs.create(SUBMIT, idempotency_key="mine", prefer_wait=3))
    keys = [request.headers["Idempotency-Key"] for request in script.requests]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"
    assert script.requests[2].headers["Prefer"] == "wait=3"


@pytest.mark.parametrize("answer", [problem(500, "defect"), problem(408, "slow"), problem(429, "rate_limited")])
def test_it_gives_up_after_two_retries(both: Both, clock: Clock, answer: httpx.Response) -> None:
    script = Script({f"GET {JOB}": [answer]})
    with pytest.raises(APIStatusError, match="req_1") as caught:
        both(script, get)
    assert len(script.requests) == 3
    assert caught.value.request_id == "req_1"
    assert "Idempotency-Key" not in script.requests[0].headers


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 415, 422])
def test_what_a_later_attempt_cannot_mend_is_not_sent_again(both: Both, status: int) -> None:
    script = Script({f"GET {JOB}": [problem(status, "no")]})
    with pytest.raises(APIStatusError):
        both(script, get)
    assert len(script.requests) == 1


def test_a_conflict_is_sent_again_only_while_the_key_is_in_flight(both: Both, clock: Clock) -> None:
    flying = [problem(409, "idempotency_in_flight"), httpx.Response(202, json=job())]
    assert both(Script({f"POST {JOBS}": flying}), submit).id == "job_1"
    script = Script({f"GET {JOB}": [problem(409, "not_finished")]})
    with pytest.raises(ConflictError):
        both(script, get)
    assert len(script.requests) == 1


def test_retry_after_is_obeyed(both: Both, clock: Clock) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    waits = [problem(429, "no", {"Retry-After": "7"}), problem(503, "no", {"Retry-After": date})]
    both(Script({f"GET {JOB}": [*waits, httpx.Response(200, json=job())]}), get)
    assert clock.slept[0] == 7
    assert 25 < clock.slept[1] <= 30


def test_who_must_wait_long_is_told_at_once(both: Both) -> None:
    script = Script({f"GET {JOB}": [problem(429, "quota", {"Retry-After": "3600"})]})
    with pytest.raises(RateLimitError) as caught:
        both(script, get)
    assert caught.value.retry_after == 3600
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("broken", "raised"),
    [(httpx.ConnectError("refused"), APIConnectionError), (httpx.ReadTimeout("slow"), APITimeoutError)],
)
def test_a_lost_connection_is_tried_again(both: Both, clock: Clock, broken: Exception, raised: type[Exception]) -> None:
    assert both(Script({f"GET {JOB}": [broken, broken, httpx.Response(200, json=job())]}), get).id == "job_1"
    script = Script({f"GET {JOB}": [broken]})
    with pytest.raises(raised, match="server"):
        both(script, get, retries=1)
    assert len(script.requests) == 2


def test_errors_carry_the_problem() -> None:
    errors = [{"pointer": "/options/solver", "detail": "no such solver"}]
    error = error_of(problem(422, "invalid", detail="the request is wrong", errors=errors))
    assert isinstance(error, UnprocessableError)
    assert isinstance(error, ValueError)
    assert error.errors == errors
    assert "/options/solver: no such solver" in str(error)
    assert error.body["title"] == "Refused"


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"[1]", b"\xff"])
def test_an_error_that_is_no_problem_document_is_still_an_error(body: bytes) -> None:
    error = error_of(httpx.Response(502, content=body, headers={"X-Request-ID": "r"}))
    assert isinstance(error, ServerError)
    assert error.code is None
    assert error.request_id == "r"
    assert "Bad Gateway" in str(error)
    assert error_of(httpx.Response(799)).title == "unknown status"


def test_answers_of_newer_servers_are_read_and_of_others_refused(both: Both) -> None:
    found = both(Script({f"GET {JOB}": [httpx.Response(200, json=job("paused", colour="red"))]}), get)
    assert found.status == "paused"
    assert found.colour == "red"
    for body in ({"id": 3}, [], "hello"):
        with pytest.raises(APIResponseError, match="Certigap server"):
            both(Script({f"GET {JOB}": [httpx.Response(200, json=body)]}), get)


def test_ids_cannot_leave_their_place(both: Both) -> None:
    script = Script({"GET /v1/jobs/../proxies": [problem(404, "not_found")]})
    with pytest.raises(NotFoundError):
        both(script, lambda client: client.jobs.get("../proxies"))
    assert script.requests[0].url.raw_path == b"/v1/jobs/..%2Fproxies"


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTIGAP_SERVER", "https://elsewhere:1/")
    monkeypatch.setenv("CERTIGAP_API_KEY", "cg_a_b")
    script = Script({f"GET {JOB}": [httpx.Response(200, json=job())]})
    with certigap.Client(transport=httpx.MockTransport(script)) as client:
        client.jobs.get("job_1")
    assert str(script.requests[0].url) == f"https://elsewhere:1{JOB}"
    assert script.requests[0].headers["Authorization"] == "Bearer cg_a_b"
    with pytest.raises(UsageError, match="http"):
        certigap.Client("elsewhere:1")
