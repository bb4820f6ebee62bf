"""The tangents of one value function, each slope once: the closed form of its lower envelope, and its .npz file.

Source: Chen et al. 2024, eq. (7) and (8).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable

import numpy as np

from problems.domain import Domain
from problems.interval import Vector
from problems.parametric import ParametricProblem
from solvers.errors import CertigapError
from verifier.value_function import ValueCut

FORMAT = "certigap.cuts/1"
# Slopes that agree to about this share of their largest entry come from one dual vertex and differ by rounding (1e-12);
# were they two, leaving one out would cost the envelope no more than this share.
SAME_SLOPE = 1e-7


class CutStoreError(CertigapError, ValueError):
    """A file of stored tangents cannot be read, or belongs to another problem or another map to its inputs."""


class CutStore:
    """Tangents of Phi(T w + t) for one problem, T and t; valid for every w, so for every box of such domains.

    Args:
        problem: whose Phi it is.
        domain: gives T and t; its box does not matter.
    """

    def __init__(self, problem: ParametricProblem, domain: Domain) -> None:
        self.key = _key(problem, domain)
        self._at = self._slopes = np.zeros((0, domain.size))
        self._values = np.zeros(0)
        self._known: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._values)

    def __call__(self, latent: Vector) -> Vector:
        """Return the largest tangent at `latent` ((..., n_w)): nowhere above Phi; -inf while there is none."""
        constants, slopes = self.affine()
        return np.asarray((constants + latent @ slopes.T).max(axis=-1, initial=-np.inf))

    def affine(self) -> tuple[Vector, Vector]:
        """Return constants ((n,)) and slopes ((n, n_w)): tangent k is constants[k] + slopes[k]'w."""
        return self._values - (self._slopes * self._at).sum(axis=1), self._slopes

    def add(self, cuts: Iterable[ValueCut]) -> None:
        """Store the tangents whose slope is new: dual vertices repeat."""
        cuts = [cut for cut in cuts if np.isfinite(cut.value)]
        if cuts:
            self._add(*(np.stack(part) for part in zip(*((cut.at, cut.slope, cut.value) for cut in cuts))))

    def after(self, count: int) -> CutStore:
        """Return a store of all tangents but the first `count`, such as those that came from a file."""
        rest = self.copy()
        rest._at, rest._slopes, rest._values = self._at[count:], self._slopes[count:], self._values[count:]
        return rest

    def copy(self) -> CutStore:
        """Return a store that grows by itself."""
        copied = CutStore.__new__(CutStore)
        copied.__dict__.update(self.__dict__, _known=set(self._known))
        return copied

    def check(self, problem: ParametricProblem, domain: Domain) -> None:
        """Raise CutStoreError where the tangents are not those of this problem with this domain's T and t."""
        if self.key != _key(problem, domain):
            raise CutStoreError(
                f"the stored tangents belong to another problem than {problem.name} with these options, or to another "
                "map from the latent vector to its inputs; give them another file"
            )

    def to_npz(self) -> bytes:
        """Return the store as an .npz file; `from_npz` gives back the same bits."""
        file = io.BytesIO()
        np.savez(file, format=FORMAT, key=self.key, at=self._at, value=self._values, slope=self._slopes)
        return file.getvalue()

    @classmethod
    def from_npz(cls, data: bytes, problem: ParametricProblem, domain: Domain) -> CutStore:
        """Return the store in an .npz file.

        Args:
            data: the file's content.
            problem, domain: what the tangents will be used for; the box does not matter.

        Raises:
            CutStoreError: this is no such file, or it belongs to another problem or map.
        """
        store = cls(problem, domain)
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                form, key, at, values, slopes = (file[name] for name in ("format", "key", "at", "value", "slope"))
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
            raise CutStoreError("this is not a file of stored tangents; give one that --cuts wrote") from None
        if str(form) != FORMAT:
            raise CutStoreError(f"the file has the format {form}, but {FORMAT} is read; let a new one be written")
        store.key = str(key)
        store.check(problem, domain)
        count = len(values) if values.ndim == 1 else -1
        numbers = (at, values, slopes)
        if not (
            at.shape == slopes.shape == (count, domain.size)
            and all(part.dtype == np.float64 and np.isfinite(part).all() for part in numbers)
        ):
            raise CutStoreError("the stored tangents are damaged; delete the file, and a new one is written")
        store._add(at, slopes, values)
        return store

    def _add(self, at: Vector, slopes: Vector, values: Vector) -> None:
        fresh = []
        for k, mark in enumerate(_marks(slopes)):
            if mark not in self._known:
                self._known.add(mark)
                fresh.append(k)
        self._at = np.concatenate([self._at, at[fresh]])
        self._slopes = np.concatenate([self._slopes, slopes[fresh]])
        self._values = np.concatenate([self._values, values[fresh]])


def _marks(slopes: Vector) -> list[bytes]:
    """Return for each slope ((n, n_w)) the bytes of its rounding to a grid: the same for slopes that are the same."""
    _, exponent = np.frexp(np.abs(slopes).max(axis=1, initial=0.0))
    grid = np.ldexp(SAME_SLOPE, exponent)[:, None]
    return [row.tobytes() for row in np.hstack([np.rint(slopes / grid), grid]) + 0.0]


def _key(problem: ParametricProblem, domain: Domain) -> str:
    """Return a sha256 over the problem, T and t."""
    matrix = domain.matrix.tocoo()
    digest = hashlib.sha256(problem.fingerprint().encode())
    for part in (np.array(matrix.shape), matrix.row, matrix.col, matrix.data, domain.shift):
        array = np.ascontiguousarray(part)
        digest.update(str((array.shape, array.dtype.str)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
