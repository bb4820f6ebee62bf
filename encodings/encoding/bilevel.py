"""The bilevel baseline: the compact formulation plus the optimality conditions of the inner problem.

Source: Chen et al. 2024, eq. (4), (15)-(17), after Nellikkath and Chatzivasileiadis 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

from encoding.bounds import Bounds
from encoding.compact import gap_skeleton
from encoding.formulation import GapModel, finish
from encoding.layers import Style
from encoding.problem import encode_optimality
from problems.domain import Domain
from problems.parametric import ParametricProblem
from proxies.layers import Layer


def bilevel_model(
    layers: Sequence[Layer],
    problem: ParametricProblem,
    domain: Domain,
    bounds: Bounds,
    style: Style = "sign",
    ratio: float = 0.0,
    cutoff: float | None = None,
) -> GapModel:
    """Build the bilevel formulation; arguments as `compact_model`. Its optimum is that of the compact one."""
    model, latent, optimum = gap_skeleton(layers, problem, domain, bounds, style, ratio, cutoff)
    encode_optimality(problem, model.optimum, domain, latent, optimum)
    scale = problem.objective_scale
    return finish(model, scale, latent, optimum.values, domain.centre, model.certigap_targets)
