"""Waiting for events of jobs: one query for everybody who waits, however many they are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.store import jobs
from app.store.database import reading

# Seconds between two looks: an event is seen 25 ms after it was written, on average.
LOOK = 0.05
_log = structlog.get_logger(__name__)


class Watch:
    """Looks for new events while somebody waits for some."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[str, list[tuple[int, asyncio.Event]]] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            if not self._waiting:
                continue
            try:
                latest = await asyncio.to_thread(self._latest, list(self._waiting))
            except SQLAlchemyError as error:
                _log.warning("events cannot be read", error=str(error))
                continue
            for job, seq in latest.items():
                for after, event in self._waiting.get(job, []):
                    if seq > after:
                        event.set()

    async def wait(self, job: str, after: int, seconds: float) -> bool:
        """Wait until a job has an event after the sequence number `after`; False where none came in time."""
        with self._listed(job, after) as event:
            try:
                await asyncio.wait_for(event.wait(), seconds)
            except TimeoutError:
                return False
            return True

    @contextmanager
    def _listed(self, job: str, after: int) -> Iterator[asyncio.Event]:
        entry = (after, asyncio.Event())
        self._waiting.setdefault(job, []).append(entry)
        try:
            yield entry[1]
        finally:
            self._waiting[job].remove(entry)
            if not self._waiting[job]:
                del self._waiting[job]

    def _latest(self, names: list[str]) -> dict[str, int]:
        with reading(self._engine) as s:
            return jobs.latest_events(s, names)
