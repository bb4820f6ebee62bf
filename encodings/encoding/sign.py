"""Sign layers inside a model: a binary for each unit whose sign is open.

The model is closed: at 0 it allows both signs, though sign(0) = 1. For a bound that is right. A model with a margin
(`encoding.margin`) leaves out the slab around 0: its points are witnesses that replay.

Source: Tjeng et al. 2019 (the rows of a ReLU), with a jump in place of the kink.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray

from encoding.block import Encoded, Entry, Value, add_binaries, rows
from encoding.layers import Style, encode, settled, stable_units
from encoding.margin import margin_of
from problems.interval import Interval
from proxies.layers import Sign


@encode.register
def _(
    layer: Sign,
    block: pyo.Block,
    inputs: Sequence[Value],
    source: Sequence[Value],
    bounds: Mapping[str, Interval],
    style: Style = "sign",
) -> Encoded:
    z, known = bounds["input"], bounds["output"]
    low, high = z.lower.tolist(), z.upper.tolist()
    # What the outputs' own limits say: they hold nothing but -1 and 1.
    positive: dict[int, Value] = dict.fromkeys(np.flatnonzero((z.lower >= 0) | (known.lower > -1)).tolist(), 1.0)
    positive |= dict.fromkeys(np.flatnonzero((z.upper < 0) | (known.upper < 1)).tolist(), 0.0)
    open_units = [i for i in range(len(z)) if i not in positive]
    positive |= add_binaries(block, "positive", open_units)
    signs = pyo.Var(open_units, bounds=(-1, 1))
    block.add_component("sign", signs)
    row = rows(block, "rows")
    for i in np.flatnonzero(~_decided(z)).tolist():
        clear = margin_of(block) * (high[i] - low[i])
        row.add(inputs[i] >= clear + (low[i] - clear) * (1 - positive[i]))
        row.add(inputs[i] <= -clear + (high[i] + clear) * positive[i])
    for i in open_units:
        row.add(signs[i] == 2 * positive[i] - 1)
    outputs = [signs[i] if i in signs else 2 * positive[i] - 1 for i in range(len(z))]
    return Encoded(outputs, {"input": [Entry(i, inputs[i], 0.0, 0.0, True) for i in open_units]})


def _decided(z: Interval) -> NDArray[np.bool_]:
    return (z.lower >= 0) | (z.upper < 0)


@settled.register
def _(layer: Sign, z: Interval) -> Interval:
    return Interval(z.lower, np.where(_decided(z), z.lower, z.upper))


@stable_units.register
def _(layer: Sign, z: Interval) -> NDArray[np.bool_]:
    return _decided(z)
