"""The solvers by name: which are here, and a session for a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from solvers import gurobi_licence, pyomo_catalogue
from solvers.errors import SolverLimitError, SolverUnavailableError
from solvers.gurobi import GurobiSession
from solvers.highs import HighsSession
from solvers.linear_model import LinearModel
from solvers.pyomo_solver import PyomoSession
from solvers.scip import ScipSession
from solvers.session import Capability, Session

DEFAULT_SOLVER = "highs"
PYOMO_PREFIX = "pyomo:"
_SESSIONS: dict[str, type[Session]] = {"highs": HighsSession, "gurobi": GurobiSession, "scip": ScipSession}
# Those of Pyomo's solvers that are shown: free ones, so that asking for them takes no licence.
_SHOWN_PYOMO = ("appsi_highs", "glpk", "cbc")
_LICENCES = {
    "highs": "MIT, in the wheel",
    "gurobi": "commercial; the licence inside the package stops at 2000 columns and 2000 rows",
    "scip": "Apache 2.0, in the wheel",
    "pyomo:appsi_highs": "MIT, in the wheel",
    "pyomo:glpk": "GPL 3, a separate executable",
    "pyomo:cbc": "EPL 2.0, a separate executable",
}


@dataclass(frozen=True)
class SolverInfo:
    """What is known of a solver without taking a licence.

    Attributes:
        name: as `open_session` takes it.
        available: whether its package or executable is here.
        version: empty where it is not available.
        capabilities: what its sessions can do.
        licence: in words; see `licence` for the one found on this machine.
        reason: why it is not available, else empty.
    """

    name: str
    available: bool
    version: str
    capabilities: frozenset[Capability]
    licence: str
    reason: str = ""


def open_session(name: str, model: LinearModel, seed: int = 0) -> Session:
    """Load `model` into the solver called `name`.

    Args:
        name: "highs", "gurobi", "scip", or "pyomo:" and a name that Pyomo's SolverFactory knows.
        model: the model.
        seed: for the solver's random choices.

    Raises:
        SolverUnavailableError: the name is unknown, or the solver is not installed.
        SolverLimitError: its licence refuses the model.
    """
    if name.startswith(PYOMO_PREFIX):
        return PyomoSession(model, seed, name.removeprefix(PYOMO_PREFIX))
    if name not in _SESSIONS:
        raise SolverUnavailableError(f"no solver is called '{name}'; known are {', '.join(_known_names())}")
    return _SESSIONS[name](model, seed)


def open_session_or_default(name: str, model: LinearModel, seed: int = 0) -> tuple[Session, str | None]:
    """Load `model` into `name`, or into HiGHS where the licence of `name` refuses it.

    Args:
        name, model, seed: as for `open_session`.

    Returns:
        The session, and the sentence that says why it is HiGHS, or None where no fall-back was needed.

    Raises:
        SolverUnavailableError: the name is unknown, or it is not installed: nothing is substituted then.
    """
    try:
        return open_session(name, model, seed), None
    except SolverLimitError as error:
        return open_session(DEFAULT_SOLVER, model, seed), f"{error}; HiGHS was used instead"


def describe_solvers() -> list[SolverInfo]:
    """Return every solver with an adapter and the free ones of Pyomo; takes no licence and never raises."""
    own = [_describe(name, session.version, session.capabilities) for name, session in _SESSIONS.items()]
    return own + [
        _describe(
            PYOMO_PREFIX + name,
            partial(pyomo_catalogue.version_of, name),
            pyomo_catalogue.capabilities_of(name),
        )
        for name in _SHOWN_PYOMO
    ]


def licence(name: str) -> str:
    """Return what the licence of `name` allows here; takes Gurobi's for a moment.

    Raises:
        SolverUnavailableError: the name is unknown, or Gurobi is not installed.
        SolverLimitError: no valid Gurobi licence was found.
    """
    if name == GurobiSession.name:
        return gurobi_licence.licence()
    if name.startswith(PYOMO_PREFIX):
        return _LICENCES.get(name, "not known; ask the solver")
    if name not in _LICENCES:
        raise SolverUnavailableError(f"no solver is called '{name}'; known are {', '.join(_known_names())}")
    return _LICENCES[name]


def _known_names() -> list[str]:
    return [*_SESSIONS, *(PYOMO_PREFIX + name for name in _SHOWN_PYOMO), PYOMO_PREFIX + "<any Pyomo solver>"]


def _describe(name: str, version: Callable[[], str], capabilities: frozenset[Capability]) -> SolverInfo:
    try:
        return SolverInfo(name, True, version(), capabilities, _LICENCES[name])
    except Exception as error:
        # A half-installed solver can fail in any way; a list of solvers must still be shown.
        return SolverInfo(name, False, "", capabilities, _LICENCES[name], str(error))
