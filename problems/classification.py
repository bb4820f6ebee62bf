"""Classification: by how much can another class lead the true one's score at any input near a sample?

No optimization stands behind a classifier's scores. The cost of scores y is the margin by which they miss the label,
max over j != label of y[j], minus y[label], and the value that it is compared with is Phi = 0, a tie. So the gap is the
margin itself: negative where the label leads, and at most 0 over a domain exactly where every input in it has a score
of the label that no other class's exceeds. A tie counts as right.

Source: Tjeng et al. 2019 (MIPVerify): the robustness of a classifier as a worst-case margin.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from problems.domain import Domain
from problems.errors import DomainError, InputError, InstanceError
from problems.interval import Interval, Vector, difference
from problems.parametric import ParametricProblem

# Features and their limits stay below this: no width, and no product with a usual weight, overflows.
LARGEST_FEATURE = 1e100


@dataclass(frozen=True)
class Classification(ParametricProblem):
    """P(x): a sample with its label; the decision y is one score for each class.

    Attributes:
        name: of the sample.
        centre: (n,) its features.
        label: its class, counted from 0.
        classes: how many there are, at least 2.
        limits: (n,) the features' limits; None where they have none. They give u its unit and clip the domain.
        names: (n,) of the features; none, or one each.
    """

    name: str
    centre: Vector
    label: int
    classes: int
    limits: Interval | None = None
    names: tuple[str, ...] = ()

    kind = "classification"
    unit = "score"
    convex = False
    least_gap = -np.inf

    def __post_init__(self) -> None:
        centre = np.asarray(self.centre, dtype=np.float64)
        if centre.ndim != 1 or centre.size == 0 or not np.isfinite(centre).all():
            raise InstanceError(f"{self.name}: the centre must be a list of finite numbers, one for each feature")
        largest = int(np.abs(centre).argmax())
        if abs(centre[largest]) > LARGEST_FEATURE:
            raise InstanceError(
                f"{self.name}: feature {largest} of the centre is {centre[largest]:g}; scale the features to at most "
                f"{LARGEST_FEATURE:g}"
            )
        if not (float(self.label).is_integer() and float(self.classes).is_integer()):
            raise InstanceError(
                f"{self.name}: the label {self.label} and the number of classes {self.classes} must be whole numbers"
            )
        if self.classes < 2:
            raise InstanceError(f"{self.name}: a classifier of {self.classes} class decides nothing; it needs two")
        if not 0 <= self.label < self.classes:
            raise InstanceError(
                f"{self.name}: the label {self.label} is none of the {self.classes} classes, which count from 0 to "
                f"{self.classes - 1}"
            )
        if self.names and len(self.names) != centre.size:
            raise InstanceError(f"{self.name}: there are {len(self.names)} names for {centre.size} features")
        object.__setattr__(self, "centre", centre)
        if self.limits is not None:
            self._check(self.limits)

    def _check(self, limits: Interval) -> None:
        for word, side in (("lower", limits.lower), ("upper", limits.upper)):
            if side.shape != self.centre.shape or not np.isfinite(side).all():
                raise InstanceError(
                    f"{self.name}: {word} must be one finite number, or one for each of the {self.centre.size} features"
                )
            if np.abs(side).max() > LARGEST_FEATURE:
                raise InstanceError(
                    f"{self.name}: {word} is {side[np.abs(side).argmax()]:g}; scale the features to at most "
                    f"{LARGEST_FEATURE:g}"
                )
        crossed = np.flatnonzero(limits.lower > limits.upper)
        if crossed.size:
            k = int(crossed[0])
            raise InstanceError(
                f"{self.name}: {self.feature(k)} has the limits {limits.lower[k]:g} and {limits.upper[k]:g}; the lower "
                "one comes first"
            )
        outside = np.flatnonzero((self.centre < limits.lower) | (self.centre > limits.upper))
        if outside.size:
            k = int(outside[0])
            raise InstanceError(
                f"{self.name}: {self.feature(k)} of the centre is {self.centre[k]:g}, outside of its range "
                f"[{limits.lower[k]:g}, {limits.upper[k]:g}]"
            )

    def feature(self, k: int) -> str:
        """Return the name of feature k."""
        return self.names[k] if self.names else f"feature {k}"

    @property
    def rivals(self) -> list[int]:
        """The other classes."""
        return [j for j in range(self.classes) if j != self.label]

    @property
    def input_size(self) -> int:
        return int(self.centre.size)

    @property
    def decision_size(self) -> int:
        return self.classes

    @property
    def step(self) -> Vector:
        """(n,) what u counts in: the width of each feature's range; 1, the feature's own unit, where there is none."""
        return np.ones_like(self.centre) if self.limits is None else self.limits.width

    def domain(self, u: float) -> Domain:
        """Return the inputs whose every feature is within u times its `step` of the centre, and within its range.

        Raises:
            DomainError: u is not in [0, 1).
        """
        if not 0 <= u < 1:
            raise DomainError(f"u = {u} is not a share between 0 and 1; write 5 % as 0.05")
        box = Interval(self.centre - u * self.step, self.centre + u * self.step)
        if self.limits is not None:
            box = Interval(np.maximum(box.lower, self.limits.lower), np.minimum(box.upper, self.limits.upper))
        names = tuple(self.feature(k) for k in range(self.input_size))
        identity = sparse.csr_array(sparse.eye_array(self.input_size))
        return Domain(box, identity, np.zeros(self.input_size), (), names)

    def objective(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the best score of another class less that of the label ((batch,))."""
        return y[:, self.rivals].amax(-1) - y[:, self.label]

    def objective_range(self, x: Vector, decision: Interval) -> tuple[float, float]:
        low, _ = difference(decision.lower[self.rivals].max(), decision.upper[self.label])
        _, high = difference(decision.upper[self.rivals].max(), decision.lower[self.label])
        return low, high

    def infeasibility(self, x: Tensor, y: Tensor) -> Tensor:
        """Return 0 for any finite scores, else infinity ((batch,))."""
        return torch.where(y.isfinite().all(-1), 0.0, torch.inf)

    @property
    def objective_scale(self) -> float:
        return 1.0

    def solve(self, x: Vector, *, seconds: float = np.inf) -> tuple[float, Vector]:
        """Return (0, scores that tie): what margins are compared with; that takes no time.

        Raises:
            InputError: x has the wrong shape or is not finite.
        """
        x = np.asarray(x, dtype=np.float64)
        if x.shape != self.centre.shape or not np.isfinite(x).all():
            raise InputError(f"{self.name}: an input is {self.input_size} finite features, not shape {x.shape}")
        return 0.0, np.zeros(self.classes)

    def value_range(self, domain: Domain, *, seconds: float = np.inf) -> tuple[float, float]:
        return 0.0, 0.0

    def reading(self, lower: float, upper: float, decided: bool = True) -> str:
        if decided and upper <= 0:
            return f"So every such input is classified as class {self.label}: no other class has a larger score."
        if decided and lower > 0:
            return f"So at least one such input is not classified as class {self.label}."
        return f"Whether every such input is classified as class {self.label} is open."

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.kind} {self.label} {self.classes}".encode())
        digest.update(json.dumps(self.names).encode())
        limits = () if self.limits is None else (self.limits.lower, self.limits.upper)
        for part in (self.centre, *limits):
            digest.update(part.astype("<f8").tobytes())
        return digest.hexdigest()
