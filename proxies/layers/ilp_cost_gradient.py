"""Gradients of an integer program's solution by its costs alone: blackbox interpolation and random perturbation.

Sources: Vlastelica et al. 2020, Differentiation of Blackbox Combinatorial Solvers, Algorithm 1; Berthet et al. 2020,
Learning with Differentiable Perturbed Optimizers, Proposition 3.1 and section 4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from proxies.layers.ilp_gradient import Gradients
from proxies.layers.ilp_program import Programs
from proxies.layers.ilp_solve import DEFAULT_OPTIONS, ILPOptions, solve_programs


@dataclass(frozen=True)
class Blackbox:
    """The slope of an interpolation of the loss between c and c + scale dy.

    Attributes:
        scale: length of the step, > 0, in units of cost per unit of dy.
    """

    scale: float


@dataclass(frozen=True)
class Perturbed:
    """The gradient of the mean solution under normal noise on the costs, estimated from samples.

    Attributes:
        spread: standard deviation of the noise, > 0, in units of cost.
        samples: how many; torch's random generator draws them.
    """

    spread: float
    samples: int = 16


def blackbox_vjp(
    programs: Programs, y: Tensor, dy: Tensor, gradient: Blackbox, options: ILPOptions = DEFAULT_OPTIONS
) -> Gradients:
    """Return -(y - y(c + scale dy)) / scale as the gradient by c.

    Args:
        programs, y: what was solved, and its solutions ((B, n)).
        dy: (B, n) gradient of a loss by y.
        gradient, options: how. One more solve.
    """
    moved = solve_programs(replace(programs, c=programs.c + gradient.scale * dy), options)
    dc = (moved.y - y) / gradient.scale
    return Gradients(dc if programs.c.ndim == 2 else dc.sum(0))


def perturbed_vjp(
    programs: Programs, y: Tensor, dy: Tensor, gradient: Perturbed, options: ILPOptions = DEFAULT_OPTIONS
) -> Gradients:
    """Return an unbiased estimate of the gradient of mean(dy'y(c + spread Z)) by c, Z normal.

    Args:
        programs, y: what was solved, and its solutions ((B, n)), which lower the variance.
        dy: (B, n) gradient of a loss by y.
        gradient, options: how. `samples` solves.
    """
    total = torch.zeros_like(y)
    for _ in range(gradient.samples):
        noise = torch.randn_like(y)
        moved = solve_programs(replace(programs, c=programs.c + gradient.spread * noise), options)
        total += ((moved.y - y) * dy).sum(-1, keepdim=True) * noise
    dc = total / (gradient.samples * gradient.spread)
    return Gradients(dc if programs.c.ndim == 2 else dc.sum(0))


def fenchel_young_loss(
    c: Tensor,
    A: Tensor,
    b: Tensor,
    lower: Tensor | float,
    upper: Tensor | float,
    target: Tensor,
    gradient: Perturbed,
    options: ILPOptions = DEFAULT_OPTIONS,
) -> Tensor:
    """Return the Fenchel-Young loss of costs for known solutions, whose gradient by c is target - mean solution.

    Args:
        c, A, b, lower, upper: programs as for `ilp_solve`; only c gets a gradient.
        target: (B, n) the solutions wanted.
        gradient, options: how.

    Returns:
        (B,) c'target - mean over the samples of min (c + spread Z)'y; zero where a program is infeasible.
    """
    programs = Programs.of(c, A, b, lower, upper)
    least = torch.zeros(programs.batch, dtype=c.dtype, device=c.device)
    for _ in range(gradient.samples):
        noise = gradient.spread * torch.randn_like(target)
        found = solve_programs(replace(programs, c=programs.c + noise), options)
        least = least + ((c + noise) * found.y).sum(-1) / gradient.samples
    return torch.where(found.feasible, (c * target).sum(-1) - least, 0.0)
