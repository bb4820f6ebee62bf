"""Fixtures of the client's tests: both clients, and a clock that waits for nobody."""

from __future__ import annotations

import pytest

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
