"""What a job leaves: result, certificate, report and log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app.api.errors import Refusal, refused
from app.api.jobs import find
from app.api.state import Service, State, Who
from app.store import jobs
from app.store.database import now, reading
from app.store.objects import as_json
from app.store.tables import TERMINAL

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_DAY = 86_400.0
# The report is one page with its styles and pictures inside, and no script.
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
_OBJECT = {"schema": {"type": "object"}}


def _told(content: dict[str, Any], media: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "As stored.", "content": {media: content}}, **refused(404, 409, 410)}


@router.get(
    "/{job:id}/result",
    operation_id="job_result",
    response_class=Response,
    responses=_told(_OBJECT, "application/json"),
)
def result(job: str, service: Service, who: Who) -> Response:
    """The result of a job that has ended; one that was cancelled has the bounds that were reached."""
    return Response(_stored(service, who, job, "result"), media_type="application/json")


@router.get(
    "/{job:id}/certificate",
    operation_id="job_certificate",
    response_class=Response,
    responses=_told(_OBJECT, "application/json"),
)
def certificate(job: str, service: Service, who: Who) -> Response:
    """The certificate of a verification."""
    return Response(_stored(service, who, job, "certificate"), media_type="application/json")


@router.get(
    "/{job:id}/report",
    operation_id="job_report",
    response_class=Response,
    responses=_told({"schema": {"type": "string"}}, "text/html"),
)
def report(job: str, service: Service, who: Who) -> Response:
    """The report of a verification: one HTML page."""
    headers = {"Content-Security-Policy": _REPORT_POLICY}
    return Response(_stored(service, who, job, "report"), media_type="text/html", headers=headers)


@router.get(
    "/{job:id}/log",
    operation_id="job_log",
    response_class=Response,
    responses={
        200: {
            "description": "From `offset` on.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "headers": {"X-Next-Offset": {"description": "What to ask for next.", "schema": {"type": "integer"}}},
        },
        **refused(404, 422),
    },
)
def log(
    job: str,
    service: Service,
    who: Who,
    offset: Annotated[int, Query(ge=0, le=jobs.LONGEST_LOG, description="Characters to leave out.")] = 0,
) -> Response:
    """What a job printed so far."""
    with reading(service.engine) as s:
        find(s, who, job)
        text = jobs.read_log(s, job, offset)
    return Response(text, media_type="text/plain", headers={"X-Next-Offset": str(offset + len(text))})


def _stored(service: State, who: Who, job: str, part: str) -> bytes:
    with reading(service.engine) as s:
        row = find(s, who, job)
    if row.status not in TERMINAL:
        detail = f"the job is {row.status}; its {part} is there when it has ended"
        raise Refusal(409, "not_finished", detail, headers={"Retry-After": "5"})
    name = getattr(row, part)
    expired = row.finished_at is not None and now() - row.finished_at > service.settings.result_days * _DAY
    if name is None and not expired and part == "result" and row.status == "canceled" and row.upper is not None:
        # It was cancelled while no process worked on it: what is known stands in its row.
        return as_json(jobs.cut_short(row))
    if name is None and not expired:
        raise Refusal(404, "no_such_part", f"a job of the kind {row.kind} that ended as {row.status} left no {part}")
    try:
        if name is not None and not expired:
            return service.blobs.get(who.tenant, name)
    except FileNotFoundError:
        pass
    raise Refusal(410, "expired", f"the {part} was kept for {service.settings.result_days:g} days and is gone")
