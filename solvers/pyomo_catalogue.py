"""What is known of Pyomo's solvers: whether one can run, its options, and whether its dual bound is one."""

from __future__ import annotations

import io
import logging
from typing import Any

import pyomo.environ as pyo
from pyomo.common.errors import ApplicationError
from pyomo.common.log import LoggingIntercept

from solvers.errors import SolverUnavailableError
from solvers.session import Capability

_HIGHS = {"threads": 1, "random_seed": "seed", "mip_rel_gap": "gap"}
_GUROBI = {"Threads": 1, "Seed": "seed", "MIPGap": "gap"}
# Seconds, where a solver must be given a number.
NO_TIME_LIMIT = 1e9
# "seed", "gap" and "seconds" stand for the values of the solve.
OPTIONS: dict[str, dict[str, Any]] = {
    "appsi_highs": _HIGHS,
    "highs": _HIGHS,
    "appsi_gurobi": _GUROBI,
    "gurobi_direct": {**_GUROBI, "TimeLimit": "seconds"},  # drops the limit that Pyomo passes
    # What GLPK's presolve says of an infeasible or unbounded model is lost in Pyomo.
    "glpk": {"mipgap": "gap", "seed": "seed", "nopresol": ""},
    "cbc": {"ratioGap": "gap"},
}
# Interfaces that report the solver's own dual bound. Others, such as GLPK's, put the incumbent there.
HONEST_BOUND = {"appsi_highs", "highs", "appsi_gurobi", "gurobi_direct"}


def find_solver(solver: str) -> Any:
    """Return the Pyomo solver called `solver`; raises SolverUnavailableError where it cannot run."""
    with LoggingIntercept(io.StringIO(), "pyomo", logging.WARNING):
        try:
            found = pyo.SolverFactory(solver)
            available = bool(found.available(exception_flag=False))
        except (ApplicationError, ImportError, OSError, RuntimeError):
            available = False
    if not available:
        raise SolverUnavailableError(
            f"Pyomo finds no solver '{solver}': install its package or put its executable on PATH, "
            "or use --solver highs"
        )
    return found


def capabilities_of(solver: str) -> frozenset[Capability]:
    """Return what a session of the Pyomo solver called `solver` can do."""
    own = {Capability.MIP, Capability.ROW_DUALS}
    return frozenset(own | {Capability.DUAL_BOUND} if solver in HONEST_BOUND else own)


def version_of(solver: str) -> str:
    """Return the version of the Pyomo solver called `solver`; SolverUnavailableError if it cannot run."""
    number = find_solver(solver).version()
    return ".".join(str(part) for part in number or ())
