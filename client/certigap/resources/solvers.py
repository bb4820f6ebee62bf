"""Solvers: what the server has."""

from __future__ import annotations

from certigap.flow import Emit, Request, Stream
from certigap.models import Page, Solver
from certigap.operation import Resource, Runner, iteration


class Solvers(Resource[Runner]):
    """`client.solvers`."""

    @iteration
    def list(self) -> Stream[Solver]:
        """Iterate over the server's solvers: name, version, capabilities, licence."""
        page = yield from self.ask(Request("GET", "/v1/solvers"), Page[Solver])
        for solver in page.data:
            yield Emit(solver)
