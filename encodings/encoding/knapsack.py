"""Knapsack inside a model: a choice within the capacity, and its value as exact products of values and choices.

Source: Chen et al. 2024, eq. (10), (20); McCormick 1976 (exact where one factor is binary).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray

from encoding.block import Value, add_binaries, is_number, linear, rows, transitive_reduction
from encoding.bounds import Bounds
from encoding.floor import floor_of
from encoding.problem import (
    Decision,
    LinearQuantity,
    encode_cost,
    encode_optimum,
    linear_quantities,
    quantity_bounds,
)
from problems.domain import Domain
from problems.interval import Interval, affine_range
from problems.knapsack import Knapsack


@linear_quantities.register
def _(problem: Knapsack, domain: Domain) -> dict[str, LinearQuantity]:
    return {}


@quantity_bounds.register
def _(problem: Knapsack, domain: Domain, decision: Interval) -> dict[str, Interval]:
    return {}


@encode_cost.register
def _(
    problem: Knapsack,
    block: pyo.Block,
    domain: Domain,
    latent: Sequence[Value],
    decision: Sequence[Value],
    bounds: Bounds,
) -> Decision:
    return Decision(list(decision), _cost(problem, block, domain, latent, decision))


@encode_optimum.register
def _(
    problem: Knapsack,
    block: pyo.Block,
    domain: Domain,
    latent: Sequence[Value],
    kept: Collection[int] | None = None,
) -> Decision:
    n, matrix = problem.items, domain.matrix.toarray()
    room, least, most = floor_of(block, matrix[n], latent, float(domain.shift[n]), domain.box)
    fits = np.flatnonzero(problem.weights <= most).tolist()
    chosen = add_binaries(block, "chosen", fits)
    o: list[Value] = [chosen.get(i, 0.0) for i in range(n)]
    row = rows(block, "rows")
    weight = linear(problem.weights.astype(np.float64), o)
    if least < problem.weights.sum() and not is_number(weight):
        row.add(weight <= room)
    for a, b in zip(*np.nonzero(dominance(problem, domain))):
        if not is_number(o[b]):
            row.add(o[a] >= o[b])
    return Decision(o, _cost(problem, block, domain, latent, o))


def dominance(problem: Knapsack, domain: Domain) -> NDArray[np.bool_]:
    """Return the pairs ((n, n), true at [a, b]) where some optimum that takes b takes a too, at every input.

    Item a is no heavier than b and never less valuable; of two items that are always the same, the first counts as
    better. These pairs form a partial order, so the rows of all of them hold together; its transitive reduction.
    """
    value = item_values(problem, domain)
    no_heavier = problem.weights[:, None] <= problem.weights[None]
    better = no_heavier & (value.lower[:, None] >= value.upper[None])
    index = np.arange(problem.items)
    better &= ~better.T | (index[:, None] < index[None])
    np.fill_diagonal(better, False)
    return transitive_reduction(better)


def item_values(problem: Knapsack, domain: Domain) -> Interval:
    """Return the limits of every item's value ((n,)) over the domain's box."""
    matrix = domain.matrix.toarray()
    ends = [affine_range(matrix[i], domain.box, float(domain.shift[i])) for i in range(problem.items)]
    return Interval(np.array([low for low, _ in ends]), np.array([high for _, high in ends]))


def _cost(
    problem: Knapsack, block: pyo.Block, domain: Domain, latent: Sequence[Value], decision: Sequence[Value]
) -> Any:
    """Return minus the value of a 0/1 decision ((n,)), in units of the objective's scale: value times choice, exact."""
    limits, matrix, scale = item_values(problem, domain), domain.matrix.toarray(), problem.objective_scale
    values = [linear(matrix[i], latent, float(domain.shift[i])) for i in range(problem.items)]
    open_items = [i for i, y in enumerate(decision) if not is_number(y) and not is_number(values[i])]
    product = pyo.Var(open_items, bounds={i: _with_zero(limits, i, scale) for i in open_items})
    block.add_component("gained", product)
    row = rows(block, "products")
    total: Any = 0.0
    for i, y in enumerate(decision):
        if i not in product:
            total = total + values[i] * y / scale
            continue
        low, high, value = float(limits.lower[i]) / scale, float(limits.upper[i]) / scale, values[i] / scale
        row.add(product[i] >= low * y)
        row.add(product[i] <= high * y)
        row.add(product[i] >= value - high * (1 - y))
        row.add(product[i] <= value - low * (1 - y))
        total = total + product[i]
    return -total


def _with_zero(limits: Interval, i: int, scale: float) -> tuple[float, float]:
    return min(0.0, float(limits.lower[i]) / scale), max(0.0, float(limits.upper[i]) / scale)
