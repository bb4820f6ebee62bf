"""Bounds of a proxy over a batch of latent boxes: intervals forward, CROWN backward, both rounded outward.

Sources: Zhang et al. 2018 (CROWN), Singh et al. 2019 (DeepPoly).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from encoding.bounds import inner_key, input_key
from problems.interval import Interval
from proxies.errors import NetworkOverflowError
from proxies.layers import Affine, Hypersimplex, Layer, SortRepair
from proxies.layers.sort_repair import pairs
from solvers.safe_bound import UNDERFLOW, gamma
from verifier.bounds.relaxation import Box, inner_box, propagate, relax

# Quantities that are bounded together: each holds a row of coefficients of the latent vector.
ROWS = 8192


@dataclass(frozen=True)
class LayerBoxes:
    """Limits of every layer's inputs (the last: of the outputs) and inner quantity, for a batch of latent boxes.

    Attributes:
        inputs, inner: the limits.
        empty: (batch,) where two limits of one value have nothing in common: no input is there.
    """

    inputs: list[Box]
    inner: list[Box | None]
    empty: Tensor

    @property
    def source(self) -> Box:
        return self.inputs[0]


@dataclass(frozen=True)
class LinearForm:
    """of_values h + of_latent w + constant - error: (batch, m, n), (batch, m, n_w), (batch, m), (batch, m)."""

    of_values: Tensor
    of_latent: Tensor
    constant: Tensor
    error: Tensor


def layer_boxes(
    layers: Sequence[Layer],
    source: Box,
    method: Literal["interval", "crown"] = "crown",
    given: Mapping[str, Interval] | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> LayerBoxes:
    """Bound every layer over a batch of latent boxes.

    Args:
        layers: the proxy on the latent vector.
        source: (batch, n_w) latent boxes.
        method: "interval" only, or intersected with "crown".
        given: bounds known beforehand, by the names of `Bounds`; each layer starts from the tighter ones.
        enough: asked between two batches of score differences; True leaves the rest of them as they are.

    Raises:
        NetworkOverflowError: a layer's values may overflow float64.
    """
    given = given or {}
    known = LayerBoxes([source], [], torch.zeros(len(source.lower), dtype=torch.bool, device=source.lower.device))

    def common(box: Box, other: Box | None) -> Box:
        if other is None:
            return box
        known.empty.logical_or_(box.is_apart(other))
        return box.intersect(other)

    for k, layer in enumerate(layers):
        inner = inner_box(layer, known.inputs[k], source)
        if inner is not None:
            inner = common(inner, _given(given, inner_key(k), inner))
            if method == "crown" and isinstance(layer, SortRepair):
                inner = _differences(layers[:k], known, inner, layer.weights.numel(), enough)
        known.inner.append(inner)
        out = propagate(layer, known.inputs[k], source, inner)
        _check_finite(layer, k, out)
        out = common(out, _given(given, input_key(k + 1), out))
        if method == "crown" and k > 0 and isinstance(layer, (Affine, Hypersimplex)):
            eye = torch.eye(out.lower.shape[1], dtype=out.lower.dtype, device=out.lower.device)
            out = common(out, quantity_box(layers[: k + 1], known, out, eye, None, None))
        known.inputs.append(out)
    return known


def _check_finite(layer: Layer, k: int, out: Box) -> None:
    if bool((out.lower.isfinite() & out.upper.isfinite()).all()):
        return
    wrong = (~(out.lower.isfinite() & out.upper.isfinite())).any(0).nonzero()[0].item()
    raise NetworkOverflowError(
        f"output {wrong} of layer {k} ({type(layer).__name__}, counted from the input) may overflow float64 for some "
        "input of the set; scale the network's weights or take a smaller set"
    )


def _differences(layers: Sequence[Layer], known: LayerBoxes, found: Box, count: int, enough: Callable[[], bool]) -> Box:
    """Return tighter limits of those score differences whose sign is open in some box of the batch."""
    first, second = pairs(count, found.lower.device)
    rows = torch.nonzero(((found.lower < 0) & (found.upper >= 0)).any(0))[:, 0]
    lower, upper = found.lower.clone(), found.upper.clone()
    eye = torch.eye(count, dtype=lower.dtype, device=lower.device)
    for some in rows.split(ROWS):
        if enough():
            break
        box = Box(lower[:, some], upper[:, some])
        tighter = quantity_box(layers, known, known.inputs[-1], eye[first[some]] - eye[second[some]], None, None)
        box = box.intersect(tighter)
        lower[:, some], upper[:, some] = box.lower, box.upper
    return Box(lower, upper)


def quantity_box(
    layers: Sequence[Layer],
    known: LayerBoxes,
    out: Box,
    of_decision: Tensor,
    of_latent: Tensor | None,
    constant: Tensor | None,
    slopes: Mapping[int, Tensor] | None = None,
) -> Box:
    """Bound linear quantities of the last layer's outputs and the latent vector by back-substitution.

    Args:
        layers: from the latent vector to the outputs.
        known: limits of every layer's inputs.
        out: (batch, n) limits of the outputs.
        of_decision: (m, n); of_latent: (m, n_w) or None; constant: (m,) or None.
        slopes: see `relax`, by layer.
    """
    batch, width = known.source.lower.shape
    m = of_decision.shape[0]
    zeros = known.source.lower.new_zeros
    a = of_decision.expand(batch, m, -1)
    c = zeros(batch, m, width) if of_latent is None else of_latent.expand(batch, m, width)
    b = zeros(batch, m) if constant is None else constant.expand(batch, m)
    low = lower_bound(layers, known, out, LinearForm(a, c, b, zeros(batch, m)), slopes)
    high = lower_bound(layers, known, out, LinearForm(-a, -c, -b, zeros(batch, m)), slopes)
    return Box(low, -high)


def lower_bound(
    layers: Sequence[Layer],
    known: LayerBoxes,
    out: Box,
    form: LinearForm,
    slopes: Mapping[int, Tensor] | None = None,
    limits: Mapping[int, Tensor] | None = None,
) -> Tensor:
    """Return (batch, m) a number below the form for every latent vector in its box.

    Args:
        layers, known, out: as for `quantity_box`.
        form: of the last layer's outputs and the latent vector.
        slopes: see `relax`, by layer.
        limits: by layer, multipliers ((2, batch, n), not negative) of the lower and the upper limits of its inputs,
            as shares of the form's own coefficients there.
    """
    for k in range(len(layers) - 1, -1, -1):
        layer, box = layers[k], known.inputs[k]
        if isinstance(layer, Affine):
            form = _through_affine(layer, box, form)
            continue
        if isinstance(layer, Hypersimplex):
            after = out if k == len(layers) - 1 else known.inputs[k + 1]
            form = _without_balance(layer, after, known.source, form)
        slope = None if slopes is None else slopes.get(k)
        form = _through_lines(layer, box, known.inner[k], slope, form)
        if limits is not None and k in limits:
            form = _with_limits(box, limits[k], form)
    source = known.source
    total = form.of_values + form.of_latent
    least = torch.minimum(total * source.lower[:, None], total * source.upper[:, None])
    size = (total.abs() @ source.magnitude[:, :, None])[..., 0] + form.constant.abs()
    error = form.error + gamma(total.shape[-1] + 4) * size + UNDERFLOW
    # A form that overflows says nothing.
    return (least.sum(-1) + form.constant - error).nan_to_num(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)


def _through_affine(layer: Affine, box: Box, form: LinearForm) -> LinearForm:
    weight, bias = layer.matrix.detach().to(box.lower), layer.bias.detach().to(box.lower)
    error = torch.einsum("bmn,bn->bm", form.of_values.abs(), layer.rounding(box.magnitude, more=weight.shape[0]))
    return LinearForm(
        form.of_values @ weight, form.of_latent, form.constant + form.of_values @ bias, form.error + error
    )


def _through_lines(layer: Layer, box: Box, inner: Box | None, slope: Tensor | None, form: LinearForm) -> LinearForm:
    lines = relax(layer, box, inner, slope)
    up, down = form.of_values.clamp(min=0), form.of_values.clamp(max=0)
    values = up * lines.low_slope[:, None] + down * lines.high_slope[:, None]
    cuts = torch.einsum("bmn,bn->bm", up, lines.low_cut) + torch.einsum("bmn,bn->bm", down, lines.high_cut)
    # A line's cut is computed from the ends of the box: its rounding is relative to their size, and so is a slope's.
    steep = torch.maximum(lines.low_slope, lines.high_slope).clamp(min=1.0)
    reach = 8 * (steep * box.magnitude + lines.low_cut.abs() + lines.high_cut.abs()) + UNDERFLOW
    error = gamma(values.shape[-1]) * torch.einsum("bmn,bn->bm", form.of_values.abs(), reach)
    return LinearForm(values, form.of_latent, form.constant + cuts, form.error + error)


def _with_limits(box: Box, multipliers: Tensor, form: LinearForm) -> LinearForm:
    """Subtract multipliers times (h - lower) and (upper - h), which are not negative, from a form of h."""
    # In units of the form, so that one step size suits all; the unit itself is no variable of the optimiser.
    unit = form.of_values.detach().abs().mean(-1, keepdim=True)
    low, high = multipliers[0][:, None] * unit, multipliers[1][:, None] * unit
    constant = form.constant + (low * box.lower[:, None]).sum(-1) - (high * box.upper[:, None]).sum(-1)
    error = gamma(low.shape[-1] + 8) * ((low + high) * box.magnitude[:, None]).sum(-1) * 4
    return LinearForm(form.of_values - low + high, form.of_latent, constant, form.error + error)


def _without_balance(layer: Hypersimplex, out: Box, source: Box, form: LinearForm) -> LinearForm:
    """Take mu times (sum of outputs = demand) out of the form: mu is the median coefficient, weighted by the ranges."""
    a = form.of_values
    order = a.argsort(-1)
    width = (out.upper - out.lower)[:, None].expand_as(a).gather(-1, order).cumsum(-1)
    middle = (width < width[..., -1:] / 2).sum(-1, keepdim=True).clamp(max=a.shape[-1] - 1)
    mu = a.gather(-1, order).gather(-1, middle)
    weight, constant = layer.demand_weight.to(a), layer.demand_constant.to(a)
    limits = (layer.lower.abs().sum() + layer.upper.abs().sum()).to(a)
    size = out.magnitude.sum(-1, keepdim=True) + limits + (source.magnitude @ weight.abs())[:, None] + constant.abs()
    error = gamma(sum(a.shape[-1:]) + weight.numel()) * mu[..., 0].abs() * size
    return LinearForm(a - mu, form.of_latent + mu * weight, form.constant + mu[..., 0] * constant, form.error + error)


def _given(given: Mapping[str, Interval], key: str, like: Box) -> Box | None:
    if key not in given:
        return None
    lower, upper = (torch.as_tensor(end).to(like.lower)[None] for end in (given[key].lower, given[key].upper))
    return Box(lower, upper)
