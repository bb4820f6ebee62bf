"""`client.verify` in one call: what is sent, and what comes back."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

import certigap
from certigap import Client, JobFailedError, UsageError, WaitTimeout
from certigap.models import Problem, Proxy
from tests.client.fake import Both, Clock, Script, job, polled, problem, sse, status

PROXY = {
    "id": "prx_1",
    "sha256": "00",
    "format": "onnx",
    "size": 3,
    "manifest": None,
    "summary": {"layers": [{"kind": "Affine", "inputs": 2, "outputs": 1}], "inputs": 2, "outputs": 1},
    "created_at": "2026-11-22T12:00:00Z",
}
PROBLEM = {
    "id": "prb_1",
    "kind": "dcopf",
    "spec": {"case": "x"},
    "summary": {"name": "x", "inputs": 2, "decisions": 1, "unit": "$/h", "fingerprint": "00"},
    "created_at": "2026-11-22T12:00:00Z",
}
DONE = job("succeeded", verdict="certified", termination="optimal")
SOLVED = {
    "status": ["solved"],
    "z": [[0.5]],
    "nu": [[]],
    "lam": [[]],
    "slack": [[]],
    "active": [[]],
    "polished": [True],
}
CERTIFICATE = b'{"schema": "certigap.certificate/1",  "claim": 1}'


def server(ended: dict[str, Any] = DONE) -> Script:
    events = {"stream": sse(status(1, "running"), status(2, str(ended["status"]))), "poll": polled(ended=True)}
    return Script(
        {
            "POST /v1/proxies": [httpx.Response(201, json=PROXY)],
            "POST /v1/problems": [httpx.Response(201, json=PROBLEM)],
            "POST /v1/jobs": [httpx.Response(202, json=job("queued"))],
            "GET /v1/jobs/job_1": [httpx.Response(200, json=job()), httpx.Response(200, json=ended)],
            "GET /v1/jobs/job_1/events": [
                lambda request: events["stream" if "event-stream" in request.headers["Accept"] else "poll"]
            ],
            "GET /v1/jobs/job_1/result": [httpx.Response(200, json={"witness": {"unit": "MW", "input": [1.0]}})],
            "GET /v1/jobs/job_1/certificate": [httpx.Response(200, content=CERTIFICATE)],
            "GET /v1/jobs/job_1/report": [httpx.Response(200, html="<html>")],
        }
    )


def asked(script: Script) -> dict[str, Any]:
    """Return the body of the submission."""
    body: dict[str, Any] = json.loads(script.asked("/v1/jobs")[0].content)
    return body


def test_upload_submit_wait_and_save(both: Both, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"\x08net")

    asks: dict[str, Any] = {"u": 0.1, "time_limit": 9, "solver": "highs", "input_unit": "pu"}

    def do(client: Any) -> Any:
        if both.kind == "sync":
            found = client.verify(model, "pglib_opf_case5_pjm", **asks)
            return found, found.save(tmp_path / "new" / "out"), found.certificate(), found.report(), found.result()

        async def verify() -> Any:
            found = await client.verify(
                model, "pglib_opf_case5_pjm", u=0.1, time_limit=9, solver="highs", input_unit="pu"
            )
            saved = await found.save(tmp_path / "new" / "out")
            return found, saved, await found.certificate(), await found.report(), await found.result()

        return verify()

    script = server()
    found, saved, certificate, report, result = both(script, do)
    assert (found.lower, found.upper, found.unit) == (10, 20, "$/h")
    assert (found.verdict, found.termination) == ("certified", "optimal")
    assert [path.name for path in saved] == ["certificate.json", "report.html"]
    assert saved[0].read_bytes() == CERTIFICATE
    assert certificate["claim"] == 1
    assert report == saved[1].read_text() == "<html>"
    assert result.witness == {"unit": "MW", "input": [1.0]}
    assert script.asked("/v1/proxies")[0].content == b"\x08net"
    assert json.loads(script.asked("/v1/problems")[0].content) == {"kind": "dcopf", "case": "pglib_opf_case5_pjm"}
    options = {"time_limit": 9, "solver": "highs"}
    known = {"kind": "verify", "proxy": "prx_1", "problem": "prb_1"}
    assert asked(script) == {**known, "u": 0.1, "input_unit": "pu", "options": options}
    assert "certified" in repr(found)
    assert "between 10 $/h and 20 $/h" in found._repr_html_()


def test_only_what_is_set_is_sent(both: Both) -> None:
    script = server()
    both(script, lambda client: client.verify("prx_7"))
    assert asked(script) == {"kind": "verify", "proxy": "prx_7", "u": 0.05}
    assert not script.asked("/v1/proxies")


def test_uploaded_things_are_taken_as_they_are(both: Both) -> None:
    script = server()
    proxy, known = Proxy.model_validate(PROXY), Problem.model_validate(PROBLEM)
    both(script, lambda client: client.verify(proxy, known, attack_seconds=0))
    assert asked(script)["problem"] == "prb_1"
    assert not script.asked("/v1/problems")


def test_nothing_known_is_an_infinite_interval(both: Both) -> None:
    script = server(job("canceled", lower=None, upper=None))
    found = both(script, lambda client: client.verify(b"\x08"))
    assert (found.lower, found.upper) == (-math.inf, math.inf)
    assert "canceled" in repr(found)


def test_a_failed_job_raises_with_its_reason(both: Both) -> None:
    script = server(job("failed", error={"code": "memory", "message": "it took all memory"}))
    with pytest.raises(JobFailedError, match="it took all memory") as caught:
        both(script, lambda client: client.verify(b"\x08"))
    assert caught.value.job.id == "job_1"


def test_time_out_names_the_job(both: Both, clock: Clock) -> None:
    script = server()
    script.answers["GET /v1/jobs/job_1"] = [httpx.Response(200, json=job())]
    script.answers["GET /v1/jobs/job_1/events"] = [polled()]
    with pytest.raises(WaitTimeout, match="job_1"):
        both(script, lambda client: client.verify(b"\x08", timeout=3))


def test_the_manifest_beside_an_onnx_file_goes_along(both: Both, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x08net")
    (tmp_path / "net.safetensors").write_bytes(b"\x00net")
    (tmp_path / "net.json").write_text('{"beside": 1}')
    script = server()
    both(script, lambda client: client.proxies.upload(tmp_path / "net.onnx"))
    both(script, lambda client: client.proxies.upload(tmp_path / "net.safetensors"))
    both(script, lambda client: client.proxies.upload(tmp_path / "net.onnx", {"given": 2}))
    first, second, third = script.asked("/v1/proxies")
    assert first.headers["Content-Type"].startswith("multipart/form-data")
    assert b'{"beside": 1}' in first.content
    assert second.content == b"\x00net"
    assert b'{"given": 2}' in third.content
    assert b"beside" not in third.content


def test_problems_of_every_kind(both: Both, tmp_path: Path) -> None:
    (tmp_path / "grid.m").write_text("function mpc = grid")
    (tmp_path / "sack.json").write_text('{"schema": "s", "name": "s", "values": [1], "weights": [1], "capacity": 1}')
    instance = {"name": "s", "values": [1], "weights": [1], "capacity": 1}
    script = server()
    for case in (tmp_path / "grid.m", str(tmp_path / "sack.json"), instance):
        both(script, lambda client, case=case: client.problems.create(case))
    both(script, lambda client: client.problems.create("x", thermal="hard", shunts=False))
    grid, file, mapping, name = script.asked("/v1/problems")
    assert grid.content == b"function mpc = grid"
    assert grid.url.params["kind"] == "dcopf"
    assert json.loads(file.content) == json.loads(mapping.content) == {"kind": "knapsack", **instance}
    assert json.loads(name.content) == {"kind": "dcopf", "case": "x", "thermal": "hard", "shunts": False}


@pytest.mark.parametrize(
    "do",
    [
        lambda client: client.proxies.upload("nowhere.onnx"),
        lambda client: client.problems.create("nowhere.m"),
        lambda client: client.problems.create("nowhere.json"),
        lambda client: client.problems.create(__file__.replace(".py", ".json")),
        lambda client: client.jobs.wait("job_1", progress="balloons"),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(both: Both, do: Any) -> None:
    script = server()
    with pytest.raises(UsageError):
        both(script, do)
    assert all(request.method == "GET" for request in script.requests)


def test_layers_take_arrays_and_lists(both: Both) -> None:
    import numpy as np

    script = Script({"POST /v1/layers/qp:solve": [httpx.Response(200, json=SOLVED)]})
    script.answers["POST /v1/layers/mip-value:vjp"] = [problem(504, "time_limit")]
    answer = both(script, lambda client: client.layers.qp.solve(Q=np.eye(1), q=[[-0.5]], A=None))
    assert answer.z == [[0.5]]
    assert answer.status == ["solved"]
    assert json.loads(script.requests[0].content) == {"Q": [[1.0]], "q": [[-0.5]]}
    asked = {"upper": np.array([3.0, 2.0]), "penalty": np.array([math.inf]), "grad_value": [1.0]}
    with pytest.raises(certigap.ServerError):
        both(script, lambda client: client.layers.mip_value.vjp([1, 2], [[1, 1]], [1], **asked), retries=0)
    body = json.loads(script.requests[-1].content)
    assert (body["lower"], body["upper"], body["penalty"]) == (0.0, [3.0, 2.0], [None])
    with pytest.raises(UsageError, match="not finite"):
        both(script, lambda client: client.layers.qp.solve(Q=[[math.nan]], q=[0]))


def test_both_clients_have_the_same_operations() -> None:
    assert inspect.signature(Client().verify) == inspect.signature(certigap.AsyncClient().verify)
    assert "model" in inspect.signature(Client().verify).parameters
    assert Client().jobs.wait.__doc__ == certigap.AsyncClient().jobs.wait.__doc__
    assert Client().jobs.wait.__doc__


def test_many_jobs_are_awaited_at_once() -> None:
    async def run() -> list[str | None]:
        async with certigap.AsyncClient("http://server", transport=httpx.MockTransport(server())) as client:
            return [found.verdict for found in await asyncio.gather(*(client.verify(b"\x08") for _ in range(3)))]

    assert asyncio.run(run()) == ["certified"] * 3


def test_it_stays_light() -> None:
    folder = Path(certigap.__file__).parent.parent
    names = {
        name.split(">")[0] for name in tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    assert names == {"httpx", "pydantic"}
    assert (folder / "certigap" / "py.typed").exists()
