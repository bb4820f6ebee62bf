"""Every refusal as a problem document. Source: RFC 9457 (application/problem+json)."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from obstore.exceptions import BaseError as StorageError
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

MEDIA_TYPE = "application/problem+json"
_TYPES = "https://certigap.dev/problems/"
_log = structlog.get_logger(__name__)


class Place(BaseModel):
    """What is wrong where."""

    pointer: str = Field(description="JSON pointer into the body, or query:, path: or header: and a name.")
    detail: str


class Problem(BaseModel):
    """Why a request was refused."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[Place] = []
    request_id: str


class Refusal(Exception):  # noqa: N818 (an answer, no defect)
    """A request that is answered with a problem document.

    Args:
        status: of HTTP.
        code: a short name that programs may rely on.
        detail: one sentence that says what to do.
        errors: (pointer, detail) of each wrong place.
        headers: to send along.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.errors, self.headers = list(errors), dict(headers or {})


def not_found(what: str) -> Refusal:
    """Return the refusal of an id that is unknown, or another tenant's: nobody can tell which."""
    return Refusal(404, "not_found", f"there is no {what} of this id; check it, and that the key is the right tenant's")


def refused(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of an operation's refusals, and of those that any operation may give."""
    every = sorted({*statuses, 401, 403, 429, 500, 503})
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in every
    }


def render(
    request_id: str,
    status: int,
    code: str,
    detail: str,
    errors: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a problem document as a response."""
    body = {
        "type": _TYPES + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [{"pointer": pointer, "detail": text} for pointer, text in errors],
        "request_id": request_id,
    }
    return JSONResponse(body, status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error that an endpoint raises; what is left is a defect, which the middleware answers."""
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(SQLAlchemyError, _store)
    app.add_exception_handler(StorageError, _store)
    app.add_exception_handler(OSError, _store)
    app.add_exception_handler(ClientDisconnect, _gone)


def request_id(request: Request) -> str:
    """Return the id of a request, as its response and the log name it."""
    return str(request.scope.get("request_id", ""))


def _refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return render(request_id(request), error.status, error.code, error.detail, error.errors, error.headers)


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    codes = {400: "malformed", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media"}
    details = {404: "there is nothing at this address", 405: "this address does not know the method; see Allow"}
    code = codes.get(error.status_code, "refused")
    detail = details.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return render(request_id(request), error.status_code, code, detail, headers=headers)


def _methods(request: Request) -> set[str]:
    """Return the methods that a path knows, of all its routes."""
    found: set[str] = set()
    for route in request.app.state.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return found


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        why = found[0].get("ctx", {}).get("error", found[0]["msg"])
        return render(request_id(request), 400, "malformed_json", f"the body is not JSON: {why}")
    places = [(pointer(one["loc"], error.body), one["msg"]) for one in found]
    where, why = places[0]
    return render(request_id(request), 422, "invalid", f"the request is wrong at {where or 'its body'}: {why}", places)


def pointer(place: Sequence[int | str], body: Any) -> str:
    """Return where in a request something is wrong, as a JSON pointer where it is in the body.

    Args:
        place: as pydantic names it: the parts of a union that it tried are in it, and are no part of the body.
        body: as it was sent.
    """
    kind, *parts = place
    if kind != "body":
        return ":".join(str(part) for part in place)
    path = ""
    for index, part in enumerate(parts):
        inside = isinstance(body, dict) and part in body
        within = isinstance(body, list) and isinstance(part, int) and part < len(body)
        if inside or within:
            body = body[part]
        elif index < len(parts) - 1 or not isinstance(body, dict):
            continue
        path += "/" + str(part).replace("~", "~0").replace("/", "~1")
    return path


def _gone(request: Request, error: Exception) -> JSONResponse:
    return render(request_id(request), 400, "disconnected", "the body broke off; nobody is left to hear this")


def _store(request: Request, error: Exception) -> JSONResponse:
    _log.error("storage failed", error=f"{type(error).__name__}: {error}")
    text = str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or "disk is full" in text or "No space left" in text or "os error 28" in text:
        detail = "the service's disk is full, so nothing was stored; ask its operator to make room"
        return render(request_id(request), 507, "storage_full", detail)
    if isinstance(error, SQLAlchemyError):
        detail = "the service cannot reach its database; try again"
        return render(request_id(request), 503, "database_unavailable", detail, headers={"Retry-After": "2"})
    detail = "the service cannot reach its files; try again"
    return render(request_id(request), 503, "storage_unavailable", detail, headers={"Retry-After": "2"})
