"""The Gurobi package and its licence: found, taken, and its refusals said in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from solvers.errors import SolverFailedError, SolverLimitError, SolverUnavailableError

# Columns, and rows, at which the licence inside the package stops.
FREE_LIMIT = 2000


def load_gurobipy() -> Any:
    """Return the gurobipy module; raises SolverUnavailableError where it is not installed."""
    try:
        import gurobipy
    except ImportError as error:
        raise SolverUnavailableError(
            "Gurobi is not installed: pip install 'certigap-server[gurobi]', or use --solver highs"
        ) from error
    return gurobipy


def start_environment(parameters: dict[str, int]) -> Any:
    """Return a silent Gurobi environment, which takes the licence."""
    return load_gurobipy().Env(params={"OutputFlag": 0, **parameters})


def is_limited(environment: Any) -> bool:
    """Return whether the licence of `environment` is the free one, by a model one column too large for it."""
    gurobipy = load_gurobipy()
    with gurobipy.Model(env=environment) as probe:
        probe.addMVar(FREE_LIMIT + 1, ub=1.0)
        try:
            probe.optimize()
        except gurobipy.GurobiError as error:
            if error.errno == gurobipy.GRB.Error.SIZE_LIMIT_EXCEEDED:
                return True
            raise
    return False


def licence() -> str:
    """Return in one sentence what the Gurobi licence found here allows; takes the licence for a moment.

    Raises:
        SolverUnavailableError: gurobipy is not installed.
        SolverLimitError: no valid licence was found.
    """
    with licence_errors(0, 0), start_environment({}) as env, load_gurobipy().Model(env=env) as model:
        size = f"at most {FREE_LIMIT} columns and {FREE_LIMIT} rows" if is_limited(env) else "any size"
        day = str(model.LicenseExpiration)
    return f"{size}, no end date" if day == "99999999" else f"{size}, until {day[:4]}-{day[4:6]}-{day[6:]}"


@contextmanager
def licence_errors(columns: int, rows: int) -> Iterator[None]:
    """Turn Gurobi's errors about a model of this size into those of this package."""
    gurobipy = load_gurobipy()
    try:
        yield
    except gurobipy.GurobiError as error:
        if error.errno == gurobipy.GRB.Error.SIZE_LIMIT_EXCEEDED:
            raise too_large(columns, rows) from error
        if error.errno == gurobipy.GRB.Error.NO_LICENSE:
            raise SolverLimitError(
                f"Gurobi found no valid licence ({error}): install one, or use --solver highs"
            ) from error
        raise SolverFailedError(f"Gurobi stopped: {error}") from error


def too_large(columns: int, rows: int) -> SolverLimitError:
    """Return the error for a model that the free licence refuses."""
    return SolverLimitError(
        f"the model has {columns} columns and {rows} rows; the free Gurobi licence stops at {FREE_LIMIT}: "
        "install a licence, or use --solver highs"
    )
