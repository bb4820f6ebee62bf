"""Two-class data at hand offline: scikit-learn's digits and breast cancer, and a generated table that is named so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from problems.interval import Vector

# Rows of the generated table.
GENERATED = 1000


@dataclass(frozen=True)
class Split:
    """Training and test samples ((n, d), scaled to [-1, 1] by the training ones) and labels ((n,) of 1 and -1)."""

    x: Vector
    labels: Vector
    test_x: Vector
    test_labels: Vector


def digits(first: int, second: int) -> tuple[Vector, Vector]:
    """Return the images (8 x 8) of two digits and which of the two each shows."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    mine = (y == first) | (y == second)
    return x[mine], np.where(y[mine] == first, 1.0, -1.0)


def breast_cancer() -> tuple[Vector, Vector]:
    """Return scikit-learn's breast cancer table: 569 samples of 30 features, benign or malignant."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return x, np.where(y == 1, 1.0, -1.0)


def heart_like() -> tuple[Vector, Vector]:
    """Return a made-up table of the size of the heart data: 13 features, 6 of them yes or no; no patient is in it.

    The label is a noisy threshold on a sum of features and of two products of features.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(GENERATED, 13))
    x[:, 7:] = x[:, 7:] > rng.normal(size=6) / 2
    risk = x @ rng.normal(size=13) + 1.5 * x[:, 0] * x[:, 8] + x[:, 1] * x[:, 2]
    return x, np.where(risk + 0.5 * rng.normal(size=GENERATED) > np.median(risk), 1.0, -1.0)


DATA: dict[str, Callable[[], tuple[Vector, Vector]]] = {
    "digits 3 or 8": lambda: digits(3, 8),
    "breast cancer": breast_cancer,
    "heart-like (generated)": heart_like,
}


def split(name: str, per_class: int, seed: int) -> Split:
    """Draw so many training samples of each class; all others are test samples."""
    x, labels = DATA[name]()
    rng = np.random.default_rng(seed)
    drawn = np.concatenate(
        [rng.choice(np.flatnonzero(labels == label), per_class, replace=False) for label in (1.0, -1.0)]
    )
    low, high = x[drawn].min(0), x[drawn].max(0)
    spread = np.where(high > low, high - low, np.inf)  # A feature that never moves in training says nothing.
    scaled = np.clip((2 * x - low - high) / spread, -1.0, 1.0)
    rest = np.setdiff1d(np.arange(len(x)), drawn)
    return Split(scaled[drawn], labels[drawn], scaled[rest], labels[rest])
