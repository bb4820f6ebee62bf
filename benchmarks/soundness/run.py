"""Verifies and judges the instances of many seeds in several processes; none of them can take the others with it."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.record import plain
from benchmarks.soundness.instances import TIME_LIMIT
from benchmarks.soundness.judge import GRACE, judge

# Instances that a process takes at once, and how many chunks it takes before a new one replaces it.
CHUNK, CHUNKS_A_PROCESS = 25, 40
# Seconds after which an instance counts as one that never ends: far beyond all of its parts' time limits.
HANGS = 60.0 + 10 * (TIME_LIMIT + GRACE)
Row = dict[str, Any]


class _HangError(Exception):
    """An instance took too long."""


def row_of(seed: int) -> Row:
    """Verify and judge the instance of a seed; the answer as JSON can hold it."""

    def hangs(*_: object) -> None:
        raise _HangError

    began = time.perf_counter()
    signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    try:
        row = asdict(judge(seed))
    except _HangError:
        row = {"seed": seed, "outcome": "failed", "violations": [_fault("hang", f"more than {HANGS:.0f} s")]}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if not (row["violations"] or row.get("reports")):
        # What nobody will look at is long.
        row = {key: value for key, value in row.items() if key not in ("description", "notes", "reports")}
    return dict(plain({**row, "elapsed": time.perf_counter() - began}))


def _fault(kind: str, detail: str) -> Row:
    return {"kind": kind, "detail": detail, "excess": 0.0}


def _begin() -> None:
    """Leave the cores to the other processes."""
    torch.set_num_threads(1)


def _rows_of(seeds: Sequence[int]) -> list[Row]:
    return [row_of(seed) for seed in seeds]


def rows(seeds: Iterable[int], processes: int) -> Iterator[Row]:
    """Return the rows of seeds as they come; a seed that kills its process is found and told."""
    left = list(seeds)
    chunks = [left[k : k + CHUNK] for k in range(0, len(left), CHUNK)]
    batch = processes * CHUNKS_A_PROCESS
    for k in range(0, len(chunks), batch):
        for chunk in (yield from _in_pool(chunks[k : k + batch], processes)):
            # Who broke the pool is not known: the chunks that it lost are asked one by one, then their seeds.
            for lost in (yield from _in_pool([chunk], 1)):
                for seed in lost:
                    if (yield from _in_pool([[seed]], 1)):
                        yield {"seed": seed, "outcome": "failed", "violations": [_fault("process killed", "")]}


def _in_pool(chunks: Sequence[list[int]], processes: int) -> Generator[Row, None, list[list[int]]]:
    """Yield the rows of chunks as they come; return the chunks that a dying process took with it."""
    context, lost = multiprocessing.get_context("spawn"), []
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin) as pool:
        asked = {pool.submit(_rows_of, chunk): chunk for chunk in chunks}
        for future in as_completed(asked):
            try:
                yield from future.result()
            except BrokenProcessPool:
                lost.append(asked[future])
    return lost
