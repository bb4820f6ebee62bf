"""Keys, tenants, limits, headers: who may do what, and what an answer gives away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from app.store import jobs
from app.store.jobs import Ending
from app.store.keys import create_key, revoke_key
from app.store.migrate import migrate
from app.store.tables import Job, Tenant
from tests.app.api.conftest import KNAPSACK, Api, World, serve

OPEN = {"/healthz", "/readyz", "/metrics"}


def operations(world: World) -> list[tuple[str, str]]:
    """Return every (method, path) of the OpenAPI document."""
    paths = world.client.get("/openapi.json").json()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods]


def test_nothing_is_told_without_a_key(world: World) -> None:
    for method, path in operations(world):
        answer = world.client.request(method, re.sub(r"\{\w+\}", "job_" + "0" * 26, path), json={})
        assert (answer.status_code == 401) == (path not in OPEN), (method, path, answer.text)
        if path not in OPEN:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: key.replace("cg_", "cg_" + "0" * 26 + "_")[:95],
        lambda key: "cg_" + "0" * 26 + key[29:],
        lambda key: key.upper(),
        lambda key: key + "0",
        lambda key: "",
        lambda key: "cg_\x00",
    ],
)
def test_a_wrong_key_is_no_key(world: World, change: Any) -> None:
    wrong = change(world.alice.key).encode("utf-8", "replace")
    answer = world.client.get("/v1/jobs", headers={"Authorization": b"Bearer " + wrong})
    assert answer.status_code == 401


def test_a_revoked_key_is_worthless_at_once(world: World) -> None:
    with world.write() as s:
        row, key = create_key(s, "carol")
    headers = {"Authorization": f"Bearer {key}"}
    assert world.client.get("/v1/jobs", headers=headers).status_code == 200
    with world.write() as s:
        revoke_key(s, row.id)
    assert world.client.get("/v1/jobs", headers=headers).status_code == 401


@pytest.fixture(scope="module")
def owned(world: World) -> dict[str, str]:
    """Alice's objects, by the names of the paths' parameters; her job has ended and left everything."""
    alice, job = world.alice, world.alice.job()
    names = {part: world.state.blobs.put(alice.tenant, b"{}") for part in ("result", "certificate", "report")}
    with world.write() as s:
        begun = jobs.begin(s, job, s.get_one(Job, job).workflow, "worker")
        assert begun is not None
        jobs.finish(s, job, begun.attempt, Ending("canceled", "cancelled", **names))
    return {"proxy": alice.proxy(), "problem": alice.problem(), "job": job}


def test_every_address_of_another_tenant_is_404(world: World, owned: dict[str, str]) -> None:
    tried = 0
    for method, path in operations(world):
        name = re.search(r"\{(\w+)\}", path)
        if name is None:
            continue
        address = path.replace(name[0], owned[name[1]])
        mine = getattr(world.alice, method)(address)
        # Resumed on the way, the job has not ended any more.
        assert mine.status_code in (200, 202, 409), (method, path, mine.text)
        theirs = getattr(world.bob, method)(address)
        assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found"), (method, path)
        unknown = getattr(world.bob, method)(path.replace(name[0], owned[name[1]][:4] + "0" * 26))
        differ = {"request_id"}
        assert {k: v for k, v in theirs.json().items() if k not in differ} == {
            k: v for k, v in unknown.json().items() if k not in differ
        }
        tried += 1
    assert tried >= 10


def test_another_tenants_id_in_a_body_is_unknown(world: World, owned: dict[str, str]) -> None:
    bodies = [
        ("/v1/jobs", {"kind": "verify", "proxy": owned["proxy"]}, "unknown_proxy"),
        ("/v1/jobs", {"kind": "verify", "proxy": world.bob.proxy(), "problem": owned["problem"]}, "unknown_problem"),
        ("/v1/jobs", {"kind": "train", "problem": owned["problem"]}, "unknown_problem"),
        ("/v1/certificates:check", {"certificate": {}, "proxy": owned["proxy"]}, "unknown_proxy"),
        (
            "/v1/certificates:check",
            {"certificate": {}, "proxy": world.bob.proxy(), "problem": owned["problem"]},
            "unknown_problem",
        ),
    ]
    for path, body, code in bodies:
        answer = world.bob.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_lists_hold_ones_own_alone(world: World, owned: dict[str, str]) -> None:
    for path, name in (("/v1/proxies", "proxy"), ("/v1/problems", "problem"), ("/v1/jobs", "job")):
        assert owned[name] in [item["id"] for item in world.alice.get(path, params={"limit": 100}).json()["data"]]
        assert owned[name] not in [item["id"] for item in world.bob.get(path, params={"limit": 100}).json()["data"]]


def test_requests_are_counted_by_key(tmp_path: Path) -> None:
    with serve(tmp_path, requests_per_minute=5) as world:
        answers = [world.alice.get("/v1/jobs") for _ in range(8)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
        assert answers[-1].json()["code"] == "rate_limited"
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
        assert world.bob.get("/v1/jobs").status_code == 200


def test_a_tenant_may_have_limits_of_its_own(tmp_path: Path) -> None:

    with serve(tmp_path) as world:
        with world.write() as s:
            s.get_one(Tenant, world.alice.tenant).limits = {"requests_per_minute": 1}
        assert [world.alice.get("/v1/jobs").status_code for _ in range(2)] == [200, 429]


@pytest.fixture(scope="module")
def without_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("open"), log_level="error")
    migrate(settings.database)
    address = "http://127.0.0.1:8787"
    with TestClient(create_app(settings), base_url=address, raise_server_exceptions=False) as client:
        yield client


def test_on_loopback_no_key_is_needed(without_keys: TestClient) -> None:
    made = without_keys.post("/v1/proxies", content=KNAPSACK.read_bytes())
    assert made.status_code == 201
    assert without_keys.get(f"/v1/proxies/{made.json()['id']}").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8787"},
        {"Host": "["},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_without_keys_no_page_of_another_site_may_call(without_keys: TestClient, headers: dict[str, str]) -> None:
    answer = without_keys.post("/v1/proxies", content=KNAPSACK.read_bytes(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_page")


@pytest.mark.parametrize("host", ["localhost:8787", "127.0.0.1", "[::1]:8787"])
def test_this_machine_has_several_names(without_keys: TestClient, host: str) -> None:
    assert without_keys.get("/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("host", "keys", "asked"),
    [("127.0.0.1", "auto", False), ("0.0.0.0", "auto", True), ("127.0.0.1", "on", True), ("0.0.0.0", "off", False)],
)
def test_keys_are_on_where_others_can_call(host: str, keys: str, asked: bool) -> None:
    assert Settings.model_validate({"host": host, "keys": keys}).asks_for_keys == asked


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/nowhere", "/openapi.json"])
def test_every_answer_carries_the_headers(alice: Api, path: str) -> None:
    headers = alice.get(path).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "Access-Control-Allow-Origin" not in headers


def test_a_request_has_one_id_everywhere(alice: Api) -> None:
    answer = alice.get("/v1/jobs/job_x", headers={"X-Request-Id": "mine-1"})
    assert answer.headers["X-Request-Id"] == answer.json()["request_id"] == "mine-1"
    other = alice.get("/v1/jobs/job_x", headers={"X-Request-Id": 'a"} {"b'})
    assert other.headers["X-Request-Id"] == other.json()["request_id"]
    assert other.json()["request_id"].startswith("req_")


def test_a_defect_tells_nothing_and_is_logged_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("a secret of ours")

    with serve(tmp_path, log_format="json") as world:
        monkeypatch.setattr("app.api.jobs.jobs.page", fail)
        answer = world.alice.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    logged = capsys.readouterr().err
    lines = [json.loads(line) for line in logged.splitlines() if line.startswith("{")]
    defect = next(line for line in lines if line["event"] == "defect")
    assert defect["request_id"] == answer.json()["request_id"]
    assert "a secret of ours" in defect["exception"]
    assert world.alice.key.split("_")[2] not in logged


@pytest.mark.parametrize(
    ("method", "path"), [("delete", "/v1/jobs"), ("put", "/v1/jobs/x:cancel"), ("post", "/healthz")]
)
def test_a_wrong_method_names_the_right_ones(alice: Api, method: str, path: str) -> None:
    answer = getattr(alice, method)(path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == {"/v1/jobs": "GET, POST", "/healthz": "GET"}.get(path, "POST")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/jobs/", "/v1/jobs/a/b", "/docs", "/v1/jobs/%2e%2e/x", "/%00"])
def test_what_is_nowhere_is_404(alice: Api, path: str) -> None:
    answer = alice.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


def test_a_body_of_endless_length_is_too_large(alice: Api) -> None:
    answer = alice.post("/v1/jobs", content=iter([b"{}"]), headers={"Content-Length": "9" * 5000})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_made_up_methods_are_counted_as_one(world: World) -> None:
    for method in ("BREW", "BREW2"):
        assert world.client.request(method, "/v1/jobs").status_code == 405
    assert "BREW" not in world.client.get("/metrics").text
