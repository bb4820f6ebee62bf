"""Value of a mixed-integer program as a differentiable function of its costs, rows and right sides.

The programs are elastic (`solvers.elastic_program`), so that the value does not jump: it is a minimum over integer
assignments of values of linear programs. Backward gives the derivative of the active piece, an element of a
conservative gradient (Bolte et al. 2021): dz/dc = x, dz/db = y, dz/dA = -y x'. For training: it is no layer of a proxy
that can be encoded. `mip_value_solve` and `mip_value_vjp` are the pure functions under it.

Source: "Taming binarized neural networks and mixed-integer programs", by MATH 9.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from proxies.errors import IntegerProgramError
from proxies.layers.mip_value_programs import OWN_DIMENSIONS, MipPrograms
from solvers.elastic_program import ElasticProgram
from solvers.mip_pieces import MipAnswer, Outcome, Search, solve_pieces
from solvers.registry import DEFAULT_SOLVER

__all__ = [
    "MipOptions",
    "MipValue",
    "MipValueSolution",
    "Outcome",
    "mip_value_solve",
    "mip_value_vjp",
    "process_pool",
]


@dataclass(frozen=True)
class MipOptions:
    """How to solve, and what to answer.

    Attributes:
        pieces: how many distinct integer assignments to find for each program. One finds the value and its gradient;
            two tell ties between assignments; more make a better soft minimum. Each is one more solve.
        temperature: zero takes the minimum over the pieces; above, the soft minimum -t log sum exp(-value / t) over
            those found, in the unit of the value: below the minimum by at most t log(pieces), with the softmax-weighted
            gradient.
        time_limit: seconds for each program, all its pieces together.
        tolerance: relative size below which a slack, a multiplier or a difference of values counts as zero: a tie.
        solver: a name that `solvers.registry.open_session` takes; pieces are solved by HiGHS.
    """

    pieces: int = 1
    temperature: float = 0.0
    time_limit: float = np.inf
    tolerance: float = 1e-6
    solver: str = DEFAULT_SOLVER

    def __post_init__(self) -> None:
        if self.pieces < 1 or not self.temperature >= 0:
            raise IntegerProgramError("a MIP value needs at least one piece and a temperature of zero or more")


DEFAULT_OPTIONS = MipOptions()


@dataclass(frozen=True)
class MipValueSolution:
    """Values of a batch of programs. Only `value` carries gradients.

    Attributes:
        value: (B,) the value, or the soft minimum where asked. Where `outcome` is TIME_LIMIT: that of the best points
            found, an upper bound of the value. NaN where there is no point, or none that can be trusted.
        lower, upper: (B,) the minimum lies between them; both +inf where infeasible, both -inf where unbounded.
        outcome: (B,) `Outcome` codes.
        x: (B, n) the best point, y: (B, m) the multipliers of its piece; NaN where there is none.
        shortfall: (B, m) by how much the rows are missed at x. Where it is zero the value is that of the program with
            hard rows.
        margin: (B,) value of the second best assignment less that of the best: infinite where there is no other, NaN
            where none was looked for (`pieces` = 1) or time ran out.
        tied: (B,) whether two assignments have the same value within the tolerance; false where `margin` is NaN.
        unique_x, unique_y: (B,) whether the piece of the best assignment has one optimal point, and one multiplier
            vector. Without the first, the value has a kink in c and A; without the second, in b and A.
        pieces: (B, k) values of the pieces found, best first, +inf in the places of those that are not there.
        pieces_x: (B, k, n), pieces_y: (B, k, m) their points and multipliers, zero in those places.
    """

    value: Tensor
    lower: Tensor
    upper: Tensor
    outcome: Tensor
    x: Tensor
    y: Tensor
    shortfall: Tensor
    margin: Tensor
    tied: Tensor
    unique_x: Tensor
    unique_y: Tensor
    pieces: Tensor
    pieces_x: Tensor
    pieces_y: Tensor

    @property
    def solved(self) -> Tensor:
        """(B,) whether the value is known."""
        return self.outcome == Outcome.SOLVED

    @property
    def at_kink(self) -> Tensor:
        """(B,) whether the value is known to have several gradients here: that returned is one of them."""
        return self.tied | ~self.unique_x | ~self.unique_y


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of fresh processes, which do not import torch, to share the programs of a batch.

    A script that makes one needs the usual `if __name__ == "__main__":` guard.
    """
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def mip_value_solve(
    c: Tensor,
    A: Tensor,
    b: Tensor,
    lower: Tensor | float,
    upper: Tensor | float,
    integer: Tensor | bool,
    penalty: Tensor | float,
    options: MipOptions = DEFAULT_OPTIONS,
    executor: Executor | None = None,
    *,
    equality: Tensor | bool = False,
) -> MipValueSolution:
    """Return min c'x + penalty's, A x + s >= b, s >= 0, lower <= x <= upper, some of x integer, for each program.

    Args:
        c: (B, n) or (n,) costs.
        A: (B, m, n) or (m, n) rows.
        b: (B, m) or (m,) right sides.
        lower, upper: (n,) or scalars, the box; integral and finite for integer columns.
        integer: (n,) or scalar, which columns are integer.
        penalty: (m,) or scalar, cost of one unit of a row's shortfall; infinite makes the row hard. A penalty above
            every multiplier of the row leaves the value of a feasible program as it is.
        options: how.
        executor: shares the programs, as from `process_pool`; None solves them here, one after the other.
        equality: (m,) or scalar, which rows are equalities: their shortfall is |A x - b|.

    Returns:
        The values, without gradients. An infeasible or unbounded program is a result, never a number: see `outcome`.

    Raises:
        IntegerProgramError: the parameters are unusable.
        SolverUnavailableError: the solver is not installed.
    """
    return _solve(MipPrograms.of(c, A, b, lower, upper, integer, penalty, equality), options, executor)


def mip_value_vjp(
    parameters: dict[str, Tensor],
    grad_value: Tensor,
    lower: Tensor | float,
    upper: Tensor | float,
    integer: Tensor | bool,
    penalty: Tensor | float,
    options: MipOptions = DEFAULT_OPTIONS,
    executor: Executor | None = None,
    *,
    equality: Tensor | bool = False,
) -> tuple[MipValueSolution, dict[str, Tensor]]:
    """Solve and pull a gradient back: d(grad_value . value)/d(parameter) for c, A and b.

    Args:
        parameters: by the names c, A and b, as in `mip_value_solve`, and so are the other arguments.
        grad_value: (B,); programs without a value are left out.

    Returns:
        The solution, and the gradients, shaped as the parameters: summed over the batch where they are shared.

    Raises:
        IntegerProgramError: the parameters are unusable.
    """
    if set(parameters) != set(OWN_DIMENSIONS):
        raise IntegerProgramError(f"a MIP value has the parameters c, A and b, not {', '.join(parameters)}")
    c, A, b = (parameters[name] for name in OWN_DIMENSIONS)
    programs = MipPrograms.of(c, A, b, lower, upper, integer, penalty, equality)
    solution = _solve(programs, options, executor)
    if grad_value.shape != solution.value.shape:
        shapes = f"{tuple(grad_value.shape)}, but the values have {tuple(solution.value.shape)}"
        raise IntegerProgramError(f"grad_value has shape {shapes}")
    grads = _pull(programs, solution, torch.where(solution.value.isnan(), 0.0, grad_value), options)
    return solution, dict(zip(OWN_DIMENSIONS, grads))


class MipValue(nn.Module):
    """`mip_value_solve` in a network: values of programs that share their box, their integer columns and penalties.

    Args:
        lower, upper, integer, penalty, options, equality: as for `mip_value_solve`.
        workers: processes that share a batch, started at the first call and kept; one solves in this process.
    """

    def __init__(
        self,
        lower: Tensor | float,
        upper: Tensor | float,
        integer: Tensor | bool,
        penalty: Tensor | float,
        options: MipOptions = DEFAULT_OPTIONS,
        workers: int = 1,
        *,
        equality: Tensor | bool = False,
    ) -> None:
        super().__init__()
        self._fixed = lower, upper, integer, penalty, equality
        self.options, self.workers = options, workers
        self._executor: Executor | None = None

    def forward(self, c: Tensor, A: Tensor, b: Tensor) -> MipValueSolution:
        """Return the values, which carry gradients; see `mip_value_solve` for shapes and errors.

        Where a program has no value, its gradient is zero if the loss does not depend on it, and NaN if it does.
        """
        if self.workers > 1 and self._executor is None:
            self._executor = process_pool(self.workers)
        programs = MipPrograms.of(c, A, b, *self._fixed)
        solution = _solve(programs, self.options, self._executor)
        value = _Value.apply(c, A, b, programs, solution, self.options)  # type: ignore[no-untyped-call]
        return replace(solution, value=value)

    def programs(self, c: Tensor, A: Tensor, b: Tensor) -> list[ElasticProgram]:
        """Return the programs of a batch, such as `solvers.dual_tree.grow` takes."""
        return list(MipPrograms.of(c, A, b, *self._fixed).each())

    def close(self) -> None:
        """End the processes."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None


class _Value(torch.autograd.Function):
    """The values as a function of c, A and b."""

    @staticmethod
    def forward(
        ctx: Any,
        c: Tensor,
        A: Tensor,
        b: Tensor,
        programs: MipPrograms,
        solution: MipValueSolution,
        options: MipOptions,
    ) -> Tensor:
        ctx.programs, ctx.solution, ctx.options = programs, solution, options
        return solution.value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        unknown = ctx.solution.value.isnan() & (grad != 0)
        pulled = _pull(ctx.programs, ctx.solution, torch.where(unknown, torch.nan, grad), ctx.options)
        return *pulled, None, None, None


def _solve(programs: MipPrograms, options: MipOptions, executor: Executor | None) -> MipValueSolution:
    search = Search(options.pieces, options.solver, options.time_limit, options.tolerance)
    run: Callable[..., Iterable[MipAnswer]] = map if executor is None else executor.map
    each = list(programs.each())
    answers = list(run(partial(solve_pieces, search=search), each))
    batch, count, n, m = len(each), options.pieces, programs.c.shape[-1], programs.b.shape[-1]
    values, points, duals = np.full((batch, count), np.inf), np.zeros((batch, count, n)), np.zeros((batch, count, m))
    x, y, shortfall = (np.full((batch, size), np.nan) for size in (n, m, m))
    unique = np.zeros((2, batch), dtype=bool)
    for k, (program, answer) in enumerate(zip(each, answers)):
        if answer.pieces and answer.outcome is not Outcome.FAILED:
            found = answer.pieces
            values[k, : len(found)] = [piece.value for piece in found]
            points[k, : len(found)] = [piece.x for piece in found]
            duals[k, : len(found)] = [piece.y for piece in found]
            x[k], y[k], shortfall[k] = found[0].x, found[0].y, program.shortfall(found[0].x)
            unique[:, k] = found[0].unique_x, found[0].unique_y
    lower, upper, margin = (
        np.array([getattr(answer, name) for answer in answers], dtype=np.float64)
        for name in ("lower", "upper", "margin")
    )
    best = values[:, 0] if not options.temperature else _soft_minimum(values, options.temperature)
    kind, device = programs.c.dtype, programs.c.device

    def real(part: np.ndarray) -> Tensor:
        return torch.as_tensor(part, device=device).to(kind)

    return MipValueSolution(
        value=real(np.where(np.isfinite(values[:, 0]), best, np.nan)),
        lower=real(lower),
        upper=real(upper),
        outcome=torch.tensor([int(answer.outcome) for answer in answers], dtype=torch.int64, device=device),
        x=real(x),
        y=real(y),
        shortfall=real(shortfall),
        margin=real(margin),
        tied=torch.as_tensor(margin <= options.tolerance * np.maximum(1.0, np.abs(values[:, 0])), device=device),
        unique_x=torch.as_tensor(unique[0], device=device),
        unique_y=torch.as_tensor(unique[1], device=device),
        pieces=real(values),
        pieces_x=real(points),
        pieces_y=real(duals),
    )


def _soft_minimum(values: np.ndarray, temperature: float) -> np.ndarray:
    """Return -t log sum exp(-value / t) over the last axis."""
    least = values.min(axis=-1)
    finite = np.isfinite(least)
    apart = np.where(finite[:, None], values - np.where(finite, least, 0.0)[:, None], 0.0)
    return np.asarray(least - temperature * np.log(np.exp(-apart / temperature).sum(axis=-1)))


def _pull(programs: MipPrograms, solution: MipValueSolution, grad: Tensor, options: MipOptions) -> list[Tensor]:
    """Return the gradients by c, A and b: those of the pieces, weighted."""
    apart = solution.pieces - solution.pieces[:, :1]
    if options.temperature:
        share = torch.softmax(-apart.nan_to_num(0.0) / options.temperature, -1)
    else:
        share = torch.zeros_like(apart)
        share[:, :1] = 1.0
    weight = grad[:, None] * share
    x, y = solution.pieces_x, solution.pieces_y
    full = {
        "c": (weight[..., None] * x).sum(1),
        "A": -(weight[..., None] * y).mT @ x,
        "b": (weight[..., None] * y).sum(1),
    }
    return [
        full[name] if getattr(programs, name).ndim > own else full[name].sum(0) for name, own in OWN_DIMENSIONS.items()
    ]
