"""A server that exists in this process only, and both clients to call it with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from certigap import AsyncClient, Client

Answer = Callable[[httpx.Request], httpx.Response] | httpx.Response | Exception


@dataclass
class Script:
    """Answers requests one after the other, and keeps them.

    Attributes:
        answers: by "GET /path"; the last one is given again and again.
        requests: so far.
    """

    answers: dict[str, list[Answer]]
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answers = self.answers[f"{request.method} {request.url.path}"]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        # A response is read once, and so is given out anew each time.
        made = answer(request) if callable(answer) else answer
        return httpx.Response(made.status_code, headers=made.headers, stream=made.stream)

    def asked(self, path: str) -> list[httpx.Request]:
        return [request for request in self.requests if request.url.path == path]


class Both:
    """Does the same with one of the two clients.

    Args:
        kind: "sync" or "async".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, script: Script, do: Callable[[Any], Any], **options: Any) -> Any:
        """Return what `do` gives with a client of the script's server; what iterates comes as a list."""
        if self.kind == "sync":
            with Client("http://server", transport=httpx.MockTransport(script), **options) as client:
                made = do(client)
                return list(made) if isinstance(made, Iterator) else made

        async def run() -> Any:
            async with AsyncClient("http://server", transport=httpx.MockTransport(script), **options) as client:
                made = do(client)
                return [item async for item in made] if isinstance(made, AsyncIterator) else await made

        return asyncio.run(run())


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


def problem(status: int, code: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    """Return a refusal."""
    body = {"type": "about:blank", "title": "Refused", "status": status, "code": code, "request_id": "req_1", **more}
    return httpx.Response(status, json=body, headers={**(headers or {}), "Content-Type": "application/problem+json"})


def job(status: str = "running", **more: Any) -> dict[str, Any]:
    """Return the body of a job."""
    body = {"id": "job_1", "kind": "verify", "status": status, "created_at": "2026-11-22T12:00:00Z", "attempt": 1}
    return {**body, "unit": "$/h", "lower": 10.0, "upper": 20.0, **more}


def progress(seq: int, **more: Any) -> dict[str, Any]:
    """Return a progress event."""
    return {"seq": seq, "type": "progress", "phase": "search", "seconds": 1.5, "lower": 10.0, "upper": 20.0, **more}


def status(seq: int, name: str) -> dict[str, Any]:
    """Return a status event."""
    return {"seq": seq, "type": "status", "status": name}


class _Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, pieces: Sequence[bytes], end: Exception | None) -> None:
        self._pieces, self._end = pieces, end

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._end is not None:
            raise self._end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def sse(*events: dict[str, Any], end: Exception | None = None) -> httpx.Response:
    """Return a stream of events, after a comment, that may break off."""
    told = [f"id: {e['seq']}\nevent: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=_Pieces([b": hi\n\n", *told], end))


def silent(end: Exception | None = None) -> httpx.Response:
    """Return a stream that brings nothing."""
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=_Pieces([], end))


def polled(*events: dict[str, Any], ended: bool = False) -> httpx.Response:
    """Return events as JSON."""
    return httpx.Response(200, json={"data": list(events), "ended": ended})
