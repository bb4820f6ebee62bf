"""Worker processes for nodes: each has the task once, takes nodes as JSON, and says at once what it finds.

A worker that dies loses nothing: its node goes back to the search.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import torch

from problems.interval import Vector
from solvers.lifetime import die_with_parent
from verifier.budget import Budget
from verifier.node import Node, Outcome, expand
from verifier.replay import sound_gap
from verifier.task import Task

# Seconds that a worker gets to hand in its bounds after its budget is spent, before it is killed.
GRACE = 2.0


@dataclass(frozen=True)
class Said:
    """What a worker said: an upper bound so far, a latent vector to replay, or the outcome; or that it died.

    Attributes:
        node: the number of the node, as given to `Pool.start`.
    """

    node: int
    upper: float | None = None
    latent: Vector | None = None
    outcome: Outcome | None = None
    died: bool = False


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    node: int | None = None


class Pool:
    """A fixed number of worker processes.

    Args:
        task: what all of them work on.
        workers: how many.
    """

    def __init__(self, task: Task, workers: int) -> None:
        # A fresh interpreter: forking one that has solvers and threads in it is not safe.
        self._context = multiprocessing.get_context("spawn")
        self._task = task
        # Without a lock: a worker that is killed while it holds one would stop all others. What is lost where two write
        # at once is told again by the next `raise_lower`.
        self._lower = self._context.Value("d", -math.inf, lock=False)
        self._workers = [self._spawn() for _ in range(workers)]

    @property
    def idle(self) -> int:
        """How many workers have no node."""
        return sum(worker.node is None for worker in self._workers)

    def raise_lower(self, lower: float) -> None:
        """Tell every worker of a larger attained gap."""
        self._lower.value = max(self._lower.value, lower)

    def start(self, number: int, node: Node, seconds: float) -> None:
        """Give a node to an idle worker, for at most `seconds`."""
        worker = next(worker for worker in self._workers if worker.node is None)
        worker.node = number
        with contextlib.suppress(OSError):  # A worker that is dead already is heard of by `listen`.
            worker.pipe.send((number, node.to_json(), seconds))

    def listen(self, seconds: float) -> list[Said]:
        """Return what was said within `seconds`; a worker that died is replaced by a new one."""
        busy: list[Any] = [worker.pipe for worker in self._workers if worker.node is not None]
        busy += [worker.process.sentinel for worker in self._workers]
        ready = wait(busy, timeout=seconds)
        said = []
        for k, worker in enumerate(self._workers):
            try:
                while worker.node is not None and worker.pipe.poll():
                    word = worker.pipe.recv()
                    said.append(word)
                    if word.outcome is not None:
                        worker.node = None
            except (EOFError, OSError):
                pass
            if worker.process.sentinel in ready and not worker.process.is_alive():
                if worker.node is not None:
                    said.append(Said(worker.node, died=True))
                self._workers[k] = self._spawn()
        return said

    def close(self) -> None:
        """End all workers at once."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()

    def _spawn(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._task, self._lower), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)


class Workers(Protocol):
    """What a search needs of those who work on its parts; see `Pool`."""

    @property
    def idle(self) -> int: ...
    def raise_lower(self, lower: float) -> None: ...
    def start(self, number: int, node: Node, seconds: float) -> None: ...
    def listen(self, seconds: float) -> list[Said]: ...
    def close(self) -> None: ...


MakePool = Callable[[Task, int], Workers]


def _work(pipe: Connection, task: Task, lower: Any) -> None:
    """The life of a worker: nodes in, words out, until the pipe closes."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the master, which then ends us.
    torch.set_num_threads(1)
    while True:
        try:
            number, text, seconds = pipe.recv()
        except EOFError:
            return

        def tell(upper: float, latent: Vector | None, number: int = number) -> None:
            if latent is not None:
                gap = sound_gap(task.proxy, task.problem, task.domain, latent, task.relative)
                if gap <= lower.value:
                    return
            pipe.send(Said(number, upper, latent))  # Before others rely on it: a worker may die in between.
            if latent is not None:
                lower.value = max(lower.value, gap)

        try:
            outcome = expand(task, Node.from_json(text), lambda: lower.value, tell, Budget(seconds))
            pipe.send(Said(number, outcome=outcome))
        except BrokenPipeError:  # The master is gone.
            return
