"""What can be wrong with a proxy or its file."""

from solvers.errors import CertigapError


class ProxyError(CertigapError, ValueError):
    """A network does not fit its problem, or its numbers are unusable."""


class ModelFileError(ProxyError):
    """A model file cannot be read: wrong format, damaged, or with operators that cannot be encoded."""


class InfeasibleDemandError(CertigapError, ValueError):
    """A demand is outside what the generators can serve."""


class IntegerProgramError(CertigapError, ValueError):
    """The numbers or shapes of an integer program that a layer should solve are unusable."""
