"""Integer linear program layer: exact optima of min c'y, A y <= b, y integer in a box, with gradients by c, A and b.

For training: it is no layer of a proxy that can be encoded. `ilp_solve` and `ilp_vjp` are the pure functions under it.

Source: Paulus et al. 2021, CombOptNet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from proxies.errors import IntegerProgramError
from proxies.layers.ilp_cost_gradient import Blackbox, Perturbed, blackbox_vjp, fenchel_young_loss, perturbed_vjp
from proxies.layers.ilp_gradient import CombOptNet, Gradients, comboptnet_vjp
from proxies.layers.ilp_program import Programs
from proxies.layers.ilp_solve import DEFAULT_OPTIONS, ILPOptions, ILPResult, ilp_solve, solve_programs

__all__ = [
    "Blackbox",
    "CombOptNet",
    "Gradients",
    "ILPLayer",
    "ILPOptions",
    "ILPResult",
    "Perturbed",
    "fenchel_young_loss",
    "ilp_solve",
    "ilp_vjp",
]

Gradient = CombOptNet | Blackbox | Perturbed


class ILPLayer(nn.Module):
    """Solves integer programs in a network.

    Args:
        lower, upper: (n,) or scalars, integral limits of y.
        gradient: what the backward pass answers.
        options: how the forward pass solves.
    """

    lower: Tensor
    upper: Tensor

    def __init__(
        self,
        lower: Tensor | float,
        upper: Tensor | float,
        gradient: Gradient = CombOptNet(),  # noqa: B008 (frozen)
        options: ILPOptions = DEFAULT_OPTIONS,
    ) -> None:
        super().__init__()
        self.register_buffer("lower", torch.as_tensor(lower, dtype=torch.float64).clone())
        self.register_buffer("upper", torch.as_tensor(upper, dtype=torch.float64).clone())
        self.gradient = gradient
        self.options = options

    def forward(self, c: Tensor, A: Tensor, b: Tensor) -> ILPResult:
        """Return the optima, whose `y` carries gradients; see `ilp_solve` for shapes and errors."""
        programs = Programs.of(c, A, b, self.lower, self.upper)
        found = solve_programs(programs, self.options)
        y = _Answer.apply(c, A, b, programs, found, self.gradient, self.options)  # type: ignore[no-untyped-call]
        return replace(found, y=y)


def ilp_vjp(
    c: Tensor,
    A: Tensor,
    b: Tensor,
    lower: Tensor | float,
    upper: Tensor | float,
    y: Tensor,
    dy: Tensor,
    gradient: Gradient = CombOptNet(),  # noqa: B008 (frozen)
    options: ILPOptions = DEFAULT_OPTIONS,
) -> Gradients:
    """Return gradients by c, A and b for a gradient dy of a loss by the solutions y.

    Args:
        c, A, b, lower, upper: the programs, as for `ilp_solve`.
        y: (B, n) their solutions from `ilp_solve`.
        dy: (B, n).
        gradient: which; `Blackbox` and `Perturbed` give one by c only, and solve again with `options`.

    Returns:
        Gradients shaped like c, A and b, summed over the batch where they are shared.

    Raises:
        IntegerProgramError: the parameters are unusable.
    """
    programs = Programs.of(c, A, b, lower, upper)
    shape = (programs.batch, c.shape[-1])
    if y.shape != shape or dy.shape != shape:
        raise IntegerProgramError(f"y and dy have shapes {tuple(y.shape)} and {tuple(dy.shape)}; both must be {shape}")
    return _vjp(programs, y, dy, gradient, options)


def _vjp(programs: Programs, y: Tensor, dy: Tensor, gradient: Gradient, options: ILPOptions) -> Gradients:
    match gradient:
        case CombOptNet():
            return comboptnet_vjp(programs, y, dy, gradient)
        case Blackbox():
            return blackbox_vjp(programs, y, dy, gradient, options)
        case Perturbed():
            return perturbed_vjp(programs, y, dy, gradient, options)


class _Answer(torch.autograd.Function):
    """The solutions as a function of c, A and b."""

    @staticmethod
    def forward(
        ctx: Any,
        c: Tensor,
        A: Tensor,
        b: Tensor,
        programs: Programs,
        found: ILPResult,
        gradient: Gradient,
        options: ILPOptions,
    ) -> Tensor:
        ctx.save_for_backward(c, A, b, found.y)
        ctx.programs, ctx.gradient, ctx.options = programs, gradient, options
        return found.y.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        y = ctx.saved_tensors[-1]  # Reading them raises where one was changed in place since.
        made = _vjp(ctx.programs, y, dy, ctx.gradient, ctx.options)
        return made.c, made.A, made.b, None, None, None, None
