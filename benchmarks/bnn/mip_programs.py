"""Random elastic mixed-integer programs: knapsacks, coverings, mixed rows, training of a small binarized network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from solvers.elastic_program import ElasticProgram

# By how much a hidden unit must clear zero, the size of a weight's cost, and the price of missing a row by one.
MARGIN, WEIGHT_COST, PENALTY = 0.1, 0.02, 10.0


def knapsack(rng: np.random.Generator, items: int, rows: int = 2) -> ElasticProgram:
    """Return max value'x, weights x <= half of all weight in each of `rows` knapsacks, as a minimum."""
    weights = rng.uniform(0.1, 1.0, (rows, items))
    values = weights.mean(axis=0) + rng.uniform(0, 0.5, items)
    return _binary(-values, -weights, -weights.sum(axis=1) / 2)


def covering(rng: np.random.Generator, subsets: int, elements: int) -> ElasticProgram:
    """Return min cost'x with every element in a chosen subset, with memberships between zero and one."""
    member = rng.uniform(0.3, 1.0, (elements, subsets)) * (rng.random((elements, subsets)) < 0.4)
    member[np.arange(elements), rng.integers(subsets, size=elements)] = 1.0
    return _binary(rng.uniform(0.5, 1.5, subsets), member, np.full(elements, 0.9))


def mixed(rng: np.random.Generator, integers: int, continuous: int, rows: int, equalities: int = 0) -> ElasticProgram:
    """Return a program with normal numbers; integer columns in [-2, 2], continuous ones in [-1, 1]."""
    n = integers + continuous
    whole = np.arange(n) < integers
    limit = np.where(whole, 2.0, 1.0)
    normal = [rng.normal(size=shape) for shape in ((n,), (rows, n), (rows,))]
    penalty, _ = _soft(rows)
    return ElasticProgram(*normal, -limit, limit, whole, penalty, np.arange(rows) < equalities)


def network(rng: np.random.Generator, samples: int, hidden: int, features: int = 4) -> ElasticProgram:
    """Return the training of a network with one hidden layer of sign units, weights in {-1, 0, 1}, by its hinge loss.

    Labels are those of another such network. Output weights are fixed, positive and negative by turns, and every weight
    has a small random cost, so that ties are no rule. Columns: weights (hidden x features), activations in {0, 1}
    (samples x hidden), losses (samples). Rows, all elastic: for every activation a, w'x >= margin where a = 1 and
    w'x <= -margin where a = 0, with its own big-M; for every sample, its loss.
    """
    data = rng.normal(size=(samples, features))
    out = np.where(np.arange(hidden) % 2 == 0, 1.0, -1.0) * rng.uniform(0.7, 1.3, hidden)
    hidden_weights = rng.integers(-1, 2, (hidden, features))
    label = np.where(np.sign(data @ hidden_weights.T) @ out >= 0, 1.0, -1.0)
    weights, active = hidden * features, samples * hidden
    n = weights + active + samples
    A, b = np.zeros((2 * active + samples, n)), np.zeros(2 * active + samples)
    for i in range(samples):
        big = np.abs(data[i]).sum() + 2 * MARGIN
        for h in range(hidden):
            row, unit = 2 * (i * hidden + h), slice(h * features, (h + 1) * features)
            A[row, unit], A[row, weights + i * hidden + h], b[row] = data[i], -big, MARGIN - big
            A[row + 1, unit], A[row + 1, weights + i * hidden + h], b[row + 1] = -data[i], big, MARGIN
        # loss >= 1 - label * sum_h out_h (2 a_h - 1) / hidden
        row = 2 * active + i
        A[row, weights + i * hidden : weights + (i + 1) * hidden] = 2 * label[i] * out / hidden
        A[row, weights + active + i] = 1.0
        b[row] = 1 + label[i] * out.sum() / hidden
    c = np.concatenate([WEIGHT_COST * rng.normal(size=weights), np.zeros(active), np.ones(samples)])
    lower = np.concatenate([-np.ones(weights), np.zeros(active + samples)])
    upper = np.concatenate([np.ones(weights + active), np.full(samples, 2.0)])
    return ElasticProgram(c, A, b, lower, upper, np.arange(n) < weights + active, *_soft(b.size))


def perturbed(program: ElasticProgram, rng: np.random.Generator, size: float) -> ElasticProgram:
    """Return `program` with normal changes of the relative `size` in the numbers of c, A and b that are not zero."""
    parts = {}
    for name in ("c", "A", "b"):
        part = getattr(program, name)
        scale = np.abs(part[part != 0]).mean() if part.any() else 1.0
        parts[name] = part + size * scale * rng.normal(size=part.shape) * (part != 0)
    return replace(program, **parts)


def _binary(c: np.ndarray, A: np.ndarray, b: np.ndarray) -> ElasticProgram:
    n = c.size
    return ElasticProgram(c, A, b, np.zeros(n), np.ones(n), np.ones(n, dtype=bool), *_soft(b.size))


def _soft(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return penalties and equalities of rows that are all elastic inequalities."""
    return np.full(rows, PENALTY), np.zeros(rows, dtype=bool)


KINDS: dict[str, Callable[[np.random.Generator], ElasticProgram]] = {
    "knapsack 12": lambda rng: knapsack(rng, 12),
    "knapsack 40": lambda rng: knapsack(rng, 40),
    "covering 12": lambda rng: covering(rng, 12, 8),
    "covering 30": lambda rng: covering(rng, 30, 20),
    "mixed 5 + 3": lambda rng: mixed(rng, 5, 3, 5),
    "mixed 5 + 3, equalities": lambda rng: mixed(rng, 5, 3, 5, 2),
    "mixed 20 + 10": lambda rng: mixed(rng, 20, 10, 12),
    "network 4 x 2": lambda rng: network(rng, 4, 2),
    "network 8 x 2": lambda rng: network(rng, 8, 2),
    "network 16 x 2": lambda rng: network(rng, 16, 2),
    "network 16 x 3": lambda rng: network(rng, 16, 3),
    "network 24 x 2, 6 features": lambda rng: network(rng, 24, 2, 6),
}
SMALL = ("knapsack 12", "covering 12", "mixed 5 + 3", "mixed 5 + 3, equalities", "network 4 x 2")
