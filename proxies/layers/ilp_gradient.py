"""CombOptNet's gradient of an integer program's solution by its costs and constraints.

The solution y is piecewise constant, so its gradient dy is answered by a direction in which y would move towards
y - dy: dy is split into integer steps, and for each step that leads to an integer point y', the constraints and costs
get the gradient of a mismatch between y and y'.

Source: Paulus et al. 2021, CombOptNet, eq. (3)-(9), (11)-(13), Proposition 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from proxies.layers.ilp_program import Programs

# "delta": steps are the signs of the k largest entries of dy, (9). "canonical": one entry each.
Basis = Literal["delta", "canonical"]


@dataclass(frozen=True)
class CombOptNet:
    """CombOptNet's gradient, for costs and constraints.

    Attributes:
        tau: temperature of the softened minimum (11), in units of distance; 0 is the hard minimum.
        basis: see `Basis`.
    """

    tau: float = 0.5
    basis: Basis = "delta"


@dataclass(frozen=True)
class Gradients:
    """Gradients by c, A and b, shaped like them; a shared parameter's is the sum over the batch. None: not defined."""

    c: Tensor
    A: Tensor | None = None
    b: Tensor | None = None


def decompose(dy: Tensor, basis: Basis) -> tuple[Tensor, Tensor]:
    """Write dy as a sum of integer steps, (3): dy = sum_k weights_k steps_k.

    Args:
        dy: (B, n).
        basis: see `Basis`.

    Returns:
        (B, n, n) steps in {-1, 0, 1} and (B, n) weights >= 0.
    """
    if basis == "canonical":
        return torch.diag_embed(dy.sign()), dy.abs()
    size, order = dy.abs().sort(dim=-1, descending=True)
    weights = size - torch.cat([size[:, 1:], torch.zeros_like(size[:, :1])], -1)
    rank = order.argsort(dim=-1)
    included = rank[:, None, :] <= torch.arange(dy.shape[-1], device=dy.device)[:, None]
    return dy.sign()[:, None, :] * included, weights


def comboptnet_vjp(programs: Programs, y: Tensor, dy: Tensor, gradient: CombOptNet) -> Gradients:
    """Return CombOptNet's gradients for an incoming gradient dy.

    Args:
        programs: what was solved.
        y: (B, n) its solutions; where a program is infeasible any point of the box, and then every target is
            infeasible too, so that its constraints are pushed outward.
        dy: (B, n) gradient of a loss by y. Its part that leads out of the box is dropped, (12), (13).
        gradient: options.

    Returns:
        Gradients by c (7), A and b (5), composed by (6). A row of zeros gets none.
    """
    A, b = _batched(programs.A, 3), _batched(programs.b, 2)
    inside = torch.minimum(torch.maximum(dy, y - programs.upper), y - programs.lower)
    steps, weights = decompose(inside, gradient.basis)
    targets = y[:, None, :] - steps
    norm = A.norm(dim=-1)
    scale = torch.where(norm > 0, 1 / norm, torch.zeros_like(norm))
    activity = targets @ A.transpose(-1, -2)
    violated = activity.double() > _batched(programs.right_side, 2)[:, None, :]
    feasible = ~violated.any(-1)

    # Targets that are infeasible: the distances of the violated rows at the target fall.
    pull = weights[..., None] * violated
    by_point = pull.transpose(-1, -2) @ targets
    by_distance = (pull * (activity - b[:, None, :])).sum(-2)
    pull_total = pull.sum(-2)

    # Targets that are feasible: the (softened) least distance of y falls.
    gap = b - (A @ y[..., None])[..., 0]
    distance = torch.where(scale > 0, gap.abs() * scale, torch.inf)
    push = _least(distance, gradient.tau) * (weights * feasible).sum(-1, keepdim=True)
    # A row through y may move either way; the way that makes y infeasible is wanted.
    push = torch.where(gap >= 0, push, -push)
    by_point = by_point - push[..., None] * y[:, None, :]
    by_distance = by_distance + push * gap
    dA = by_point * scale[..., None] - A * (by_distance * scale**3)[..., None]
    db = (push - pull_total) * scale
    dc = -((weights * feasible)[..., None] * steps).sum(-2)
    return Gradients(_unbatched(dc, programs.c), _unbatched(dA, programs.A), _unbatched(db, programs.b))


def _least(distance: Tensor, tau: float) -> Tensor:
    """Return the gradient ((B, m)) of the softened minimum (11) of distances ((B, m)); of the first least one at 0."""
    if distance.shape[-1] == 0:
        return distance
    if tau > 0:
        # Rows that cannot be moved have an infinite distance, and no share; where there is no other row, none has.
        return torch.softmax(-distance / tau, -1).nan_to_num(0.0)
    chosen = torch.zeros_like(distance).scatter(-1, distance.argmin(-1, keepdim=True), 1.0)
    return chosen * distance.isfinite()


def _batched(part: Tensor, axes: int) -> Tensor:
    return part if part.ndim == axes else part[None]


def _unbatched(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Sum over the batch where the parameter is shared."""
    return gradient if gradient.ndim == parameter.ndim else gradient.sum(0)
