"""The optimization layers for callers without Python: batched, synchronous, of bounded size.

Infeasible and unbounded are results, not errors.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from app.api.errors import Refusal, refused
from app.api.state import Service, State, Who
from app.api.strict import StrictRoute
from app.sandbox import (
    Limits,
    SandboxDiedError,
    SandboxMemoryError,
    SandboxRefusedError,
    SandboxTimeoutError,
    error_code,
)

router = APIRouter(prefix="/v1/layers", tags=["layers"], route_class=StrictRoute)

Row = list[FiniteFloat]
Rows = list[Row]
Vector = Row | Rows
Matrix = Rows | list[Rows]
Number = FiniteFloat | None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class QpSolveBody(_Body):
    """min 1/2 z'Qz + q'z subject to Az = b, Gz <= h; each parameter with a batch in front, or shared by all."""

    Q: Matrix
    q: Vector
    A: Matrix | None = None
    b: Vector | None = None
    G: Matrix | None = None
    h: Vector | None = None
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"Q": [[2, 0], [0, 2]], "q": [-2, -5], "G": [[1, 1]], "h": [1]}]}
    )


class QpVjpBody(QpSolveBody):
    """The same, and the gradient of a loss by its solutions."""

    grad_z: Rows
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"Q": [[2, 0], [0, 2]], "q": [-2, -5], "G": [[1, 1]], "h": [1], "grad_z": [[1, 0]]}]
        }
    )


class QpSolution(BaseModel):
    """Optima of a batch; null in the rows of problems that have none."""

    status: list[Literal["solved", "infeasible", "unbounded", "max_iterations"]]
    z: list[list[Number]]
    nu: list[list[Number]]
    lam: list[list[Number]]
    slack: list[list[Number]]
    active: list[list[bool]]
    polished: list[bool]


class QpGradients(QpSolution):
    """Optima, and gradients by each parameter that was given, shaped like it."""

    gradients: dict[str, Any]


class IlpSolveBody(_Body):
    """min c'y subject to A y <= b over the integers y of a box; each of c, A, b with a batch in front, or shared."""

    c: Vector
    A: Matrix
    b: Vector
    lower: FiniteFloat | Row = 0.0
    upper: FiniteFloat | Row = 1.0
    model_config = ConfigDict(json_schema_extra={"examples": [{"c": [-3, -5], "A": [[2, 4]], "b": [5]}]})


class CombOptNetGradient(_Body):
    """CombOptNet: gradients by c, A and b."""

    kind: Literal["comboptnet"]
    tau: FiniteFloat = Field(0.5, ge=0)
    basis: Literal["delta", "canonical"] = "delta"


class BlackboxGradient(_Body):
    """Blackbox interpolation: a gradient by c."""

    kind: Literal["blackbox"]
    scale: FiniteFloat = Field(gt=0)


class PerturbedGradient(_Body):
    """Normal noise on the costs: a gradient by c."""

    kind: Literal["perturbed"]
    spread: FiniteFloat = Field(gt=0)
    samples: int = Field(16, ge=1, le=1000)


class IlpVjpBody(IlpSolveBody):
    """The same, its solutions and the gradient of a loss by them."""

    y: Rows
    dy: Rows
    gradient: Annotated[CombOptNetGradient | BlackboxGradient | PerturbedGradient, Field(discriminator="kind")] = (
        CombOptNetGradient(kind="comboptnet")
    )
    seed: int = Field(0, ge=0, le=2**31 - 1)
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"c": [-3, -5], "A": [[2, 4]], "b": [5], "y": [[0, 1]], "dy": [[1, -1]]}]}
    )


class IlpSolution(BaseModel):
    """Optima of a batch; the value is null where a program is infeasible."""

    y: list[list[float]]
    value: list[Number]
    feasible: list[bool]
    nodes: list[int]
    by_solver: list[bool]


class IlpGradients(BaseModel):
    """Gradients by c, A and b, shaped like them; null where the method gives none."""

    gradients: dict[str, Any]


class MipValueSolveBody(_Body):
    """min c'x + penalty's, A x + s >= b, s >= 0, x in a box, some of x integer; c, A, b with a batch, or shared."""

    c: Vector
    A: Matrix
    b: Vector
    lower: FiniteFloat | Row = 0.0
    upper: FiniteFloat | Row = 1.0
    integer: bool | list[bool] = True
    equality: bool | list[bool] = Field(False, description="Rows whose shortfall is |A x - b|.")
    penalty: FiniteFloat | list[FiniteFloat | None] | None = Field(
        None, description="Cost of one unit of a row's shortfall; null makes the row hard."
    )
    pieces: int = Field(1, ge=1, le=100, description="Distinct integer assignments to find.")
    temperature: FiniteFloat = Field(0.0, ge=0, description="Above zero: the soft minimum over the pieces.")
    solver: Literal["highs", "gurobi", "scip"] = "highs"
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"c": [3, 5], "A": [[2, 4]], "b": [5], "upper": 3, "penalty": 10, "pieces": 2}]}
    )


class MipValueVjpBody(MipValueSolveBody):
    """The same, and the gradient of a loss by the values."""

    grad_value: Row
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"c": [3, 5], "A": [[2, 4]], "b": [5], "upper": 3, "penalty": 10, "grad_value": [1]}]
        }
    )


class MipValueSolution(BaseModel):
    """Values of a batch; null where there is none. See docs/mip-value.md for what each says."""

    outcome: list[Literal["solved", "infeasible", "unbounded", "time_limit", "failed"]]
    value: list[Number]
    lower: list[Number]
    upper: list[Number]
    x: list[list[Number]]
    y: list[list[Number]]
    shortfall: list[list[Number]]
    margin: list[Number]
    tied: list[bool]
    unique_x: list[bool]
    unique_y: list[bool]


class MipValueGradients(MipValueSolution):
    """Values, and gradients by c, A and b, shaped like them."""

    gradients: dict[str, Any]


# Bytes: a child may keep what it compiled of the integer search, so that the next one need not.
_COMPILED = 2**26
_REFUSED = refused(400, 413, 415, 422, 504)


@router.post("/qp:solve", operation_id="solve_qp", responses=_REFUSED)
def qp_solve(body: QpSolveBody, service: Service, who: Who) -> QpSolution:
    """Solve a batch of convex quadratic programs."""
    return QpSolution.model_validate(_call(service, "qp_solve_call", body))


@router.post("/qp:vjp", operation_id="vjp_qp", responses=_REFUSED)
def qp_vjp(body: QpVjpBody, service: Service, who: Who) -> QpGradients:
    """Solve a batch of convex quadratic programs, and pull a gradient back to their parameters."""
    return QpGradients.model_validate(_call(service, "qp_vjp_call", body))


@router.post("/ilp:solve", operation_id="solve_ilp", responses=_REFUSED)
def ilp_solve(body: IlpSolveBody, service: Service, who: Who) -> IlpSolution:
    """Solve a batch of integer linear programs."""
    return IlpSolution.model_validate(_call(service, "ilp_solve_call", body))


@router.post("/ilp:vjp", operation_id="vjp_ilp", responses=_REFUSED)
def ilp_vjp(body: IlpVjpBody, service: Service, who: Who) -> IlpGradients:
    """Pull a gradient by integer programs' solutions back to their parameters."""
    return IlpGradients.model_validate(_call(service, "ilp_vjp_call", body))


@router.post("/mip-value:solve", operation_id="solve_mip_value", responses=_REFUSED)
def mip_value_solve(body: MipValueSolveBody, service: Service, who: Who) -> MipValueSolution:
    """Return the values of a batch of mixed-integer programs."""
    return MipValueSolution.model_validate(_call(service, "mip_value_solve_call", body))


@router.post("/mip-value:vjp", operation_id="vjp_mip_value", responses=_REFUSED)
def mip_value_vjp(body: MipValueVjpBody, service: Service, who: Who) -> MipValueGradients:
    """Return the values of mixed-integer programs, and pull a gradient by them back to costs, rows and right sides."""
    return MipValueGradients.model_validate(_call(service, "mip_value_vjp_call", body))


def _call(service: State, function: str, body: _Body) -> dict[str, Any]:
    settings = service.settings
    spec = body.model_dump(mode="json")
    if _numbers(spec) > settings.largest_layer:
        detail = f"the call holds more than {settings.largest_layer} numbers; send smaller batches"
        raise Refusal(413, "too_large", detail)
    seconds = settings.layer_seconds
    try:
        return service.children.call(
            f"app.layer_calls:{function}",
            {**spec, "time_limit": seconds},
            Limits(seconds=seconds, memory=settings.inspect_memory, file_size=_COMPILED),
        )
    except SandboxRefusedError as error:
        if error.kind == "SolverFailedError":
            raise Refusal(504, "timed_out", str(error)) from error
        raise Refusal(422, error_code(error.kind), str(error), [("", str(error))]) from error
    except SandboxTimeoutError as error:
        raise Refusal(504, "timed_out", f"no answer within {seconds:g} s; send smaller batches") from error
    except SandboxMemoryError as error:
        raise Refusal(413, "too_large", str(error)) from error
    except SandboxDiedError as error:
        raise Refusal(422, "unsolvable", "the solver broke on these numbers", [("", str(error))]) from error


def _numbers(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_numbers(item) for item in value.values())
    if isinstance(value, list):
        return len(value) if not value or not isinstance(value[0], list) else sum(_numbers(item) for item in value)
    return 1
