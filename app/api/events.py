"""A job's events, as they come (server-sent events) or page by page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from app.api.bodies import Events, event_body
from app.api.errors import Refusal, refused
from app.api.jobs import find
from app.api.state import Service, State, Who
from app.store import jobs
from app.store.database import reading
from app.store.tables import TERMINAL, Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

# Seconds of silence after which a comment keeps the connection open.
HEARTBEAT = 15.0
_MOST = 1000
# Larger than any sequence number, and still one for every database.
_LARGEST = 2**31 - 1
# In OpenAPI 3.1 this describes each event of the stream.
_STREAM = {
    "schema": {
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {"type": "string", "description": "The sequence number: Last-Event-ID takes it."},
            "event": {"type": "string", "description": "The type of the event."},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": "#/components/schemas/EventBody"},
            },
        },
    }
}


@router.get(
    "/{job:id}/events",
    operation_id="job_events",
    response_model=Events,
    responses={
        200: {"description": "A stream; or a page of JSON, with `after`.", "content": {"text/event-stream": _STREAM}},
        **refused(404, 422),
    },
)
async def events(
    job: str,
    request: Request,
    service: Service,
    who: Who,
    after: Annotated[int | None, Query(ge=0, le=_LARGEST, description="A page of the events after this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST, description="Of a page.")] = _MOST,
    last_event_id: Annotated[str | None, Header(description="Where to take up a stream again.")] = None,
) -> Any:
    """Follow a job: by server-sent events, or by asking again and again with `after`."""
    await run_in_threadpool(_find, service, who, job)
    if after is not None or _wants_json(request):
        page = await run_in_threadpool(_page, service, job, after or 0, limit)
        return JSONResponse(page.model_dump(mode="json"))
    start = 0 if last_event_id is None else _number(last_event_id)
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(service, job, start), media_type="text/event-stream", headers=headers)


def _wants_json(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > _LARGEST:
        where = [("header:Last-Event-ID", "not a sequence number")]
        raise Refusal(422, "invalid", "Last-Event-ID is not a number that this stream gave", where)
    return int(text)


def _find(service: State, who: Who, job: str) -> None:
    with reading(service.engine) as s:
        find(s, who, job)


def _page(service: State, job: str, after: int, limit: int) -> Events:
    with reading(service.engine) as s:
        # In this order: a job that ends meanwhile is not called ended before its last event is here.
        status = s.scalar(select(Job.status).where(Job.id == job))
        latest = jobs.latest_events(s, [job]).get(job, 0)
        found = [event_body(row) for row in jobs.events_after(s, job, after, limit)]
    reached = found[-1].seq if found else after
    return Events(data=found, next_after=reached, ended=status in TERMINAL and reached >= latest)


async def _stream(service: State, job: str, after: int) -> AsyncIterator[str]:
    """Yield events until the job has ended, or for as long as a stream may last: then the caller reconnects."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + service.settings.stream_seconds
    yield "retry: 1000\n\n"
    while True:
        try:
            page = await run_in_threadpool(_page, service, job, after, _MOST)
        except SQLAlchemyError:
            # The answer has begun, so it cannot become a refusal: the caller reconnects, and then hears why.
            return
        for event in page.data:
            yield f"id: {event.seq}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n"
        after = page.next_after
        left = deadline - loop.time()
        if page.ended or left <= 0:
            return
        if len(page.data) < _MOST and not await service.watch.wait(job, after, min(HEARTBEAT, left)):
            yield ": nothing new\n\n"
