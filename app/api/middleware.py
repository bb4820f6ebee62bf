"""Around every request: its id, its log line and count, the limit of its body, security headers, and defects as 500."""

from __future__ import annotations

import re
import time
from collections.abc import MutableMapping
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import render
from app.settings import Settings
from app.store.database import new_id

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# Digits of a Content-Length; no body is that long.
_LONGEST_LENGTH = 18
_METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = structlog.get_logger(__name__)


class BodyTooLargeError(HTTPException):
    """More bytes came than the address takes."""

    def __init__(self, most: int) -> None:
        super().__init__(413, f"the body has more than the {most} bytes that this address takes")


class Around:
    """ASGI middleware; the outermost one.

    Args:
        app: what answers.
        settings: the limits of bodies.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_id("req")
        scope["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, request_id)
                self._count(scope, status, time.perf_counter() - started)
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            most = self._largest(scope["path"])
            refusal = _refuse(headers, request_id, most)
            if refusal is not None:
                await refusal(scope, receive, answer)
            else:
                await self._app(scope, _counted(receive, most), answer)
        except Exception:
            _log.exception("defect", path=scope["path"])
            if status:
                # The answer has begun: all that is left is to cut it off.
                raise
            detail = "a defect of ours; please report it with the request id"
            await render(request_id, 500, "internal", detail)(scope, receive, answer)
        finally:
            seconds = round(time.perf_counter() - started, 4)
            _log.info("request", method=scope["method"], path=scope["path"], status=status, seconds=seconds)
            structlog.contextvars.unbind_contextvars("request_id")

    def _largest(self, path: str) -> int:
        if path.startswith("/v1/proxies"):
            return self._settings.largest_upload
        if path.startswith("/v1/problems"):
            return self._settings.largest_case
        if path.startswith(("/v1/layers", "/v1/certificates")):
            return self._settings.largest_numbers
        return self._settings.largest_json

    def _count(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", "none")
        service = getattr(scope["app"].state, "service", None) if "app" in scope else None
        if service is not None:
            # A caller may make up methods, but no new series.
            method = scope["method"] if scope["method"] in _METHODS else "other"
            service.metrics.answered(method, route, status, seconds)


def _add_headers(message: Message, request_id: str) -> None:
    headers = MutableHeaders(scope=message)
    headers["X-Request-Id"] = request_id
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)


def _refuse(headers: Headers, request_id: str, most: int) -> ASGIApp | None:
    """Return the refusal of a body that its headers alone tell to be wrong."""
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        return render(request_id, 415, "compressed_body", "bodies may not be compressed; send it as it is")
    length = headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and (len(length) > _LONGEST_LENGTH or int(length) > most):
        error = BodyTooLargeError(most)
        return render(request_id, 413, "too_large", error.detail, headers={"Connection": "close"})
    return None


def _counted(receive: Receive, most: int) -> Receive:
    """Return `receive` with a limit, for bodies that come without their length."""
    came = 0

    async def receive_counted() -> Message:
        nonlocal came
        message = await receive()
        came += len(message.get("body", b""))
        if came > most:
            raise BodyTooLargeError(most)
        return message

    return receive_counted
