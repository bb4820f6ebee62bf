"""A sample as a problem of the service: created, described, and refused with a pointer where a job could not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxies.classification import classification_problem
from proxies.files import save_network
from proxies.manifest import ClassificationSpec
from tests.app.api.conftest import Api
from tests.proxies.classifiers import classifier, network

SAMPLE: dict[str, Any] = {"kind": "classification", "centre": [0.1, -0.2], "label": 1, "lower": -1, "upper": [1, 1]}


def created(api: Api, **change: Any) -> str:
    answer = api.post("/v1/problems", json={**SAMPLE, **change})
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["id"])


@pytest.fixture
def bare(alice: Api, tmp_path: Path) -> str:
    """A classifier that was uploaded without a manifest."""
    import onnx

    proxy, _ = classifier(network("sign", 3, 0))
    save_network(tmp_path / "net.onnx", proxy.network, proxy.manifest)
    graph = onnx.load(tmp_path / "net.onnx")
    del graph.metadata_props[:]
    return str(alice.post("/v1/proxies", content=graph.SerializeToString()).json()["id"])


def test_a_sample_is_a_problem(alice: Api) -> None:
    body = alice.post("/v1/problems", json=SAMPLE).json()
    assert body["kind"] == "classification"
    summary = body["summary"]
    assert (summary["inputs"], summary["decisions"], summary["unit"]) == (2, 2, "score")
    spec = ClassificationSpec.model_validate(SAMPLE)
    assert summary["fingerprint"] == classification_problem(spec).fingerprint()
    assert created(alice) == body["id"] != created(alice, label=0)


@pytest.mark.parametrize(
    ("pointer", "change"),
    [
        ("/centre", {"centre": []}),
        ("/centre/0", {"centre": ["x", 1]}),
        ("/label", {"label": -1}),
        ("/label", {"label": 0.5}),
        ("/classes", {"classes": 1}),
        ("/radius", {"radius": 1}),
    ],
)
def test_a_wrong_field_is_pointed_at(alice: Api, pointer: str, change: dict[str, Any]) -> None:
    answer = alice.post("/v1/problems", json={**SAMPLE, **change})
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("outside of its range", {"centre": [0.1, 7]}),
        ("both or none", {"upper": None}),
        ("count from 0 to 1", {"label": 2, "classes": 2}),
        ("1 names for 2", {"names": ["a"]}),
    ],
)
def test_numbers_that_are_no_sample_are_refused(alice: Api, says: str, change: dict[str, Any]) -> None:
    answer = alice.post("/v1/problems", json={**SAMPLE, **change})
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_a_classifier_needs_no_manifest_but_a_sample(alice: Api, bare: str) -> None:
    answer = alice.post("/v1/jobs", json={"kind": "verify", "proxy": bare})
    assert answer.json()["errors"][0]["pointer"] == "/problem"
    asked = {"kind": "verify", "proxy": bare, "problem": created(alice), "options": {"threshold": -0.5}}
    assert alice.post("/v1/jobs", json=asked).status_code == 202


@pytest.mark.parametrize(
    ("pointer", "change"),
    [
        ("/options/measure", {"options": {"measure": "relative"}}),
        ("/measure", {"kind": "evaluate"}),
        ("/input_unit", {"input_unit": "pu"}),
    ],
)
def test_what_a_margin_does_not_have_is_refused(alice: Api, bare: str, pointer: str, change: dict[str, Any]) -> None:
    asked = {"kind": "verify", "proxy": bare, "problem": created(alice), **change}
    answer = alice.post("/v1/jobs", json=asked)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_other_gaps_are_never_negative_and_classifiers_are_not_trained_here(alice: Api) -> None:
    asked = {"kind": "verify", "proxy": alice.proxy(), "options": {"threshold": -1}}
    assert alice.post("/v1/jobs", json=asked).json()["errors"][0]["pointer"] == "/options/threshold"
    asked = {"kind": "verify", "proxy": alice.proxy(), "problem": created(alice)}
    assert alice.post("/v1/jobs", json=asked).json()["code"] == "other_kind"
    answer = alice.post("/v1/jobs", json={"kind": "train", "problem": created(alice)})
    assert (answer.status_code, answer.json()["code"]) == (422, "no_training")
