"""The compact formulation: max c(x, pi(x)) - c(x, y) with y merely feasible.

Source: Chen et al. 2024, eq. (5), Theorem 4.1: since -c(x, y) is maximised, y is optimal by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyomo.environ as pyo
from pyomo.repn import generate_standard_repn

from encoding.block import Entry, add_columns, is_number
from encoding.bounds import Bounds, input_key
from encoding.formulation import GapModel, finish
from encoding.layers import Style, encode_layers
from encoding.margin import keep_off
from encoding.problem import Decision, encode_cost, encode_optimum
from problems.domain import Domain
from problems.interval import Interval
from problems.parametric import ParametricProblem
from proxies.layers import Layer

# A latent coordinate is worth tightening when its share of all that moves the inputs is at least this.
LEADING = 0.1


def compact_model(
    layers: Sequence[Layer],
    problem: ParametricProblem,
    domain: Domain,
    bounds: Bounds,
    style: Style = "sign",
    ratio: float = 0.0,
    cutoff: float | None = None,
    kept: Collection[int] | None = None,
    margin: float = 0.0,
) -> GapModel:
    """Build the compact formulation.

    Args:
        layers: the proxy's layers on the latent vector (`proxies.proxy.latent_layers`).
        problem: the problem.
        domain: the inputs.
        bounds: of the proxy over `domain`.
        style: of the layers' encodings, where they have several.
        ratio: maximise c(x, pi(x)) - (1 + ratio) c(x, y) instead (Dinkelbach's step for the relative gap).
        cutoff: keep only inputs whose objective is at least this, in the problem's unit.
        kept: the optional rows of Y(x) that are written, see `encode_optimum`. Every set gives a valid upper bound.
        margin: see `encoding.margin`; only with 0 is the optimum an upper bound.
    """
    model, latent, optimum = gap_skeleton(layers, problem, domain, bounds, style, ratio, cutoff, kept, margin)
    scale = problem.objective_scale
    return finish(model, scale, latent, optimum.values, domain.centre, model.certigap_targets)


def gap_skeleton(
    layers: Sequence[Layer],
    problem: ParametricProblem,
    domain: Domain,
    bounds: Bounds,
    style: Style,
    ratio: float,
    cutoff: float | None,
    kept: Collection[int] | None = None,
    margin: float = 0.0,
) -> tuple[pyo.ConcreteModel, list, Decision]:
    """Return the Pyomo model of `compact_model` before it is compiled, its latent values and its optimum's decision."""
    model = pyo.ConcreteModel()
    keep_off(model, margin)
    for name in ("latent_block", "proxy", "cost", "optimum"):
        model.add_component(name, pyo.Block(concrete=True))
    latent = add_latent(model.latent_block, domain)
    encoded = encode_layers(layers, model.proxy, latent, bounds, style)
    paid = encode_cost(problem, model.cost, domain, latent, encoded.outputs, bounds)
    optimum = encode_optimum(problem, model.optimum, domain, latent, kept)
    gap = paid.cost - (1 + ratio) * optimum.cost
    model.gap = pyo.Objective(expr=gap, sense=pyo.maximize)
    # Where the gap is a number its bound says as much as this row.
    if cutoff is not None and generate_standard_repn(gap, quadratic=False).linear_vars:
        model.cutoff = pyo.Constraint(expr=gap >= cutoff / problem.objective_scale)
    reach = domain.reach
    leading = np.flatnonzero(reach > LEADING * reach.sum()).tolist()
    first = [Entry(j, latent[j]) for j in leading if not is_number(latent[j])]
    model.certigap_targets = {input_key(0): first, **encoded.targets, **paid.targets}
    return model, latent, optimum


def add_latent(block: pyo.Block, domain: Domain) -> list:
    """Add w with its box and cuts; a coordinate that cannot move becomes a number."""
    latent = add_columns(block, "w", Interval(domain.box.lower, domain.box.upper))
    block.cuts = pyo.ConstraintList()
    for cut in domain.cuts:
        value = sum(a * w for a, w in zip(cut.coefficients.tolist(), latent) if a != 0)
        block.cuts.add((cut.lower, value, cut.upper))
    return latent
