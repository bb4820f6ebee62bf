"""What a problem contributes to a formulation: its feasible set Y(x) and the cost of a decision, by problem type."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import numpy as np
import pyomo.environ as pyo

from encoding.block import Entry, Value
from encoding.bounds import Bounds
from problems.domain import Domain
from problems.interval import Interval, Vector
from problems.parametric import ParametricProblem


@dataclass
class Decision:
    """A decision inside a model.

    Attributes:
        values: (n_y,) y.
        cost: c(x, y) in units of the problem's objective_scale.
        targets: quantities worth tightening, under the names that `Bounds` uses.
    """

    values: list[Value]
    cost: Any
    targets: dict[str, list[Entry]] = field(default_factory=dict)


@singledispatch
def encode_optimum(
    problem: ParametricProblem,
    block: pyo.Block,
    domain: Domain,
    latent: Sequence[Value],
    kept: Collection[int] | None = None,
) -> Decision:
    """Write y in Y(x) on `block` for x = T w + t, and return y with its cost, to be minimised.

    Args:
        problem: the problem.
        block: an empty Pyomo block.
        domain: of the latent vector.
        latent: (n_w,) w.
        kept: names of the optional rows to write; None for all. Fewer rows only lower the optimum's cost.
    """
    raise NotImplementedError(f"no encoding for the problem type {type(problem).__name__}")


@singledispatch
def missing_rows(problem: ParametricProblem, domain: Domain, latent: Vector, decision: Vector) -> list[int]:
    """Return the names of the optional rows that a decision ((n_y,)) violates at a latent vector ((n_w,))."""
    return []


@singledispatch
def encode_cost(
    problem: ParametricProblem,
    block: pyo.Block,
    domain: Domain,
    latent: Sequence[Value],
    decision: Sequence[Value],
    bounds: Bounds,
) -> Decision:
    """Write the cost of a given decision exactly, also where it is maximised.

    Args:
        problem, block, domain, latent: as `encode_optimum`.
        decision: (n_y,) the proxy's y.
        bounds: of the problem's own quantities (see `linear_quantities`).
    """
    raise NotImplementedError(f"no encoding for the problem type {type(problem).__name__}")


@singledispatch
def encode_optimality(
    problem: ParametricProblem, block: pyo.Block, domain: Domain, latent: Sequence[Value], optimum: Decision
) -> None:
    """Add the optimality conditions of P(x) to an encoded optimum: what only the bilevel formulation has.

    Raises:
        NotImplementedError: the problem has no such conditions (it is not convex).
    """
    raise NotImplementedError(f"no bilevel formulation for the problem type {type(problem).__name__}; use compact")


@dataclass(frozen=True)
class LinearQuantity:
    """Quantities of_decision y + of_latent w + constant of a decision and the latent vector.

    Attributes:
        of_decision: (m, n_y).
        of_latent: (m, n_w).
        constant: (m,).
        rounding: (m,) how far the quantity can be from what the problem's own functions give, in float64 and in any
            order of summation; None where the coefficients are exact.
    """

    of_decision: Vector
    of_latent: Vector
    constant: Vector
    rounding: Vector | None = None

    @property
    def error(self) -> Vector:
        """(m,) `rounding`, or zeros."""
        return np.zeros(len(self.constant)) if self.rounding is None else self.rounding


@singledispatch
def linear_quantities(problem: ParametricProblem, domain: Domain) -> dict[str, LinearQuantity]:
    """Return the problem's own quantities whose bounds `encode_cost` needs, under the names that `Bounds` uses."""
    raise NotImplementedError(f"no quantities for the problem type {type(problem).__name__}")


@dataclass(frozen=True)
class ObjectiveTerms:
    """c(x, y) = base + sum over t of price[t] max(0, paid[t]), in the problem's unit.

    Attributes:
        base: one quantity (m = 1).
        paid: (m) quantities whose positive part is paid.
        price: (m,) not negative.
    """

    base: LinearQuantity
    paid: LinearQuantity
    price: Vector


@singledispatch
def objective_terms(problem: ParametricProblem, domain: Domain) -> ObjectiveTerms | None:
    """Return the objective in terms of the decision and the latent vector; None where it has no such form."""
    return None


@singledispatch
def paid_limits(problem: ParametricProblem, quantities: dict[str, Interval]) -> Interval:
    """Return the limits of `ObjectiveTerms.paid` from those of the problem's own quantities."""
    raise NotImplementedError(f"no paid terms for the problem type {type(problem).__name__}")


@singledispatch
def quantity_bounds(problem: ParametricProblem, domain: Domain, decision: Interval) -> dict[str, Interval]:
    """Return valid intervals of `linear_quantities` for every feasible decision in the box `decision` ((n_y,))."""
    raise NotImplementedError(f"no bounds for the problem type {type(problem).__name__}")
