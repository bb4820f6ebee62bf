"""Training a binarized network as a mixed-integer program: weights and signs are integer columns, samples are rows.

Sources: Icarte et al. 2019 (Training binarized neural networks using MIP and CP: the model, max-margin, min-weight),
Thorbjarnarson and Yorke-Smith 2023 (Optimal training of integer-valued neural networks: max-correct, min-hinge).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from proxies.layers.binarized import WeightValues
from solvers.errors import CertigapError
from solvers.linear_model import LinearModel, Vector

# "max-correct": as many samples right as possible. "min-hinge": the least sum of max(0, 1 - margin). "max-margin": all
# samples right, and the largest sum of every unit's smallest margin. "min-weight": all right with the fewest weights.
Objective = Literal["max-correct", "min-hinge", "max-margin", "min-weight"]
# The last unit's weights: "trained" like all others, or "sum": the signs before it are added up, without a bias.
Readout = Literal["trained", "sum"]
Indices = NDArray[np.int64]
# A first-layer sum this far below 0 is negative: far above the solvers' tolerances times the size of a sum.
MARGIN = 1e-3
# Leading weights by which the units of a layer are ordered; with more of them coefficients would pass 3^8.
ORDERED = 8


class BnnTrainingError(CertigapError, ValueError):
    """Samples, labels or options that make no training program."""


@dataclass(frozen=True)
class TrainingModel:
    """A training program, where its weights are, and which of its coefficients are data.

    Attributes:
        linear: what is minimised (for max-correct and max-margin: the negative of the objective).
        weights: the columns of each layer's weights: (units, inputs + 1), the last one of a constant input 1.
        sums: (n, units) the rows that hold data: the coefficient of sums[i, k] at weights[0][k, j] is -x[i, j].
    """

    linear: LinearModel
    weights: tuple[Indices, ...]
    sums: Indices

    def weights_at(self, point: Vector) -> tuple[Vector, ...]:
        """Return each layer's weights at a point of the linear model ((columns,)), as whole numbers."""
        return tuple(np.round(point[columns]) for columns in self.weights)

    def start_at(self, weights: Sequence[Vector]) -> Vector:
        """Return a start for a solver ((columns,)): these weights, and NaN for what follows from them."""
        point = np.full(self.linear.columns, np.nan)
        for columns, values in zip(self.weights, in_order(weights)):
            point[columns] = values
        return point


def clear_of_limits(weights: Sequence[Vector], margin: float) -> list[Vector]:
    """Return the network's weights with each bias in the middle between what counts as 0 and what as negative.

    So rounding decides no sign of a training sample: neither in the first layer, whose sums are at least 0 or at most
    -margin, nor in the later ones, whose sums are whole numbers.
    """
    shifted = [np.array(layer, dtype=np.float64) for layer in weights]
    for layer, below in zip(shifted, (margin, *[1.0] * len(weights))):
        layer[:, -1] += below / 2
    return shifted


def margins(x: Vector, weights: Sequence[Vector], margin: float = MARGIN) -> Vector:
    """Return the output ((n,)) of a binarized network for samples ((n, d)): its class is 1 where that is positive.

    Args:
        x: (n, d).
        weights: of each layer, as `TrainingModel.weights_at` returns them.
        margin: see `training_model`; the output is never 0, see `clear_of_limits`.
    """
    h = x
    *inner, last = clear_of_limits(weights, margin)
    for layer in inner:
        h = np.where(h @ layer[:, :-1].T + layer[:, -1] >= 0, 1.0, -1.0)
    return np.asarray(h @ last[0, :-1] + last[0, -1])


def in_order(weights: Sequence[Vector]) -> list[Vector]:
    """Return the same network with the units of each hidden layer in the one order that a model allows."""
    layers = [np.array(layer, dtype=np.float64) for layer in weights]
    for k in range(len(layers) - 1):
        order = np.lexsort(-layers[k][:, :ORDERED].T[::-1])  # The last key counts first.
        layers[k] = layers[k][order]
        layers[k + 1][:, :-1] = layers[k + 1][:, order]
    return layers


def training_model(
    x: Vector,
    labels: Vector,
    hidden: Sequence[int],
    values: WeightValues = "ternary",
    objective: Objective = "max-correct",
    margin: float = MARGIN,
    readout: Readout = "trained",
    reach: float | None = None,
) -> TrainingModel:
    """Write the training of a binarized network with one output as a mixed-integer program.

    A sum of the first layer is at least 0 for the sign 1 and at most -margin for the sign -1: networks with a training
    sample in between are left out. All later sums are whole numbers, where nothing is left out.

    Args:
        x: (n, d) samples.
        labels: (n,) of 1 and -1.
        hidden: widths of the hidden layers, at least one.
        values: of all weights.
        objective: see `Objective`; a sample's margin is its label times `margins`.
        margin: see above, in the unit of x.
        readout: see `Readout`; a sum makes a much smaller program.
        reach: the rows shall also hold for data of this size; by default only for x.

    Raises:
        BnnTrainingError: samples, labels or options do not fit.
    """
    x, labels = np.asarray(x, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    _check(x, labels, hidden, margin, reach)
    if objective == "min-weight" and values == "binary":
        raise BnnTrainingError("weights of -1 and 1 are all of one size; min-weight needs ternary ones")
    parts = _Parts()
    widths = (x.shape[1], *hidden, 1)
    inner = [parts.weights(units, inputs + 1, values) for inputs, units in pairwise(widths[:-1])]
    last = parts.weights(1, widths[-2] + 1, values) if readout == "trained" else parts.ones(widths[-2] + 1)
    weights = (*inner, last)
    most = (np.abs(x).sum(1, keepdims=True) if reach is None else np.full((len(x), 1), reach * x.shape[1])) + 1.0
    outputs, sums = parts.data_sums(x, weights[0], most)
    below = margin
    for layer in weights[1:]:
        if objective == "max-margin":
            signs = parts.signs(outputs, most, below, parts.column(outputs.shape[1:], 0.0, most.max(), cost=-1.0))
        else:
            signs = parts.signs(outputs, most, below)
        outputs, most, below = parts.sign_sums(layer, signs), np.array([[float(layer.shape[1])]]), 1.0
    parts.goal(objective, outputs[:, 0], labels, float(most[0, 0]))
    if objective == "min-weight":
        for layer in weights:
            parts.sizes(layer)
    return TrainingModel(parts.model(), weights, sums)


def unit_model(x: Vector, wanted: Vector, values: WeightValues, below: float) -> tuple[LinearModel, Indices]:
    """Write the training of a single unit for most samples with the wanted sign; return it and the weights' columns.

    Args:
        x: (n, d) what the unit reads.
        wanted: (n,) of 1 and -1.
        values: of the weights.
        below: a sum is at least 0 for the sign 1 and at most this far below for -1; in between a sample counts as
            wrong.

    Returns:
        The program, whose objective is minus the number of samples, and the columns ((d + 1,)) of the weights, the
        last one of a constant input 1.
    """
    parts = _Parts()
    w = parts.weights(1, x.shape[1] + 1, values)
    most = np.abs(x).sum(1) + 1.0
    sums = parts.data_sums(x, w, most[:, None])[0][:, 0]
    right = parts.column(wanted.shape, 0.0, 1.0, True, cost=-1.0)
    missing = np.where(wanted > 0, 0.0, below)
    rows = parts.row(wanted.shape, -most, np.inf)
    parts.put(rows, sums, wanted)
    parts.put(rows, right, -(most + missing))
    return parts.model(), w[0]


def _check(x: Vector, labels: Vector, hidden: Sequence[int], margin: float, reach: float | None) -> None:
    if x.ndim != 2 or x.size == 0 or labels.shape != x.shape[:1]:
        raise BnnTrainingError(f"samples of shape {x.shape} and labels of shape {labels.shape} are not (n, d) and (n,)")
    if not np.isfinite(x).all():
        raise BnnTrainingError("a sample has an entry that is not finite; leave that sample out")
    if not np.isin(labels, (-1.0, 1.0)).all():
        raise BnnTrainingError("labels must be 1 and -1; for more classes train one network a pair of them")
    if not hidden or min(hidden) < 1:
        raise BnnTrainingError(f"hidden layers of widths {tuple(hidden)} are no network; give at least one unit")
    if margin <= 0:
        raise BnnTrainingError(f"with a margin of {margin} both signs hold at 0; give a positive one")
    if reach is not None and np.abs(x).max() > reach:
        raise BnnTrainingError(f"an entry of size {np.abs(x).max():.6g} is beyond the reach of {reach:.6g}; scale it")


class _Parts:
    """Columns, rows and coefficients written so far; indices come back as arrays of any shape."""

    def __init__(self) -> None:
        self._columns: list[tuple[Vector, Vector, Vector, NDArray[np.bool_]]] = []
        self._rows: list[tuple[Vector, Vector]] = []
        self._entries: list[tuple[Indices, Indices, Vector]] = []
        self._width = self._height = 0

    def column(
        self, shape: tuple[int, ...], lower: ArrayLike, upper: ArrayLike, whole: bool = False, cost: float = 0.0
    ) -> Indices:
        """Add columns with these limits, which are broadcast to `shape`."""
        index = self._width + np.arange(int(np.prod(shape))).reshape(shape)
        low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), shape).ravel() for end in (lower, upper))
        self._columns.append((low, high, np.full(index.size, cost), np.full(index.size, whole)))
        self._width += index.size
        return index

    def row(self, shape: tuple[int, ...], lower: ArrayLike, upper: ArrayLike) -> Indices:
        """Add empty rows with these limits, which are broadcast to `shape`."""
        index = self._height + np.arange(int(np.prod(shape))).reshape(shape)
        low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), shape).ravel() for end in (lower, upper))
        self._rows.append((low, high))
        self._height += index.size
        return index

    def put(self, rows: Indices, columns: Indices, values: ArrayLike) -> None:
        """Add coefficients; the three are broadcast to each other."""
        found = np.broadcast_arrays(rows, columns, np.asarray(values, dtype=np.float64))
        self._entries.append((found[0].ravel(), found[1].ravel(), found[2].ravel()))

    def model(self) -> LinearModel:
        """Return all of it."""
        lower, upper, cost, whole = (np.concatenate(parts) for parts in zip(*self._columns))
        row_lower, row_upper = (np.concatenate(parts) for parts in zip(*self._rows))
        rows, columns, values = (np.concatenate(parts) for parts in zip(*self._entries))
        matrix = sparse.csr_array((values, (rows, columns)), shape=(self._height, self._width))
        return LinearModel(cost, matrix, row_lower, row_upper, lower, upper, whole)

    # ------------------------------------------------------------------------------------- parts of a network

    def weights(self, units: int, inputs: int, values: WeightValues) -> Indices:
        """Add a layer's weights ((units, inputs)), its units ordered: they can change places in a network."""
        w = self.column((units, inputs), -1.0, 1.0, values == "ternary")
        if values == "binary":
            positive = self.column(w.shape, 0.0, 1.0, True)
            equal = self.row(w.shape, -1.0, -1.0)
            self.put(equal, w, 1.0)
            self.put(equal, positive, -2.0)
        leading = w[:, :ORDERED]
        powers = 3.0 ** np.arange(leading.shape[1])[::-1]
        falls = self.row((units - 1,), 0.0, np.inf)
        self.put(falls[:, None], leading[:-1], powers)
        self.put(falls[:, None], leading[1:], -powers)
        return w

    def ones(self, inputs: int) -> Indices:
        """Add a unit's weights ((1, inputs)) that are 1, and 0 for the constant input."""
        fixed = np.append(np.ones(inputs - 1), 0.0)
        return self.column((1, inputs), fixed, fixed)

    def data_sums(self, x: Vector, w: Indices, most: Vector) -> tuple[Indices, Indices]:
        """Add sums ((n, units)) of data ((n, d)) times weights ((units, d + 1)); return their columns and rows."""
        shape = (len(x), len(w))
        sums = self.column(shape, -most, most)
        equal = self.row(shape, 0.0, 0.0)
        self.put(equal, sums, 1.0)
        self.put(equal[:, :, None], w[:, :-1], -x[:, None, :])
        self.put(equal, w[:, -1], -1.0)
        return sums, equal

    def signs(self, sums: Indices, most: Vector, below: float, least: Indices | None = None) -> Indices:
        """Add the signs ((n, units), 1 for a sum that is not negative, 0 for one of at most -below) of sums.

        Args:
            sums: (n, units).
            most: (n, 1) or (1, 1), above the size of each sum.
            below: see above.
            least: (units,) columns that are to be no larger than the size of any sum of their unit.
        """
        s = self.column(sums.shape, 0.0, 1.0, True)
        positive, negative = self.row(sums.shape, -most, np.inf), self.row(sums.shape, -np.inf, -below)
        for rows, step in ((positive, -most), (negative, -(most + below))):
            self.put(rows, sums, 1.0)
            self.put(rows, s, step)
        if least is not None:
            positive, negative = self.row(sums.shape, -2 * most, np.inf), self.row(sums.shape, -np.inf, 0.0)
            for rows, side in ((positive, -1.0), (negative, 1.0)):
                self.put(rows, sums, 1.0)
                self.put(rows, s, -2 * most)
                self.put(rows, least, side)
        return s

    def sign_sums(self, w: Indices, s: Indices) -> Indices:
        """Add sums ((n, units)) of weights ((units, inputs + 1)) times signs ((n, inputs)): each product exactly."""
        shape = (len(s), len(w), s.shape[1])
        product = self.column(shape, -1.0, 1.0)
        for side, low, high in ((-1.0, -2.0, 2.0), (1.0, 0.0, 0.0)):
            # side = -1: product = weight where the sign is 1; side = 1: product = -weight where it is 0.
            for rows, slack in ((self.row(shape, -np.inf, high), -side), (self.row(shape, low, np.inf), side)):
                self.put(rows, product, 1.0)
                self.put(rows, w[None, :, :-1], side)
                self.put(rows, s[:, None, :], 2.0 * slack)
        sums = self.column(shape[:2], -float(w.shape[1]), float(w.shape[1]))
        equal = self.row(shape[:2], 0.0, 0.0)
        self.put(equal, sums, 1.0)
        self.put(equal[:, :, None], product, -1.0)
        self.put(equal, w[:, -1], -1.0)
        return sums

    def goal(self, objective: Objective, sums: Indices, labels: Vector, most: float) -> None:
        """Ask for margins, label times (sum + 1/2), of the output's sums ((n,)), whose size is at most `most`."""
        shape = labels.shape
        if objective == "max-correct":
            right = self.column(shape, 0.0, 1.0, True, cost=-1.0)
            rows = self.row(shape, 0.5 - labels / 2 - (most + 1.0), np.inf)
            self.put(rows, right, -(most + 1.0))
        elif objective == "min-hinge":
            loss = self.column(shape, 0.0, np.inf, cost=1.0)
            rows = self.row(shape, 1.0 - labels / 2, np.inf)
            self.put(rows, loss, 1.0)
        else:
            rows = self.row(shape, 0.5 - labels / 2, np.inf)
        self.put(rows, sums, labels)
        if objective == "max-margin":
            least = self.column((1,), 0.0, most + 0.5, cost=-1.0)
            rows = self.row(shape, -labels / 2, np.inf)
            self.put(rows, sums, labels)
            self.put(rows, least, -1.0)

    def sizes(self, w: Indices) -> None:
        """Pay for every weight that is not 0."""
        size = self.column(w.shape, 0.0, 1.0, cost=1.0)
        for side in (-1.0, 1.0):
            rows = self.row(w.shape, 0.0, np.inf)
            self.put(rows, size, 1.0)
            self.put(rows, w, side)
