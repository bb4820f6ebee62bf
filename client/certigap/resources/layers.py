"""Optimization layers over HTTP, for callers that cannot import the torch layers: batched and synchronous.

Infeasible and unbounded problems are results, told by each row's status, not errors.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

from certigap.flow import Flow, Request
from certigap.models import LayerAnswer
from certigap.operation import Resource, Runner, operation


@runtime_checkable
class Array(Protocol):
    """What numpy, torch and their like have."""

    def tolist(self) -> Any:
        """Return nested lists."""


# Nested lists or arrays, and plain options.
Parameter: TypeAlias = Any


class Layer(Resource[Runner]):
    """One layer: `client.layers.qp`, `.ilp` or `.mip_value`."""

    def __init__(self, runner: Runner, name: str) -> None:
        super().__init__(runner)
        self._name = name

    @operation
    def solve(self, /, **parameters: Parameter) -> Flow[LayerAnswer]:
        """Solve a batch; parameters by the names of the torch layer, as arrays or nested lists.

        Raises:
            UsageError: a number is not finite.
            UnprocessableError: they do not fit or are not convex; TooLargeError: they are too large.
            ServerError (504): the server's time for it is over.
        """
        return (yield from self._call("solve", parameters))

    @operation
    def vjp(self, /, **parameters: Parameter) -> Flow[LayerAnswer]:
        """Pull a gradient by the solution back to the parameters. Raises as `solve` does."""
        return (yield from self._call("vjp", parameters))

    def _call(self, verb: str, parameters: dict[str, Parameter]) -> Flow[LayerAnswer]:
        body = {
            name: value.tolist() if isinstance(value, Array) else value
            for name, value in parameters.items()
            if value is not None
        }
        return (yield from self.ask(Request("POST", f"/v1/layers/{self._name}:{verb}", json=body), LayerAnswer))


class Layers(Resource[Runner]):
    """`client.layers`."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self.qp = Layer(runner, "qp")
        self.ilp = Layer(runner, "ilp")
        self.mip_value = Layer(runner, "mip-value")
