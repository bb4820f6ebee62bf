"""What the sandbox runs for callers of the optimization layers: plain JSON data in and out, NaN as null."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from proxies.errors import IntegerProgramError
from proxies.layers.ilp import Blackbox, CombOptNet, ILPOptions, Perturbed, ilp_solve, ilp_vjp
from proxies.layers.mip_value import MipOptions, MipValueSolution, Outcome, mip_value_solve, mip_value_vjp
from proxies.layers.qp import QPError, QPOptions, QPSolution, Status, qp_solve, qp_vjp

Json = dict[str, Any]
_QP = ("Q", "q", "A", "b", "G", "h")
_GRADIENTS = {"comboptnet": CombOptNet, "blackbox": Blackbox, "perturbed": Perturbed}
_FINE = QPOptions(workers=1)


def qp_solve_call(spec: Json) -> Json:
    """Solve quadratic programs; `spec` holds the parameters of `qp_solve` as lists.

    Raises:
        QPError: they do not fit, or are not convex.
    """
    return _qp_solution(qp_solve(**_qp_parameters(spec), options=_FINE))


def qp_vjp_call(spec: Json) -> Json:
    """Solve quadratic programs and pull `grad_z` back; see `qp_vjp`.

    Raises:
        QPError: as `qp_solve_call`.
    """
    parameters = _qp_parameters(spec)
    solution, grads = qp_vjp(parameters, _tensor("grad_z", spec["grad_z"], QPError), _FINE)
    return {**_qp_solution(solution), "gradients": {name: _plain(value) for name, value in grads.items()}}


def ilp_solve_call(spec: Json) -> Json:
    """Solve integer programs; `spec` holds the parameters of `ilp_solve` as lists, and `time_limit` in seconds.

    Raises:
        IntegerProgramError: they do not fit.
        SolverFailedError: a program was not solved in time.
    """
    found = ilp_solve(**_ilp_parameters(spec), options=ILPOptions(time_limit=spec["time_limit"]))
    return {
        "y": _plain(found.y),
        "value": _plain(found.value),
        "feasible": found.feasible.tolist(),
        "nodes": found.nodes.tolist(),
        "by_solver": found.by_solver.tolist(),
    }


def ilp_vjp_call(spec: Json) -> Json:
    """Return gradients of integer programs' solutions `y`; see `ilp_vjp`.

    Raises:
        IntegerProgramError: as `ilp_solve_call`.
    """
    torch.manual_seed(spec["seed"])
    chosen = dict(spec["gradient"])
    gradient = _GRADIENTS[chosen.pop("kind")](**chosen)
    y, dy = (_tensor(name, spec[name], IntegerProgramError) for name in ("y", "dy"))
    options = ILPOptions(time_limit=spec["time_limit"])
    found = ilp_vjp(**_ilp_parameters(spec), y=y, dy=dy, gradient=gradient, options=options)
    parts = {"c": found.c, "A": found.A, "b": found.b}
    return {"gradients": {name: None if part is None else _plain(part) for name, part in parts.items()}}


def mip_value_solve_call(spec: Json) -> Json:
    """Return values of mixed-integer programs; `spec` holds the arguments of `mip_value_solve` as lists, null where
    a limit or penalty is infinite.

    Raises:
        IntegerProgramError: they do not fit.
    """
    return _mip_values(mip_value_solve(**_mip_parameters(spec), **_mip_rest(spec)))


def mip_value_vjp_call(spec: Json) -> Json:
    """Return values of mixed-integer programs and gradients by c, A and b; see `mip_value_vjp`.

    Raises:
        IntegerProgramError: as `mip_value_solve_call`.
    """
    grad = _tensor("grad_value", spec["grad_value"], IntegerProgramError)
    found, grads = mip_value_vjp(_mip_parameters(spec), grad, **_mip_rest(spec))
    return {**_mip_values(found), "gradients": {name: _plain(value) for name, value in grads.items()}}


def _mip_parameters(spec: Json) -> dict[str, Any]:
    return {name: _tensor(name, spec[name], IntegerProgramError) for name in ("c", "A", "b")}


def _mip_rest(spec: Json) -> dict[str, Any]:
    infinite = {"lower": -math.inf, "upper": math.inf, "penalty": math.inf}
    limits = {
        name: _tensor(name, _without_nulls(spec[name], value), IntegerProgramError) for name, value in infinite.items()
    }
    options = MipOptions(spec["pieces"], spec["temperature"], spec["time_limit"])
    return {**limits, **{name: torch.tensor(spec[name]) for name in ("integer", "equality")}, "options": options}


def _without_nulls(value: Any, infinite: float) -> Any:
    if isinstance(value, list):
        return [infinite if item is None else item for item in value]
    return infinite if value is None else value


def _mip_values(found: MipValueSolution) -> Json:
    numbers = ("value", "lower", "upper", "x", "y", "shortfall", "margin", "pieces")
    truths = ("tied", "unique_x", "unique_y")
    return {
        "outcome": [Outcome(int(code)).name.lower() for code in found.outcome],
        **{name: _plain(getattr(found, name)) for name in numbers},
        **{name: getattr(found, name).tolist() for name in truths},
    }


def _qp_parameters(spec: Json) -> dict[str, Tensor]:
    return {name: _tensor(name, spec[name], QPError) for name in _QP if spec.get(name) is not None}


def _ilp_parameters(spec: Json) -> dict[str, Tensor]:
    return {name: _tensor(name, spec[name], IntegerProgramError) for name in ("c", "A", "b", "lower", "upper")}


def _tensor(name: str, value: Any, error: type[QPError] | type[IntegerProgramError]) -> Tensor:
    try:
        return torch.tensor(value, dtype=torch.float64)
    except (ValueError, TypeError, OverflowError) as wrong:
        raise error(f"{name} is no array of numbers: {wrong}") from wrong


def _qp_solution(found: QPSolution) -> Json:
    parts = {"z": found.z, "nu": found.nu, "lam": found.lam, "slack": found.slack}
    return {
        "status": [Status(int(code)).name.lower() for code in found.status],
        **{name: _plain(part) for name, part in parts.items()},
        "active": found.active.tolist(),
        "polished": found.polished.tolist(),
    }


def _plain(part: Tensor) -> Any:
    """Return a tensor as lists, with null for what is not finite."""
    part = part.detach()
    return part.tolist() if bool(part.isfinite().all()) else _nulls(part.tolist())


def _nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_nulls(item) for item in value]
    return value if abs(value) < float("inf") else None
