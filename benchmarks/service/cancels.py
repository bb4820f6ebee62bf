"""A hundred cancels in the middle of a solve: seconds until the job has ended, and processes that outlive it.

Run: python -m benchmarks.service.cancels [--database sqlite|postgres] [--cancels 100] [--seed 0] [--json FILE]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from benchmarks.record import Record
from benchmarks.service.harness import Postgres, Service, submit, upload

# Searches that go on for minutes: bounds, attack, tightening and MILPs are all met by a cancel at a random moment.
QUESTIONS = {
    "knapsack-10": {"u": 0.2, "options": {"tolerance": 1e-9, "effort": 5, "rounds": 1}},
    "knapsack-50-free": {"u": 0.2, "options": {}},
    "dcopf-case118-raw": {"u": 0.2, "options": {}},
    "dcopf-case57-centred": {"u": 0.2, "options": {"bounds": "alpha"}},
}
LONGEST = 4.0


def main() -> None:
    """Run it and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--cancels", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = run(arguments.database, arguments.cancels, random.Random(arguments.seed))
    for name, value in found.items():
        print(f"{name:24} {value}")
    record = Record(arguments.json, {"cancels": arguments.cancels, "seed": arguments.seed}, ["database"])
    record.resume()
    record.add(found)


def run(database: str, cancels: int, choose: random.Random) -> dict[str, Any]:
    """Cancel so many jobs, and return how long that took."""
    with tempfile.TemporaryDirectory(prefix="certigap-cancels-") as name:
        Path(name).chmod(0o755)
        postgres = Postgres(Path(name) / "postgres") if database == "postgres" else None
        service = Service(Path(name) / "data", "" if postgres is None else postgres.url)
        service.start()
        try:
            with httpx.Client(base_url=service.url, timeout=60) as client:
                return {"database": database, **_run(service, client, cancels, choose)}
        finally:
            service.close()
            if postgres is not None:
                postgres.close()


def _run(service: Service, client: httpx.Client, cancels: int, choose: random.Random) -> dict[str, Any]:
    proxies = {name: upload(client, name) for name in QUESTIONS}
    seconds, phases, bounded, orphans = [], dict[str, int](), 0, 0
    while len(seconds) < cancels:
        name = choose.choice(list(QUESTIONS))
        job = submit(client, "verify", proxies[name], **QUESTIONS[name])
        while client.get(f"/v1/jobs/{job}").json()["status"] == "queued":
            time.sleep(0.02)
        time.sleep(choose.uniform(0.0, LONGEST))
        started = {pid for leader in service.part("child") for pid in _family(leader)}
        phase = _phase(client, job)
        began = time.monotonic()
        client.post(f"/v1/jobs/{job}:cancel").raise_for_status()
        while (row := client.get(f"/v1/jobs/{job}").json())["finished_at"] is None:
            time.sleep(0.01)
        if row["status"] != "canceled":
            continue
        seconds.append(time.monotonic() - began)
        phases[phase] = phases.get(phase, 0) + 1
        bounded += row["upper"] is not None
        orphans += sum(psutil.pid_exists(pid) for pid in started)
    return {
        "cancels": len(seconds),
        "in phases": phases,
        "with an upper bound": bounded,
        "median s": round(float(np.median(seconds)), 2),
        "p99 s": round(float(np.quantile(seconds, 0.99)), 2),
        "longest s": round(max(seconds), 2),
        "orphan processes": orphans,
    }


def _family(pid: int) -> list[int]:
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def _phase(client: httpx.Client, job: str) -> str:
    events = client.get(f"/v1/jobs/{job}/events", params={"after": 0}).json()["data"]
    return next((event["phase"] for event in reversed(events) if "phase" in event), "start")


if __name__ == "__main__":
    main()
