"""Hostile uploads against a running service: how each is refused, how long it takes, and what memory its reader takes.

The time is that of the HTTP request. The memory is the peak resident set of the sandbox's child, which holds all of
its imports already; uploads that are refused by their first bytes, or are no JSON, never meet a child.

Run: python -m benchmarks.service.hostile [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from app.api.children import reading
from app.sandbox import SandboxError, call
from app.settings import Settings
from benchmarks.record import Record
from benchmarks.service.server import running
from tests.app.hostile import MODEL, Hostile, corpus

# What was asked of each refusal: seconds, and MB.
SECONDS, MEGABYTES = 2.0, 512.0


def memory(upload: Hostile, folder: Path) -> float | None:
    """Return the peak of the child that reads an upload in MB; None where none does."""
    spec: dict[str, Any] = {"folder": str(folder), "function": "proxy" if upload.path == MODEL else "problem"}
    if upload.path == MODEL:
        form = "safetensors" if upload.content[8:9] == b"{" else "onnx"
        spec["model"] = f"model.{form}"
        (folder / spec["model"]).write_bytes(upload.content)
    elif upload.headers.get("Content-Type") == "text/plain":
        spec |= {"problem": {"kind": "dcopf", "case": "uploaded.m"}, "case": "case.m"}
        (folder / "case.m").write_bytes(upload.content)
    else:
        return None
    try:
        found: dict[str, Any] = call("benchmarks.service.peak:peak", spec, reading(Settings(), len(upload.content)))
    except SandboxError as error:
        raise RuntimeError(f"the memory of {upload.name} could not be measured: {error}") from error
    return float(found["megabytes"])


def main() -> int:
    """Send everything, print a table, write it; 1 where something was not refused as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    record, rows = Record(arguments.json, {"seconds": SECONDS, "megabytes": MEGABYTES}, ["name"]), []
    with tempfile.TemporaryDirectory() as place, running(requests_per_minute=10**6) as server:
        marker = Path(place) / "ran"
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.key}"}, timeout=60) as client:
            client.get("/v1/solvers").raise_for_status()  # The sandbox is warm then.
            for upload in corpus(marker):
                row = _measured(client, upload, Path(place))
                rows.append(row)
                record.add(row)
                megabytes = "-" if row["megabytes"] is None else f"{row['megabytes']:.0f}"
                print(
                    f"{row['status']} {row['seconds']:7.3f} s {megabytes:>6} MB  {row['code']:22} {row['name']}",
                    flush=True,
                )
            stored = [item for path in ("proxies", "problems") for item in client.get(f"/v1/{path}").json()["data"]]
        ran = marker.exists()
    slowest = max(row["seconds"] for row in rows)
    largest = max(row["megabytes"] or 0.0 for row in rows)
    refused = sum(400 <= row["status"] < 500 for row in rows)
    print(f"{refused} of {len(rows)} refused; slowest {slowest:.2f} s, largest child {largest:.0f} MB")
    print(f"stored: {len(stored)}; code that ran: {ran}")
    return int(refused < len(rows) or bool(stored) or ran or slowest > SECONDS or largest > MEGABYTES)


def _measured(client: httpx.Client, upload: Hostile, place: Path) -> dict[str, Any]:
    started = time.perf_counter()
    answer = client.post(upload.path, content=upload.content, headers=upload.headers)
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory(dir=place) as folder:
        megabytes = memory(upload, Path(folder)) if answer.status_code == 422 else None
    code = answer.json().get("code", "accepted")
    kilobytes = len(upload.content) / 1000
    return {
        "name": upload.name,
        "kilobytes": round(kilobytes, 1),
        "status": answer.status_code,
        "code": code,
        "seconds": round(seconds, 4),
        "megabytes": megabytes,
    }


if __name__ == "__main__":
    sys.exit(main())
