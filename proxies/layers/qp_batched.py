"""Interior point for a whole batch of quadratic programs at once in torch, on any device.

Every problem stops on its own: one that has ended takes no further step, and is dropped once half of the batch has.
Sources: Mehrotra 1992 (predictor-corrector); Mattingley and Boyd 2012, as in Amos and Kolter 2017, eq. (9)-(10).
"""

from __future__ import annotations

import torch
from torch import Tensor

from proxies.layers.qp_kkt import Prepared
from proxies.layers.qp_problem import QuadraticPrograms, times
from proxies.layers.qp_search import Found, Status

# Share of the way to the boundary that a step goes.
TO_BOUNDARY = 0.995
# A multiplier of an infeasible problem, or a direction without end, is accepted when its own equations hold to this
# share of what it gains; a feasible problem would need a solution larger than its inverse to be mistaken.
CERTIFICATE = 1e-8
# Added to the matrices to be factorised, as a share of their largest diagonal entry.
SHIFT = 1e-13


def batched_interior_point(prepared: Prepared, tolerance: float, max_iterations: int) -> Found:
    """Solve a batch until every problem's residuals and gap are within `tolerance` (relative), or it is shown to have
    no optimum, or `max_iterations` are over."""
    problems = prepared.problems
    z, y = torch.zeros_like(problems.q), torch.zeros_like(problems.t)
    slack = torch.zeros_like(problems.t)
    status = torch.full((problems.batch,), int(Status.MAX_ITERATIONS), device=z.device)
    index = torch.arange(problems.batch, device=z.device)
    point = _Point.start(problems)
    for _ in range(max_iterations):
        ended = point.status(tolerance)
        done = (ended != Status.MAX_ITERATIONS) & (status[index] == Status.MAX_ITERATIONS)
        where = index[done]
        status[where], z[where], y[where], slack[where] = ended[done], point.z[done], point.y[done], point.slack[done]
        running = status[index] == Status.MAX_ITERATIONS
        if not bool(running.any()):
            break
        if int(running.sum()) <= len(index) // 2:
            index, point, running = index[running], point.select(running.nonzero()[:, 0]), running[running]
        point.step(running)
    active = y > slack
    active[:, : problems.equalities] = True
    return Found(z, y, active, status)


class _Point:
    """The iterates of a batch: z, duals y of all rows, slacks of all rows (zero at equalities)."""

    def __init__(self, problems: QuadraticPrograms, z: Tensor, y: Tensor, slack: Tensor) -> None:
        self.problems, self.z, self.y, self.slack = problems, z, y, slack
        self.inequality = torch.arange(problems.rows, device=z.device) >= problems.equalities
        self._measure()

    @classmethod
    def start(cls, problems: QuadraticPrograms) -> _Point:
        """Solve with unit weights, then move slacks and multipliers into the positive orthant."""
        weights = torch.ones_like(problems.t)
        z, y = _Newton(problems, weights).solve(-problems.q, problems.t)
        p = problems.equalities
        slack = torch.zeros_like(y)
        rest = problems.t[:, p:] - times(problems.E[:, p:], z)
        slack[:, p:], y[:, p:] = _inside(rest), _inside(-rest)
        return cls(problems, z, y, slack)

    def select(self, index: Tensor) -> _Point:
        return _Point(self.problems.select(index), self.z[index], self.y[index], self.slack[index])

    def status(self, tolerance: float) -> Tensor:
        """Return ((batch,)) which problems are solved, and which are shown to have no optimum."""
        q, t = self.problems.q, self.problems.t
        scale_dual = 1 + torch.stack([_largest(part) for part in (q, self.curve, self.push)]).amax(0)
        scale_primal = 1 + torch.maximum(_largest(t), _largest(self.reach))
        objective = (self.z * (q + self.curve / 2)).sum(-1)
        gap = (self.z * (self.curve + q)).sum(-1) + (t * self.y).sum(-1)
        solved = (_largest(self.left) <= tolerance * scale_dual) & (_largest(self.short) <= tolerance * scale_primal)
        solved &= (gap.abs() <= tolerance * (1 + objective.abs())) & (self.mu <= tolerance * (1 + objective.abs()))
        gain = -(t * self.y).sum(-1)
        infeasible = (gain > 0) & (_largest(self.push) <= CERTIFICATE * gain)
        drop = -(q * self.z).sum(-1)
        rise = torch.where(self.inequality, self.reach.clamp(min=0), self.reach.abs())
        unbounded = (drop > 0) & (torch.maximum(_largest(self.curve), _largest(rise)) <= CERTIFICATE * drop)
        status = torch.full_like(gain, int(Status.MAX_ITERATIONS), dtype=torch.int64)
        status[unbounded], status[infeasible], status[solved] = Status.UNBOUNDED, Status.INFEASIBLE, Status.SOLVED
        return status

    def step(self, running: Tensor) -> None:
        """Take one predictor-corrector step in the problems that still run ((batch,))."""
        weights = torch.where(self.inequality, self.y / self.slack.clamp(min=1e-300), 1.0)
        newton = _Newton(self.problems, weights)
        product = self.slack * self.y
        _, y, slack = self._direction(newton, product)
        length = torch.minimum(self._reach(self.slack, slack), self._reach(self.y, y)).clamp(max=1.0)
        after = ((self.slack + length[:, None] * slack) * (self.y + length[:, None] * y) * self.inequality).sum(-1)
        after = after / self.inequality.sum().clamp(min=1)
        sigma = (after / self.mu.clamp(min=1e-300)).clamp(0, 1) ** 3
        z, y, slack = self._direction(newton, product + slack * y - (sigma * self.mu)[:, None])
        length = TO_BOUNDARY * torch.minimum(self._reach(self.slack, slack), self._reach(self.y, y))
        finite = (z.isfinite().all(-1) & y.isfinite().all(-1)) & running
        length = torch.where(finite, length.clamp(max=1.0), 0.0)[:, None]
        self.z = self.z + torch.where(finite[:, None], length * z, 0.0)
        self.y = self.y + torch.where(finite[:, None], length * y, 0.0)
        self.slack = self.slack + torch.where(finite[:, None], length * slack, 0.0)
        self._measure()

    def _direction(self, newton: _Newton, product: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the changes of z, y and slack that bring the residuals to zero and slack * y down by `product`."""
        share = torch.where(self.inequality, product / self.y.clamp(min=1e-300), 0.0)
        z, y = newton.solve(-self.left, -self.short + share)
        slack = torch.where(self.inequality, -self.short - times(self.problems.E, z), 0.0)
        return z, y, slack

    def _reach(self, value: Tensor, change: Tensor) -> Tensor:
        """Return ((batch,)) how often `change` can be added before an inequality's value is zero."""
        falls = self.inequality & (change < 0)
        reach = torch.where(falls, -value / torch.where(falls, change, -1.0), torch.inf)
        return reach.amin(-1) if reach.shape[-1] else reach.new_full((len(reach),), torch.inf)

    def _measure(self) -> None:
        problems = self.problems
        self.curve, self.push = times(problems.Q, self.z), times(problems.E.mT, self.y)
        self.reach = times(problems.E, self.z)
        self.left = self.curve + problems.q + self.push
        self.short = self.reach + self.slack - problems.t
        self.mu = (self.slack * self.y * self.inequality).sum(-1) / self.inequality.sum().clamp(min=1)


class _Newton:
    """[Q E'; E -diag(1/weights)] with no last block at equalities, factorised through Q + G' diag(weights) G."""

    def __init__(self, problems: QuadraticPrograms, weights: Tensor) -> None:
        p = problems.equalities
        self.problems = problems
        self.A, self.G, self.weights = problems.E[:, :p], problems.E[:, p:], weights[:, p:]
        self.matrix = _factor(problems.Q + self.G.mT @ (self.weights[..., None] * self.G))
        if p:
            self.half = torch.linalg.solve_triangular(
                self.matrix, self.A.mT.expand(len(self.matrix), -1, -1), upper=False
            )
            self.dual = _factor(self.half.mT @ self.half)

    def solve(self, r: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return z ((batch, n)) and y ((batch, rows)) for right-hand sides r ((batch, n)) and t ((batch, rows)).

        Large weights cost digits; one step of refinement on the whole system brings them back.
        """
        z, y = self._once(r, t)
        left = r - times(self.problems.Q, z) - times(self.problems.E.mT, y)
        short = t - times(self.problems.E, z)
        short[:, self.A.shape[1] :] += y[:, self.A.shape[1] :] / self.weights
        step, turn = self._once(left, short)
        return z + step, y + turn

    def _once(self, r: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        p = self.A.shape[1]
        scaled = self.weights * t[:, p:]
        right = (r + times(self.G.mT, scaled))[..., None]
        inner = torch.linalg.solve_triangular(self.matrix, right, upper=False)
        y = torch.zeros_like(t)
        if p:
            nu = torch.cholesky_solve(self.half.mT @ inner - t[:, :p, None], self.dual)
            inner = inner - self.half @ nu
            y[:, :p] = nu[..., 0]
        z = torch.linalg.solve_triangular(self.matrix.mT, inner, upper=True)[..., 0]
        y[:, p:] = self.weights * times(self.G, z) - scaled
        return z, y


def _factor(matrix: Tensor) -> Tensor:
    """Return a Cholesky factor, after a shift that rounding cannot outweigh; the next larger one where that fails."""
    largest = matrix.diagonal(dim1=-2, dim2=-1).amax(-1).clamp(min=1e-8)
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    lower = matrix
    for shift in (SHIFT, 1e3 * SHIFT, 1e6 * SHIFT):
        lower, info = torch.linalg.cholesky_ex(matrix + (shift * largest)[:, None, None] * eye)
        if not bool((info > 0).any()):
            break
    return lower


def _inside(values: Tensor) -> Tensor:
    """Return values moved up by one number a row until the least is positive."""
    if not values.shape[-1]:
        return values
    least = values.amin(-1, keepdim=True)
    return torch.where(least > 1e-3, values, values - least + 1)


def _largest(values: Tensor) -> Tensor:
    return values.abs().amax(-1) if values.shape[-1] else values.new_zeros(len(values))
