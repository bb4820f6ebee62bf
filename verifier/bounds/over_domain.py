"""Bounds of a proxy and of its problem's quantities over one domain, by the method asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch

from encoding.bounds import Bounds, inner_key, input_key
from encoding.problem import linear_quantities, quantity_bounds
from problems.domain import Domain
from problems.interval import Interval
from problems.parametric import ParametricProblem
from proxies.layers import Layer
from verifier.bounds.alpha import alpha_boxes
from verifier.bounds.crown import layer_boxes, quantity_box
from verifier.bounds.relaxation import Box

Method = Literal["interval", "crown", "alpha"]


def proxy_bounds(
    layers: Sequence[Layer],
    problem: ParametricProblem,
    domain: Domain,
    method: Method = "crown",
    given: Mapping[str, Interval] | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> Bounds:
    """Return the bounds of a proxy and of its problem's quantities over one domain.

    Args:
        layers: the proxy on the latent vector.
        problem: adds its own quantities (such as branch flows).
        domain: its box counts; its cuts are not used, which is safe.
        method: "interval", "crown" or "alpha" (slower, tighter where many units are unstable).
        given: bounds known beforehand, with which all are intersected.
        enough: see `layer_boxes`.
    """
    given = given or {}
    box = domain.box
    source = Box(torch.as_tensor(box.lower)[None], torch.as_tensor(box.upper)[None])
    with torch.no_grad():
        known = layer_boxes(layers, source, "interval" if method == "interval" else "crown", given, enough)
        if method == "alpha":
            known = alpha_boxes(layers, known)
        bounds = Bounds(dict(given)).tightened(input_key(0), box)
        for k, found in enumerate(known.inputs):
            bounds = bounds.tightened(input_key(k), _interval(found))
        for k, inner in enumerate(known.inner):
            if inner is not None:
                bounds = bounds.tightened(inner_key(k), _interval(inner))
        for key, interval in quantity_bounds(problem, domain, bounds[input_key(len(layers))]).items():
            bounds = bounds.tightened(key, interval)
        if method != "interval":
            for key, quantity in linear_quantities(problem, domain).items():
                parts = (quantity.of_decision, quantity.of_latent, quantity.constant)
                of_decision, of_latent, constant = (torch.as_tensor(part) for part in parts)
                found = quantity_box(layers, known, known.inputs[-1], of_decision, of_latent, constant)
                lower, upper = found.lower[0].numpy(), found.upper[0].numpy()
                bounds = bounds.tightened(key, Interval(lower - quantity.error, upper + quantity.error))
    return replace(bounds, empty=bounds.empty or bool(known.empty[0]))


def _interval(box: Box) -> Interval:
    return Interval(box.lower[0].numpy().copy(), box.upper[0].numpy().copy())
