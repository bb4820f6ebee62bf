"""What every endpoint works with, made once when the service starts, and who calls it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from dbos import DBOSClient
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import Engine

from app.api.children import Children
from app.api.errors import Refusal
from app.api.metrics import Metrics
from app.api.watch import Watch
from app.settings import LOOPBACK, Settings
from app.store.blobs import Blobs
from app.store.database import now, reading
from app.store.keys import DEFAULT_TENANT, Caller, who

_DEFAULT = Caller(DEFAULT_TENANT, DEFAULT_TENANT, {})
# A name or address, and a port.
_HOST = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^:\[\]]*)(?::\d+)?")
_bearer = HTTPBearer(auto_error=False, description="An API key: cg_ID_SECRET, from `certigap keys create`.")


@dataclass(frozen=True)
class State:
    """The service's parts.

    Attributes:
        settings: what the operator chose.
        engine: of the database.
        blobs: files and results.
        children: reads files and solves small problems, in the sandbox.
        queue: puts jobs into the durable queue; it runs none.
        watch: tells who waits for a job's events that there are some.
        rates: counts requests, in this process.
        metrics: what /metrics shows.
        cache: what changes seldom and costs much to find, with the time it was found.
        in_flight: (tenant, idempotency key) of submissions that this process is working on.
    """

    settings: Settings
    engine: Engine
    blobs: Blobs
    children: Children
    queue: DBOSClient
    watch: Watch
    rates: MovingWindowRateLimiter
    metrics: Metrics
    cache: dict[str, tuple[float, Any]]
    in_flight: set[tuple[str, str]]


def rate_limiter() -> MovingWindowRateLimiter:
    """Return a limiter that counts in this process."""
    return MovingWindowRateLimiter(MemoryStorage())


def state_of(request: Request) -> State:
    """Return the service's parts."""
    state: State = request.app.state.service
    return state


def caller(request: Request, key: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None) -> Caller:
    """Return who calls, by the key in the request.

    Raises:
        Refusal: 401 without a valid key where keys are on, 403 to a page of another site where they are off, 429
            after too many requests.
    """
    state = state_of(request)
    if not state.settings.asks_for_keys:
        _refuse_pages(request, state.settings)
    found: Caller | None = _DEFAULT
    if state.settings.asks_for_keys:
        with reading(state.engine) as s:
            found = None if key is None else who(s, key.credentials)
    if found is None:
        detail = "this needs a valid API key; send it as: Authorization: Bearer cg_..."
        raise Refusal(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
    allowed = RateLimitItemPerMinute(int(allowance(found, state.settings, "requests_per_minute")))
    if not state.rates.hit(allowed, found.rate):
        wait = state.rates.get_window_stats(allowed, found.rate).reset_time
        raise too_many("rate_limited", f"more than {allowed.amount} requests in a minute; wait", _seconds_until(wait))
    return found


def _refuse_pages(request: Request, settings: Settings) -> None:
    """Refuse a browser that acts for a page of another site, which must not use a service that asks for no key.

    Such a page has its own name resolve to this machine, or sends what needs no permission first.
    """
    host = _HOST.fullmatch(request.headers.get("host", ""))
    foreign = settings.host in LOOPBACK and (host is None or host[1].strip("[]").lower() not in LOOPBACK)
    if foreign or request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        detail = "without keys, this service answers programs of its own machine only, and no page of another site"
        raise Refusal(403, "foreign_page", detail)


def allowance(caller: Caller, settings: Settings, name: str) -> float:
    """Return a tenant's limit: its own, or the settings'."""
    return float(caller.limits.get(name, getattr(settings, name)))


def too_many(code: str, detail: str, wait: int = 10) -> Refusal:
    """Return the refusal of one request too many; `wait` is in seconds."""
    return Refusal(429, code, detail, headers={"Retry-After": str(wait)})


def _seconds_until(moment: float) -> int:
    return max(1, math.ceil(moment - now()))


Service = Annotated[State, Depends(state_of)]
Who = Annotated[Caller, Depends(caller)]
