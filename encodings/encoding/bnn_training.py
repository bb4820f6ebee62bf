"""Binarized networks trained by a MIP solver, with a bound: a function, and a classifier as in scikit-learn.

Sources: see `encoding.bnn_model`.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from encoding.bnn_model import (
    MARGIN,
    BnnTrainingError,
    Objective,
    Readout,
    clear_of_limits,
    margins,
    training_model,
)
from proxies.layers import Affine, Layer, Sign
from proxies.layers.binarized import WeightValues
from proxies.straight_through import STEPS, straight_through
from solvers.linear_model import Vector
from solvers.registry import DEFAULT_SOLVER, open_session
from solvers.session import Status


@dataclass(frozen=True)
class BnnOptions:
    """What to train, and how long.

    Attributes:
        hidden: widths of the hidden layers.
        values: of all weights.
        objective: see `Objective`.
        margin: see `training_model`, in the unit of the samples.
        readout: see `Readout`.
        solver: see `open_session`.
        time_limit: seconds.
        mip_gap: relative distance of objective and bound at which to stop.
        seed: of the solver.
    """

    hidden: tuple[int, ...] = (4,)
    values: WeightValues = "ternary"
    objective: Objective = "max-correct"
    margin: float = MARGIN
    readout: Readout = "trained"
    solver: str = DEFAULT_SOLVER
    time_limit: float = 60.0
    mip_gap: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class TrainedBnn:
    """A binarized network, and what is proven of it.

    Attributes:
        weights: of each layer (units, inputs + 1), the last one of a constant input; None where none was found.
        margin: of the first layer's sums, see `training_model`.
        objective: its value, in the sense of its name: samples right, total loss, total margin, weights that are not 0.
        bound: no network of this shape has a better objective (on samples outside the margin's slab).
        correct: training samples that the network itself classifies right.
        status: why the solver stopped; infeasible: no network of this shape classifies all samples right.
        nodes, seconds: of the solver.
    """

    weights: tuple[Vector, ...] | None
    margin: float
    objective: float
    bound: float
    correct: int
    status: Status
    nodes: int
    seconds: float

    def layers(self) -> list[Layer]:
        """Return the network as layers whose one output is positive for the class 1.

        Raises:
            BnnTrainingError: no network was found.
        """
        if self.weights is None:
            raise BnnTrainingError(f"the solver found no network ({self.status.value}); allow more time or more units")
        parts = [torch.as_tensor(layer) for layer in clear_of_limits(self.weights, self.margin)]
        affine = [Affine(part[:, :-1], part[:, -1]) for part in parts]
        return [*chain.from_iterable((layer, Sign()) for layer in affine[:-1]), affine[-1]]


def train_bnn(
    x: Vector, labels: Vector, options: BnnOptions | None = None, start: Sequence[Vector] | None = None
) -> TrainedBnn:
    """Train a binarized network with one output on samples x ((n, d)) and labels ((n,) of 1 and -1).

    Args:
        x, labels: about of size 1; a sum of the first layer is compared with `BnnOptions.margin`.
        options: see `BnnOptions`.
        start: weights of a known network, for solvers that take a start.

    Raises:
        BnnTrainingError: samples, labels or options do not fit.
        SolverUnavailableError: the solver is not installed.
        SolverLimitError: its licence refuses a program of this size.
    """
    options = options or BnnOptions()
    shape = (options.hidden, options.values, options.objective, options.margin, options.readout)
    model = training_model(x, labels, *shape)
    began = time.monotonic()
    with open_session(options.solver, model.linear, options.seed) as session:
        solution = session.solve(
            time_limit=options.time_limit,
            mip_gap=options.mip_gap,
            start=None if start is None else model.start_at(start),
        )
    seconds = time.monotonic() - began
    sense = -1.0 if options.objective in ("max-correct", "max-margin") else 1.0
    bound = sense * solution.dual_bound
    if solution.x is None:
        return TrainedBnn(None, options.margin, sense * np.inf, bound, 0, solution.status, solution.nodes, seconds)
    weights = model.weights_at(solution.x)
    correct = int((np.asarray(labels) * margins(np.asarray(x), weights, options.margin) > 0).sum())
    objective = sense * solution.objective
    return TrainedBnn(weights, options.margin, objective, bound, correct, solution.status, solution.nodes, seconds)


class BinarizedClassifier:
    """A classifier of two classes with the interface of scikit-learn: fit, predict, score, get_params, set_params.

    Features are moved and scaled to [-1, 1] over the training samples first. The solver starts from what
    straight-through training finds, unless a training sample is inside the margin there.

    Args:
        hidden, values, objective, margin, readout, solver, time_limit, mip_gap, seed: see `BnnOptions`.
        first_steps: of straight-through training; 0 for none.

    Attributes:
        classes_: (2,) the labels seen, sorted; the second one is that of a positive output.
        trained_: the `TrainedBnn`.
        layers_: the whole network with the scaling, as layers.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (4,),
        values: WeightValues = "ternary",
        objective: Objective = "max-correct",
        margin: float = MARGIN,
        readout: Readout = "trained",
        solver: str = DEFAULT_SOLVER,
        time_limit: float = 60.0,
        mip_gap: float = 0.0,
        seed: int = 0,
        first_steps: int = STEPS,
    ) -> None:
        self.hidden, self.values, self.objective = hidden, values, objective
        self.margin, self.readout = margin, readout
        self.solver, self.time_limit, self.mip_gap, self.seed = solver, time_limit, mip_gap, seed
        self.first_steps = first_steps

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor; `deep` is there for scikit-learn and changes nothing."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **parameters: Any) -> BinarizedClassifier:
        """Change arguments of the constructor; raises BnnTrainingError for a name that is none."""
        known = self.get_params()
        for name, value in parameters.items():
            if name not in known:
                raise BnnTrainingError(f"a binarized classifier has no parameter {name!r}; it has {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn, which alone asks for it, wants to know of an estimator."""
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags(multi_class=False))

    def fit(self, x: ArrayLike, y: ArrayLike) -> BinarizedClassifier:
        """Train on samples ((n, d)) with two different labels ((n,)).

        Raises:
            BnnTrainingError: there are not two classes, samples and labels do not fit, or no network was found.
        """
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y)
        self.classes_ = np.unique(y)
        if self.classes_.size != 2 or x.ndim != 2 or y.shape != x.shape[:1]:
            raise BnnTrainingError(
                f"samples of shape {x.shape} with {self.classes_.size} classes; give (n, d) with two classes, "
                "and train one classifier a pair where there are more"
            )
        low, high = x.min(0), x.max(0)
        spread = np.where(high > low, high - low, 1.0)
        scale, shift = 2 / spread, -(low + high) / spread
        scaled, labels = x * scale + shift, np.where(y == self.classes_[1], 1.0, -1.0)
        shared = (self.hidden, self.values, self.margin, self.readout == "sum", self.seed)
        start = None
        if self.first_steps > 0:
            found = straight_through(torch.as_tensor(scaled), torch.as_tensor(labels), *shared, self.first_steps)
            start = [layer.numpy() for layer in found]
        options = BnnOptions(**{name: value for name, value in self.get_params().items() if name != "first_steps"})
        self.trained_ = train_bnn(scaled, labels, options, start)
        self.layers_ = [Affine(torch.as_tensor(scale), torch.as_tensor(shift)), *self.trained_.layers()]
        return self

    def decision_function(self, x: ArrayLike) -> Vector:
        """Return the network's output ((n,)) for samples ((n, d)): positive for the second class."""
        if not hasattr(self, "layers_"):
            raise BnnTrainingError("the classifier has not been trained; call fit first")
        h = given = torch.as_tensor(np.asarray(x, dtype=np.float64))
        with torch.no_grad():
            for layer in self.layers_:
                h = layer(h, given)
        return np.asarray(h[:, 0].numpy())

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """Return the class ((n,)) of samples ((n, d))."""
        second = self.decision_function(x) > 0
        return np.asarray(self.classes_[second.astype(int)])

    def score(self, x: ArrayLike, y: ArrayLike) -> float:
        """Return the share of samples ((n, d)) that are classified as in y ((n,))."""
        return float((self.predict(x) == np.asarray(y)).mean())
