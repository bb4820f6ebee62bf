"""Fixtures of the client's tests: both clients, a clock that waits for nobody, and a real service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.service.harness import Service
from certigap import runners
from certigap.resources import jobs
from tests.client.fake import Both, Clock


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(runners, "sleep", made.sleep)
    monkeypatch.setattr(runners, "sleep_async", made.sleep_async)
    monkeypatch.setattr(jobs, "monotonic", made.monotonic)
    return made


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real service with one worker."""
    service = Service(tmp_path_factory.mktemp("service"))
    try:
        service.start()
        yield service.url
    finally:
        service.close()
