"""What the sandbox runs for callers of the optimization layers: plain JSON data in and out, NaN as null."""

from __future__ import annotations

from math import inf
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
    """Return values of mixed-integer programs; `spec` holds the parameters of `mip_value_solve` as lists.

    Raises:
        IntegerProgramError: they do not fit.
        SolverUnavailableError: the solver is not installed.
    """
    return _mip_solution(mip_value_solve(**_mip_parameters(spec), **_mip_fixed(spec)))


def mip_value_vjp_call(spec: Json) -> Json:
    """Return values of mixed-integer programs and pull `grad_value` back; see `mip_value_vjp`.

    Raises:
        IntegerProgramError, SolverUnavailableError: as `mip_value_solve_call`.
    """
    grad = _tensor("grad_value", spec["grad_value"], IntegerProgramError)
    solution, grads = mip_value_vjp(_mip_parameters(spec), grad, **_mip_fixed(spec))
    return {**_mip_solution(solution), "gradients": {name: _plain(value) for name, value in grads.items()}}


def _mip_parameters(spec: Json) -> Json:
    return {name: _tensor(name, spec[name], IntegerProgramError) for name in ("c", "A", "b")}


def _mip_fixed(spec: Json) -> Json:
    """Return what programs of a batch share; the time limit is for all of them together."""
    programs = max([1, *(len(spec[name]) for name, own in (("c", 1), ("A", 2), ("b", 1)) if _depth(spec[name]) > own)])
    options = MipOptions(
        pieces=spec["pieces"],
        temperature=spec["temperature"],
        time_limit=spec["time_limit"] / programs,
        solver=spec["solver"],
    )
    penalty = spec["penalty"]
    costs = [inf if cost is None else cost for cost in penalty] if isinstance(penalty, list) else penalty
    return {
        "lower": _tensor("lower", spec["lower"], IntegerProgramError),
        "upper": _tensor("upper", spec["upper"], IntegerProgramError),
        "integer": torch.tensor(spec["integer"]),
        "equality": torch.tensor(spec["equality"]),
        "penalty": _tensor("penalty", inf if costs is None else costs, IntegerProgramError),
        "options": options,
    }


def _depth(value: Any) -> int:
    return 1 + _depth(value[0]) if isinstance(value, list) and value else int(isinstance(value, list))


def _mip_solution(found: MipValueSolution) -> Json:
    names = ("value", "lower", "upper", "x", "y", "shortfall", "margin", "tied", "unique_x", "unique_y")
    outcomes = [Outcome(int(code)).name.lower() for code in found.outcome]
    return {"outcome": outcomes, **{name: _plain(getattr(found, name)) for name in names}}


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
