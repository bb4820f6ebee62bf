"""Calls of the sandbox, a few at a time, and what their failures mean to a caller."""

from __future__ import annotations

import threading
from typing import Any

import structlog

from app.api.errors import Refusal
from app.sandbox import (
    Limits,
    SandboxDiedError,
    SandboxMemoryError,
    SandboxRefusedError,
    SandboxTimeoutError,
    call,
    error_code,
)
from app.settings import Settings

# Seconds that a request waits for its turn, and how many may wait for each that runs: each of them holds a thread, and
# some threads must be left for everything else.
PATIENCE, WAITING = 30.0, 4
# Bytes that reading a small file may take beyond a fresh child's, and times its size that a large one may: the most
# that was measured of honest files is 23 MB, and 9.4 times the size of an ONNX file in float32.
SMALL_FILE, TIMES_ITS_SIZE = 2**26, 12
_log = structlog.get_logger(__name__)


def reading(settings: Settings, size: int) -> Limits:
    """Return the limits of reading an uploaded file of `size` bytes: no small file may cost much."""
    return Limits(settings.inspect_seconds, min(settings.inspect_memory, SMALL_FILE + TIMES_ITS_SIZE * size))


class Children:
    """Runs at most `most` children at once; who comes later waits for a turn, unless many do already."""

    def __init__(self, most: int) -> None:
        self._turns = threading.BoundedSemaphore(most)
        self._places = threading.BoundedSemaphore((1 + WAITING) * most)

    def call(self, target: str, spec: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """Return what `target` makes of `spec`; see `app.sandbox.call`.

        Raises:
            Refusal: 503, too many wait, or no turn came in time.
            SandboxError: as `app.sandbox.call`.
        """
        if not self._places.acquire(blocking=False):
            raise _busy()
        try:
            if not self._turns.acquire(timeout=PATIENCE):
                raise _busy()
            try:
                found: dict[str, Any] = call(target, spec, limits)
                return found
            finally:
                self._turns.release()
        finally:
            self._places.release()

    def read(self, target: str, spec: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """Return what `target` makes of a caller's file.

        Raises:
            Refusal: 422, whatever the file did to its reader; 503 as `call`.
        """
        try:
            return self.call(target, spec, limits)
        except SandboxRefusedError as error:
            raise Refusal(422, error_code(error.kind), str(error)) from error
        except (SandboxTimeoutError, SandboxMemoryError) as error:
            raise Refusal(422, "too_costly", f"the file costs too much to read: {error}") from error
        except SandboxDiedError as error:
            _log.error("a file broke its reader", target=target, error=str(error))
            raise Refusal(422, "unreadable", "the file is damaged in a way that breaks its reader") from error


def _busy() -> Refusal:
    return Refusal(503, "busy", "the service is busy with other requests; try again", headers={"Retry-After": "5"})
