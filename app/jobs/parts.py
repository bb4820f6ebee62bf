"""Parts of a search on other machines: the child's side, where the search is and where a part is worked on.

The search hands a part to its worker, whose database carries it to another worker (`spread.py`). A part that does not
come back in time is as open as before, so nothing rests on the other machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from app.jobs.requests import VerifyJob
from app.jobs.work import Work, engine_options
from app.sandbox import Channel
from problems.interval import Vector
from verifier.budget import Budget
from verifier.frontier import Frontier
from verifier.node import Node, Outcome
from verifier.pool import Pool, Said
from verifier.replay import sound_gap
from verifier.search import Search
from verifier.task import Task

# Seconds that another machine works on a part before it tells what is left of it.
CHUNK = 5.0
# Seconds beyond that until a part is taken to be lost: it may have waited for its turn.
LATE = 20.0


class SpreadPool:
    """The local workers of a search and, beside them, lanes on other machines; see `verifier.pool.Pool`.

    Args:
        channel: to the worker, which says how many lanes there are and carries the parts.
        task, workers: as for `Pool`.
    """

    def __init__(self, channel: Channel, task: Task, workers: int) -> None:
        self._channel, self._task = channel, task
        self._local = Pool(task, workers)
        self._lanes = 0
        self._away: dict[int, tuple[float, Node]] = {}
        self._lower = -math.inf
        self._last: list[Said] = []

    @property
    def idle(self) -> int:
        """How many parts it could take."""
        return self._local.idle + max(0, self._lanes - len(self._away))

    def raise_lower(self, lower: float) -> None:
        """Tell every worker of a larger attained gap."""
        self._lower = max(self._lower, lower)
        self._local.raise_lower(lower)

    def start(self, number: int, node: Node, seconds: float) -> None:
        """Give a part to somebody idle, for at most `seconds`; another machine gives it back after a while."""
        if self._local.idle:
            self._local.start(number, node, seconds)
            return
        seconds = min(seconds, CHUNK)
        values = None if not self._task.relative else list(self._task.values)
        part = {"number": number, "node": node.to_json(), "seconds": seconds, "lower": self._lower, "values": values}
        self._channel.say({"part": part})
        self._away[number] = time.monotonic() + seconds + LATE, node

    def listen(self, seconds: float) -> list[Said]:
        """Return what was said within `seconds`."""
        said = self._local.listen(seconds)
        for message in self._channel.hear():
            if "lanes" in message:
                self._lanes = int(message["lanes"])
            elif self._away.pop(message["number"], None) is not None:
                said += _said(message["number"], message["outcome"])
        late = [number for number, (deadline, _) in self._away.items() if time.monotonic() > deadline]
        for number in late:
            # As open as before. It did not die: nobody may have had time for it.
            _, node = self._away.pop(number)
            said.append(Said(number, outcome=Outcome(node.upper, [node])))
        return said

    def close(self) -> None:
        """End all work at once."""
        self._local.close()
        self._channel.say({"recall": True})


def _said(number: int, outcome: Mapping[str, Any]) -> list[Said]:
    """Return what the other machine found, as a local worker would have said it."""
    found = [Said(number, latent=np.asarray(latent, dtype=np.float64)) for latent in outcome["latents"]]
    closed = -math.inf if outcome["closed"] is None else outcome["closed"]
    children = [Node.from_json(text) for text in outcome["nodes"]]
    upper = max([closed, *(child.upper for child in children)])
    work = {"lps": outcome["lps"], "nodes": outcome["milp_nodes"], "solver": outcome["solver"]}
    left = Outcome(upper, children, closed=closed, notes=list(outcome["notes"]), **work)
    return [*found, Said(number, outcome=left)]


def run(spec: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Work on a part for another machine's search, and return what is left of it, as plain data.

    Args:
        spec: of the job, as for `app.jobs.run.run`, and `part`.
        channel: to this machine's worker.
    """
    torch.set_num_threads(1)
    part = spec.pop("part")
    work, request = Work.of(spec, channel)
    assert isinstance(request, VerifyJob)
    loaded = work.load(request)
    options = replace(engine_options(request.options, 1), workers=1)
    values = (-math.inf, math.inf) if part["values"] is None else tuple(part["values"])
    task = Task(loaded.proxy, loaded.problem, loaded.problem.domain(request.u), options, values)
    latents: list[list[float]] = []
    best = [float(part["lower"])]

    def on_latent(latent: Vector) -> float:
        gap = sound_gap(task.proxy, task.problem, task.domain, latent, task.relative)
        if gap > best[0]:
            best[0] = gap
            latents.append(latent.tolist())
        return best[0]

    search = Search(task, best[0], on_latent, lambda upper, counters: None)
    search.run(Frontier({0: Node.from_json(part["node"])}), Budget(part["seconds"], channel.stopped), lambda: False)
    left = search.frontier()
    return {
        "nodes": [node.to_json() for node in left.nodes.values()],
        "closed": left.closed if math.isfinite(left.closed) else None,
        "latents": latents,
        "lps": search.lps,
        "milp_nodes": search.milp_nodes,
        "solver": search.solver,
        "notes": search.notes,
    }
