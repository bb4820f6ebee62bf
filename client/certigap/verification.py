"""The result of `client.verify`."""

from __future__ import annotations

import math
import os
from html import escape
from pathlib import Path
from typing import Any

from certigap.flow import Flow
from certigap.models import Job, Result
from certigap.operation import Resource, Runner, operation
from certigap.resources.jobs import Jobs
from certigap.text import interval


class Verification(Resource[Runner]):
    """What is now known about the worst-case gap of a proxy.

    Attributes:
        job: as it ended.
    """

    def __init__(self, runner: Runner, job: Job) -> None:
        super().__init__(runner)
        self.job = job
        self._jobs = Jobs(runner)

    @property
    def lower(self) -> float:
        """A gap that was attained; minus infinite where none was."""
        return -math.inf if self.job.lower is None else self.job.lower

    @property
    def upper(self) -> float:
        """No gap is larger; infinite where nothing is known."""
        return math.inf if self.job.upper is None else self.job.upper

    @property
    def unit(self) -> str | None:
        """Of both bounds; "1" for a share of the optimal value."""
        return self.job.unit

    @property
    def verdict(self) -> str | None:
        """Certified, falsified, bounded or unknown; None where the job was cancelled before it began."""
        return self.job.verdict

    @property
    def termination(self) -> str | None:
        """Why it ended: optimal, time_limit, node_limit, threshold_decided or cancelled."""
        return self.job.termination

    @operation
    def result(self) -> Flow[Result]:
        """Return all that the server stored of it; `witness` is the input that attains the lower bound."""
        return (yield from Jobs.result.flow(self._jobs, self.job.id))

    @operation
    def certificate(self) -> Flow[dict[str, Any]]:
        """Return the certificate."""
        return (yield from Jobs.certificate.flow(self._jobs, self.job.id))

    @operation
    def report(self) -> Flow[str]:
        """Return the report, as HTML."""
        return (yield from Jobs.report.flow(self._jobs, self.job.id))

    @operation
    def save(self, folder: str | os.PathLike[str] = ".") -> Flow[tuple[Path, Path]]:
        """Write certificate.json and report.html into a folder, which is made where it is missing.

        Returns:
            The two paths.
        """
        return (yield from Jobs.save.flow(self._jobs, self.job.id, folder))

    def __repr__(self) -> str:
        known = interval(self.lower, self.upper, self.unit)
        return f"<Verification {self.job.id}: {self.verdict or self.job.status}, {known}, ended by {self.termination}>"

    def _repr_html_(self) -> str:
        known = escape(interval(self.lower, self.upper, self.unit))
        ended = f"ended by {escape(str(self.termination))}, <code>{escape(self.job.id)}</code>"
        return f"<div><b>{escape(self.verdict or self.job.status)}</b>: {known} ({ended})</div>"
