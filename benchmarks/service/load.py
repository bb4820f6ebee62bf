"""The service under load, through the Python client: submits, event latency, and many jobs queued at once.

Three measures on one `certigap serve` (SQLite, one worker): seconds of a submit when one client submits job after job;
seconds from the moment an event is written until a client that follows the job has it; and 20 clients that submit 10
jobs each at once, all of which must succeed. A round trip of GET /healthz stands beside them: what HTTP alone costs.

    python -m benchmarks.service.load --json benchmarks/service/load.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.record import FOLDER, Record, number, table
from benchmarks.service.harness import Service
from certigap import BoundsJob, Client

SMALL, LARGE = FOLDER / "knapsack-10.safetensors", FOLDER / "dcopf-case57-raw.safetensors"
# Seconds that all queued jobs together may take.
PATIENCE = 1500.0


def timed(calls: int, call: Callable[[], object]) -> list[float]:
    """Return the seconds of each of many calls."""
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def small_job(proxy: str) -> BoundsJob:
    """Return a job that takes the worker a moment."""
    return {"kind": "bounds", "proxy": proxy, "u": 0.02}


def measure_submits(client: Client, proxy: str, calls: int) -> dict[str, Any]:
    """Submit jobs one after the other, then wait for them all."""
    ids: list[str] = []
    seconds = timed(calls, lambda: ids.append(client.jobs.create(small_job(proxy)).id))
    return {"measure": "submit, one client", **spread(seconds), "ended": endings(client, ids)}


def measure_http(server: str, calls: int) -> dict[str, Any]:
    """Ask for nothing, by HTTP alone."""
    with httpx.Client(base_url=server) as http:
        return {"measure": "GET /healthz, one client", **spread(timed(calls, lambda: http.get("/healthz")))}


def measure_events(client: Client, proxy: str, jobs: int) -> dict[str, Any]:
    """Follow verifications from before they start, and take the age of each event as it arrives."""
    ages = []
    for _ in range(jobs):
        job = client.jobs.create({"kind": "verify", "proxy": proxy, "u": 0.02, "options": {"samples": 0}})
        for event in client.jobs.events(job.id, after=1):
            assert event.at is not None
            ages.append((datetime.now(UTC) - event.at).total_seconds())
    return {"measure": "event, one follower", **spread(ages)}


def measure_crowd(server: str, proxy: str, clients: int, each: int) -> dict[str, Any]:
    """Let many clients submit at once, and wait for all of their jobs."""

    def submit(_: int) -> tuple[list[str], list[float]]:
        ids: list[str] = []
        with Client(server) as client:
            seconds = timed(each, lambda: ids.append(client.jobs.create(small_job(proxy)).id))
        return ids, seconds

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(submit, range(clients)))
    queued = time.perf_counter() - start
    ids = [job for mine, _ in found for job in mine]
    with Client(server) as client:
        ended = endings(client, ids)
    done = time.perf_counter() - start
    name = f"submit, {clients} clients at once"
    more = {"jobs": len(ids), "queued_seconds": queued, "done_seconds": done, "ended": ended}
    return {"measure": name, **spread([second for _, mine in found for second in mine]), **more}


def endings(client: Client, ids: Sequence[str]) -> dict[str, int]:
    """Wait for jobs and count how they ended, and those that are there twice or not at all."""
    deadline = time.monotonic() + PATIENCE
    for job in ids:
        client.jobs.wait(job, timeout=max(deadline - time.monotonic(), 0.1), progress=None)
    counts = Counter(client.jobs.get(job).status for job in set(ids))
    counts["missing"] = len(ids) - len(set(ids))
    return {status: count for status, count in counts.items() if count}


def spread(seconds: Sequence[float]) -> dict[str, Any]:
    """Return number, median, 99th percentile and largest."""
    values = np.asarray(seconds)
    quantiles = {"p50": float(np.median(values)), "p99": float(np.quantile(values, 0.99)), "most": float(values.max())}
    return {"calls": len(values), **quantiles}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--submits", type=int, default=100)
    made.add_argument("--followed", type=int, default=5)
    made.add_argument("--clients", type=int, default=20)
    made.add_argument("--each", type=int, default=10)
    made.add_argument("--json", type=Path)
    return made


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure, print a table, and return its rows."""
    record = Record.begin(argparse.Namespace(**vars(arguments), resume=False), ["measure"], {"database": "sqlite"})
    with tempfile.TemporaryDirectory(prefix="certigap-load-") as folder:
        service = Service(Path(folder))
        try:
            service.start()
            with Client(service.url) as client:
                small, large = client.proxies.upload(SMALL).id, client.proxies.upload(LARGE).id
                # The first job of a worker loads what all others find loaded.
                client.jobs.wait(client.jobs.create(small_job(small)).id, progress=None)
                record.add(measure_http(service.url, arguments.submits))
                record.add(measure_submits(client, small, arguments.submits))
                record.add(measure_events(client, large, arguments.followed))
                record.add(measure_crowd(service.url, small, arguments.clients, arguments.each))
        finally:
            service.close()
    print(as_table(record.rows))
    return record.rows


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table, times in milliseconds."""
    head = ["measure", "calls", "p50", "p99", "largest", "how the jobs ended"]
    lines = [
        [
            row["measure"],
            row["calls"],
            *(number(1000 * row[name], ",.1f") + " ms" for name in ("p50", "p99", "most")),
            ", ".join(f"{count} {status}" for status, count in row.get("ended", {}).items()) or "-",
        ]
        for row in rows
    ]
    return table(head, lines)


if __name__ == "__main__":
    run(parser().parse_args())
