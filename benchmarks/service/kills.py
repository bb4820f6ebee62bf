"""Random kill -9 over the job's child, the worker, the API and the database, while jobs run: what is lost?

Counts jobs lost (never ended, or failed), results given twice, and bounds that went backwards; prints recovery times.
Run: python -m benchmarks.service.kills [--database sqlite|postgres] [--kills 200] [--seed 0] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.record import Record
from benchmarks.service.harness import Postgres, Service, kill, submit, upload

# Jobs that are kept waiting or running; seconds between two kills; seconds for all to end after the last one.
WAITING, PAUSE, END = 3, (0.5, 4.0), 900.0
# A search of some seconds and many parts, and one that ends at once.
LONG = {"u": 0.2, "options": {"tolerance": 1e-2, "effort": 20, "rounds": 1, "attack_seconds": 0.5, "samples": 10}}
SHORT = {"u": 0.01, "options": {"samples": 10}}


def main() -> None:
    """Run it and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60.0, help="kill no more after this long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = run(arguments.database, arguments.kills, arguments.minutes, arguments.seed)
    for name, value in found.items():
        print(f"{name:28} {value}")
    record = Record(arguments.json, {"kills": arguments.kills, "seed": arguments.seed}, ["database", "seed"])
    record.resume()
    record.add({"seed": arguments.seed, **found})


def run(database: str, kills: int, minutes: float, seed: int) -> dict[str, Any]:
    """Kill so many times, let all jobs end, and return what was lost."""
    choose = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="certigap-kills-") as name:
        Path(name).chmod(0o755)
        postgres = Postgres(Path(name) / "postgres") if database == "postgres" else None
        settings = {"attempts": "1000", "log_format": "json"}
        service = Service(Path(name) / "data", "" if postgres is None else postgres.url, settings=settings)
        service.start()
        try:
            return _run(service, postgres, kills, time.monotonic() + 60 * minutes, choose)
        finally:
            service.close()
            if postgres is not None:
                postgres.close()


def _run(
    service: Service, postgres: Postgres | None, kills: int, until: float, choose: random.Random
) -> dict[str, Any]:
    client = httpx.Client(base_url=service.url, timeout=60, transport=httpx.HTTPTransport(retries=3))
    proxy = upload(client, "knapsack-10")
    jobs: list[str] = []
    targets = ["child", "worker", "api"] + (["database"] if postgres is not None else [])
    done = dict.fromkeys(targets, 0)
    moments: list[float] = []
    while sum(done.values()) < kills and time.monotonic() < until:
        _fill(client, proxy, jobs, choose)
        time.sleep(choose.uniform(*PAUSE))
        target = choose.choice(targets)
        if target == "database":
            assert postgres is not None
            postgres.kill()
            time.sleep(choose.uniform(0.0, 1.0))
            postgres.start()
        else:
            pids = service.part(target)
            if not pids:
                continue
            kill([choose.choice(pids)])
        done[target] += 1
        moments.append(time.time())
        service.wait_ready()
    deadline = time.monotonic() + END
    while _active(client, jobs) and time.monotonic() < deadline:
        time.sleep(1.0)
    return {"database": "postgres" if postgres else "sqlite", "kills": done, **_account(client, jobs, moments)}


def _fill(client: httpx.Client, proxy: str, jobs: list[str], choose: random.Random) -> None:
    """Submit until enough jobs wait or run; every POST has a key, so that a lost answer makes no second job."""
    while len(_active(client, jobs[-50:])) < WAITING:
        body = LONG if choose.random() < 0.5 else SHORT
        key = str(uuid.uuid4())
        jobs.append(_patiently(lambda body=body, key=key: submit(client, "verify", proxy, key, **body)))


def _active(client: httpx.Client, jobs: list[str]) -> list[str]:
    rows = [_patiently(lambda job=job: client.get(f"/v1/jobs/{job}").raise_for_status().json()) for job in jobs]
    return [row["id"] for row in rows if row["status"] in ("queued", "running", "canceling")]


def _patiently(ask: Any) -> Any:
    """Ask again while the service is being killed."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return ask()
        except httpx.HTTPError:
            assert time.monotonic() < deadline, "the service does not come back"
            time.sleep(0.1)


def _account(client: httpx.Client, jobs: list[str], moments: list[float]) -> dict[str, Any]:
    """Read every job's story."""
    lost, failed, twice, backwards, attempts = [], [], [], [], []
    starts: list[float] = []
    for job in jobs:
        row = client.get(f"/v1/jobs/{job}").json()
        events: list[dict[str, Any]] = []
        while True:
            page = client.get(f"/v1/jobs/{job}/events", params={"after": events[-1]["seq"] if events else 0}).json()
            if not page["data"]:
                break
            events += page["data"]
        attempts.append(row["attempt"])
        ends = [e for e in events if e["type"] == "status" and e["status"] in ("succeeded", "failed", "canceled")]
        if row["status"] in ("queued", "running", "canceling"):
            lost.append(job)
        elif row["status"] != "succeeded":
            failed.append((job, row["error"]))
        if len(ends) > 1:
            twice.append(job)
        if _worse([e.get("lower") for e in events], 1) or _worse([e.get("upper") for e in events], -1):
            backwards.append(job)
        starts += [_seconds(e["at"]) for e in events if e["type"] == "status" and e["status"] == "running"]
    # From a kill to the next start of an attempt, where that came before the next kill.
    recoveries = []
    for moment, following in zip(moments, [*moments[1:], np.inf], strict=True):
        after = [start for start in starts if moment < start < following]
        if after:
            recoveries.append(min(after) - moment)
    return {
        "jobs": len(jobs),
        "jobs lost": len(lost),
        "jobs failed": len(failed),
        "results twice": len(twice),
        "bounds backwards": len(backwards),
        "attempts, most": max(attempts),
        "recovery median s": round(float(np.median(recoveries)), 2),
        "recovery p99 s": round(float(np.quantile(recoveries, 0.99)), 2),
        "details": {"lost": lost, "failed": failed, "twice": twice, "backwards": backwards},
    }


def _worse(values: list[float | None], sign: int) -> bool:
    known = [sign * value for value in values if value is not None]
    return any(later < earlier for earlier, later in itertools.pairwise(known))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


if __name__ == "__main__":
    main()
