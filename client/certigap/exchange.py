"""One request and its answer, sent again where that helps: with backoff, jitter, Retry-After and one key for all."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from certigap.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    error_of,
)
from certigap.flow import Flow, Request, Send, Sleep

Model = TypeVar("Model", bound=BaseModel)

IDEMPOTENCY_KEY = "Idempotency-Key"
# Seconds: the first pause, and the longest one that we choose ourselves.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
# Share of a pause that is left to chance, so that many callers do not come back together.
JITTER = 0.25
# Seconds: who is asked to wait longer gets the error, and decides.
LONGEST_OBEYED = 60.0


def exchange(request: Request, retries: int) -> Flow[httpx.Response]:
    """Send a request and return its response, a success; every POST carries an idempotency key.

    Raises:
        APIError: there is none after the last attempt.
    """
    if request.method == "POST" and IDEMPOTENCY_KEY not in request.headers:
        request = replace(request, headers={**request.headers, IDEMPOTENCY_KEY: str(uuid.uuid4())})
    attempt = 0
    while True:
        error: APIError
        try:
            response: httpx.Response = yield Send(request)
        except httpx.TransportError as broken:
            error = connection_error(broken)
        else:
            if response.is_success:
                return response
            error = error_of(response)
        seconds = pause(error, attempt)
        if attempt >= retries or not passing(error) or seconds > LONGEST_OBEYED:
            raise error
        attempt += 1
        yield Sleep(seconds)


def passing(error: Exception) -> bool:
    """Whether a later attempt may go better."""
    if isinstance(error, APIStatusError):
        in_flight = error.status == 409 and error.code == "idempotency_in_flight"
        return in_flight or error.status in (408, 429) or error.status >= 500
    return isinstance(error, APIConnectionError)


def pause(error: Exception, attempt: int) -> float:
    """Return the seconds to wait after the failed attempt of this number, from 0."""
    if isinstance(error, APIStatusError) and error.retry_after is not None:
        return error.retry_after
    chosen: float = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
    return chosen * (1 - JITTER * random.random())


def connection_error(error: httpx.TransportError) -> APIConnectionError:
    """Return our error for one of the connection."""
    where = _where(error)
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        made: APIConnectionError = APITimeoutError(f"{where} did not answer in time; is it busy or behind a proxy?")
    else:
        made = APIConnectionError(f"{where} cannot be reached ({error}); is `certigap serve` running there?")
    made.__cause__ = error
    return made


def parsed(response: httpx.Response, model: type[Model]) -> Model:
    """Return a response's JSON body as a model.

    Raises:
        APIResponseError: it is none.
    """
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top level"
        raise APIResponseError(
            f"{response.request.url} answered what this version does not understand, at {where}: {first['msg']}; "
            "is it a Certigap server, and as old or new as this package?"
        ) from error


def _where(error: httpx.TransportError) -> str:
    try:
        url = error.request.url
    except RuntimeError:
        return "the server"
    return f"{url.scheme}://{url.netloc.decode()}"
