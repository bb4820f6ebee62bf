"""Uploading, showing and listing proxies, and every way in which an upload is refused."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.store.tables import Proxy
from proxies.load import load_proxy
from tests.app.api.conftest import KNAPSACK, PROXIES, Api, World, serve


def network(operators: list[str], inputs: int = 57, outputs: int = 4) -> bytes:
    """Return an ONNX file: a Gemm and then these operators, without a manifest."""
    weight = numpy_helper.from_array(np.ones((outputs, inputs), np.float32), "weight")
    bias = numpy_helper.from_array(np.zeros(outputs, np.float32), "bias")
    nodes = [helper.make_node("Gemm", ["x", "weight", "bias"], ["h0"], transB=1)]
    for index, operator in enumerate(operators):
        nodes.append(helper.make_node(operator, [f"h{index}"], [f"h{index + 1}"], name=f"n{index}"))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, inputs])],
        [helper.make_tensor_value_info(f"h{len(operators)}", TensorProto.FLOAT, [None, outputs])],
        [weight, bias],
    )
    return onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def rows(world: World) -> int:
    with world.write() as s:
        return s.query(Proxy).count()


def blobs(world: World) -> int:
    return sum(1 for path in Path(world.state.settings.data_dir, "blobs").rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["dcopf-case57-raw", "knapsack-10"])
def test_a_shipped_proxy_is_described_as_the_library_sees_it(alice: Api, name: str) -> None:
    path = PROXIES / f"{name}.safetensors"
    answer = alice.post("/v1/proxies", content=path.read_bytes())
    assert answer.status_code == 201
    body, loaded = answer.json(), load_proxy(path)
    assert answer.headers["Location"] == f"/v1/proxies/{body['id']}"
    assert body["sha256"] == loaded.sha256
    assert body["size"] == path.stat().st_size
    summary = body["summary"]
    assert summary["fingerprint"] == loaded.proxy.fingerprint()
    assert [summary["inputs"], *(layer["outputs"] for layer in summary["layers"])] == loaded.proxy.sizes
    assert summary["problem"]["fingerprint"] == loaded.problem.fingerprint()
    assert alice.get(f"/v1/proxies/{body['id']}").json() == body


def test_the_same_bytes_are_stored_once(world: World, alice: Api) -> None:
    first = alice.post("/v1/proxies", content=KNAPSACK.read_bytes())
    before = rows(world), blobs(world)
    again = alice.post("/v1/proxies", content=KNAPSACK.read_bytes())
    assert again.status_code == 200
    assert again.json()["id"] == first.json()["id"]
    assert (rows(world), blobs(world)) == before


def test_two_tenants_have_the_same_file_apart(alice: Api, bob: Api) -> None:
    assert alice.proxy() != bob.proxy()


def test_an_onnx_file_without_a_manifest_needs_a_problem(alice: Api) -> None:
    body = alice.post("/v1/proxies", content=network(["Relu"])).json()
    assert body["manifest"] is None
    assert body["summary"]["fingerprint"] is None
    assert [layer["kind"] for layer in body["summary"]["layers"]] == ["affine", "relu"]
    refused = alice.post("/v1/jobs", json={"kind": "verify", "proxy": body["id"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "problem_needed")
    assert refused.json()["errors"][0]["pointer"] == "/problem"


MANIFEST = {
    "schema": "certigap.proxy/1",
    "problem": {"kind": "dcopf", "case": "pglib_opf_case57_ieee"},
    "input": {"unit": "pu", "at": "buses"},
    "output": {"unit": "fraction", "of": "dispatchable"},
}


def test_a_manifest_comes_in_a_header_or_a_part(alice: Api) -> None:
    model = network(["Relu"])
    text = json.dumps(MANIFEST)
    encoded = base64.b64encode(text.encode()).decode()
    header = alice.post("/v1/proxies", content=model, headers={"X-Certigap-Manifest": encoded})
    assert header.status_code == 201, header.text
    assert header.json()["summary"]["problem"]["name"] == "pglib_opf_case57_ieee"
    parts = alice.post("/v1/proxies", files={"model": ("m.onnx", model), "manifest": ("m.json", text)})
    assert parts.status_code == 200
    assert parts.json()["id"] == header.json()["id"]


def test_a_manifest_with_a_case_of_ones_own_is_kept_for_a_problem(alice: Api) -> None:
    own = {**MANIFEST, "problem": {"kind": "dcopf", "case": "ours.m"}}
    body = alice.post("/v1/proxies", files={"model": network([]), "manifest": json.dumps(own)}).json()
    assert body["manifest"]["problem"]["case"] == "ours.m"
    assert body["summary"]["problem"] is None


@pytest.mark.parametrize("case", ["/etc/passwd", "../x.m", "/etc/x.m", "a/b.m", "pglib_opf_../x", "pglib_opf_nope"])
def test_a_manifest_names_no_path(world: World, alice: Api, case: str) -> None:
    before = rows(world), blobs(world)
    manifest = {**MANIFEST, "problem": {"kind": "dcopf", "case": case}}
    answer = alice.post("/v1/proxies", files={"model": network(["Relu"]), "manifest": json.dumps(manifest)})
    assert answer.status_code == 422, answer.text
    assert (rows(world), blobs(world)) == before


def test_unsupported_operators_are_listed_with_their_places(alice: Api) -> None:
    answer = alice.post("/v1/proxies", content=network(["Relu", "Softmax", "Tanh", "Softmax"]))
    assert (answer.status_code, answer.json()["code"]) == (422, "unsupported_operators")
    errors = answer.json()["errors"]
    assert [error["pointer"] for error in errors] == ["/graph/node/2", "/graph/node/3", "/graph/node/4"]
    assert [error["detail"].split()[0] for error in errors] == ["Softmax", "Tanh", "Softmax"]


@pytest.mark.parametrize(
    ("status", "code", "options"),
    [
        (415, "unsupported_format", {"content": b"\x80\x04\x95" + bytes(50)}),
        (415, "unsupported_format", {"content": b"PK\x03\x04" + bytes(50)}),
        (415, "unsupported_format", {"content": gzip.compress(b"model")}),
        (415, "unsupported_format", {"content": b"hello, this is text"}),
        (415, "compressed_body", {"content": b"x", "headers": {"Content-Encoding": "gzip"}}),
        (422, "empty", {"content": b""}),
        (422, "model_file", {"content": network([])[:-20]}),
        (422, "invalid", {"content": network([]), "headers": {"X-Certigap-Manifest": "not base64!"}}),
        (422, "model_file", {"content": network([]), "headers": {"X-Certigap-Manifest": "bm90IGpzb24="}}),
        (422, "manifest_inside", {"content": KNAPSACK.read_bytes(), "headers": {"X-Certigap-Manifest": "e30="}}),
        (422, "invalid", {"files": {"other": b"x"}}),
        (422, "invalid", {"files": [("model", b"\x08"), ("model", b"\x08")]}),
        (413, "too_large", {"files": {"model": network([]), "manifest": b" " * 70_000}}),
        (400, "malformed", {"content": b"--x\r\nno", "headers": {"Content-Type": "multipart/form-data; boundary=y"}}),
        (422, "invalid", {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}),
    ],
)
def test_refusals_store_nothing(world: World, alice: Api, status: int, code: str, options: dict[str, Any]) -> None:
    before = rows(world), blobs(world)
    answer = alice.post("/v1/proxies", **options)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (rows(world), blobs(world)) == before


def test_an_upload_has_a_largest_size_and_a_tenant_a_quota(tmp_path: Path) -> None:
    with serve(tmp_path, largest_upload=2**20, proxies=1) as world:
        told = world.alice.post("/v1/proxies", content=b"\x08" + bytes(2**20))
        streamed = world.alice.post("/v1/proxies", content=iter([b"\x08" + bytes(2**19)] * 3))
        assert [told.status_code, streamed.status_code] == [413, 413]
        assert told.json()["code"] == streamed.json()["code"] == "too_large"
        assert rows(world) == blobs(world) == 0
        world.alice.proxy()
        full = world.alice.post("/v1/proxies", content=network([]))
        assert (full.status_code, full.json()["code"]) == (429, "quota_exceeded")
        assert int(full.headers["Retry-After"]) > 0
        assert rows(world) == blobs(world) == 1
        assert world.alice.post("/v1/proxies", content=KNAPSACK.read_bytes()).status_code == 200
        assert world.bob.proxy()


def test_pages_name_the_next_one(tmp_path: Path) -> None:
    with serve(tmp_path) as world:
        made = [world.alice.post("/v1/proxies", content=network(["Relu"] * n)).json()["id"] for n in range(5)]
        found, cursor = [], None
        while True:
            page = world.alice.get("/v1/proxies", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
            found += [proxy["id"] for proxy in page["data"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == sorted(made, reverse=True)
        assert world.bob.get("/v1/proxies").json() == {"data": [], "next_cursor": None}
