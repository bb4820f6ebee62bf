"""Checking certificates over HTTP: a true one holds, a changed one fails, and nonsense is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.main import run
from tests.app.api.conftest import PROXIES, Api, serve

MODEL = PROXIES / "knapsack-10.safetensors"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A certificate of the smallest shipped proxy, as the command line makes it."""
    folder = tmp_path_factory.mktemp("certificate")
    options = ["-u", "5%", "--attack-seconds", "0", "--workers", "1", "-o", str(folder)]
    run(["verify", str(MODEL), *options])
    found: dict[str, Any] = json.loads((folder / "certificate.json").read_text())
    return found


def test_a_true_one_holds(alice: Api, certificate: dict[str, Any]) -> None:
    proxy = alice.proxy()
    for body in ({"proxy": proxy}, {}):
        answer = alice.post("/v1/certificates:check", json={"certificate": certificate, "samples": 50, **body})
        assert answer.status_code == 200, answer.text
        assert answer.json()["holds"]
        assert {finding["standing"] for finding in answer.json()["findings"]} == {"holds", "trusted"}


def test_a_changed_one_fails(alice: Api, certificate: dict[str, Any]) -> None:
    changed = copy.deepcopy(certificate)
    changed["claim"]["lower"] *= 2
    answer = alice.post("/v1/certificates:check", json={"certificate": changed, "proxy": alice.proxy(), "samples": 0})
    assert answer.status_code == 200
    assert not answer.json()["holds"]
    assert any(finding["standing"] == "fails" for finding in answer.json()["findings"])


@pytest.mark.parametrize(
    "change",
    [
        lambda c: {},
        lambda c: {**c, "schema": "other/9"},
        lambda c: {**c, "domain": {"u": "x"}},
        lambda c: {**c, "domain": {"u": -1}},
        lambda c: {**c, "domain": {"u": 1e308}},
        lambda c: {**c, "claim": None},
        lambda c: {**c, "witness": {"latent": [[1, 2], [3]]}},
        lambda c: {**c, "proxy": 5},
        lambda c: {**c, "problem": []},
        lambda c: {**c, "trusted": 3},
    ],
)
def test_what_is_no_certificate_is_refused(alice: Api, certificate: dict[str, Any], change: Any) -> None:
    body = {"certificate": change(certificate), "proxy": alice.proxy(), "samples": 0}
    answer = alice.post("/v1/certificates:check", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/certificate"


def test_a_certificate_of_an_unknown_file_is_refused(tmp_path: Path, certificate: dict[str, Any]) -> None:
    with serve(tmp_path) as world:
        answer = world.alice.post("/v1/certificates:check", json={"certificate": certificate})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_proxy")


def test_a_check_has_an_end(tmp_path: Path, certificate: dict[str, Any]) -> None:
    with serve(tmp_path, check_seconds=0.05) as world:
        body = {"certificate": certificate, "proxy": world.alice.proxy(), "samples": 10_000}
        answer = world.alice.post("/v1/certificates:check", json=body)
    assert (answer.status_code, answer.json()["code"]) == (504, "timed_out")
