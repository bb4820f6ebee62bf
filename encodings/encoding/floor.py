"""The whole part of an affine quantity: one integer variable a model, shared by all who ask for the same quantity.

Integer weights fit into a real capacity C where they fit into floor(C). A model is closed, so at an integer C it also
allows floor = C - 1, the limit from below: as long as the proxy and the optimum see the *same* floor, that limit is a
gap that inputs approach, and not one that no input is near.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyomo.environ as pyo

from encoding.block import Value, is_number, linear
from encoding.margin import margin_of
from problems.interval import Interval, Vector, affine_range

_SHARED = "shared_floors"


def floor_range(coefficients: Vector, box: Interval, constant: float) -> tuple[int, int]:
    """Return the least and the largest floor(coefficients'w + constant) over a box; arguments as `affine_range`."""
    low, high = affine_range(coefficients, box, constant)
    return int(np.floor(low)), int(np.floor(high))


def floor_of(
    block: pyo.Block, coefficients: Vector, values: Sequence[Value], constant: float, box: Interval
) -> tuple[Value, int, int]:
    """Return floor(coefficients'values + constant) with its limits; a number where the box leaves only one.

    Args:
        block: any block of the model.
        coefficients: (n_w,).
        values: (n_w,) w.
        constant: added.
        box: (n_w,) limits of w.
    """
    low, high = floor_range(coefficients, box, constant)
    quantity = linear(coefficients, values, constant)
    if low == high:
        return float(low), low, high
    root = block.model()
    if root.component(_SHARED) is None:
        root.add_component(_SHARED, pyo.Block(concrete=True))
        root.component(_SHARED).known = {}
    shared = root.component(_SHARED)
    terms = [(a, id(v)) for a, v in zip(coefficients.tolist(), values) if a != 0 and not is_number(v)]
    # What the numbers among the values add is part of the constant.
    added = constant + sum(a * v for a, v in zip(coefficients.tolist(), values) if a != 0 and is_number(v))
    key = (tuple(terms), added)
    if key not in shared.known:
        part = pyo.Block(concrete=True)
        shared.add_component(f"floor{len(shared.known)}", part)
        part.value = pyo.Var(domain=pyo.Integers, bounds=(low, high))
        if not is_number(quantity):  # Else the limits, which are rounded outward, say it all.
            margin = margin_of(block)
            part.not_above = pyo.Constraint(expr=part.value <= quantity - margin)
            part.not_below = pyo.Constraint(expr=part.value >= quantity - 1 + margin)
        shared.known[key] = part.value
    return shared.known[key], low, high
