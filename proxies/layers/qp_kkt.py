"""The KKT system of a batch of quadratic programs on given active sets: factorised once, solved, differentiated.

Rows outside the active set are left out, those inside hold with equality:  [Q E'; E 0] [z; y] = [r; t].
Source: Amos and Kolter 2017 (OptNet), eq. (6)-(8), on the active set, where the system is symmetric.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proxies.layers.qp_problem import QPError, QuadraticPrograms, times

# A Q whose factor has pivots this unequal (smallest over largest) counts as singular and gets the proximal term.
SINGULAR = 1e-10
# The proximal term of a singular Q, and the shift of the dual system, as shares of their largest diagonal entries.
# Both only slow the refinement down: what it converges to has neither.
PROXIMAL, SHIFT = 1e-7, 1e-12
# One step of refinement suffices without a proximal term. With one, it goes on until the residual is this share of the
# right-hand side, or for this many steps.
RESIDUAL, STEPS = 1e-15, 12
# Bytes that one part of a batch may take, so that its matrices are read from the cache and not from memory.
CACHE = 8 * 2**20
# A part has at least this many problems, or the solvers' threads would have nothing to share.
LEAST = 8


class Prepared:
    """A batch with Q factorised once, for every active set to be tried.

    Args:
        problems: the batch, as its `numbers`.

    Attributes:
        problems: the batch.
        lower: (batch or 1, n, n) Cholesky factor of Q, or of Q with the proximal term.
        regular: no Q of the batch needed the proximal term.

    Raises:
        QPError: a Q is not positive semidefinite.
    """

    def __init__(self, problems: QuadraticPrograms, factor: tuple[Tensor, bool] | None = None) -> None:
        self.problems = problems
        self.lower, self.regular = factor or _factor_of_q(self.problems.Q)
        self._whole: Tensor | None = None
        self._gram: Tensor | None = None

    def select(self, index: Tensor | slice) -> Prepared:
        """Return the problems at `index` (a slice, or (k,)), with their factors."""
        lower = self.lower if self.lower.shape[0] == 1 else self.lower[index]
        part = Prepared(self.problems.select(index), (lower, self.regular))
        if self._whole is not None:
            part._whole = self._whole if self._whole.shape[0] == 1 else self._whole[index]
        part._gram = self._gram
        return part

    def whole(self) -> Tensor:
        """Return lower^-1 E' ((batch or 1, n, rows)), found once."""
        if self._whole is None:
            E = self.problems.E
            together = E.expand(len(self.lower), -1, -1) if E.shape[0] == 1 else E
            self._whole = solve_triangular(self.lower, together.mT, upper=False)
        return self._whole

    @property
    def shared(self) -> bool:
        """Whether the whole batch has one Q and one E."""
        return self.lower.shape[0] == self.problems.E.shape[0] == 1

    def gram(self) -> Tensor:
        """Return the square of `whole` ((rows, rows)) where Q and E are shared, found once."""
        if self._gram is None:
            self._gram = self.whole()[0].mT @ self.whole()[0]
        return self._gram

    def half(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Return lower^-1 E' of the rows in `order` ((batch, k)) as (batch, n, k), and its square ((batch, k, k))."""
        E = self.problems.E
        if self.shared:
            return self.whole()[0].mT[order].mT, self.gram()[order[:, :, None], order[:, None, :]]
        which = torch.arange(len(order), device=order.device)[:, None]
        if self._whole is not None:
            half = self._whole.mT[which, order].mT
        else:
            chosen = E[0][order] if E.shape[0] == 1 else E[which, order]
            half = solve_triangular(self.lower, chosen.mT, upper=False)
        return half, half.mT @ half


@dataclass(frozen=True)
class Factor:
    """The factorised system of every problem of a batch, for right-hand sides to come.

    Attributes:
        Q, E: (batch or 1, n, n) and (batch or 1, rows, n), as in `QuadraticPrograms`.
        active: (batch, rows) rows that hold with equality.
        order: (batch, k) the active rows of every problem, filled up with inactive ones to the largest number k.
        lower: (batch or 1, n, n) Cholesky factor of Q, or of Q with the proximal term.
        half: (batch, n, k) lower^-1 E' of the rows in `order`, zero for those that only fill up.
        dual: (batch, k, k) Cholesky factor of half'half, with ones for the rows that only fill up.
        regular: no Q of the batch needed the proximal term.
    """

    Q: Tensor
    E: Tensor
    active: Tensor
    order: Tensor
    lower: Tensor
    half: Tensor
    dual: Tensor
    regular: bool

    def solve(self, r: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return z ((batch, n)) and y ((batch, rows), zero outside the active set) for given right-hand sides.

        A system with several solutions gives one of them; one without any gives numbers that do not solve it.
        """
        t = torch.where(self.active, t, 0.0)
        z, y = self._once(r, t)
        worst = torch.inf
        for _ in range(STEPS):
            left = r - times(self.Q, z) - times(self.E.mT, y)
            short = torch.where(self.active, t - times(self.E, z), 0.0)
            if self.regular:
                step, turn = self._once(left, short)
                return z + step, y + turn
            now = float(torch.maximum(_share(left, r), _share(short, t)).max()) if r.numel() else 0.0
            # Half a step's gain is the last one's rounding: no more to be had.
            if now <= RESIDUAL or not now <= 0.5 * worst:
                break
            worst = now
            step, turn = self._once(left, short)
            z, y = z + step, y + turn
        return z, y

    def _once(self, r: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        inner = solve_triangular(self.lower, r[..., None], upper=False)
        y = torch.zeros_like(t)
        if self.order.shape[-1]:
            short = self.half.mT @ inner - t.gather(-1, self.order)[..., None]
            y_some = torch.cholesky_solve(short, self.dual)
            inner = inner - self.half @ y_some
            y = y.scatter(-1, self.order, y_some[..., 0])
        return solve_triangular(self.lower.mT, inner, upper=True)[..., 0], y


@dataclass(frozen=True)
class Factors:
    """The factorised systems of a batch that was split into consecutive parts.

    Attributes:
        parts: first to last.
        active: (batch, rows) of all parts.
        scale: (batch or 1, rows) what the rows were multiplied by before.
    """

    parts: tuple[Factor, ...]
    active: Tensor
    scale: Tensor

    def solve(self, r: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """`Factor.solve` for the whole batch, in the units of its own rows."""
        t = t * self.scale
        sizes = [len(part.active) for part in self.parts]
        solved = [part.solve(*sides) for part, *sides in zip(self.parts, torch.split(r, sizes), torch.split(t, sizes))]
        z, y = (torch.cat(side) for side in zip(*solved))
        return z, y * self.scale


def parts(problems: QuadraticPrograms) -> Iterator[Prepared]:
    """Yield a batch in consecutive parts, small enough on a processor for its cache; an empty batch is one part."""
    size = problems.batch
    if problems.q.device.type == "cpu":
        own_q, own_e = problems.Q.shape[0] != 1, problems.E.shape[0] != 1
        numbers = 2 * own_q * problems.n**2 + (1 + 2 * own_e) * problems.rows * problems.n
        size = max(LEAST, CACHE // (torch.float64.itemsize * max(numbers, 1)))
    together = Prepared(problems) if problems.Q.shape[0] == 1 else None
    if together is not None and together.shared:
        together.gram()  # Once, and not in every part.
    for first in range(0, max(problems.batch, 1), max(size, 1)):
        part = slice(first, first + size)
        yield Prepared(problems.select(part)) if together is None else together.select(part)


def factorise(prepared: Prepared, active: Tensor) -> Factor:
    """Factorise the KKT systems on the active sets ((batch, rows); equalities must be in them)."""
    problems = prepared.problems
    k = int(active.sum(-1).max()) if active.numel() else 0
    order = active.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, :k]
    used = active.gather(-1, order)
    half, gram = prepared.half(order)
    half = half * used[:, None, :]
    gram = gram * used[:, None, :] * used[:, :, None]
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    largest = diagonal.amax(-1, keepdim=True).clamp(min=1e-300) if k else diagonal
    diagonal.add_(torch.where(used, SHIFT * largest, 1.0))
    dual, info = torch.linalg.cholesky_ex(gram)
    if bool((info > 0).any()):
        diagonal.add_(torch.where(used & (info > 0)[:, None], 1e3 * SHIFT * largest, 0.0))
        dual, info = torch.linalg.cholesky_ex(gram)
    dual = torch.where((info > 0)[:, None, None], torch.eye(k, dtype=dual.dtype, device=dual.device), dual)
    return Factor(problems.Q, problems.E, active, order, prepared.lower, half, dual, prepared.regular)


class _KktSolve(torch.autograd.Function):
    """`Factor.solve` as a function of Q, E, r and t; its derivative is another such solve, so it has every order.

    The factors are those of the symmetric part of Q, and so is its gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, Q: Tensor, E: Tensor, r: Tensor, t: Tensor, factors: Factors, known: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        z, y = known or factors.solve(r, t)
        ctx.factors = factors
        ctx.save_for_backward(Q, E, z, y)
        return z, y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        Q, E, z, y = ctx.saved_tensors
        factors: Factors = ctx.factors
        dz, dy = _KktSolve.apply(  # type: ignore[no-untyped-call]
            Q, E, grads[0], torch.where(factors.active, grads[1], 0.0), factors, None
        )
        wants_q, wants_e = ctx.needs_input_grad[:2]
        grad_q = _outer(dz, z, z, dz, Q.shape[0] == 1, -0.5) if wants_q else None
        grad_e = _outer(dy, z, y, dz, E.shape[0] == 1, -1.0) if wants_e else None
        return grad_q, grad_e, dz, dy, None, None


def differentiable(problems: QuadraticPrograms, factors: Factors, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return z ((batch, n)) and y ((batch, rows)), which solve the factorised systems, with derivatives in every
    parameter."""
    solved: tuple[Tensor, Tensor] = _KktSolve.apply(  # type: ignore[no-untyped-call]
        problems.Q, problems.E, -problems.q, problems.t, factors, (z, y)
    )
    return solved


def _outer(a: Tensor, b: Tensor, c: Tensor, d: Tensor, shared: bool, scale: float) -> Tensor:
    """Return scale (a b' + c d') of every problem, or its sum ((1, ., .)) where the parameter is shared."""
    if shared:
        return scale * (a.mT @ b + c.mT @ d)[None]
    return torch.stack([scale * a, scale * c], -1) @ torch.stack([b, d], -2)


def _factor_of_q(Q: Tensor) -> tuple[Tensor, bool]:
    """Return Cholesky factors of Q, with the proximal term where it is singular, and whether none is."""
    lower, info = torch.linalg.cholesky_ex(Q)
    pivots = lower.diagonal(dim1=-2, dim2=-1).square()
    regular = (info == 0) & (pivots.amin(-1) > SINGULAR * pivots.amax(-1))
    if bool(regular.all()):
        return lower, True
    scale = Q.diagonal(dim1=-2, dim2=-1).abs().amax(-1)
    term = torch.where(regular, 0.0, PROXIMAL * torch.where(scale > 0, scale, 1.0))
    eye = torch.eye(Q.shape[-1], dtype=Q.dtype, device=Q.device)
    lower, info = torch.linalg.cholesky_ex(Q + term[:, None, None] * eye)
    if bool((info > 0).any()):
        raise QPError(
            "Q of a quadratic program is not positive semidefinite; learn it through a factor, Q = LL' + 1e-4 I"
        )
    return lower, False


def _share(residual: Tensor, right: Tensor) -> Tensor:
    """Return ((batch,)) the largest residual over the largest entry of the right-hand side, but at least over 1."""
    if not residual.shape[-1]:
        return residual.new_zeros(residual.shape[0])
    # A problem without an optimum may have NaN on its right: the others are still refined.
    return (residual.abs().amax(-1) / right.abs().amax(-1).clamp(min=1.0)).nan_to_num(0.0)


def solve_triangular(matrix: Tensor, right: Tensor, upper: bool) -> Tensor:
    """Solve triangular systems; with one matrix for the batch all right-hand sides are one matrix's columns."""
    if matrix.shape[0] != 1 or right.shape[0] == 1:
        solved: Tensor = torch.linalg.solve_triangular(matrix, right, upper=upper)
        return solved
    batch, n, k = right.shape
    flat = right.transpose(0, 1).reshape(n, batch * k)
    together: Tensor = torch.linalg.solve_triangular(matrix[0], flat, upper=upper)
    return together.view(n, batch, k).transpose(0, 1)
