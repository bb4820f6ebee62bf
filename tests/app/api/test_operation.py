"""For operators: health, readiness, metrics, solvers, and the document that describes it all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from app.settings import Settings
from app.store.database import now
from app.store.tables import Worker
from solvers.registry import describe_solvers
from tests.app.api.conftest import Api, World, serve


def test_health_needs_nothing(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path}/no/such/folder.db", log_level="error")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")


def test_a_database_of_another_version_is_not_ready(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, log_level="error")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_migrated")
        assert "certigap migrate" in answer.json()["detail"]


def test_ready(world: World) -> None:
    assert world.client.get("/readyz").json() == {"status": "ok"}


def test_metrics_count_requests_jobs_and_workers(tmp_path: Path) -> None:
    with serve(tmp_path) as world:
        job = world.alice.job()
        world.alice.post(f"/v1/jobs/{job}:cancel")
        world.alice.job()
        world.alice.get("/v1/jobs/job_nothing")
        with world.write() as s:
            s.add(Worker(id="w", queues="cpu", cores=1, started_at=now(), seen_at=now()))
            s.add(Worker(id="gone", queues="cpu", cores=1, started_at=now(), seen_at=now() - 3600))
        text = world.client.get("/metrics").text
    assert job not in text
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples[("certigap_jobs", ("status", "queued"))] == 1
    assert samples[("certigap_jobs", ("status", "canceled"))] == 1
    assert samples[("certigap_workers",)] == 1
    missing = (("method", "GET"), ("route", "/v1/jobs/{job}"), ("status", "404"))
    assert samples[("certigap_requests_total", *missing)] == 1


def test_solvers_are_those_of_the_library(alice: Api) -> None:
    told = {solver["name"]: solver for solver in alice.get("/v1/solvers").json()["data"]}
    for known in describe_solvers():
        assert told[known.name]["available"] == known.available
        assert told[known.name]["version"] == known.version
        assert set(told[known.name]["capabilities"]) == {capability.value for capability in known.capabilities}


@pytest.fixture(scope="module")
def document(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.client.get("/openapi.json").json()
    return found


def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    assert references(document)
    for reference in references(document):
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_operation_tells_its_refusals_as_problems(document: dict[str, Any]) -> None:
    names = set()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            names.add(operation["operationId"])
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], (path, status)
            links = [
                link for response in operation["responses"].values() for link in response.get("links", {}).values()
            ]
            assert all(link["operationId"] in str(document["paths"]) for link in links)
    assert len(names) == sum(len(methods) for methods in document["paths"].values())


def test_the_documents_examples_are_accepted(alice: Api, document: dict[str, Any]) -> None:
    tried = 0
    for path, methods in document["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        schema = content.get("schema", {})
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        examples = [example["value"] for example in content.get("examples", {}).values()] + schema.get("examples", [])
        for example in examples:
            given = {**example, "proxy": alice.proxy()} if "proxy" in example else dict(example)
            if "problem" in given:
                given["problem"] = alice.problem()
            answer = alice.post(path, json=given)
            assert answer.status_code in (200, 201, 202), (path, answer.text)
            tried += 1
    assert tried >= 8
