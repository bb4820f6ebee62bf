"""Checking certificates over HTTP: an honest one is consistent, a forged one refuted, and nonsense no certificate."""

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


def test_an_honest_one_is_consistent(alice: Api, certificate: dict[str, Any]) -> None:
    proxy = alice.proxy()
    for body in ({"proxy": proxy}, {"seed": 3, "time_limit": 10}):
        asked = {"certificate": certificate, "samples": 50, "attack_seconds": 0.5, **body}
        answer = alice.post("/v1/certificates:check", json=asked)
        assert answer.status_code == 200, answer.text
        assert answer.json()["outcome"] == "consistent"
        assert "not derived again" in answer.json()["meaning"]
        assert {finding["standing"] for finding in answer.json()["findings"]} == {"holds", "trusted"}
        assert answer.json()["seed"] == body.get("seed", answer.json()["seed"])


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["claim"].update(lower=2 * c["claim"]["lower"]),
        lambda c: c["claim"].update(upper=0.5 * c["claim"]["upper"]),
        lambda c: c["claim"].update(verdict="falsified", threshold=1e9, termination="threshold_decided"),
        lambda c: c["proxy"].update(layers=["Relu -> 1"]),
        lambda c: c["witness"].update(unit="MW"),
    ],
)
def test_a_forged_one_is_refuted(alice: Api, certificate: dict[str, Any], change: Any) -> None:
    forged = copy.deepcopy(certificate)
    change(forged)
    body = {"certificate": forged, "proxy": alice.proxy(), "samples": 0, "attack_seconds": 0}
    answer = alice.post("/v1/certificates:check", json=body)
    assert answer.status_code == 200
    assert answer.json()["outcome"] == "refuted"
    assert any(finding["standing"] == "fails" for finding in answer.json()["findings"])


def test_what_is_trusted_is_the_services_own_list(alice: Api, certificate: dict[str, Any]) -> None:
    body = {"proxy": alice.proxy(), "samples": 10, "attack_seconds": 0}
    for trusted in ([], ["nothing"]):
        answer = alice.post("/v1/certificates:check", json={"certificate": {**certificate, "trusted": trusted}, **body})
        found = [f["claim"] for f in answer.json()["findings"] if f["standing"] == "trusted"]
        assert found == ["no input of the domain exceeds the upper bound", "the other fields are true"]


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
        lambda c: {**c, "trusted": [None]},
        lambda c: {**c, "trusted": [{}]},
        lambda c: {**c, "trusted": [[]]},
        lambda c: {key: part for key, part in c.items() if key != "trusted"},
        lambda c: {**c, "nodes": True},
        lambda c: {**c, "claim": {**c["claim"], "upper": 10**400}},
        lambda c: {**c, "notes": [[[[[[[[]]]]]]]]},
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


@pytest.mark.parametrize("upper", ["1e400", "NaN", "-Infinity", "9" * 5000, "[" * 5000])
def test_numbers_that_are_none_are_refused(alice: Api, certificate: dict[str, Any], upper: str) -> None:
    told = {**certificate, "claim": {**certificate["claim"], "upper": 0.12345}}
    body = json.dumps({"certificate": told, "proxy": alice.proxy(), "samples": 0}).replace("0.12345", upper)
    answer = alice.post("/v1/certificates:check", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text


def test_a_check_plans_with_half_of_the_time_it_may_take(tmp_path: Path, certificate: dict[str, Any]) -> None:
    with serve(tmp_path, check_seconds=2) as world:
        body = {"certificate": certificate, "proxy": world.alice.proxy(), "samples": 10_000, "time_limit": 600}
        answer = world.alice.post("/v1/certificates:check", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outcome"] == "consistent"


def test_a_check_has_an_end(tmp_path: Path, certificate: dict[str, Any]) -> None:
    with serve(tmp_path, check_seconds=1e-3) as world:
        body = {"certificate": certificate, "proxy": world.alice.proxy(), "samples": 10_000}
        answer = world.alice.post("/v1/certificates:check", json=body)
    assert (answer.status_code, answer.json()["code"]) == (504, "timed_out")
