"""Jobs: submit, list, show, cancel, resume. What they tell and leave is in `events` and `outcomes`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Response
from fastapi.openapi.models import Example
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api.bodies import JobBody, Page, Status, job_body
from app.api.errors import Refusal, not_found, refused
from app.api.links import JOB_LINKS
from app.api.pages import decode, encode
from app.api.state import Service, State, Who, allowance, too_many
from app.api.strict import StrictRoute
from app.jobs.queue import enqueue
from app.jobs.requests import AnyJob, TrainJob, queue_of
from app.store import idempotency, jobs, objects
from app.store.database import reading, session
from app.store.keys import Caller
from app.store.tables import TERMINAL, Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

CLASSIFICATION = "classification"
LONGEST_WAIT = 60
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")
_PROXY, _PROBLEM = "prx_01J8ZC3V5T6XEXAMPLE0PROXY0", "prb_01J8ZC3V5T6XEXAMPLE0PRB000"
_EXAMPLES: dict[str, Example] = {
    "verify": {"value": {"kind": "verify", "proxy": _PROXY, "u": 0.05, "options": {"time_limit": 600}}},
    "attack": {"value": {"kind": "attack", "proxy": _PROXY, "u": 0.1, "options": {"attack_seconds": 30}}},
    "bounds": {"value": {"kind": "bounds", "proxy": _PROXY, "u": 0.05, "method": "alpha"}},
    "evaluate": {"value": {"kind": "evaluate", "proxy": _PROXY, "samples": 5000, "measure": "relative"}},
    "sweep": {"value": {"kind": "sweep", "proxy": _PROXY, "u": [0.01, 0.02, 0.05]}},
    "train": {"value": {"kind": "train", "problem": _PROBLEM, "hidden": [64, 64], "minutes": 5}},
}
_CHANGED: dict[int | str, dict[str, Any]] = {
    200: {"description": "Nothing to change: it has ended, or was asked before.", "model": JobBody},
}


@router.post(
    "",
    status_code=202,
    operation_id="create_job",
    responses={
        200: {"description": "It ended within the time that Prefer names.", "model": JobBody, "links": JOB_LINKS},
        202: {"description": "Queued.", "links": JOB_LINKS},
        **refused(400, 409, 413, 415, 422),
    },
)
async def create(
    body: Annotated[AnyJob, Body(discriminator="kind", openapi_examples=_EXAMPLES)],
    response: Response,
    service: Service,
    who: Who,
    idempotency_key: Annotated[str | None, Header(pattern=r"^[\x21-\x7e]{1,200}$")] = None,
    prefer: Annotated[str | None, Header(description="wait=SECONDS: answer when the job ends, at most 60.")] = None,
) -> JobBody:
    """Submit a job. With an Idempotency-Key, the same request again gives the same job."""
    job = await run_in_threadpool(_submit, service, who, body, idempotency_key)
    asked = _WAIT.search(prefer or "")
    if asked is not None:
        seconds = min(int(asked[1]), LONGEST_WAIT)
        response.headers["Preference-Applied"] = f"wait={seconds}"
        job = await _ended(service, job, seconds)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if job.status in TERMINAL:
        response.status_code = 200
    else:
        response.headers["Retry-After"] = "1"
    return job_body(job)


@router.get("", operation_id="list_jobs", responses=refused(400, 422))
def list_jobs(
    service: Service,
    who: Who,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[JobBody]:
    """List your jobs, newest first."""
    after = decode(cursor)
    with reading(service.engine) as s:
        rows = jobs.page(s, who.tenant, status, after, limit)
    last = encode(rows[-1].id) if len(rows) == limit else None
    return Page(data=[job_body(row) for row in rows], next_cursor=last)


@router.get("/{job:id}", operation_id="show_job", responses=refused(404))
def show(job: str, service: Service, who: Who) -> JobBody:
    """Show a job: status, termination, verdict and the bounds so far."""
    with reading(service.engine) as s:
        return job_body(find(s, who, job))


@router.post("/{job:id}:cancel", status_code=202, operation_id="cancel_job", responses=_CHANGED | refused(404))
def cancel(job: str, response: Response, service: Service, who: Who) -> JobBody:
    """Ask a job to end. Its bounds so far stay."""
    with session(service.engine) as s, s.begin():
        row = find(s, who, job)
        if not jobs.ask_cancel(s, row):
            response.status_code = 200
        return job_body(row)


@router.post("/{job:id}:resume", status_code=202, operation_id="resume_job", responses=_CHANGED | refused(404))
def resume(job: str, response: Response, service: Service, who: Who) -> JobBody:
    """Queue a job again that was cancelled, failed or met its time limit: it goes on from where it stood."""
    with session(service.engine) as s, s.begin():
        row = find(s, who, job)
        if row.status in TERMINAL:
            _check_room(s, service, who)
        if jobs.resume(s, row):
            enqueue(service.queue, s, row)
        else:
            response.status_code = 200
        return job_body(row)


def find(s: Session, who: Caller, job: str) -> Job:
    """Return a tenant's job; raises Refusal (404) where there is none."""
    row = jobs.find(s, who.tenant, job)
    if row is None:
        raise not_found("job")
    return row


def _submit(service: State, who: Caller, body: Any, key: str | None) -> Job:
    if key is None:
        with session(service.engine) as s, s.begin():
            return _create(s, service, who, body)
    digest = idempotency.body_digest(body.model_dump(mode="json"))
    with _alone(service, who, key):
        try:
            return _create_once(service, who, body, key, digest)
        except IntegrityError:
            # Another process was faster with the same key; now its job is there.
            return _create_once(service, who, body, key, digest)


def _create_once(service: State, who: Caller, body: Any, key: str, digest: str) -> Job:
    with session(service.engine) as s, s.begin():
        try:
            known = idempotency.seen(s, who.tenant, key, digest)
        except idempotency.KeyReusedError as error:
            where = [("header:Idempotency-Key", "used before")]
            raise Refusal(422, "idempotency_key_reused", str(error), where) from error
        row = None if known is None else jobs.find(s, who.tenant, known)
        if row is None:
            row = _create(s, service, who, body)
            idempotency.remember(s, who.tenant, key, digest, row.id)
        return row


@contextmanager
def _alone(service: State, who: Caller, key: str) -> Iterator[None]:
    entry = (who.tenant, key)
    if entry in service.in_flight:
        detail = "a request with this Idempotency-Key is being worked on; repeat it in a moment"
        raise Refusal(409, "idempotency_in_flight", detail, headers={"Retry-After": "1"})
    service.in_flight.add(entry)
    try:
        yield
    finally:
        service.in_flight.discard(entry)


def _create(s: Session, service: State, who: Caller, body: Any) -> Job:
    _check_room(s, service, who)
    _check_objects(s, who, body)
    row = jobs.create(s, who.tenant, body, queue_of(body))
    enqueue(service.queue, s, row)
    return row


def _check_room(s: Session, service: State, who: Caller) -> None:
    most = int(allowance(who, service.settings, "active_jobs"))
    if jobs.count_active(s, who.tenant) >= most:
        raise too_many("quota_exceeded", f"you have {most} jobs queued or running, as many as you may; wait for one")
    if jobs.count_active(s) >= service.settings.queue_length:
        raise Refusal(503, "queue_full", "the queue is full; try again later", headers={"Retry-After": "30"})


def _check_objects(s: Session, who: Caller, body: Any) -> None:
    """Refuse a job that could not run: a proxy or problem that is not there, or that do not go together."""
    problem = None if body.problem is None else objects.find_problem(s, who.tenant, body.problem)
    if body.problem is not None and problem is None:
        raise _wrong("problem", "there is no such problem", "unknown_problem")
    if isinstance(body, TrainJob):
        if problem is not None and problem.spec["kind"] == CLASSIFICATION:
            raise _wrong("problem", "a classifier is trained on many samples, not here", "no_training")
        return
    proxy = objects.find_proxy(s, who.tenant, body.proxy)
    if proxy is None:
        raise _wrong("proxy", "there is no such proxy", "unknown_proxy")
    if problem is None and proxy.summary["problem"] is None:
        raise _wrong("problem", "the proxy's file does not say which problem it is for; name one", "problem_needed")
    asked = None if problem is None else problem.spec["kind"]
    # A file without a manifest may be for any kind whose manifest says nothing that its problem does not.
    kinds = ("dcopf", CLASSIFICATION) if proxy.manifest is None else (proxy.manifest["problem"]["kind"],)
    if asked not in (None, *kinds):
        detail = f"the proxy is for the kind {' or '.join(kinds)}, the problem is of the kind {asked}"
        raise _wrong("problem", detail, "other_kind")
    kind = asked or kinds[0]
    if kind != "dcopf" and (body.input_unit is not None or body.output_unit is not None):
        name = "output_unit" if body.input_unit is None else "input_unit"
        raise _wrong(name, f"a {kind} proxy has no units to choose", "no_units")
    _check_gap(kind, body)


def _check_gap(kind: str, body: Any) -> None:
    """Refuse a measure or a threshold that the gap of a kind of problems does not have."""
    options = getattr(body, "options", None)
    where, measure = (
        ("measure", getattr(body, "measure", None)) if options is None else ("options/measure", options.measure)
    )
    if kind == CLASSIFICATION and measure == "relative":
        detail = "a classifier's gap is not relative to anything; ask for the measure absolute"
        raise _wrong(where, detail, "no_relative_gap")
    threshold = None if options is None else options.threshold
    if kind != CLASSIFICATION and threshold is not None and threshold < 0:
        raise _wrong("options/threshold", "a gap is never negative; give 0 or more", "no_negative_gap")


def _wrong(field: str, detail: str, code: str) -> Refusal:
    return Refusal(422, code, f"the job cannot run: {detail}", [(f"/{field}", detail)])


async def _ended(service: State, job: Job, seconds: int) -> Job:
    """Return a job as it is when it has ended, or when the time is over."""
    loop = asyncio.get_running_loop()
    deadline, seq = loop.time() + seconds, 0
    while True:
        job, seq = await run_in_threadpool(_look, service, job)
        left = deadline - loop.time()
        if job.status in TERMINAL or left <= 0:
            return job
        await service.watch.wait(job.id, seq, left)


def _look(service: State, job: Job) -> tuple[Job, int]:
    with reading(service.engine) as s:
        seq = jobs.latest_events(s, [job.id]).get(job.id, 0)
        return s.get_one(Job, job.id), seq
