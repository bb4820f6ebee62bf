"""What the generators of all families draw: sizes over many decades, layers, and rescalings that change no function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch

from problems.interval import Vector
from proxies.layers import Affine, Layer

# Decades that weights and data span where they are extreme.
DECADES = 12.0
# The smallest normal number, about: a factor that turns ordinary weights into subnormal ones.
SUBNORMAL = 1e-310

Rng = np.random.Generator
T = TypeVar("T")


def chance(rng: Rng, share: float) -> bool:
    """Return True in this share of the draws."""
    return bool(rng.random() < share)


def pick(rng: Rng, values: Sequence[T]) -> T:
    """Return one of the values."""
    return values[int(rng.integers(len(values)))]


def decades(rng: Rng, low: float, high: float, size: int | None = None) -> Vector:
    """Return sizes whose logarithm is uniform between 10^low and 10^high; half of the time powers of two."""
    found = 10.0 ** rng.uniform(low, high, size)
    return np.asarray(2.0 ** np.round(np.log2(found)) if chance(rng, 0.5) else found)


def affine(weight: Vector, bias: Vector) -> Affine:
    """Return the layer weight h + bias, (m, n) or (n,) and (m,)."""
    return Affine(torch.as_tensor(np.ascontiguousarray(weight)), torch.as_tensor(np.ascontiguousarray(bias)))


def as_float32(layers: Sequence[Layer]) -> None:
    """Round all weights to float32, as most files hold them; what is too large for that stays."""
    with torch.no_grad():
        for layer in layers:
            for parameter in layer.parameters():
                rounded = parameter.float().double()
                parameter.copy_(torch.where(rounded.isfinite(), rounded, parameter))
