"""The root of every error that Certigap raises on purpose, and those of the solver floor."""


class CertigapError(Exception):
    """Something the user can act on; the message is one sentence that says what to do."""


class SolverUnavailableError(CertigapError, ImportError):
    """A solver was asked for whose package or executable is not installed."""


class SolverLimitError(CertigapError, RuntimeError):
    """A solver's licence refuses the model, by size or by date."""


class SolverFailedError(CertigapError, RuntimeError):
    """A solver stopped without an answer that can be used."""


class UnsupportedModelError(CertigapError, ValueError):
    """A model is not a linear or mixed-integer linear one."""


class TreeLimitError(CertigapError, RuntimeError):
    """A branch-and-bound tree outgrew the leaves it was allowed."""
