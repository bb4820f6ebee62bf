"""Where an answer leads: OpenAPI links, so that a reader, or a test, can walk from one call to the next."""

from __future__ import annotations

from typing import Any

from starlette.convertors import Convertor, register_url_convertor

Links = dict[str, dict[str, Any]]


class IdConvertor(Convertor[str]):
    """Ids in paths: a prefix and a ULID. The colon of `:cancel` is no part of one."""

    regex = "[A-Za-z0-9_]{1,40}"

    def convert(self, value: str) -> str:
        """Return the id."""
        return value

    def to_string(self, value: str) -> str:
        """Return the id."""
        return value


register_url_convertor("id", IdConvertor())


def _link(operation: str, parameter: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": {parameter: "$response.body#/id"}}


PROXY_LINKS: Links = {
    "show": _link("show_proxy", "proxy"),
    "verify": {"operationId": "create_job", "requestBody": {"kind": "verify", "proxy": "$response.body#/id"}},
}
PROBLEM_LINKS: Links = {"show": _link("show_problem", "problem")}
JOB_LINKS: Links = {
    name: _link(f"{name}_job" if name in ("show", "cancel", "resume") else f"job_{name}", "job")
    for name in ("show", "cancel", "resume", "events", "result", "certificate", "report", "log")
}
