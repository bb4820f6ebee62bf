"""A batch of convex quadratic programs, checked once: shapes, finiteness, which parameters are shared.

min 1/2 z'Qz + q'z  subject to  Az = b, Gz <= h.  Source: Amos and Kolter 2017 (OptNet), eq. (2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from proxies.errors import ProxyError

# Dimensions of a parameter that is shared by the batch; one more where every problem has its own.
# Rows between this length and its inverse are left as they are: tolerances then mean what they say.
WELL_SCALED = 100.0
OWN_DIMENSIONS = {"Q": 2, "q": 1, "A": 2, "b": 1, "G": 2, "h": 1}


class QPError(ProxyError):
    """The data of a quadratic program are unusable, or a problem that had to be solved could not be."""


@dataclass(frozen=True)
class QuadraticPrograms:
    """A batch of problems in float64, equalities stacked on inequalities: rows E = [A; G], limits t = [b; h].

    Attributes:
        Q: (batch or 1, n, n); a leading 1 where the batch shares it. Only its symmetric part counts.
        q: (batch, n).
        E: (batch or 1, rows, n).
        t: (batch, rows).
        equalities: how many of the rows are equalities; they come first.
    """

    Q: Tensor
    q: Tensor
    E: Tensor
    t: Tensor
    equalities: int

    @classmethod
    def of(
        cls,
        Q: Tensor,
        q: Tensor,
        A: Tensor | None = None,
        b: Tensor | None = None,
        G: Tensor | None = None,
        h: Tensor | None = None,
    ) -> QuadraticPrograms:
        """Check and stack the parameters of `proxies.layers.qp.qp_solve`; keeps their gradients.

        Raises:
            QPError: a shape, type or device does not fit the others, or a number is not finite.
        """
        n = q.shape[-1] if q.ndim else 0
        if (A is None) != (b is None) or (G is None) != (h is None):
            raise QPError("a quadratic program needs A with b, and G with h; give both of a pair or none")
        if A is None or b is None:
            A, b = q.new_zeros(0, n), q.new_zeros(0)
        if G is None or h is None:
            G, h = q.new_zeros(0, n), q.new_zeros(0)
        given = {"Q": Q, "q": q, "A": A, "b": b, "G": G, "h": h}
        batch = _batch(given, n)
        _check_numbers(given)
        own = {name: _with_batch(value.double(), name) for name, value in given.items()}
        shared = own["A"].shape[0] == own["G"].shape[0] == 1
        rows = [
            own[name] if shared else own[name].expand(batch, -1, -1) for name in ("A", "G") if given[name].shape[-2]
        ]
        limits = [own[name].expand(batch, -1) for name in ("b", "h")]
        E = torch.cat(rows, 1) if len(rows) > 1 else (rows[0] if rows else q.new_zeros(1, 0, n).double())
        return cls(
            Q=own["Q"],
            q=own["q"].expand(batch, n),
            E=E,
            t=torch.cat(limits, 1),
            equalities=b.shape[-1],
        )

    @property
    def batch(self) -> int:
        """Number of problems."""
        return self.q.shape[0]

    @property
    def n(self) -> int:
        """Number of variables."""
        return self.q.shape[1]

    @property
    def rows(self) -> int:
        """Number of equalities and inequalities."""
        return self.t.shape[1]

    def numbers(self) -> tuple[QuadraticPrograms, Tensor]:
        """Return the same problems for solvers, without gradients: with a symmetric Q, and with rows of length one
        where the lengths are far from it.

        Also returns the factors ((batch or 1, rows)) that the rows were multiplied by: so are their multipliers
        divided.
        """
        Q, E, t = self.Q.detach(), self.E.detach(), self.t.detach()
        length = torch.linalg.vector_norm(E, dim=-1)
        far = ((length < 1 / WELL_SCALED) | (length > WELL_SCALED)) & (length > 0)
        scale = torch.where(far, 1 / length, 1.0)
        if bool(far.any()):
            E, t = E * scale[..., None], t * scale
        return QuadraticPrograms((Q + Q.mT) / 2, self.q.detach(), E, t, self.equalities), scale

    def select(self, index: Tensor | slice) -> QuadraticPrograms:
        """Return the problems at `index` (a slice, or (k,)); shared parameters stay shared."""
        Q = self.Q if self.Q.shape[0] == 1 else self.Q[index]
        E = self.E if self.E.shape[0] == 1 else self.E[index]
        return QuadraticPrograms(Q, self.q[index], E, self.t[index], self.equalities)


def times(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Return matrix @ vector for every problem: (batch or 1, r, c) by (batch, c) gives (batch, r)."""
    if matrix.shape[0] == 1:
        return vectors @ matrix[0].mT
    # As a row times a matrix: several times faster on a processor than a matrix times a column.
    return (vectors[:, None, :] @ matrix.mT)[:, 0]


def _batch(given: Mapping[str, Tensor], n: int) -> int:
    """Return the batch size; a batch of one where every parameter is shared."""
    shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in given.items())
    sizes = set()
    for name, value in given.items():
        extra = value.ndim - OWN_DIMENSIONS[name]
        if extra not in (0, 1):
            raise QPError(f"{name} needs {OWN_DIMENSIONS[name]} dimensions, one more with a batch; got {shapes}")
        if extra:
            sizes.add(value.shape[0])
    if len(sizes) > 1:
        raise QPError(f"the parameters of a quadratic program name different batch sizes: {shapes}")
    p, m = given["b"].shape[-1], given["h"].shape[-1]
    wanted = {"Q": (n, n), "q": (n,), "A": (p, n), "b": (p,), "G": (m, n), "h": (m,)}
    wrong = [name for name, shape in wanted.items() if given[name].shape[given[name].ndim - len(shape) :] != shape]
    if wrong or n == 0:
        raise QPError(f"the shapes of a quadratic program do not fit each other: {shapes}")
    if len({(value.dtype, value.device) for value in given.values()}) > 1 or not given["q"].is_floating_point():
        kinds = ", ".join(f"{name} {value.dtype} on {value.device}" for name, value in given.items())
        raise QPError(f"the parameters of a quadratic program need one floating type and one device: {kinds}")
    return sizes.pop() if sizes else 1


def _check_numbers(given: Mapping[str, Tensor]) -> None:
    for name, value in given.items():
        # A sum is finite only if every entry is, and is much cheaper than a test of each; a finite matrix whose sum
        # overflows gets the second look.
        if not bool(value.detach().sum().isfinite()) and not bool(value.detach().isfinite().all()):
            raise QPError(f"{name} of a quadratic program holds a number that is not finite")


def _with_batch(value: Tensor, name: str) -> Tensor:
    return value if value.ndim > OWN_DIMENSIONS[name] else value[None]
