"""Quadratic programs as a differentiable layer: batched, every parameter learnable, each its own or shared.

Source: Amos and Kolter 2017 (OptNet), eq. (1)-(8). For training only: these layers have no exact encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from proxies.layers.qp_kkt import differentiable
from proxies.layers.qp_optimum import Search, find_optimum
from proxies.layers.qp_problem import OWN_DIMENSIONS, QPError, QuadraticPrograms, times
from proxies.layers.qp_search import Status

__all__ = ["ActiveSetCache", "QPError", "QPLayer", "QPOptions", "QPSolution", "Status", "qp_solve", "qp_vjp"]


Method = Literal["auto", "per_problem", "batched"]
Failures = Literal["nan", "raise"]


@dataclass(frozen=True)
class QPOptions:
    """How to solve.

    Attributes:
        method: "per_problem" on the processor (DAQP, then PIQP), "batched" in torch on the parameters' device; "auto"
            takes the first for parameters on the processor and the second elsewhere.
        tolerance: relative, at which an interior point stops before the polish.
        max_iterations: of an interior point.
        workers: threads; 0 takes as many as torch does.
        failures: "nan" fills the rows of problems without an optimum, "raise" raises QPError.
    """

    method: Method = "auto"
    tolerance: float = 1e-8
    max_iterations: int = 200
    workers: int = 0
    failures: Failures = "nan"

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise QPError(f"a quadratic program is solved by one of {get_args(Method)}, not by {self.method!r}")
        if self.failures not in get_args(Failures):
            raise QPError(f"a failure gives one of {get_args(Failures)}, not {self.failures!r}")
        if not self.tolerance > 0:
            raise QPError(f"the tolerance has to be positive, not {self.tolerance}")


@dataclass(frozen=True)
class QPSolution:
    """Optima of a batch; rows of problems that are not solved are NaN in every floating field.

    `z`, `nu`, `lam` and `slack` carry gradients. Where a problem is not solved, the gradient is zero if the loss does
    not depend on its row, and NaN if it does.

    Attributes:
        z: (batch, n) optimal points.
        nu: (batch, p) multipliers of the equalities, any sign.
        lam: (batch, m) multipliers of the inequalities, at least zero up to rounding.
        slack: (batch, m) h - Gz, at least zero up to rounding.
        status: (batch,) `Status` codes.
        active: (batch, m) the inequalities that the derivative holds with equality.
        polished: (batch,) the point solves the equations of its active set and its signs are right; elsewhere it is
            the interior point's, to its tolerance.
    """

    z: Tensor
    nu: Tensor
    lam: Tensor
    slack: Tensor
    status: Tensor
    active: Tensor
    polished: Tensor

    @property
    def solved(self) -> Tensor:
        """(batch,) which problems have an optimum, and it was found."""
        return self.status == Status.SOLVED


def qp_solve(
    Q: Tensor,
    q: Tensor,
    A: Tensor | None = None,
    b: Tensor | None = None,
    G: Tensor | None = None,
    h: Tensor | None = None,
    *,
    options: QPOptions | None = None,
    guess: Tensor | None = None,
) -> QPSolution:
    """Solve min 1/2 z'Qz + q'z subject to Az = b, Gz <= h, for every problem of a batch.

    Each parameter may carry a leading batch dimension or be shared; gradients of shared ones are sums over the batch.
    The work is done in float64 whatever the parameters' type, and the answer is given in that type.

    Args:
        Q: (n, n) or (batch, n, n), positive semidefinite; only its symmetric part counts.
        q: (n,) or (batch, n).
        A, b: (p, n) and (p,), each with or without batch; None for no equalities.
        G, h: (m, n) and (m,), each with or without batch; None for no inequalities.
        options: how to solve.
        guess: (batch, m) inequalities thought to be active: tried first, kept where they prove right.

    Returns:
        The optima. An inequality counts as active where its dual exceeds its slack. The derivative is that of the
        equations of the active set, exact wherever the solution is differentiable. At weakly active inequalities (dual
        and slack zero) it is the element of the generalised Jacobian that leaves them out, unless the optimum needs
        them to be unique. Where optima or multipliers are many, as in linear programs, it is that of one of them.

    Raises:
        QPError: the parameters do not fit, are not finite or not convex, or `failures` is "raise" and a problem has no
            optimum.
    """
    if torch.compiler.is_compiling():
        # The solvers are not torch code: the graph breaks here, on purpose.
        outside = torch.compiler.disable(_qp_solve)  # type: ignore[no-untyped-call]
        solved: QPSolution = outside(Q, q, A, b, G, h, options or QPOptions(), guess)
        return solved
    return _qp_solve(Q, q, A, b, G, h, options or QPOptions(), guess)


def _qp_solve(
    Q: Tensor,
    q: Tensor,
    A: Tensor | None,
    b: Tensor | None,
    G: Tensor | None,
    h: Tensor | None,
    options: QPOptions,
    guess: Tensor | None,
) -> QPSolution:
    problems = QuadraticPrograms.of(Q, q, A, b, G, h)
    p, kind = problems.equalities, q.dtype
    with torch.no_grad():
        workers = options.workers or torch.get_num_threads()
        per_problem = options.method == "per_problem" or (options.method == "auto" and q.device.type == "cpu")
        search = Search(per_problem, options.tolerance, options.max_iterations, workers)
        optimum = find_optimum(problems, search, guess)
    solved = optimum.status == Status.SOLVED
    if options.failures == "raise" and not bool(solved.all()):
        first = int((~solved).nonzero()[0])
        how = Status(int(optimum.status[first])).name.lower()
        raise QPError(f"problem {first} of the batch is {how}; mend its constraints, or ask for NaN instead")
    z, y = differentiable(problems, optimum.factors, optimum.z, optimum.y)
    slack = problems.t[:, p:] - times(problems.E[:, p:], z)
    z, nu, lam, slack = (_spoil(part, solved).to(kind) for part in (z, y[:, :p], y[:, p:], slack))
    return QPSolution(z, nu, lam, slack, optimum.status, optimum.factors.active[:, p:], optimum.polished)


def qp_vjp(
    parameters: dict[str, Tensor], grad_z: Tensor, options: QPOptions | None = None
) -> tuple[QPSolution, dict[str, Tensor]]:
    """Solve and pull a gradient back: d(grad_z . z)/d(parameter) for every parameter that is given.

    Args:
        parameters: by the names Q, q, A, b, G, h, as in `qp_solve`.
        grad_z: (batch, n); rows of problems without an optimum are left out.

    Returns:
        The solution, without gradients, and the gradients, shaped as the parameters.
    """
    own = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    with torch.enable_grad():
        solution = qp_solve(**own, options=options)
        if grad_z.shape != solution.z.shape:
            raise QPError(f"grad_z has shape {tuple(grad_z.shape)}, but the solution has {tuple(solution.z.shape)}")
        pulled = torch.autograd.grad(
            solution.z, list(own.values()), torch.where(solution.solved[:, None], grad_z, 0.0), allow_unused=True
        )
    grads = {
        name: torch.zeros_like(value) if grad is None else grad for (name, value), grad in zip(own.items(), pulled)
    }
    fields = {name: value.detach() for name, value in vars(solution).items()}
    return QPSolution(**fields), grads


class ActiveSetCache:
    """The active set of every training sample at its last visit, as the next visit's guess.

    Args:
        samples: size of the training set.
        inequalities: rows of G.
    """

    def __init__(self, samples: int, inequalities: int) -> None:
        self._active = torch.zeros(samples, inequalities, dtype=torch.bool)
        self._known = torch.zeros(samples, dtype=torch.bool)

    def guess(self, sample: Tensor) -> Tensor | None:
        """Return ((batch, m)) the sets of the samples at the indices `sample` ((batch,)); None if one is not known."""
        index = sample.cpu()
        return self._active[index].to(sample.device) if bool(self._known[index].all()) else None

    def keep(self, sample: Tensor, solution: QPSolution) -> None:
        """Store the active sets of a solution of these samples."""
        index = sample.cpu()
        self._active[index], self._known[index] = solution.active.cpu(), solution.solved.cpu()


class QPLayer(nn.Module):
    """`qp_solve` as a module: holds some of the six parameters and is called with the others.

    For training only: it is no layer of a `Proxy` and has no encoding. A parameter that is given as `nn.Parameter` is
    learnt, one given as a tensor is a buffer. To learn Q, compute it from a factor (LL' + 1e-4 I) and call with it.

    Args:
        options: how to solve.
        cache: active sets of the training samples, used where a call names its samples.
        parameters: by the names Q, q, A, b, G, h.
    """

    def __init__(
        self, options: QPOptions | None = None, cache: ActiveSetCache | None = None, **parameters: Tensor
    ) -> None:
        super().__init__()
        self.options, self.cache = options or QPOptions(), cache
        for name, value in parameters.items():
            _known_name(name)
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            else:
                self.register_buffer(name, value)
        self._held = tuple(parameters)

    def forward(self, sample: Tensor | None = None, **parameters: Tensor) -> Tensor:
        """Return the optima z ((batch, n)); arguments as `solve`."""
        return self.solve(sample, **parameters).z

    def solve(self, sample: Tensor | None = None, **parameters: Tensor) -> QPSolution:
        """Return the whole solution.

        Args:
            sample: (batch,) indices of the training samples, for the cache.
            parameters: those that the layer does not hold, or to be used instead of those it holds.
        """
        held = {name: getattr(self, name) for name in self._held}
        given: dict[str, Any] = held | {_known_name(name): value for name, value in parameters.items()}
        missing = [name for name in ("Q", "q") if name not in given]
        if missing:
            raise QPError(f"a quadratic program needs {' and '.join(missing)}; hold it in the layer or call with it")
        if self.cache is None or sample is None:
            return qp_solve(**given, options=self.options)
        solution = qp_solve(**given, options=self.options, guess=self.cache.guess(sample))
        self.cache.keep(sample, solution)
        return solution


def _known_name(name: str) -> str:
    if name not in OWN_DIMENSIONS:
        raise QPError(f"a quadratic program has no parameter {name!r}; it has {', '.join(OWN_DIMENSIONS)}")
    return name


class _SpoilUnsolved(torch.autograd.Function):
    """NaN in the rows of unsolved problems, and in their gradients wherever a loss depends on them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, solved: Tensor) -> Tensor:
        ctx.solved = solved
        return torch.where(solved[:, None], values, torch.nan)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        fine = ctx.solved[:, None] | (grads[0] == 0)
        return torch.where(fine, grads[0], torch.nan), None


def _spoil(values: Tensor, solved: Tensor) -> Tensor:
    spoilt: Tensor = _SpoilUnsolved.apply(values, solved)  # type: ignore[no-untyped-call]
    return spoilt
