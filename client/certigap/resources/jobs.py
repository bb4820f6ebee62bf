"""Jobs: what runs on the server, followed from here."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, Literal, TypeAlias

import httpx
from pydantic import ValidationError

from certigap.errors import APIError, APIResponseError, WaitTimeout, error_of
from certigap.exchange import IDEMPOTENCY_KEY, LONGEST_OBEYED, connection_error, passing, pause
from certigap.flow import Effect, Emit, Flow, Open, Read, Request, Sleep, Stream, hand
from certigap.models import Event, Events, Job, Result
from certigap.operation import Resource, Runner, iteration, operation, segment
from certigap.progress import Progress, shown
from certigap.requests import JobRequest
from certigap.sse import EventReader, Message

# Seconds without a sign of life after which a stream counts as dead. The server sends one more often.
SILENCE = 20.0
# Streams that brought nothing, such as behind a proxy that holds them back, after which events are polled.
DEAD_STREAMS = 2
# Seconds between two polls: first, and at most; and how they grow while nothing happens.
FIRST_POLL, SLOWEST_POLL, POLL_GROWTH = 0.1, 2.0, 1.5
# Seconds for which a server that cannot be reached is tried again while a job is followed: it may restart.
PATIENCE = 120.0

Status: TypeAlias = Literal["queued", "running", "canceling", "succeeded", "failed", "canceled"]
# A look at a job's events emits them and says something about the look.
_Look: TypeAlias = Generator[Effect | Emit[Event], Any, bool]


class Jobs(Resource[Runner]):
    """`client.jobs`."""

    @operation
    def create(
        self, request: JobRequest, *, prefer_wait: float | None = None, idempotency_key: str | None = None
    ) -> Flow[Job]:
        """Submit a job.

        Args:
            request: what to do, such as {"kind": "verify", "proxy": "prx_...", "u": 0.05}.
            prefer_wait: seconds that the server may hold the answer back for, in case the job ends in time.
            idempotency_key: the same key and request give the same job, also later; default: a new key.

        Raises:
            UnprocessableError: the request is wrong; `errors` says where.
            RateLimitError: too many of your jobs wait; ServerError (503): too many of everybody's.
        """
        headers = {} if idempotency_key is None else {IDEMPOTENCY_KEY: idempotency_key}
        if prefer_wait is not None:
            headers["Prefer"] = f"wait={math.ceil(prefer_wait)}"
        return (yield from self.ask(Request("POST", "/v1/jobs", headers=headers, json=dict(request)), Job))

    @operation
    def get(self, job: str) -> Flow[Job]:
        """Return a job by its id: status, verdict, bounds so far."""
        return (yield from self.ask(Request("GET", _path(job)), Job))

    @iteration
    def list(self, status: Status | None = None, page_size: int = 100) -> Stream[Job]:
        """Iterate over all jobs, newest first, fetching pages as they are needed.

        Args:
            status: only jobs of this status.
            page_size: at most 100.
        """
        asked: dict[str, str | int] = {"limit": page_size}
        if status is not None:
            asked["status"] = status
        yield from self.pages(Request("GET", "/v1/jobs", asked), Job)

    @operation
    def cancel(self, job: str) -> Flow[Job]:
        """Ask to end a job with the bounds so far; one that has ended stays as it is."""
        return (yield from self.ask(Request("POST", _path(job) + ":cancel"), Job))

    @operation
    def resume(self, job: str) -> Flow[Job]:
        """Go on with a job that was cancelled, failed or ran out of time; others stay as they are."""
        return (yield from self.ask(Request("POST", _path(job) + ":resume"), Job))

    @operation
    def result(self, job: str) -> Flow[Result]:
        """Return the result of a job that has ended; its fields depend on the job's kind.

        Raises:
            ConflictError: the job has not ended; GoneError: the result is no longer kept.
        """
        return (yield from self.ask(Request("GET", _path(job, "result")), Result))

    @operation
    def certificate(self, job: str) -> Flow[dict[str, Any]]:
        """Return the certificate of a verification that has ended. Raises as `result` does."""
        certificate: dict[str, Any] = json.loads((yield from document(self, job, "certificate")))
        return certificate

    @operation
    def report(self, job: str) -> Flow[str]:
        """Return the report of a verification that has ended, as HTML. Raises as `result` does."""
        return (yield from document(self, job, "report")).decode()

    @operation
    def save(self, job: str, folder: str | os.PathLike[str] = ".") -> Flow[tuple[Path, Path]]:
        """Write certificate.json and report.html into a folder, which is made where it is missing.

        Returns:
            The two paths. Raises as `result` does.
        """
        certificate = yield from document(self, job, "certificate")
        report = yield from document(self, job, "report")
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        paths = place / "certificate.json", place / "report.html"
        for path, content in zip(paths, (certificate, report)):
            path.write_bytes(content)
        return paths

    @operation
    def log(self, job: str, offset: int = 0) -> Flow[str]:
        """Return what a job printed, from a character on."""
        return (yield from self.fetch(Request("GET", _path(job, "log"), params={"offset": offset}))).text

    @iteration
    def events(self, job: str, after: int = 0) -> Stream[Event]:
        """Iterate over a job's events as they happen, until it has ended.

        Args:
            job: its id.
            after: leave out the events up to this number.
        """
        yield from self._follow(job, after, math.inf)

    @operation
    def wait(self, job: str, timeout: float | None = None, progress: Progress = "auto") -> Flow[Job]:
        """Wait until a job has ended, showing its events.

        Args:
            job: its id.
            timeout: seconds to wait; None for as long as it takes.
            progress: see `certigap.progress.shown`.

        Returns:
            The job as it ended, also where it failed or was cancelled.

        Raises:
            WaitTimeout: the job has not ended in time; it goes on.
        """
        deadline = math.inf if timeout is None else monotonic() + timeout
        now = yield from Jobs.get.flow(self, job)
        if not now.ended:
            with shown(progress, job) as show:
                yield from hand(self._follow(job, 0, deadline), show)
            now = yield from Jobs.get.flow(self, job)
        if not now.ended:
            raise WaitTimeout(now, timeout or 0.0)
        return now

    def _follow(self, job: str, after: int, deadline: float) -> Stream[Event]:
        """Emit events until the job has ended or the deadline has passed: by streams, by polls where those are dead."""
        seen = _Seen(after)
        heard, failures, dead, poll = monotonic(), 0, 0, FIRST_POLL
        while (left := deadline - monotonic()) > 0:
            before = seen.after
            try:
                # A read cannot be cut short: near the deadline, only polls are sure to come back.
                if dead < DEAD_STREAMS and left > SILENCE and not (yield from self._stream(job, seen, deadline)):
                    dead += 1
                # An event may tell of an end that was undone since; what follows it, and whether, a poll says.
                if (yield from self._poll(job, seen)):
                    return
            except APIError as error:
                if not passing(error) or monotonic() - heard > PATIENCE:
                    raise
                seconds = min(pause(error, failures), LONGEST_OBEYED)
                failures += 1
            else:
                heard, failures = monotonic(), 0
                poll = FIRST_POLL if seen.after > before else min(POLL_GROWTH * poll, SLOWEST_POLL)
                seconds = poll
            yield Sleep(max(min(seconds, deadline - monotonic()), 0.0))

    def _poll(self, job: str, seen: _Seen) -> _Look:
        """Emit the events that there are, and return whether the job has ended with them."""
        while True:
            asked = Request("GET", _path(job, "events"), {"after": seen.after}, {"Accept": "application/json"})
            events = yield from self.ask(replace(asked, silence=SILENCE), Events)
            yield from seen.news(events.data)
            if events.ended or not events.data:
                return events.ended

    def _stream(self, job: str, seen: _Seen, deadline: float) -> _Look:
        """Emit the events of one connection, and return whether it brought anything at all.

        Raises:
            APIError: the server cannot be reached, or refuses.
        """
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seen.after)}
        alive = False
        try:
            response: httpx.Response = yield Open(Request("GET", _path(job, "events"), {}, headers, silence=SILENCE))
            if not response.is_success:
                raise error_of(response)
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                return False
            reader = EventReader()
            while (piece := (yield Read())) is not None:
                alive = True
                events = [_event(message) for message in reader.feed(piece)]
                yield from seen.news(events)
                if any(event.ends for event in events) or deadline - monotonic() <= SILENCE:
                    return True
        except httpx.ReadTimeout:
            return alive
        except httpx.TransportError as error:
            if not alive:
                raise connection_error(error) from error
        return alive


class _Seen:
    """The number of the last event that was emitted."""

    def __init__(self, after: int) -> None:
        self.after = after

    def news(self, events: Sequence[Event]) -> Stream[Event]:
        """Emit those that are new."""
        for event in events:
            if event.seq > self.after:
                self.after = event.seq
                yield Emit(event)


def document(resource: Resource[Runner], job: str, part: str) -> Flow[bytes]:
    """Return a part of a job, "certificate" or "report", byte for byte."""
    response = yield from resource.fetch(Request("GET", _path(job, part)))
    return response.content


def _path(job: str, part: str | None = None) -> str:
    return f"/v1/jobs/{segment(job)}" + ("" if part is None else f"/{part}")


def _event(message: Message) -> Event:
    try:
        return Event.model_validate_json(message.data)
    except ValidationError as error:
        raise APIResponseError(f"an event cannot be read: {message.data[:200]!r}; is the server newer?") from error
