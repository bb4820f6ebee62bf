"""Linear relaxations of the layers, batched over sub-domains: the common ground of intervals and CROWN.

Sources: Zhang et al. 2018 (CROWN), Singh et al. 2019 (DeepPoly). The relaxation of the hypersimplex is ours: a clamp
of its input plus the interval of its shift, after a multiple of the balance row has been taken out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor

from problems.interval import APART
from proxies.layers import Affine, Clamp, Hypersimplex, Layer, Relu, Sign, SortRepair
from proxies.layers.hypersimplex import shift_to_demand
from proxies.layers.sort_repair import certainly_before, pairs, sort_repair
from solvers.safe_bound import gamma

# Layers whose lines have a free slope, see `relax`.
SLOPED = (Relu, Sign)
# Of a line at a sign: a steeper one says something only this close to the jump, and costs digits.
STEEPEST = 1e6


@dataclass(frozen=True)
class Box:
    """Element-wise limits of a batch of vectors: (batch, n) each."""

    lower: Tensor
    upper: Tensor

    @property
    def magnitude(self) -> Tensor:
        return torch.maximum(self.lower.abs(), self.upper.abs())

    def intersect(self, other: Box) -> Box:
        """Return the common part; an end that is not a number (where a bound overflowed) says nothing.

        Where the two are apart nothing is inside both; the point between them then stands for what is not there.
        """
        lower, upper = torch.fmax(self.lower, other.lower), torch.fmin(self.upper, other.upper)
        middle = lower / 2 + upper / 2
        crossed = lower > upper
        return Box(torch.where(crossed, middle, lower), torch.where(crossed, middle, upper))

    def is_apart(self, other: Box) -> Tensor:
        """Return for each of the batch whether an entry has no value in both, by more than rounding ((batch,))."""
        lower, upper = torch.fmax(self.lower, other.lower), torch.fmin(self.upper, other.upper)
        return (lower - upper > APART * torch.fmax(lower.abs(), upper.abs())).any(-1)


@dataclass(frozen=True)
class Lines:
    """low_slope h + low_cut <= layer(h) <= high_slope h + high_cut, entry by entry: (batch, n) each."""

    low_slope: Tensor
    low_cut: Tensor
    high_slope: Tensor
    high_cut: Tensor


# ---------------------------------------------------------------------------------------------- intervals


@singledispatch
def inner_box(layer: Layer, box: Box, source: Box) -> Box | None:
    """Return the interval of a layer's inner quantity (see `encoding.bounds.inner_key`); None where it has none.

    Args:
        layer: the layer.
        box: (batch, n_in) limits of its inputs.
        source: (batch, n_w) limits of the latent vector.
    """
    return None


@singledispatch
def propagate(layer: Layer, box: Box, source: Box, inner: Box | None = None) -> Box:
    """Return the interval of a layer's outputs.

    Args:
        layer, box, source: as for `inner_box`.
        inner: limits of its inner quantity, if it has one.
    """
    raise NotImplementedError(f"no interval rule for a {type(layer).__name__} layer")


@propagate.register
def _(layer: Affine, box: Box, source: Box, inner: Box | None = None) -> Box:
    weight, bias = layer.matrix.detach().to(box.lower), layer.bias.detach().to(box.lower)
    middle, radius = box.lower / 2 + box.upper / 2, box.upper / 2 - box.lower / 2
    centre, spread = middle @ weight.T + bias, radius @ weight.abs().T
    error = layer.rounding(box.magnitude)
    known = box.lower == box.upper
    if bool(known.any()):
        error = torch.where(layer.exact_at(middle, known), 0.0, error)
    return Box(centre - spread - error, centre + spread + error)


@propagate.register
def _(layer: Relu, box: Box, source: Box, inner: Box | None = None) -> Box:
    return Box(torch.relu(box.lower), torch.relu(box.upper))


@propagate.register
def _(layer: Sign, box: Box, source: Box, inner: Box | None = None) -> Box:
    return Box(layer(box.lower, source.lower), layer(box.upper, source.lower))


@propagate.register
def _(layer: Clamp, box: Box, source: Box, inner: Box | None = None) -> Box:
    low, high = layer.lower.to(box.lower), layer.upper.to(box.lower)
    ends = [torch.minimum(torch.maximum(end, low), high) for end in (box.lower, box.upper)]
    return Box(*ends)


@inner_box.register
def _(layer: Hypersimplex, box: Box, source: Box) -> Box | None:
    """The shift falls as any input rises, and rises with the demand."""
    low, high = layer.lower.to(box.lower), layer.upper.to(box.lower)
    demand = _demand(layer, source)
    shift = Box(
        shift_to_demand(box.upper, demand.lower[:, 0], low, high)[:, None],
        shift_to_demand(box.lower, demand.upper[:, 0], low, high)[:, None],
    )
    error = layer.rounding(source.magnitude)[:, None]
    return Box(shift.lower - error, shift.upper + error)


@propagate.register
def _(layer: Hypersimplex, box: Box, source: Box, inner: Box | None = None) -> Box:
    """Exact for independent inputs: an output rises with its own input and the demand, and falls with other inputs."""
    low, high = layer.lower.to(box.lower), layer.upper.to(box.lower)
    demand = _demand(layer, source)
    error = layer.rounding(source.magnitude)[:, None]
    return Box(
        _extreme_outputs(box.lower, box.upper, demand.lower[:, 0], low, high, error, -1.0),
        _extreme_outputs(box.upper, box.lower, demand.upper[:, 0], low, high, error, 1.0),
    )


@inner_box.register
def _(layer: SortRepair, box: Box, source: Box) -> Box | None:
    """The differences of the scores; a difference of two floats has the sign of the exact one."""
    first, second = pairs(layer.weights.numel(), box.lower.device)
    return Box(box.lower[:, first] - box.upper[:, second], box.upper[:, first] - box.lower[:, second])


@propagate.register
def _(layer: SortRepair, box: Box, source: Box, inner: Box | None = None) -> Box:
    """1 where all items that may come before leave room; 0 where those that certainly come before leave none.

    Where the order of all items is certain, and the whole part of the capacity, the choice is that of the forward pass.
    """
    inner = inner_box(layer, box, source) if inner is None else inner
    assert inner is not None
    weights = layer.weights.to(box.lower)
    capacity = _affine_range(layer.capacity_weight, layer.capacity_constant, source)
    before = certainly_before(inner.lower, inner.upper, weights.numel()).to(box.lower)
    others = 1.0 - torch.eye(weights.numel(), dtype=before.dtype, device=before.device)
    may_precede = (1.0 - before.transpose(-1, -2)) * others
    in_ = weights + torch.einsum("bji,j->bi", may_precede, weights) <= capacity.lower
    must_precede = torch.einsum("bji,j->bi", before, weights) if layer.greedy == "prefix" else 0.0
    out = weights + must_precede > capacity.upper
    certain = (before + before.transpose(-1, -2) + torch.eye(weights.numel()).to(before) > 0).all(-1).all(-1)
    certain = (certain & (capacity.lower.floor() == capacity.upper.floor())[:, 0])[:, None]
    choice = sort_repair((box.lower + box.upper) / 2, capacity.lower[:, 0], weights, layer.greedy)
    return Box(torch.where(certain, choice, in_.to(choice)), torch.where(certain, choice, (~out).to(choice)))


def _affine_range(weight: Tensor, constant: Tensor, source: Box) -> Box:
    """Return the interval of weight'w + constant ((batch, 1)), rounded outward."""
    a, c = weight.to(source.lower), constant.to(source.lower)
    ends = torch.stack([a * source.lower, a * source.upper])
    error = gamma(a.numel() + 2) * (source.magnitude @ a.abs() + c.abs())
    if bool((c == 0) & ((a != 0).sum() == 1) & (a.sum() == 1)):  # One entry as it is.
        error = torch.zeros_like(error)
    return Box((ends.amin(0).sum(-1) + c - error)[:, None], (ends.amax(0).sum(-1) + c + error)[:, None])


def _extreme_outputs(
    own: Tensor, others: Tensor, demand: Tensor, low: Tensor, high: Tensor, error: Tensor, sign: float
) -> Tensor:
    """Return each entry's output with its own input at `own`, the others at `others`: (batch, n)."""
    batch, n = own.shape
    eye = torch.eye(n, dtype=torch.bool, device=own.device)
    points = torch.where(eye, own[:, :, None], others[:, None, :]).reshape(batch * n, n)
    shift = shift_to_demand(points, demand.repeat_interleave(n), low, high).reshape(batch, n)
    return torch.minimum(torch.maximum(own + shift + sign * error, low), high)


def _demand(layer: Hypersimplex, source: Box) -> Box:
    """Return the demand's interval ((batch, 1)), within what the limits can serve."""
    demand = _affine_range(layer.demand_weight, layer.demand_constant, source)
    least, most = layer.lower.sum().to(source.lower), layer.upper.sum().to(source.lower)
    return Box(demand.lower.clamp(min=least, max=most), demand.upper.clamp(min=least, max=most))


# -------------------------------------------------------------------------------------- linear relaxations


@singledispatch
def relax(layer: Layer, box: Box, inner: Box | None, slope: Tensor | None) -> Lines:
    """Return lines below and above an element-wise layer.

    Args:
        layer: the layer.
        box: (batch, n) limits of its inputs.
        inner: limits of its inner quantity, if it has one.
        slope: (batch, n) in [0, 1], the free slope of the lower line of an open ReLU; at an open sign it leads from the
            steepest upper line with a flat lower one to the reverse. None for the usual choice.
    """
    raise NotImplementedError(f"no linear relaxation for a {type(layer).__name__} layer")


@relax.register
def _(layer: Relu, box: Box, inner: Box | None, slope: Tensor | None) -> Lines:
    low, high = box.lower, box.upper
    on, off = low >= 0, high <= 0
    chord = high / (high - low).clamp(min=torch.finfo(low.dtype).tiny)
    free = (high > -low).to(low) if slope is None else slope
    one, zero = torch.ones_like(low), torch.zeros_like(low)
    low_slope = torch.where(on, one, torch.where(off, zero, free))
    high_slope = torch.where(on, one, torch.where(off, zero, chord))
    return Lines(low_slope, zero, high_slope, torch.where(on | off, zero, -chord * low))


@relax.register
def _(layer: Sign, box: Box, inner: Box | None, slope: Tensor | None) -> Lines:
    """Lines through (0, -1) and (upper, 1) at most as steep, below; through (lower, -1) and (0, 1), above.

    Both values count at 0, so that the lines hold for either sign there.
    """
    low, high = box.lower, box.upper
    open_ = (low < 0) & (high >= 0)
    free = (high > -low).to(low) if slope is None else slope
    low_slope = torch.where(open_, free * 2 / high.clamp(min=2 / STEEPEST), 0.0)
    high_slope = torch.where(open_, (1 - free) * 2 / (-low).clamp(min=2 / STEEPEST), 0.0)
    ends = propagate(layer, box, box)
    return Lines(low_slope, ends.lower, high_slope, ends.upper)


@relax.register
def _(layer: Clamp, box: Box, inner: Box | None, slope: Tensor | None) -> Lines:
    return _clamp_lines(box, box, layer.lower.to(box.lower), layer.upper.to(box.lower))


@relax.register
def _(layer: Hypersimplex, box: Box, inner: Box | None, slope: Tensor | None) -> Lines:
    assert inner is not None, "a hypersimplex layer is relaxed with the interval of its shift"
    low, high = layer.lower.to(box.lower), layer.upper.to(box.lower)
    down = Box(box.lower + inner.lower, box.upper + inner.lower)
    up = Box(box.lower + inner.upper, box.upper + inner.upper)
    lines = _clamp_lines(down, up, low, high)
    return Lines(
        lines.low_slope,
        lines.low_cut + lines.low_slope * inner.lower,
        lines.high_slope,
        lines.high_cut + lines.high_slope * inner.upper,
    )


@relax.register
def _(layer: SortRepair, box: Box, inner: Box | None, slope: Tensor | None) -> Lines:
    """A choice jumps between 0 and 1: no line says more than that. Its interval rule says which entries are fixed."""
    zero = torch.zeros_like(box.lower)
    return Lines(zero, zero, zero, torch.ones_like(zero))


def _clamp_lines(below: Box, above: Box, lo: Tensor, hi: Tensor) -> Lines:
    """Return a line below clip(z, lo, hi) for z in `below` and one above it for z in `above`."""
    low_slope, low_cut = _line_under(below, lo, hi)
    # The line above is that below, seen upside down.
    slope, cut = _line_under(Box(-above.upper, -above.lower), -hi, -lo)
    return Lines(low_slope, low_cut, slope, -cut)


def _line_under(z: Box, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:
    """Return (slope, cut) of a line under clip(z, lo, hi) on its convex envelope: flat, or rising to z's end.

    The envelope is flat at the value of the left end until the lower limit, then a chord to the right end.
    """
    l, u = z.lower, z.upper  # noqa: E741
    lo = torch.maximum(lo, l - 1)  # Finite limits, same function on [l, u].
    hi = torch.minimum(hi, torch.maximum(u + 1, lo))
    start = torch.minimum(torch.maximum(l, lo), u)
    at_start = torch.minimum(torch.maximum(start, lo), hi)
    at_end = torch.minimum(torch.maximum(u, lo), hi)
    rise = ((at_end - at_start) / (u - start).clamp(min=torch.finfo(l.dtype).tiny)).clamp(0.0, 1.0)
    # Of the two lines through (start, at_start), the one with the larger mean over [l, u] is the closer one.
    steep = rise * ((l + u) / 2 - start) >= 0
    slope = torch.where((start <= l) | steep, rise, torch.zeros_like(rise))
    return slope, at_start - slope * start
