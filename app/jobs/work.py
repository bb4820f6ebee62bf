"""What a job's process has: its request, its files, and the way to its worker."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from app.files import write_whole
from app.jobs.requests import JobRequest, Options
from app.sandbox import Channel
from proxies.load import LoadedProxy, load_proxy
from proxies.manifest import PROBLEM_SPEC
from verifier.attack import AttackOptions
from verifier.options import VerifyOptions

_REQUEST: TypeAdapter[Any] = TypeAdapter(JobRequest)


@dataclass(frozen=True)
class Work:
    """What a job has beside its request.

    Attributes:
        folder: where its files lie, and where it leaves others.
        model: name of the model file in it; "" for training.
        case: name of the uploaded case file in it; "" where there is none.
        problem: spec of the problem that was named, or None.
        cores: processes for jobs that leave their number open.
        frontier: what an earlier attempt stored: {nodes, closed, upper, latent}, or None.
        points: of a sweep, what an earlier attempt found.
        spread: whether other machines may take parts of the search.
        channel: to the worker.
    """

    folder: Path
    model: str
    case: str
    problem: Mapping[str, Any] | None
    cores: int
    frontier: Mapping[str, Any] | None
    points: tuple[Mapping[str, Any], ...]
    spread: bool
    channel: Channel

    @classmethod
    def of(cls, spec: Mapping[str, Any], channel: Channel) -> tuple[Work, Any]:
        """Return the work and the request of a child's spec, and make the job's folder the current one."""
        given = dict(spec)
        request = _REQUEST.validate_python(given.pop("request"))
        os.chdir(given["folder"])  # A bare file name in a manifest means a file here, or none.
        given["folder"], given["points"] = Path(given["folder"]), tuple(given["points"])
        return cls(channel=channel, **given), request

    def load(self, request: Any) -> LoadedProxy:
        """Return the proxy and its problem."""
        # A bare name, which the certificate then tells: this process is in the folder.
        case = self.case or None
        spec = None if self.problem is None else PROBLEM_SPEC.validate_python(self.problem)
        return load_proxy(self.folder / self.model, case, request.input_unit, request.output_unit, spec)

    def write(self, name: str, content: str | Mapping[str, Any]) -> None:
        """Leave a file."""
        text = content if isinstance(content, str) else json.dumps(content, allow_nan=False)
        write_whole(self.folder / name, text)

    def say(self, phase: str, seconds: float, counters: Mapping[str, float] | None = None, **bounds: Any) -> None:
        """Tell of progress."""
        event = {"type": "progress", "phase": phase, "seconds": round(seconds, 3), "counters": dict(counters or {})}
        self.channel.say({"event": event, **bounds})


def engine_options(options: Options, cores: int) -> VerifyOptions:
    """Return the engine's options; `cores` processes where the caller leaves the number open."""
    rounds = 0 if options.attack_seconds == 0 else AttackOptions.rounds
    device = None if options.device == "auto" else options.device
    return VerifyOptions(
        measure=options.measure,
        threshold=options.threshold,
        tolerance=options.tolerance,
        time_limit=options.time_limit,
        solver=options.solver,
        formulation=options.formulation,
        style=options.style,
        bounds=options.bounds,
        rounds=options.rounds,
        attack=AttackOptions(options.attack_style, seconds=options.attack_seconds, rounds=rounds, device=device),
        split=options.split,
        effort=options.effort,
        workers=options.workers or cores,
        seed=options.seed,
    )
