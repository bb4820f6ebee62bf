"""Checking certificates: everything in one that can be derived again is."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from app.api.errors import Refusal, refused
from app.api.state import Service, State, Who
from app.api.strict import StrictRoute
from app.sandbox import (
    Limits,
    SandboxDiedError,
    SandboxMemoryError,
    SandboxRefusedError,
    SandboxTimeoutError,
    error_code,
)
from app.store import objects
from app.store.database import reading
from app.store.tables import Proxy

router = APIRouter(prefix="/v1", tags=["certificates"], route_class=StrictRoute)


# Share of a child's time that the check itself may plan with: the rest is for reading the files and the last solve.
CHECK_SHARE = 0.5


class CheckBody(BaseModel):
    """A certificate, what it is about, and how hard to try to exceed its upper bound."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    certificate: dict[str, Any]
    proxy: str | None = Field(
        None, max_length=40, description="Id of the proxy; without it, yours with the file that the certificate names."
    )
    problem: str | None = Field(None, max_length=40, description="Id of a problem that stands for the manifest's.")
    samples: int = Field(1000, ge=0, le=10_000, description="Random inputs that must obey the upper bound.")
    attack_seconds: float = Field(5.0, ge=0, le=600, description="Most time for an attack on the upper bound.")
    time_limit: float = Field(
        30.0, gt=0, le=600, description="Seconds for all of it; never more than half of what the service allows."
    )
    seed: int | None = Field(
        None, ge=0, lt=2**32, description="Of the inputs that are tried, to repeat a check; else one is drawn."
    )


class FindingBody(BaseModel):
    """One claim of a certificate and what became of it; "trusted" ones were not checked."""

    claim: str
    standing: Literal["holds", "fails", "trusted"]
    detail: str


class CheckedBody(BaseModel):
    """What a check says of a whole certificate, and of each claim.

    "refuted": a claim is false. "consistent": nothing was found against it, but the upper bound was not derived again.
    "proved": every claim was derived again; no certificate of today gets it.
    """

    outcome: Literal["proved", "consistent", "refuted"]
    meaning: str = Field(description="The outcome in words.")
    seed: int = Field(description="Of the inputs that were tried; the same one tries them again.")
    findings: list[FindingBody]


@router.post("/certificates:check", operation_id="check_certificate", responses=refused(400, 413, 415, 422, 504))
def check(body: CheckBody, service: Service, who: Who) -> CheckedBody:
    """Look for a false claim: replay the witness, compare what is told, try to exceed the upper bound.

    The bound is tried at random inputs of a fresh seed, at corners and by an attack. It is not derived again, so that
    "consistent" is no proof of it.
    """
    with reading(service.engine) as s:
        proxy = _proxy(s, who.tenant, body)
        problem = None if body.problem is None else objects.find_problem(s, who.tenant, body.problem)
    if proxy is None:
        raise Refusal(
            422, "unknown_proxy", "the proxy of this certificate is not here; upload it", [("/proxy", "unknown")]
        )
    if body.problem is not None and problem is None:
        raise Refusal(422, "unknown_problem", "there is no such problem", [("/problem", "unknown")])
    if problem is None and proxy.summary["problem"] is None:
        where = [("/problem", "missing")]
        raise Refusal(422, "problem_needed", "the proxy's file does not say which problem it is for; name one", where)
    with tempfile.TemporaryDirectory(prefix="certigap-") as folder:
        spec = objects.lay_out(service.blobs, proxy, problem, Path(folder))
        limit = min(body.time_limit, CHECK_SHARE * service.settings.check_seconds)
        options = {"samples": body.samples, "attack_seconds": body.attack_seconds, "seed": body.seed}
        spec |= {"certificate": body.certificate, "options": {**options, "time_limit": limit}}
        return CheckedBody.model_validate(_check(service, spec))


def _proxy(s: Any, tenant: str, body: CheckBody) -> Proxy | None:
    if body.proxy is not None:
        return objects.find_proxy(s, tenant, body.proxy)
    told = body.certificate.get("proxy")
    sha256 = told.get("file_sha256") if isinstance(told, dict) else None
    if not isinstance(sha256, str):
        return None
    return s.scalar(select(Proxy).where(Proxy.tenant == tenant, Proxy.sha256 == sha256).limit(1))  # type: ignore[no-any-return]


def _check(service: State, spec: dict[str, Any]) -> dict[str, Any]:
    settings = service.settings
    limits = Limits(seconds=settings.check_seconds, memory=settings.inspect_memory)
    try:
        return service.children.call("app.inspect:certificate", spec, limits)
    except SandboxRefusedError as error:
        raise Refusal(422, error_code(error.kind), str(error), [("/certificate", str(error))]) from error
    except SandboxTimeoutError as error:
        detail = f"the check took longer than {settings.check_seconds:g} s; ask for fewer samples or less time"
        raise Refusal(504, "timed_out", detail) from error
    except (SandboxMemoryError, SandboxDiedError) as error:
        where = [("/certificate", str(error))]
        raise Refusal(422, "unreadable", "the certificate cannot be checked: it breaks its reader", where) from error
