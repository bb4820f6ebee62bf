"""One search on one worker and on two, on PostgreSQL: the ratio of the times, and the parts that the second one did.

Run: python -m benchmarks.service.spread [--proxy dcopf-case57-raw] [--u 0.2] [--repeats 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.record import Record
from benchmarks.service.harness import Postgres, Service, submit, upload

# Many parts: little effort for the MILP solver before it splits.
OPTIONS = {"tolerance": 1e-2, "effort": 5, "rounds": 1, "attack_seconds": 0.5, "samples": 0, "workers": 1}


def main() -> None:
    """Run it and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxy", default="dcopf-case57-raw")
    parser.add_argument("--u", type=float, default=0.2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(arguments.repeats):
        for workers in seconds:
            seconds[workers].append(run(workers, arguments.proxy, arguments.u))
            print(f"{workers} worker{'s' if workers > 1 else ''}: {seconds[workers][-1]:.1f} s", flush=True)
    middle = {workers: statistics.median(times) for workers, times in seconds.items()}
    ratio = middle[1] / middle[2]
    print(f"medians {middle[1]:.1f} s and {middle[2]:.1f} s: two workers are {ratio:.2f} times as fast as one")
    record = Record(arguments.json, {"repeats": arguments.repeats}, ["proxy", "u"])
    record.add({"proxy": arguments.proxy, "u": arguments.u, "one": seconds[1], "two": seconds[2], "ratio": ratio})


def run(workers: int, proxy: str, u: float) -> float:
    """Return the seconds from start to end of one verification."""
    with tempfile.TemporaryDirectory(prefix="certigap-spread-") as name:
        Path(name).chmod(0o755)
        postgres = Postgres(Path(name) / "postgres")
        service = Service(Path(name) / "data", postgres.url, workers, {"cores": "1"})
        service.start()
        try:
            with httpx.Client(base_url=service.url, timeout=60) as client:
                job = submit(client, "verify", upload(client, proxy), u=u, options=OPTIONS)
                began = None
                while True:
                    row = client.get(f"/v1/jobs/{job}").json()
                    began = began or (time.monotonic() if row["status"] == "running" else None)
                    if row["finished_at"] is not None:
                        assert row["verdict"] == "certified", row
                        assert began is not None
                        return time.monotonic() - began
                    time.sleep(0.05)
        finally:
            service.close()
            postgres.close()


if __name__ == "__main__":
    main()
