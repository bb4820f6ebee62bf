"""What can go wrong between a caller and the server, and what it knows: the problem body and the request's id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from certigap.models import Job


class CertigapError(Exception):
    """Root of this package's errors."""


class UsageError(CertigapError, ValueError):
    """An argument cannot be used."""


class JobFailedError(CertigapError, RuntimeError):
    """A job ended without an answer.

    Attributes:
        job: as it ended; its `error` says why.
    """

    def __init__(self, job: Job) -> None:
        error = job.error or {}
        super().__init__(f"{job.id} {job.status}: {error.get('message', 'no reason is known')} (see its log)")
        self.job = job


class WaitTimeout(CertigapError, TimeoutError):  # noqa: N818 (as concurrent.futures and asyncio name theirs)
    """The caller's time is over; the job goes on.

    Attributes:
        job: as it stood, with its bounds so far.
    """

    def __init__(self, job: Job, seconds: float) -> None:
        super().__init__(
            f"{job.id} is {job.status} after {seconds:g} s of waiting and goes on; wait again, or cancel it"
        )
        self.job = job


class APIError(CertigapError):
    """A request got no usable answer."""


class APIConnectionError(APIError, ConnectionError):
    """The server cannot be reached, or the connection broke."""


class APITimeoutError(APIConnectionError, TimeoutError):
    """The server did not answer in time."""


class APIResponseError(APIError, ValueError):
    """The answer is not what this package understands: another server, or another version."""


class APIStatusError(APIError):
    """The server refused.

    Attributes:
        status: HTTP status.
        code: of the problem, such as "idempotency_in_flight"; None where the body is no problem of the server's.
        title, detail: what the server says.
        errors: {pointer, detail} of each wrong place in the body.
        request_id: for the operator's log.
        retry_after: seconds that the server asks to wait.
        body: the problem as it came.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.body = _problem(response)
        self.code: str | None = self.body.get("code")
        self.title = str(self.body.get("title") or _phrase(self.status))
        self.detail: str | None = self.body.get("detail")
        self.errors: Sequence[Mapping[str, Any]] = self.body.get("errors") or ()
        self.request_id: str | None = self.body.get("request_id") or response.headers.get("X-Request-ID")
        self.retry_after = seconds_to_wait(response.headers.get("Retry-After"))
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        places = "; ".join(f"{error.get('pointer') or '/'}: {error.get('detail')}" for error in self.errors)
        parts = [f"{self.status} {self.title}", self.detail, places]
        request = f" (request {self.request_id})" if self.request_id else ""
        return ": ".join(part for part in parts if part) + request


class BadRequestError(APIStatusError, ValueError):
    """400: the request cannot be read."""


class AuthenticationError(APIStatusError, PermissionError):
    """401: no key, or not a valid one."""


class ForbiddenError(APIStatusError, PermissionError):
    """403: the key does not allow it."""


class NotFoundError(APIStatusError, LookupError):
    """404: there is no such thing, or it is somebody else's."""


class ConflictError(APIStatusError):
    """409: not now: the job has not ended, or the same request is under way."""


class GoneError(APIStatusError, LookupError):
    """410: it is no longer kept."""


class TooLargeError(APIStatusError, ValueError):
    """413: the body is larger than the server takes."""


class UnsupportedFormatError(APIStatusError, ValueError):
    """415: the file is no ONNX or safetensors file."""


class UnprocessableError(APIStatusError, ValueError):
    """422: the request can be read, but not done; `errors` says where."""


class RateLimitError(APIStatusError):
    """429: too many requests, or too many jobs; `retry_after` says when to come back."""


class ServerError(APIStatusError):
    """500 and above: the server's trouble."""


_CLASSES: Mapping[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    413: TooLargeError,
    415: UnsupportedFormatError,
    422: UnprocessableError,
    429: RateLimitError,
}


def error_of(response: httpx.Response) -> APIStatusError:
    """Return the error of a response that is none of success; its body has been read."""
    status = response.status_code
    return _CLASSES.get(status, ServerError if status >= 500 else APIStatusError)(response)


def seconds_to_wait(text: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date; None where there is none that can be read."""
    if text is None:
        return None
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def _problem(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"
