"""Problems: what a proxy answers, apart from the proxy."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from certigap.errors import UsageError
from certigap.flow import Flow, Request, Stream
from certigap.models import Problem
from certigap.operation import Resource, Runner, iteration, operation, segment

# Characters of a case's name.
LONGEST_NAME = 80


class Problems(Resource[Runner]):
    """`client.problems`."""

    @operation
    def create(
        self,
        case: str | os.PathLike[str] | Mapping[str, Any],
        *,
        thermal: Literal["soft", "hard"] | None = None,
        shunts: bool | None = None,
        angle_limits: bool | None = None,
    ) -> Flow[Problem]:
        """Create a problem; the same one again gives the same id.

        Args:
            case: a PGLib name such as "pglib_opf_case57_ieee", a MATPOWER file (`.m`), a knapsack instance (name,
                values, weights and capacity) or a sample to classify (centre, label, and where wanted name, classes,
                lower, upper, names): its JSON file, or a mapping.
            thermal, shunts, angle_limits: of a grid only: how line limits count, and whether shunts and angle limits
                do.

        Raises:
            UsageError: the file cannot be read.
            UnprocessableError: the server does not take it, and says where.
        """
        asked = {"thermal": thermal, "shunts": shunts, "angle_limits": angle_limits}
        details = {name: value for name, value in asked.items() if value is not None}
        if isinstance(case, Mapping):
            request = _instance(case)
        elif Path(case).suffix == ".json":
            request = _instance({"name": Path(case).stem, **_parsed(Path(case))})
        elif Path(case).suffix == ".m":
            request = _uploaded(Path(case), details)
        else:
            request = Request("POST", "/v1/problems", json={"kind": "dcopf", "case": str(case), **details})
        return (yield from self.ask(request, Problem))

    @operation
    def get(self, problem: str) -> Flow[Problem]:
        """Return a problem by its id."""
        return (yield from self.ask(Request("GET", f"/v1/problems/{segment(problem)}"), Problem))

    @iteration
    def list(self, page_size: int = 100) -> Stream[Problem]:
        """Iterate over all problems, newest first, fetching pages as they are needed."""
        yield from self.pages(Request("GET", "/v1/problems", {"limit": page_size}), Problem)


def _instance(told: Mapping[str, Any]) -> Request:
    fields = {name: value for name, value in told.items() if name != "schema"}
    kind = "classification" if "centre" in fields else "knapsack"
    return Request("POST", "/v1/problems", json={"kind": kind, **fields})


def _uploaded(path: Path, details: Mapping[str, str | bool]) -> Request:
    query: dict[str, str | int] = {name: str(value).lower() for name, value in details.items()}
    query |= {"kind": "dcopf", "name": re.sub(r"[^A-Za-z0-9_.-]", "_", path.stem)[:LONGEST_NAME]}
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    return Request("POST", "/v1/problems", query, headers, content=_read(path))


def _parsed(path: Path) -> dict[str, Any]:
    try:
        instance = json.loads(_read(path))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON ({error}); give a knapsack instance or a sample") from error
    if not isinstance(instance, dict):
        raise UsageError(
            f"{path} is neither a knapsack instance (name, values, weights, capacity) nor a sample (centre, label)"
        )
    return instance


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; check the path") from error
