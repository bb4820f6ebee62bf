"""Random classifiers: ordinary ones, and those that strain arithmetic: scales, ties, kinks, dead units, lifted biases.

Every network first reads t = (x - mean) / spread, with t in about [-1, 1] over the inputs that count, so that its units
switch there whatever the scale of the features.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from benchmarks.soundness.draw import DECADES, SUBNORMAL, Rng, affine, as_float32, chance, decades, pick
from problems.classification import Classification
from problems.domain import Domain
from problems.interval import Vector
from proxies.classification import classification_proxy
from proxies.layers import Layer, Relu, Sign
from proxies.manifest import ClassificationSpec, Manifest
from proxies.proxy import Proxy

# How far the inputs reach, and how often extreme features and each of the other strains are drawn.
RADII = (0.0, 1e-9, 1e-3, 0.05, 0.1, 0.3, 0.5, 0.9)
EXTREME, STRAIN = 0.4, 0.12
STRAINS = (
    "whole", "copies", "zeros", "kinks", "dead", "subnormal", "units rescaled", "layer rescaled", "scores rescaled",
    "lifted",
)  # fmt: skip
# A bias that the next layer takes off again is 2 to one of these powers.
LIFTS = (20, 30, 40, 50, 53, 60)


def draw_classifier(rng: Rng) -> tuple[Proxy, Classification, Domain, float, tuple[str, ...]]:
    """Return a classifier, its sample, the inputs that count, u, and what is special about it."""
    traits = [strain for strain in STRAINS if chance(rng, STRAIN)]
    inputs = int(rng.integers(2, 7)) if chance(rng, 0.5) else 2
    u = pick(rng, RADII)
    mean, spread, limits = _features(rng, inputs, u, traits)
    kinds = pick(rng, ((Relu, Relu), (Relu, Relu), (Sign, Sign), (Relu, Sign), (Sign, Relu)))
    hidden = [int(rng.integers(1, 6)) for _ in range(int(rng.integers(1, 3)))]
    outputs = int(rng.integers(1, 5))
    parts = _weights(rng, [inputs, *hidden, outputs], traits)
    centre = mean if limits is None else np.clip(mean, *limits)
    layers = [*_first(rng, *parts[0], mean, spread, centre, u, traits)]
    for k, (weight, bias) in enumerate(parts[1:]):
        unit = kinds[k % 2]
        layers.append(unit())
        weight, bias = _rescaled(rng, layers, weight, bias, unit is Relu, traits)
        layers += _lifted(rng, weight, bias) if "lifted" in traits and chance(rng, 0.7) else [affine(weight, bias)]
    if chance(rng, 0.3):
        traits.append("float32")
        as_float32(layers)
    label = int(rng.integers(max(2, outputs)))
    extent = {} if limits is None else {"lower": tuple(limits[0].tolist()), "upper": tuple(limits[1].tolist())}
    spec = ClassificationSpec(centre=tuple(centre.tolist()), label=label, **extent)
    proxy, problem = classification_proxy(layers, Manifest(problem=spec))
    words = "-".join(unit.__name__.lower() for unit in kinds[: len(hidden)])
    return proxy, problem, problem.domain(u), u, (words, *traits)


def _features(
    rng: Rng, inputs: int, u: float, traits: list[str]
) -> tuple[Vector, Vector, tuple[Vector, Vector] | None]:
    """Return the features' centre, how far they reach from it, and their limits where they have some."""
    if not chance(rng, EXTREME):
        if chance(rng, 0.3):
            return rng.normal(size=inputs).round(2), np.full(inputs, max(u, 1e-3)), None
        mean, width = rng.normal(size=inputs), np.full(inputs, 2.0)
    else:
        traits.append("features")
        high = pick(rng, (1.0, 8.0, DECADES))
        width = decades(rng, -high, high, inputs) if chance(rng, 0.5) else np.full(inputs, decades(rng, -high, high))
        # Zero, of the size of the spread, or large against it.
        far = pick(rng, (0.0, 1.0, float(decades(rng, 0, 10))))
        mean = far * width * rng.normal(size=inputs)
    if chance(rng, 0.1):
        traits.append("a fixed feature")
        width[int(rng.integers(inputs))] = 0.0
    share = pick(rng, (0.5, 0.0, 0.3))  # 0: the centre lies on its lower limit.
    limits = (mean - share * width, mean - share * width + width)
    return mean, np.maximum(width * max(u, 1e-3), np.abs(mean) * 1e-12 + 1e-300), limits


def _weights(rng: Rng, sizes: list[int], traits: list[str]) -> list[tuple[Vector, Vector]]:
    """Return weight and bias of every layer, for inputs of about 1."""
    parts = []
    for k, (n, m) in enumerate(pairwise(sizes)):
        weight, bias = rng.normal(size=(m, n)), 0.7 * rng.normal(size=m)
        if "whole" in traits:
            weight, bias = np.clip(np.round(1.5 * weight), -2, 2), np.round(bias)
        if "zeros" in traits:
            weight[rng.random(weight.shape) < 0.4] = 0.0
            bias[rng.random(m) < 0.4] = 0.0
        if "copies" in traits and m > 1:
            source, copy = rng.choice(m, 2, replace=False)
            weight[copy], bias[copy] = weight[source], bias[source]
            if chance(rng, 0.5):
                bias[copy] = np.nextafter(bias[source], np.inf)
        if "subnormal" in traits:
            weight[rng.random(weight.shape) < 0.3] *= SUBNORMAL
            bias[rng.random(m) < 0.2] *= SUBNORMAL
        if "dead" in traits and k < len(sizes) - 2:
            bias[0] = -np.abs(weight[0]).sum() * 2 - 1.0
        parts.append((weight, bias))
        if "dead" in traits and k > 0:
            # What nobody ever sees may be of any size.
            weight[:, 0] *= float(pick(rng, (1.0, 1e6, 1e12, 1e38, 1e200)))
    return parts


def _first(
    rng: Rng, weight: Vector, bias: Vector, mean: Vector, spread: Vector, centre: Vector, u: float, traits: list[str]
) -> list[Layer]:
    """Return the layers from the features to the first pre-activations: one, or a standardisation in one or two."""
    if "kinks" in traits:
        # Some units switch exactly at the centre or at a corner.
        at = centre + pick(rng, (0.0, 1.0)) * rng.choice([-1.0, 1.0], size=len(mean)) * spread
        which = rng.random(len(bias)) < 0.6
        fused = weight / spread
        if chance(rng, 0.5):
            return [affine(fused, np.where(which, -(fused @ at), bias - fused @ mean))]
        bias = np.where(which, -(weight @ ((at - mean) / spread)), bias)
    way = pick(rng, ("fused", "fused", "standardised", "shifted, then scaled"))
    if way == "fused":
        return [affine(weight / spread, bias - (weight / spread) @ mean)]
    traits.append(way)
    if way == "standardised":
        return [affine(1 / spread, -mean / spread), affine(weight, bias)]
    return [affine(np.ones_like(mean), -mean), affine(1 / spread, np.zeros_like(mean)), affine(weight, bias)]


def _rescaled(
    rng: Rng, layers: list[Layer], weight: Vector, bias: Vector, homogeneous: bool, traits: list[str]
) -> tuple[Vector, Vector]:
    """Scale units of the last affine layer, and undo that in the weights behind: the function stays as it was."""
    last = layers[-2]
    factor = np.ones(weight.shape[1])
    if "units rescaled" in traits:
        factor = factor * decades(rng, -DECADES, DECADES, len(factor))
    if "layer rescaled" in traits:
        factor = factor * float(decades(rng, -DECADES, DECADES))
    if (factor != 1).any():
        layers[-2] = affine(last.matrix.detach().numpy() * factor[:, None], last.bias.detach().numpy() * factor)
        if homogeneous:
            weight = weight / factor
    if "scores rescaled" in traits and weight.shape[0] > 1 and chance(rng, 0.7):
        scale = float(decades(rng, -DECADES, DECADES))
        weight, bias = weight * scale, bias * scale
    return weight, bias


def _lifted(rng: Rng, weight: Vector, bias: Vector) -> list[Layer]:
    """Return two layers: a large bias, and its removal."""
    lift = 2.0 ** pick(rng, LIFTS) * rng.choice([-1.0, 1.0], size=len(bias))
    return [affine(weight, bias + lift), affine(np.ones_like(bias), -lift)]
