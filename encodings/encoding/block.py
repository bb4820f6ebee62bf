"""Small helpers to write rows and columns on a Pyomo block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray
from pyomo.core.expr.numeric_expr import LinearExpression

from problems.interval import Interval, Vector, difference

# A value in an encoding: a Pyomo variable, or a number where the bounds leave only one.
Value = Any


@dataclass(frozen=True)
class Entry:
    """A variable whose bounds are worth tightening.

    Attributes:
        index: its place in the named interval.
        value: the variable.
        low_goal: its lower bound is of use only while below this.
        high_goal: its upper bound is of use only while above this.
        joint: reaching one goal makes the other side useless too (a neuron whose sign is fixed).
    """

    index: int
    value: Value
    low_goal: float = np.inf
    high_goal: float = -np.inf
    joint: bool = False


@dataclass
class Encoded:
    """What an encoder leaves behind.

    Attributes:
        outputs: the values it computes.
        targets: by local name, the variables whose bounds are worth tightening.
    """

    outputs: list[Value]
    targets: dict[str, list[Entry]] = field(default_factory=dict)


def is_number(value: Value) -> bool:
    """Return whether a value is a plain number."""
    return isinstance(value, (int, float))


def linear(coefficients: Vector, values: Sequence[Value], constant: float = 0.0) -> Any:
    """Return coefficients'values + constant as one Pyomo expression, or a float where no variable remains."""
    kept, variables = [], []
    for coefficient, value in zip(coefficients.tolist(), values):
        if coefficient == 0.0:
            continue
        if is_number(value):
            constant += coefficient * value
        else:
            kept.append(coefficient)
            variables.append(value)
    if not variables:
        return float(constant)
    return LinearExpression(constant=float(constant), linear_coefs=kept, linear_vars=variables)


def add_columns(block: pyo.Block, name: str, interval: Interval, keep: Sequence[int] | None = None) -> list[Value]:
    """Add a variable an entry of `interval`; an entry with equal ends becomes that number instead.

    Args:
        block: where to add them.
        name: of the indexed variable.
        interval: (n,) limits.
        keep: only these entries; all by default.
    """
    which = range(len(interval)) if keep is None else keep
    lower, upper = interval.lower.tolist(), interval.upper.tolist()
    moving = [index for index in which if lower[index] < upper[index]]
    variable = pyo.Var(moving, bounds={index: (lower[index], upper[index]) for index in moving})
    block.add_component(name, variable)
    fixed = set(which) - set(moving)
    return [lower[index] if index in fixed else variable[index] for index in which]


def add_binaries(block: pyo.Block, name: str, indices: Sequence[int]) -> dict[int, Any]:
    """Add a binary variable for each index."""
    variable = pyo.Var(list(indices), domain=pyo.Binary)
    block.add_component(name, variable)
    return {index: variable[index] for index in indices}


def rows(block: pyo.Block, name: str) -> pyo.ConstraintList:
    """Add and return an empty list of rows."""
    block.add_component(name, pyo.ConstraintList())
    return block.component(name)


def reach(a: float, b: float) -> float:
    """Return a - b, rounded upward where it is not exact: a coefficient that must be large enough."""
    return difference(float(a), float(b))[1]


def numbers(values: Sequence[float]) -> Vector:
    """Return a float array."""
    return np.asarray(values, dtype=np.float64)


def transitive_reduction(before: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pairs of a strict partial order ((n, n)) that no chain of other pairs implies."""
    through = before.astype(np.float32)
    return before & ~((through @ through) > 0)
