"""Exact mixed-integer encodings of a proxy's layers: one function per layer type.

Sources: Tjeng et al. 2019 (ReLU); Chen et al. 2024, eq. (11), (13) (clamp and hypersimplex, style "paper"). The style
"sign" is ours: one binary for the sign of the shift and one per generator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any, Literal

import numpy as np
import pyomo.environ as pyo
import torch
from numpy.typing import NDArray

from encoding.block import Encoded, Entry, Value, add_binaries, add_columns, is_number, linear, reach, rows
from encoding.bounds import Bounds, inner_key, input_key
from problems.interval import Interval, Vector, difference
from proxies.layers import Affine, Clamp, Hypersimplex, Layer, Relu
from solvers.pyomo_bridge import loosen

Style = Literal["sign", "paper"]


@singledispatch
def encode(
    layer: Layer,
    block: pyo.Block,
    inputs: Sequence[Value],
    source: Sequence[Value],
    bounds: Mapping[str, Interval],
    style: Style = "sign",
) -> Encoded:
    """Write a layer as linear rows and binaries such that, with its inputs fixed, its outputs are the forward pass.

    Args:
        layer: the layer.
        block: an empty Pyomo block, which gets the layer's variables and rows.
        inputs: (n_in,) the values that enter the layer.
        source: (n_w,) the proxy's own input, for repair layers that read it.
        bounds: "input" and "output" intervals of the layer, "source" of the proxy's own input where a layer reads it,
            and "inner" of the inner quantity of a layer that has one (see `inner_key`).
        style: which encoding, where a layer has several.

    Raises:
        NotImplementedError: no encoding is registered for the layer's type.
    """
    raise NotImplementedError(f"no encoding for a {type(layer).__name__} layer")


@encode.register
def _(
    layer: Affine,
    block: pyo.Block,
    inputs: Sequence[Value],
    source: Sequence[Value],
    bounds: Mapping[str, Interval],
    style: Style = "sign",
) -> Encoded:
    weight, bias = layer.matrix.detach().numpy(), layer.bias.detach().numpy()
    outputs = add_columns(block, "z", bounds["output"])
    equal = rows(block, "affine")
    error = layer.rounding(torch.as_tensor(bounds["input"].magnitude)).tolist()
    for i, value in enumerate(outputs):
        if not is_number(value):
            loosen(equal.add(value == linear(weight[i], inputs, float(bias[i]))), error[i])
    return Encoded(outputs)


@encode.register
def _(
    layer: Relu,
    block: pyo.Block,
    inputs: Sequence[Value],
    source: Sequence[Value],
    bounds: Mapping[str, Interval],
    style: Style = "sign",
) -> Encoded:
    z = bounds["input"]
    open_units = [i for i in range(len(z)) if z.lower[i] < 0 < z.upper[i]]
    outputs = relu_rows(block, "relu", inputs, z)
    return Encoded(outputs, {"input": [Entry(i, inputs[i], 0.0, 0.0, True) for i in open_units]})


def relu_rows(block: pyo.Block, name: str, inputs: Sequence[Value], z: Interval) -> list[Value]:
    """Return max(0, input) for each input, with z its interval; a binary only where the sign is open."""
    low, high = z.lower.tolist(), z.upper.tolist()
    unstable = [i for i in range(len(z)) if low[i] < 0 < high[i]]
    h = pyo.Var(unstable, bounds={i: (0.0, high[i]) for i in unstable})
    block.add_component(f"{name}_h", h)
    active = add_binaries(block, f"{name}_active", unstable)
    limit = rows(block, f"{name}_rows")
    for i in unstable:
        limit.add(h[i] >= inputs[i])
        limit.add(h[i] <= inputs[i] - low[i] * (1 - active[i]))
        limit.add(h[i] <= high[i] * active[i])
    return [h[i] if i in active else (inputs[i] if low[i] >= 0 else 0.0) for i in range(len(z))]


@encode.register
def _(
    layer: Clamp,
    block: pyo.Block,
    inputs: Sequence[Value],
    source: Sequence[Value],
    bounds: Mapping[str, Interval],
    style: Style = "sign",
) -> Encoded:
    limits = Interval(layer.lower.numpy(), layer.upper.numpy())
    z = bounds["input"]
    outputs = clamp_rows(block, "clamp", inputs, z, limits, style)
    cut = [i for i in np.flatnonzero(~stable_units(layer, z)).tolist() if not is_number(inputs[i])]
    low, high = limits.lower.tolist(), limits.upper.tolist()
    return Encoded(outputs, {"input": [Entry(i, inputs[i], low[i], high[i]) for i in cut]})


def _may_cut(z: Interval, limits: Interval, i: int) -> bool:
    low = z.lower[i] < limits.lower[i] < z.upper[i]
    high = z.lower[i] < limits.upper[i] < z.upper[i]
    return bool(low or high)


def clamp_rows(
    block: pyo.Block, name: str, inputs: Sequence[Value], z: Interval, limits: Interval, style: Style
) -> list[Value]:
    """Return min(max(input, lower), upper) for each input; a side that cannot act is left out."""
    if style == "paper":
        return _clamp_as_two_relus(block, name, inputs, z, limits)
    l, u, lo, hi = (part.tolist() for part in (z.lower, z.upper, limits.lower, limits.upper))  # noqa: E741
    outputs: list[Value] = [_constant_or_input(inputs[i], l[i], u[i], lo[i], hi[i]) for i in range(len(z))]
    acting = [i for i, value in enumerate(outputs) if value is None]
    p = pyo.Var(acting, bounds={i: (max(lo[i], l[i]), min(hi[i], u[i])) for i in acting})
    block.add_component(f"{name}_p", p)
    at_low = add_binaries(block, f"{name}_at_low", [i for i in acting if l[i] < lo[i]])
    at_high = add_binaries(block, f"{name}_at_high", [i for i in acting if u[i] > hi[i]])
    limit = rows(block, f"{name}_rows")
    for i in acting:
        outputs[i] = p[i]
        a, b = at_low.get(i, 0), at_high.get(i, 0)
        floor, ceiling = max(lo[i], l[i]), min(hi[i], u[i])
        # At a limit the row must come down to it: rounded the other way.
        below, above = difference(ceiling, lo[i])[0], difference(hi[i], floor)[0]
        limit.add(p[i] <= inputs[i] + reach(lo[i], l[i]) * a if i in at_low else p[i] <= inputs[i])
        limit.add(p[i] >= inputs[i] - reach(u[i], hi[i]) * b if i in at_high else p[i] >= inputs[i])
        if i in at_low:
            limit.add(p[i] <= ceiling - below * a)
        if i in at_high:
            limit.add(p[i] >= floor + above * b)
        if i in at_low and i in at_high:
            limit.add(a + b <= 1)
    return outputs


def _constant_or_input(value: Value, l: float, u: float, lo: float, hi: float) -> Value | None:  # noqa: E741
    if lo == hi or u <= lo:
        return lo
    if l >= hi:
        return hi
    return value if lo <= l and u <= hi else None


def _clamp_as_two_relus(
    block: pyo.Block, name: str, inputs: Sequence[Value], z: Interval, limits: Interval
) -> list[Value]:
    """Eq. (11): t = lower + relu(z - lower); p = upper - relu(upper - t)."""
    raised = _relu_above(block, f"{name}_low", inputs, z, limits.lower, 1.0)
    z = Interval(np.maximum(z.lower, limits.lower), np.maximum(z.upper, limits.lower))
    return _relu_above(block, f"{name}_high", raised, z, limits.upper, -1.0)


def _relu_above(
    block: pyo.Block, name: str, inputs: Sequence[Value], z: Interval, limit: Vector, sign: float
) -> list[Value]:
    """Return limit + sign * relu(sign * (input - limit)) for each input; unchanged where the limit is infinite."""
    outputs: list[Value] = list(inputs)
    finite = np.flatnonzero(np.isfinite(limit))
    ends = np.stack([sign * (z.lower - limit), sign * (z.upper - limit)])[:, finite]
    beyond = Interval(ends.min(0), ends.max(0))
    part = pyo.Block(concrete=True)
    block.add_component(name, part)
    difference = add_columns(part, "difference", beyond)
    value = add_columns(part, "value", _sorted(limit[finite], limit[finite] + sign * np.maximum(beyond.upper, 0.0)))
    equal = rows(part, "equal")
    for k, i in enumerate(finite):
        if not is_number(difference[k]):
            equal.add(difference[k] == sign * (outputs[i] - limit[i]))
    for k, h in enumerate(relu_rows(part, "relu", difference, beyond)):
        if not is_number(value[k]):
            equal.add(value[k] == float(limit[finite[k]]) + sign * h)
        outputs[finite[k]] = value[k]
    return outputs


def _sorted(a: Vector, b: Vector) -> Interval:
    return Interval(np.minimum(a, b), np.maximum(a, b))


@encode.register
def _(
    layer: Hypersimplex,
    block: pyo.Block,
    inputs: Sequence[Value],
    source: Sequence[Value],
    bounds: Mapping[str, Interval],
    style: Style = "sign",
) -> Encoded:
    limits = Interval(layer.lower.numpy(), layer.upper.numpy())
    shift_range = bounds["inner"]
    shift = add_columns(block, "shift", shift_range)[0]
    rounding = float(layer.rounding(torch.as_tensor(bounds["source"].magnitude)))
    if style == "paper":
        outputs = _hypersimplex_paper(block, inputs, bounds["input"], limits, shift, shift_range, rounding)
    else:
        outputs = _hypersimplex_sign(block, inputs, bounds, limits, shift, rounding)
    demand = linear(layer.demand_weight.numpy(), source, float(layer.demand_constant))
    total = linear(np.ones(len(outputs)), outputs)
    if not (is_number(total) and is_number(demand)):
        block.balance = pyo.Constraint(expr=total == demand)
        loosen(block.balance, rounding)
    output = [Entry(i, value) for i, value in enumerate(outputs) if not is_number(value)]
    return Encoded(outputs, {"inner": [] if is_number(shift) else [Entry(0, shift)], "output": output})


def _hypersimplex_paper(
    block: pyo.Block,
    inputs: Sequence[Value],
    before: Interval,
    limits: Interval,
    shift: Value,
    range_: Interval,
    rounding: float,
) -> list[Value]:
    """Eq. (13a): a second clamp, of input + shift."""
    moved = Interval(before.lower + range_.lower[0] - rounding, before.upper + range_.upper[0] + rounding)
    sums = add_columns(block, "moved", moved)
    equal = rows(block, "move")
    for i, value in enumerate(sums):
        if not is_number(value):
            loosen(equal.add(value == inputs[i] + shift), rounding)
    return clamp_rows(block, "clamp", sums, moved, limits, "paper")


def _hypersimplex_sign(
    block: pyo.Block,
    inputs: Sequence[Value],
    bounds: Mapping[str, Interval],
    limits: Interval,
    shift: Value,
    rounding: float,
) -> list[Value]:
    """Sign form: the inputs are inside the limits, so a positive shift can only meet upper ones, a negative lower ones.

    p = input + shift - excess_up + excess_down, with an excess only at a generator that is held at its limit.
    """
    before, after, range_ = bounds["input"], bounds["output"], bounds["inner"]
    least, most = float(range_.lower[0]), float(range_.upper[0])
    lo, hi = limits.lower.tolist(), limits.upper.tolist()
    floor = np.maximum(limits.lower, after.lower)
    ceiling = np.minimum(limits.upper, after.upper)
    outputs = add_columns(block, "p", Interval(floor, np.maximum(floor, ceiling)))
    # The largest excess of each generator; none where the limit cannot be met.
    up = np.where((most > 0) & (after.upper >= limits.upper), before.upper + most - limits.upper + rounding, 0.0)
    down = np.where((least < 0) & (after.lower <= limits.lower), limits.lower - before.lower - least + rounding, 0.0)
    movable = [i for i in range(len(before)) if lo[i] < hi[i]]
    can_up = [i for i in movable if up[i] > 0]
    can_down = [i for i in movable if down[i] > 0]
    held = add_binaries(block, "held", sorted({*can_up, *can_down}))
    both_signs = least < 0 < most
    positive: Any = pyo.Var(domain=pyo.Binary) if both_signs else float(most > 0)
    if both_signs:
        block.positive = positive
        block.shift_up, block.shift_down = pyo.Var(bounds=(0, most)), pyo.Var(bounds=(0, -least))
        block.parts = pyo.Constraint(expr=shift == block.shift_up - block.shift_down)
        block.only_up = pyo.Constraint(expr=block.shift_up <= most * positive)
        block.only_down = pyo.Constraint(expr=block.shift_down <= -least * (1 - positive))
        raised, lowered = block.shift_up, block.shift_down
    else:
        raised, lowered = (shift, 0.0) if most > 0 else (0.0, -shift)
    excess_up = pyo.Var(can_up, bounds={i: (0.0, float(up[i])) for i in can_up})
    excess_down = pyo.Var(can_down, bounds={i: (0.0, float(down[i])) for i in can_down})
    block.excess_up, block.excess_down = excess_up, excess_down
    row = rows(block, "rows")
    for i in movable:
        moved = inputs[i] + shift
        if i in can_up:
            moved = moved - excess_up[i]
            row.add(excess_up[i] <= float(up[i]) * held[i])
            row.add(excess_up[i] <= raised)
            row.add(outputs[i] >= hi[i] - reach(hi[i], floor[i]) * (1 - held[i] + (1 - positive)))
        if i in can_down:
            moved = moved + excess_down[i]
            row.add(excess_down[i] <= float(down[i]) * held[i])
            row.add(excess_down[i] <= lowered)
            row.add(outputs[i] <= lo[i] + reach(ceiling[i], lo[i]) * (1 - held[i] + positive))
        expression = outputs[i] - moved
        if not is_number(expression):
            loosen(row.add(expression == 0), rounding)
    return outputs


def encode_layers(
    layers: Sequence[Layer],
    block: pyo.Block,
    source: Sequence[Value],
    bounds: Bounds,
    style: Style = "sign",
) -> Encoded:
    """Encode layers one after the other on sub-blocks of `block`.

    Args:
        layers: as they follow each other.
        block: gets one sub-block a layer.
        source: (n_w,) values that enter the first layer.
        bounds: of every layer's inputs and inner quantity, and of the last one's outputs.
        style: see `encode`.

    Returns:
        The last layer's outputs, and the targets under the names that `Bounds` uses.
    """
    values: list[Value] = list(source)
    targets: dict[str, list[Entry]] = {}
    for k, layer in enumerate(layers):
        part = pyo.Block(concrete=True)
        block.add_component(f"layer{k}", part)
        after = bounds[input_key(k + 1)]
        if isinstance(layer, Affine) and k + 1 < len(layers):
            after = settled(layers[k + 1], after)
        local = {"input": bounds[input_key(k)], "output": after, "source": bounds.box}
        if inner_key(k) in bounds:
            local["inner"] = bounds[inner_key(k)]
        encoded = encode(layer, part, values, source, local, style)
        values = encoded.outputs
        names = {"input": input_key(k), "output": input_key(k + 1), "inner": inner_key(k)}
        for name, found in encoded.targets.items():
            targets.setdefault(names[name], []).extend(found)
    return Encoded(values, targets)


@singledispatch
def settled(layer: Layer, z: Interval) -> Interval:
    """Return the inputs' limits ((n,)) with every input whose value cannot matter put at one value of its interval.

    A unit that is off needs no column, and the dense row that would define it can go.
    """
    return z


@settled.register
def _(layer: Relu, z: Interval) -> Interval:
    return Interval(z.lower, np.where(z.upper <= 0, z.lower, z.upper))


@settled.register
def _(layer: Clamp, z: Interval) -> Interval:
    below, above = z.upper <= layer.lower.numpy(), z.lower >= layer.upper.numpy()
    return Interval(np.where(above & ~below, z.upper, z.lower), np.where(below, z.lower, z.upper))


@singledispatch
def stable_units(layer: Layer, z: Interval) -> NDArray[np.bool_]:
    """Return which units ((n,)) need no binary when their inputs are in `z`."""
    return np.ones(len(z), dtype=bool)


@stable_units.register
def _(layer: Relu, z: Interval) -> NDArray[np.bool_]:
    return (z.lower >= 0) | (z.upper <= 0)


@stable_units.register
def _(layer: Clamp, z: Interval) -> NDArray[np.bool_]:
    limits = Interval(layer.lower.numpy(), layer.upper.numpy())
    return np.array([limits.width[i] == 0 or not _may_cut(z, limits, i) for i in range(len(z))], dtype=bool)
