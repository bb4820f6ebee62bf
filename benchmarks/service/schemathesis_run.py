"""Schemathesis over the whole OpenAPI document: valid and invalid requests, then walks along its links.

The API runs alone, with keys on; jobs that the walks submit stay queued, are cancelled and resumed. Prints what was
sent and what failed, and writes it as JSON.

Run: python -m benchmarks.service.schemathesis_run [--examples 100] [--seed 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from benchmarks.record import Record
from benchmarks.service.harness import ROOT
from benchmarks.service.server import Server, running

MODEL = ROOT / "benchmarks" / "proxies" / "knapsack-10.safetensors"


def run(examples: int, seed: int, phases: str = "examples,coverage,fuzzing,stateful") -> dict[str, Any]:
    """Run schemathesis against a service of its own.

    Args:
        examples: test cases an operation in the fuzzing phase, and walks in the stateful one.
        seed: of what is made up.
        phases: of schemathesis.

    Returns:
        What was tried, and its failures by kind.
    """
    with running(stream_seconds=0.2, requests_per_minute=10**8, layer_seconds=5, active_jobs=10**6) as server:
        return _against(server, examples, seed, phases)


def _against(server: Server, examples: int, seed: int, phases: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={Path(__file__).with_name('schemathesis.toml')}",
            "run",
            f"{server.url}/openapi.json",
            f"--header=Authorization: Bearer {server.key}",
            f"--max-examples={examples}",
            f"--seed={seed}",
            f"--phases={phases}",
            f"--report-json-path={report}",
            "--no-color",
            "--continue-on-failure",
            "--warnings=off",
            "--request-timeout=60",
        ]
        done = subprocess.run(command, env={**os.environ, **_known(server)}, cwd=folder, text=True, capture_output=True)
        print(done.stdout, done.stderr, sep="\n")
        if not report.is_file():
            raise RuntimeError(f"schemathesis ended with {done.returncode} and no report; see its messages above")
        told = json.loads(report.read_text(encoding="utf-8"))
    return {
        "seed": seed,
        "examples": examples,
        "operations": told["operations"]["tested"],
        "phases": {name: phase["status"] for name, phase in told["phases"].items()},
        "cases": told["test_cases"]["generated"],
        "failures": told["failures"],
        "errors": told["errors"],
        "seconds": round(told["running_time"], 1),
    }


def _known(server: Server) -> dict[str, str]:
    """Store one proxy, problem and job, and return what the hooks need to know of them."""
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.key}"}, timeout=60) as client:
        proxy = client.post("/v1/proxies", content=MODEL.read_bytes()).raise_for_status().json()["id"]
        problem = {"kind": "knapsack", "name": "three", "values": [3, 5, 4], "weights": [2, 4, 3], "capacity": 6}
        problem = client.post("/v1/problems", json=problem).raise_for_status().json()["id"]
        job = client.post("/v1/jobs", json={"kind": "verify", "proxy": proxy}).raise_for_status().json()["id"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "encodings")])
    return {
        "SCHEMATHESIS_HOOKS": "benchmarks.service.schemathesis_hooks",
        "PYTHONPATH": paths,
        "CERTIGAP_FUZZ_MODEL": str(MODEL),
        "CERTIGAP_FUZZ_PROXY": proxy,
        "CERTIGAP_FUZZ_PROBLEM": problem,
        "CERTIGAP_FUZZ_JOB": job,
    }


def main() -> int:
    """Run it and print what was found; 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = run(arguments.examples, arguments.seed)
    Record(arguments.json, {"command": vars(arguments) | {"json": None}}, ["seed"]).add(found)
    for name, value in found.items():
        print(f"{name:12} {value}")
    return int(bool(found["failures"] or found["errors"]))


if __name__ == "__main__":
    sys.exit(main())
