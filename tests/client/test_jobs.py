"""Following a job: streams first, resumed by number, polls where they are dead; and waiting that ends without harm."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from certigap import APIConnectionError, NotFoundError, WaitTimeout
from certigap.models import Event
from tests.client.fake import Both, Clock, Script, job, polled, problem, progress, silent, sse, status

JOB, EVENTS = "/v1/jobs/job_1", "/v1/jobs/job_1/events"
BROKEN = httpx.RemoteProtocolError("peer closed connection")
OK = httpx.Response(200, json=job())
DONE = httpx.Response(200, json=job("succeeded", verdict="certified", termination="optimal"))


def by_kind(streams: list[Any], polls: list[Any]) -> Any:
    """Answer requests for streams and for JSON from two lists."""
    inner = {"stream": Script({f"GET {EVENTS}": streams}), "poll": Script({f"GET {EVENTS}": polls})}
    return lambda request: inner["stream" if "event-stream" in request.headers["Accept"] else "poll"](request)


def waiting(**options: Any) -> Any:
    return lambda client: client.jobs.wait("job_1", **options)


def test_a_broken_stream_goes_on_after_the_last_event(both: Both, clock: Clock) -> None:
    streams = [sse(status(1, "running"), progress(2), end=BROKEN), sse(progress(3), status(4, "succeeded"))]
    polls = [polled(), polled(ended=True)]
    script = Script({f"GET {EVENTS}": [by_kind(streams, polls)]})
    events = both(script, lambda client: client.jobs.events("job_1"))
    assert [event.seq for event in events] == [1, 2, 3, 4]
    ids = [request.headers.get("Last-Event-ID") for request in script.requests]
    assert ids == ["0", None, "2", None]


def test_events_start_where_they_are_asked_to(both: Both, clock: Clock) -> None:
    script = Script({f"GET {EVENTS}": [by_kind([sse(progress(2), status(3, "failed"))], [polled(ended=True)])]})
    events = both(script, lambda client: client.jobs.events("job_1", after=2))
    assert [event.seq for event in events] == [3]


@pytest.mark.parametrize(
    "dead",
    [
        silent(),
        silent(httpx.ReadTimeout("nothing came")),
        polled(progress(1)),
        httpx.Response(200, html="<p>a proxy's page</p>"),
    ],
)
def test_where_streams_are_dead_events_are_polled(both: Both, clock: Clock, dead: httpx.Response) -> None:
    polls = [polled(progress(1)), polled(), polled(), polled(), polled(progress(2), status(3, "succeeded"), ended=True)]
    script = Script({f"GET {EVENTS}": [by_kind([dead], polls)]})
    events = both(script, lambda client: client.jobs.events("job_1"))
    assert [event.seq for event in events] == [1, 2, 3]
    assert sum("event-stream" in request.headers["Accept"] for request in script.requests) == 2
    assert all(0.1 <= seconds <= 2 for seconds in clock.slept)


def test_wait_shows_events_and_returns_the_job(both: Both, clock: Clock) -> None:
    streams = [sse(status(1, "running"), progress(2), status(3, "succeeded"))]
    script = Script({f"GET {EVENTS}": [by_kind(streams, [polled(ended=True)])], f"GET {JOB}": [OK, DONE]})
    seen: list[Event] = []
    ended = both(script, waiting(progress=seen.append))
    assert ended.verdict == "certified"
    assert [event.seq for event in seen] == [1, 2, 3]
    assert seen[1].phase == "search"


def test_a_job_that_has_ended_is_not_waited_for(both: Both) -> None:
    script = Script({f"GET {JOB}": [DONE]})
    assert both(script, waiting()).status == "succeeded"
    assert len(script.requests) == 1


def test_an_end_that_was_undone_is_no_end(both: Both, clock: Clock) -> None:
    first, second = sse(status(1, "running"), status(2, "canceled")), sse(progress(4), status(5, "succeeded"))
    polls = [polled(status(3, "queued")), polled(), polled(ended=True)]
    script = Script({f"GET {EVENTS}": [by_kind([first, second], polls)], f"GET {JOB}": [OK, DONE]})
    seen: list[Event] = []
    both(script, waiting(progress=seen.append))
    assert [event.seq for event in seen] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("timeout", [5, 60])
def test_a_caller_out_of_time_leaves_the_job_alone(both: Both, clock: Clock, timeout: float) -> None:
    streams = [sse(progress(1)), silent()]
    script = Script({f"GET {EVENTS}": [by_kind(streams, [polled()])], f"GET {JOB}": [OK]})
    before = clock.now
    with pytest.raises(WaitTimeout, match="goes on") as caught:
        both(script, waiting(timeout=timeout))
    assert clock.now - before == pytest.approx(timeout)
    assert caught.value.job.lower == 10
    assert isinstance(caught.value, TimeoutError)
    assert {request.method for request in script.requests} == {"GET"}


def test_a_server_that_restarts_is_waited_for(both: Both, clock: Clock) -> None:
    refused = httpx.ConnectError("refused")
    streams = [sse(progress(1), end=BROKEN), *[refused] * 5, problem(503, "starting"), sse(status(2, "succeeded"))]
    polls = [refused, polled(), polled(ended=True)]
    script = Script({f"GET {EVENTS}": [by_kind(streams, polls)], f"GET {JOB}": [OK, DONE]})
    assert both(script, waiting()).status == "succeeded"


def test_a_server_that_stays_away_is_given_up(both: Both, clock: Clock) -> None:
    script = Script({f"GET {EVENTS}": [httpx.ConnectError("refused")], f"GET {JOB}": [OK]})
    before = clock.now
    with pytest.raises(APIConnectionError):
        both(script, waiting())
    assert 100 < clock.now - before < 200


def test_a_job_that_is_not_there_is_not_waited_for(both: Both) -> None:
    gone = problem(404, "not_found")
    with pytest.raises(NotFoundError):
        both(Script({f"GET {JOB}": [gone]}), waiting())
    with pytest.raises(NotFoundError):
        both(Script({f"GET {EVENTS}": [gone]}), lambda client: client.jobs.events("job_1"))


def test_who_stops_iterating_closes_the_stream(clock: Clock) -> None:
    import certigap

    script = Script({f"GET {EVENTS}": [by_kind([sse(progress(1), progress(2))], [polled()])]})
    with certigap.Client("http://server", transport=httpx.MockTransport(script)) as client:
        events = client.jobs.events("job_1")
        assert next(events).seq == 1
        events.close()  # type: ignore[attr-defined]
        assert len(script.requests) == 1


def test_pages_are_fetched_as_they_are_needed(both: Both) -> None:
    def page(request: httpx.Request) -> httpx.Response:
        cursor = int(request.url.params.get("cursor", "0"))
        data = [job(id=f"job_{cursor + k}") for k in range(2)]
        return httpx.Response(200, json={"data": data, "next_cursor": str(cursor + 2) if cursor < 4 else None})

    script = Script({"GET /v1/jobs": [page]})
    found = both(script, lambda client: client.jobs.list("queued", page_size=2))
    assert [one.id for one in found] == [f"job_{k}" for k in range(6)]
    assert all(request.url.params["status"] == "queued" for request in script.requests)
    assert len(script.requests) == 3


def test_cancel_resume_log_and_results(both: Both) -> None:
    script = Script(
        {
            f"POST {JOB}:cancel": [httpx.Response(202, json=job("canceling"))],
            f"POST {JOB}:resume": [httpx.Response(202, json=job("queued"))],
            f"GET {JOB}/log": [httpx.Response(200, text="said")],
            f"GET {JOB}/result": [httpx.Response(200, json={"lower": 1.0, "witness": None})],
            f"GET {JOB}/certificate": [httpx.Response(200, json={"schema": "certigap.certificate/1"})],
            f"GET {JOB}/report": [httpx.Response(200, html="<html>ä</html>")],
        }
    )
    assert both(script, lambda client: client.jobs.cancel("job_1")).status == "canceling"
    assert both(script, lambda client: client.jobs.resume("job_1")).status == "queued"
    assert both(script, lambda client: client.jobs.log("job_1", offset=3)) == "said"
    assert script.requests[-1].url.params["offset"] == "3"
    assert both(script, lambda client: client.jobs.result("job_1")).lower == 1
    assert both(script, lambda client: client.jobs.certificate("job_1"))["schema"] == "certigap.certificate/1"
    assert both(script, lambda client: client.jobs.report("job_1")) == "<html>ä</html>"
