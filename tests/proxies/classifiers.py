"""Small classifiers of each kind of unit, whose units switch inside the boxes that tests ask about."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch

from problems.classification import Classification
from proxies.classification import classification_proxy
from proxies.layers import Affine, Layer, Relu, Sign
from proxies.manifest import ClassificationSpec, Manifest
from proxies.proxy import Proxy

KINDS: dict[str, tuple[type[Layer], type[Layer]]] = {"sign": (Sign, Sign), "relu": (Relu, Relu), "mixed": (Relu, Sign)}


def network(kind: str, outputs: int, seed: int, inputs: int = 2, hidden: int = 5, whole: bool = False) -> list[Layer]:
    """Return two hidden layers and the scores; with `whole` weights, scores of sign units often tie exactly."""
    rng = np.random.default_rng(seed)

    def affine(n: int, m: int, rounded: bool) -> Affine:
        weight, bias = rng.normal(size=(n, m)), 0.7 * rng.normal(size=n)
        both = (np.sign(weight), np.zeros(n)) if rounded else (weight, bias)
        return Affine(*(torch.as_tensor(part) for part in both))

    first, second = KINDS[kind]
    sizes = (inputs, hidden, hidden, outputs)
    layers = [affine(n, m, whole and k > 0) for k, (m, n) in enumerate(pairwise(sizes))]
    return [layers[0], first(), layers[1], second(), layers[2]]


def classifier(layers: list[Layer], label: int = 0, **more: Any) -> tuple[Proxy, Classification]:
    """Return a network with a sample in the square [-1, 1]^2."""
    spec = ClassificationSpec(**{"centre": (0.1, -0.2), "label": label, "lower": -1.0, "upper": 1.0, **more})
    return classification_proxy(layers, Manifest(problem=spec))


def margin(scores: np.ndarray, label: int) -> np.ndarray:
    """Return the best other score less the label's ((batch,)) of scores ((batch, classes))."""
    return np.asarray(np.delete(scores, label, axis=1).max(1) - scores[:, label])


def on_grid(proxy: Proxy, problem: Classification, u: float, points: int = 201) -> float:
    """Return the largest margin on a grid over a two-dimensional box, ends included."""
    box = problem.domain(u).box
    share = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, points)]), -1).reshape(-1, 2)
    x = np.clip(box.lower + share * box.width, box.lower, box.upper)
    with torch.no_grad():
        return float(margin(proxy(torch.as_tensor(x)).numpy(), problem.label).max())
