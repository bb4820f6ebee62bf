"""Solvers: what the server has."""

from __future__ import annotations

from certigap.flow import Request, Stream
from certigap.models import Solver
from certigap.operation import Resource, Runner, iteration


class Solvers(Resource[Runner]):
    """`client.solvers`."""

    @iteration
    def list(self) -> Stream[Solver]:
        """Iterate over the server's solvers: name, version, capabilities, licence."""
        yield from self.pages(Request("GET", "/v1/solvers"), Solver)
