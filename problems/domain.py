"""The set X of inputs: a latent box w in [l, u], an affine map x = T w + t, and at most a few linear cuts on w."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from problems.errors import DomainError
from problems.interval import Interval, Vector


@dataclass(frozen=True)
class Cut:
    """lower <= coefficients'w <= upper, with coefficients ((n_w,)) on the latent vector; `reason` says why."""

    coefficients: Vector
    lower: float
    upper: float
    reason: str


@dataclass(frozen=True)
class Domain:
    """All inputs x = matrix w + shift with w in `box` and within every cut.

    Attributes:
        box: latent limits, (n_w,).
        matrix: (n_x, n_w) sparse T.
        shift: (n_x,) t.
        cuts: linear rows that the latent vector must also obey.
        names: (n_w,) what each latent coordinate is.
    """

    box: Interval
    matrix: sparse.csr_array
    shift: Vector
    cuts: tuple[Cut, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of latent coordinates."""
        return len(self.box)

    @property
    def free(self) -> NDArray[np.int64]:
        """Indices of the latent coordinates that can move."""
        return np.flatnonzero(self.box.width > 0)

    @property
    def reach(self) -> Vector:
        """(n_w,) by how much each latent coordinate can move the inputs, summed over them."""
        return np.asarray(abs(self.matrix).sum(axis=0)).ravel() * self.box.width

    @property
    def centre(self) -> Vector:
        """(n_w,) the middle of the box, moved into the cuts."""
        return self.project((self.box.lower + self.box.upper) / 2)

    def to_input(self, latent: Vector) -> Vector:
        """Return x = T w + t for `latent` of shape (n_w,) or (batch, n_w)."""
        return np.asarray((self.matrix @ latent.T).T) + self.shift

    def project(self, latent: Vector) -> Vector:
        """Return `latent` ((..., n_w)) clipped to the box and moved along each violated cut's coordinates.

        Exact for the box; for a cut, the coordinates move together toward the end of the box that satisfies it.
        """
        w = np.clip(latent, self.box.lower, self.box.upper)
        for cut in self.cuts:
            a = cut.coefficients
            for limit, sign in ((cut.upper, 1.0), (cut.lower, -1.0)):
                # `goal` is the corner with the smallest value of sign * a'w.
                goal = np.where(sign * a > 0, self.box.lower, np.where(a == 0, w, self.box.upper))
                excess = sign * (w @ a - limit)
                room = sign * ((w - goal) @ a)
                # The factor keeps the result inside when the product below rounds outward.
                share = np.minimum(1.0, np.maximum(excess, 0.0) * (1 + 1e-12) / np.where(room > 0, room, np.inf))
                w = w + share[..., None] * (goal - w)
        return w

    def contains(self, latent: Vector, tolerance: float = 0.0) -> bool:
        """Return whether `latent` ((n_w,)) is in the box and within every cut, give or take `tolerance`."""
        inside = bool(self.box.contains(latent, tolerance))
        for cut in self.cuts:
            value = float(cut.coefficients @ latent)
            slack = tolerance * max(1.0, abs(value))
            inside = inside and cut.lower - slack <= value <= cut.upper + slack
        return inside

    def sample(self, count: int, seed: int) -> Vector:
        """Return (count, n_w) uniform points of the box, those outside a cut moved inside."""
        rng = np.random.default_rng(seed)
        return self.project(self.box.lower + rng.random((count, self.size)) * self.box.width)

    def corners(self, count: int, seed: int) -> Vector:
        """Return (count, n_w) random corners of the box, those outside a cut moved inside."""
        rng = np.random.default_rng(seed)
        high = rng.random((count, self.size)) < 0.5
        return self.project(np.where(high, self.box.upper, self.box.lower))

    def split(self, axis: int, at: float | None = None) -> tuple[Domain, Domain]:
        """Return the two parts below and above `at` (default: the middle) of latent coordinate `axis`."""
        low, high = float(self.box.lower[axis]), float(self.box.upper[axis])
        at = (low + high) / 2 if at is None else at
        if not low < at < high:
            raise DomainError(f"latent coordinate {axis} spans [{low}, {high}] and cannot be split at {at}")
        below, above = self.box.upper.copy(), self.box.lower.copy()
        below[axis] = above[axis] = at
        return (
            replace(self, box=Interval(self.box.lower, below)),
            replace(self, box=Interval(above, self.box.upper)),
        )

    def fingerprint(self) -> str:
        """Return a sha256 over every number that defines the domain."""
        digest = hashlib.sha256()
        dense = self.matrix.tocoo()
        parts = [self.box.lower, self.box.upper, self.shift, dense.row, dense.col, dense.data]
        parts += [np.array([*cut.coefficients, cut.lower, cut.upper]) for cut in self.cuts]
        for part in parts:
            array = np.ascontiguousarray(part)
            digest.update(str((array.shape, array.dtype.str)).encode())
            digest.update(array.tobytes())
        return digest.hexdigest()
