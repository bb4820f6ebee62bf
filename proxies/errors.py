"""What can be wrong with a proxy or its file."""

from solvers.errors import CertigapError


class ProxyError(CertigapError, ValueError):
    """A network does not fit its problem, or its numbers are unusable."""


class ModelFileError(ProxyError):
    """A model file cannot be read: wrong format, damaged, or with operators that cannot be encoded."""


class UnsupportedOperatorsError(ModelFileError):
    """An ONNX graph uses operators that cannot be encoded.

    Attributes:
        places: (operator, position of its node in the graph from 1, the node's name) of each.
    """

    def __init__(self, message: str, places: list[tuple[str, int, str]]) -> None:
        super().__init__(message)
        self.places = places


class NetworkOverflowError(ProxyError, OverflowError):
    """A layer's values overflow float64, or may, for some input of the set."""


class InfeasibleDemandError(CertigapError, ValueError):
    """A demand is outside what the generators can serve."""


class IntegerProgramError(CertigapError, ValueError):
    """The numbers or shapes of an integer program that a layer should solve are unusable."""
