"""A classifier through the client and a real service: one call, its certificate, its report, other kinds of jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import certigap
from certigap import Client
from proxies.files import save_network
from tests.proxies.classifiers import classifier, network, on_grid


def test_a_classifier_in_one_call(server: str, tmp_path: Path) -> None:
    proxy, problem = classifier(network("mixed", 3, 0), 1)
    seen = on_grid(proxy, problem, 0.1)
    model = tmp_path / "net.safetensors"
    save_network(model, proxy.network, proxy.manifest)
    sample = {"centre": problem.centre.tolist(), "label": 1, "lower": -1.0, "upper": 1.0}
    (tmp_path / "mine.json").write_text(json.dumps(sample))
    with Client(server) as client:
        found = client.verify(model, tmp_path / "mine.json", u=0.1, attack_seconds=1, samples=20, workers=1)
        assert (found.verdict, found.termination, found.unit) == ("certified", "optimal", "score")
        assert seen - 1e-9 <= found.upper <= seen + 2e-3 * max(1.0, abs(seen))
        assert found.lower <= found.upper
        assert found.result().lower == found.lower
        certificate = found.certificate()
        assert certificate["problem"]["name"] == "mine"
        created = client.problems.create(tmp_path / "mine.json")
        assert client.certificates.check(certificate, problem=created.id).outcome == "consistent"
        assert "classified as class 1" in found.report()
        decided = client.verify(model, sample, u=0.1, threshold=seen + 0.1, samples=0)
        assert decided.verdict == "certified"
        request: certigap.SweepJob = {
            "kind": "sweep",
            "proxy": found.job.request["proxy"],
            "u": [0.0, 0.1],
            "options": {"samples": 0},
        }
        job = client.jobs.wait(client.jobs.create(request).id)
        curve = client.jobs.result(job.id).curve
        assert curve[0]["upper"] <= curve[1]["upper"] == pytest.approx(found.upper, rel=1e-2)
