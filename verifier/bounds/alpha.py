"""alpha-CROWN: back-substitution whose free slopes are optimised, for a batch of sub-domains at once.

Source: Xu et al. 2021 (Fast and complete). Any slope in [0, 1] gives a valid bound, so the optimiser need not converge;
bounds are evaluated with the same outward rounding as CROWN's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from proxies.layers import Affine, Hypersimplex, Layer, SortRepair
from verifier.bounds.adam import Adam
from verifier.bounds.crown import LayerBoxes, quantity_box
from verifier.bounds.relaxation import SLOPED, Box, inner_box, propagate

# Adam's rate on the slopes and its steps: on the shipped proxies later steps move bounds by less than 1 %.
RATE, STEPS = 0.1, 20


def alpha_boxes(layers: Sequence[Layer], known: LayerBoxes, steps: int = STEPS) -> LayerBoxes:
    """Tighten the bounds of every layer over a batch of latent boxes, layer by layer, with optimised slopes.

    Args:
        layers: the proxy on the latent vector.
        known: valid bounds, as CROWN gives them; their device is used.
        steps: of the optimiser, a layer.
    """
    known = LayerBoxes(list(known.inputs), list(known.inner), known.empty)
    for k, layer in enumerate(layers):
        if k > 0 and isinstance(layer, (Affine, Hypersimplex)):
            out = known.inputs[k + 1]
            eye = torch.eye(out.lower.shape[1], dtype=out.lower.dtype, device=out.lower.device)
            known.inputs[k + 1] = optimised_box(layers[: k + 1], known, out, eye, None, None, steps)
        elif isinstance(layer, SortRepair):
            # The differences themselves are not optimised; they follow the scores.
            inner, old = inner_box(layer, known.inputs[k], known.source), known.inner[k]
            assert inner is not None
            known.inner[k] = inner = inner if old is None else inner.intersect(old)
            known.inputs[k + 1] = known.inputs[k + 1].intersect(propagate(layer, known.inputs[k], known.source, inner))
    return known


def optimised_box(
    layers: Sequence[Layer],
    known: LayerBoxes,
    out: Box,
    of_decision: Tensor,
    of_latent: Tensor | None,
    constant: Tensor | None,
    steps: int = STEPS,
) -> Box:
    """Bound linear quantities as `quantity_box` does, by the best of several slopes; never looser than its bounds."""
    starts = {
        k: (known.inputs[k].upper > -known.inputs[k].lower).to(out.lower)
        for k, layer in enumerate(layers)
        if isinstance(layer, SLOPED)
    }
    best = quantity_box(layers, known, out, of_decision, of_latent, constant)
    if out.lower.shape == best.lower.shape and of_latent is None:
        best = best.intersect(out)
    if not starts:
        return best
    slopes = {k: start.clone().requires_grad_(True) for k, start in starts.items()}
    optimiser = Adam(list(slopes.values()), RATE)
    for _ in range(steps):
        with torch.enable_grad():
            box = quantity_box(layers, known, out, of_decision, of_latent, constant, slopes)
            width = (box.upper - box.lower).sum()
            width.backward()
        best = best.intersect(replace(box, lower=box.lower.detach(), upper=box.upper.detach()))
        optimiser.step()
        with torch.no_grad():
            for slope in slopes.values():
                slope.clamp_(0.0, 1.0)
    return best
