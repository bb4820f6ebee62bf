"""Optimization layers over HTTP, for callers that cannot import the torch layers: batched and synchronous.

Infeasible and unbounded problems are results, told by each row, not errors. Parameters are arrays or nested lists, each
with a batch in front or shared by all problems; the server's `docs/qp-layer.md` and `docs/ilp-layer.md` say more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypeVar

from certigap.flow import Flow, Request
from certigap.models import (
    Answer,
    IlpGradients,
    IlpSolution,
    MipGradients,
    MipValues,
    QpGradients,
    QpSolution,
)
from certigap.operation import Resource, Runner, operation

# A number, nested lists of them, or what has `tolist` such as an array of numpy or torch.
Array: TypeAlias = Any
Found = TypeVar("Found", bound=Answer)


class _Layer(Resource[Runner]):
    """What the layers share. Their methods raise:

    UsageError: a number is not finite.
    UnprocessableError: parameters do not fit, or the problem is not convex; TooLargeError: they are too large.
    ServerError (504): the server's time for it is over.
    """

    def _call(self, path: str, parameters: Mapping[str, Array], model: type[Found]) -> Flow[Found]:
        body = {name: _plain(value) for name, value in parameters.items()}
        return (yield from self.ask(Request("POST", f"/v1/layers/{path}", json=body), model))


class Qp(_Layer[Runner]):
    """`client.layers.qp`: min 1/2 z'Qz + q'z subject to Az = b, Gz <= h."""

    @operation
    def solve(
        self,
        Q: Array,
        q: Array,
        A: Array | None = None,
        b: Array | None = None,
        G: Array | None = None,
        h: Array | None = None,
    ) -> Flow[QpSolution]:
        """Solve a batch of convex quadratic programs; Q (n, n), q (n,), A (p, n), b (p,), G (m, n), h (m,)."""
        given = _given(Q=Q, q=q, A=A, b=b, G=G, h=h)
        return (yield from self._call("qp:solve", given, QpSolution))

    @operation
    def vjp(
        self,
        Q: Array,
        q: Array,
        A: Array | None = None,
        b: Array | None = None,
        G: Array | None = None,
        h: Array | None = None,
        *,
        grad_z: Array,
    ) -> Flow[QpGradients]:
        """Solve, and pull a gradient by the solutions, (batch, n), back to every parameter that is given."""
        given = _given(Q=Q, q=q, A=A, b=b, G=G, h=h, grad_z=grad_z)
        return (yield from self._call("qp:vjp", given, QpGradients))


class Ilp(_Layer[Runner]):
    """`client.layers.ilp`: min c'y subject to A y <= b over the integers y of a box, [0, 1] unless told."""

    @operation
    def solve(
        self, c: Array, A: Array, b: Array, lower: Array | None = None, upper: Array | None = None
    ) -> Flow[IlpSolution]:
        """Solve a batch of integer linear programs; c (n,), A (m, n), b (m,), lower and upper (n,) or a number."""
        given = _given(c=c, A=A, b=b, lower=lower, upper=upper)
        return (yield from self._call("ilp:solve", given, IlpSolution))

    @operation
    def vjp(
        self,
        c: Array,
        A: Array,
        b: Array,
        lower: Array | None = None,
        upper: Array | None = None,
        *,
        y: Array,
        dy: Array,
        gradient: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> Flow[IlpGradients]:
        """Pull a gradient dy, (batch, n), by the solutions y, (batch, n), back to c, A and b.

        Args:
            c, A, b, lower, upper: as for `solve`.
            y, dy: the solutions and the gradient.
            gradient: which: {"kind": "comboptnet"}, {"kind": "blackbox", "scale": ...} or
                {"kind": "perturbed", "spread": ..., "samples": ...}.
            seed: of what is perturbed.
        """
        given = _given(c=c, A=A, b=b, lower=lower, upper=upper, y=y, dy=dy, gradient=gradient, seed=seed)
        return (yield from self._call("ilp:vjp", given, IlpGradients))


class MipValue(_Layer[Runner]):
    """`client.layers.mip_value`: min c'x + penalty's, A x + s >= b, s >= 0, x in a box, some of x integer."""

    @operation
    def solve(
        self,
        c: Array,
        A: Array,
        b: Array,
        *,
        lower: Array = 0.0,
        upper: Array = 1.0,
        integer: Array = True,
        penalty: Array = math.inf,
        equality: Array = False,
        pieces: int = 1,
        temperature: float = 0.0,
        solver: Literal["highs", "gurobi", "scip"] = "highs",
    ) -> Flow[MipValues]:
        """Return the optimal values of a batch.

        Args:
            c, A, b: (n,), (m, n) and (m,).
            lower, upper: (n,) or a number, the box.
            integer: (n,) or a truth, which columns are integer.
            penalty: (m,) or a number, cost of one unit of a row's shortfall; infinite makes the row hard.
            equality: (m,) or a truth, which rows are equalities.
            pieces: how many distinct integer assignments to find.
            temperature: above zero, the value is the soft minimum over the pieces.
            solver: highs, gurobi or scip.
        """
        given = _program(c, A, b, lower, upper, integer, penalty, equality, pieces, temperature, solver)
        return (yield from self._call("mip-value:solve", given, MipValues))

    @operation
    def vjp(
        self,
        c: Array,
        A: Array,
        b: Array,
        *,
        grad_value: Array,
        lower: Array = 0.0,
        upper: Array = 1.0,
        integer: Array = True,
        penalty: Array = math.inf,
        equality: Array = False,
        pieces: int = 1,
        temperature: float = 0.0,
        solver: Literal["highs", "gurobi", "scip"] = "highs",
    ) -> Flow[MipGradients]:
        """Return the optimal values of a batch, and pull a gradient by them, (batch,), back to c, A and b."""
        given = _program(c, A, b, lower, upper, integer, penalty, equality, pieces, temperature, solver)
        return (yield from self._call("mip-value:vjp", {**given, "grad_value": grad_value}, MipGradients))


class Layers(Resource[Runner]):
    """`client.layers`."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self.qp = Qp(runner)
        self.ilp = Ilp(runner)
        self.mip_value = MipValue(runner)


def _given(**parameters: Any) -> dict[str, Any]:
    """Leave out what the server shall decide."""
    return {name: value for name, value in parameters.items() if value is not None}


def _program(
    c: Array,
    A: Array,
    b: Array,
    lower: Array,
    upper: Array,
    integer: Array,
    penalty: Array,
    equality: Array,
    pieces: int,
    temperature: float,
    solver: str,
) -> dict[str, Any]:
    told = {"c": c, "A": A, "b": b, "lower": lower, "upper": upper, "integer": integer, "equality": equality}
    choices = {"pieces": pieces, "temperature": temperature, "solver": solver}
    return {**told, "penalty": _without_infinity(_plain(penalty)), **choices}


def _without_infinity(value: Any) -> Any:
    """Return penalties as JSON can hold them: null is infinite."""
    if isinstance(value, list | tuple):
        return [_without_infinity(item) for item in value]
    return None if value == math.inf else value


def _plain(value: Array) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
