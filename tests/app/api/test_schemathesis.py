"""The service does what its OpenAPI document says, for valid and invalid requests, and for walks along its links."""

from __future__ import annotations

import pytest

from benchmarks.service.schemathesis_run import run


def test_what_the_document_says_briefly() -> None:
    found = run(examples=2, seed=7, phases="examples,fuzzing,stateful")
    assert (found["failures"], found["errors"]) == ([], [])
    assert found["operations"] >= 25


@pytest.mark.slow
def test_what_the_document_says() -> None:
    found = run(examples=10, seed=8)
    assert (found["failures"], found["errors"]) == ([], [])
    assert found["cases"] > 1000
