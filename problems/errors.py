"""What can be wrong with a problem's data."""

from solvers.errors import CertigapError


class CaseError(CertigapError, ValueError):
    """A grid case cannot be read, or describes a grid that cannot be dispatched."""


class InstanceError(CertigapError, ValueError):
    """A problem instance cannot be read, or its numbers describe no problem."""


class DomainError(CertigapError, ValueError):
    """A domain is empty, or every input in it makes the problem infeasible."""


class InputError(CertigapError, ValueError):
    """An input or a decision has the wrong shape, or is not finite."""


class SolveTimeoutError(CertigapError, TimeoutError):
    """The seconds for an exact solve are spent, and the optimal value is not known."""


class ContradictionError(CertigapError, ArithmeticError):
    """Two bounds of one value exclude each other: one of them is wrong, or the set they hold on is empty."""
