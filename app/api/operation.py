"""For operators: is it alive, can it work, what does it count, and which solvers are here."""

from __future__ import annotations

import contextlib
import time
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import func, select, text

from app.api.errors import Refusal, refused
from app.api.state import Service, State, Who
from app.sandbox import Limits, SandboxError
from app.store import jobs, migrate
from app.store.database import now, reading
from app.store.tables import Worker

router = APIRouter(tags=["operation"])

# Seconds since its last sign of life after which a worker counts as gone.
_GONE = 60.0
# Seconds that the list of solvers is remembered: it changes with an installation.
_REMEMBERED = 600.0


class Health(BaseModel):
    """That the service answers."""

    status: Literal["ok"]


class SolverBody(BaseModel):
    """A solver, without taking a licence."""

    name: str
    available: bool
    version: str
    capabilities: list[str]
    licence: str
    reason: str


class Solvers(BaseModel):
    """Every solver with an adapter."""

    data: list[SolverBody]


@router.get("/healthz", operation_id="health")
async def healthz() -> Health:
    """Say that the process lives; it needs no free thread for that."""
    return Health(status="ok")


@router.get("/readyz", operation_id="readiness", responses=refused())
def readyz(service: Service) -> Health:
    """Say that database and files can be reached, and that the database's tables are this version's."""
    with reading(service.engine) as s:
        s.execute(text("SELECT 1"))
    if migrate.version(service.engine) != migrate.newest():
        raise Refusal(503, "not_migrated", "the database is of another version; run `certigap migrate`")
    service.blobs.has("ten_default", "0" * 64)
    return Health(status="ok")


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **refused()},
)
def metrics(service: Service) -> Response:
    """Counters for Prometheus."""
    with reading(service.engine) as s:
        counts = jobs.count_by_status(s)
        workers = s.scalar(select(func.count()).select_from(Worker).where(Worker.seen_at > now() - _GONE)) or 0
    return Response(service.metrics.render(counts, workers), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/solvers", operation_id="list_solvers", tags=["solvers"], responses=refused())
def solvers(service: Service, who: Who) -> Solvers:
    """List the solvers that are installed where the service runs."""
    return Solvers(data=_known_solvers(service))


def warm(service: State) -> None:
    """Start the sandbox, and learn which solvers are here; it is no error if that fails: the first caller hears why."""
    with contextlib.suppress(Refusal):
        _known_solvers(service)


def _known_solvers(service: State) -> list[SolverBody]:
    known = service.cache.get("solvers")
    if known is None or time.monotonic() - known[0] > _REMEMBERED:
        settings = service.settings
        limits = Limits(seconds=settings.inspect_seconds, memory=settings.inspect_memory)
        try:
            found = service.children.call("app.inspect:solvers", {}, limits)
        except SandboxError as error:
            detail = f"the solvers cannot be asked: {error}"
            raise Refusal(503, "solvers_unknown", detail, headers={"Retry-After": "10"}) from error
        known = service.cache["solvers"] = time.monotonic(), found["solvers"]
    return [SolverBody.model_validate(one) for one in known[1]]
