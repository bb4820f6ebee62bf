"""Binarized networks trained one unit at a time: each an exact program of that unit, all others held.

A unit's sign decides some samples: those that are right with one sign and wrong with the other. Its program finds the
weights that give most of them the sign they need, and has the weights so far among its points. So the network never
gets worse, and where no unit's program finds more, it is a local optimum.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoding.bnn_model import MARGIN, clear_of_limits, margins, unit_model
from proxies.layers.binarized import WeightValues
from solvers.linear_model import Vector
from solvers.registry import DEFAULT_SOLVER, open_session
from solvers.session import Status

# Seconds for the program of one unit.
EACH = 5.0


@dataclass(frozen=True)
class Polished:
    """A network that was polished.

    Attributes:
        weights: of each layer (units, inputs + 1), the last one of a constant input.
        correct: training samples that it classifies right.
        programs: how many were solved.
        settled: whether all samples are right, or no unit alone can get more right, as its program proved (for
            weights that leave no sample in between, see `unit_model`).
        seconds: in all.
    """

    weights: tuple[Vector, ...]
    correct: int
    programs: int
    settled: bool
    seconds: float


def polish(
    x: Vector,
    labels: Vector,
    weights: Sequence[Vector],
    values: WeightValues = "ternary",
    margin: float = MARGIN,
    solver: str = DEFAULT_SOLVER,
    time_limit: float = 60.0,
    each: float = EACH,
    seed: int = 0,
) -> Polished:
    """Train the units of a network in turn, until no unit alone gets more samples right, or time is up.

    Args:
        x, labels: (n, d) samples and (n,) labels of 1 and -1.
        weights: of the network to begin with, each layer (units, inputs + 1).
        values, margin: of it, see `training_model`.
        solver: see `open_session`.
        time_limit: seconds in all.
        each: seconds for the program of one unit.
        seed: of the order of the units, and of the solver.
    """
    began, rng = time.monotonic(), np.random.default_rng(seed)
    network = [np.array(layer, dtype=np.float64) for layer in weights]
    units = [(k, j) for k, layer in enumerate(network) for j in range(len(layer))]
    best, programs = _right(x, labels, network, margin), 0
    waiting = [units[i] for i in rng.permutation(len(units))]
    unsettled = set(units)
    while waiting and best < len(labels) and (left := time_limit - (time.monotonic() - began)) > 0:
        k, j = waiting.pop()
        inputs, up, down = _with_either_sign(x, network, k, j, margin)
        decided = (labels * up > 0) != (labels * down > 0)
        if decided.any():
            wanted = np.where(labels * up > 0, 1.0, -1.0)[decided]
            model, columns = unit_model(inputs[decided], wanted, values, margin if k == 0 else 1.0)
            start = np.full(model.columns, np.nan)
            start[columns] = network[k][j]
            with open_session(solver, model, seed) as session:
                solution = session.solve(time_limit=min(each, left), mip_gap=0.0, start=start)
            programs += 1
            if solution.x is not None:
                tried = [layer.copy() for layer in network]
                tried[k][j] = np.round(solution.x[columns])
                if (now := _right(x, labels, tried, margin)) > best:
                    best, network = now, tried
                    unsettled = set(units)
                    waiting = [units[i] for i in rng.permutation(len(units)) if units[i] != (k, j)]
            if solution.status is not Status.OPTIMAL:
                continue
        unsettled.discard((k, j))
    settled = best == len(labels) or not unsettled
    return Polished(tuple(network), best, programs, settled, time.monotonic() - began)


def _right(x: Vector, labels: Vector, network: Sequence[Vector], margin: float) -> int:
    """Return how many samples are classified right."""
    return int((labels * margins(x, network, margin) > 0).sum())


def _with_either_sign(
    x: Vector, network: Sequence[Vector], k: int, j: int, margin: float
) -> tuple[Vector, Vector, Vector]:
    """Return what unit j of layer k reads ((n, inputs)), and the output ((n,)) were its sign 1, and were it -1."""
    layers = clear_of_limits(network, margin)
    h = x
    for layer in layers[:k]:
        h = _signs(h, layer)
    if k == len(layers) - 1:
        return h, np.ones(len(x)), -np.ones(len(x))
    outputs = []
    for sign in (1.0, -1.0):
        signs = _signs(h, layers[k])
        signs[:, j] = sign
        for layer in layers[k + 1 : -1]:
            signs = _signs(signs, layer)
        outputs.append(signs @ layers[-1][0, :-1] + layers[-1][0, -1])
    return h, outputs[0], outputs[1]


def _signs(h: Vector, layer: Vector) -> Vector:
    return np.where(h @ layer[:, :-1].T + layer[:, -1] >= 0, 1.0, -1.0)
