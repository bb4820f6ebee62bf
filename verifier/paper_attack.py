"""The paper's own climb: plain gradient steps with projection, every start with its own step size and counters.

Source: Chen et al. 2024, Algorithm 1, with the schedule of section 6.3.1: a step size is multiplied by 0.1 after 10
iterations without improvement; a start ends after 20 in a row, or after 500 in all. The paper runs its starts in 200
threads, here they are one batch. It gives one initial step size, whose meaning depends on the units of its objective
and inputs, which it leaves open; ours is set for every start by its first gradient, see `FIRST_STEP`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from verifier.budget import Budget

# Chen et al. 2024, section 6.3.1.
PATIENCE, REDUCTION = 10, 0.1
GIVE_UP = 20
MOST_STEPS = 500
# The first step moves the coordinate that it moves most, in widths of the box, by this many; the projection cuts it
# short. Of 0.3, 1, 3, 10 and 30 on four shipped proxies (57 and 118 buses, u = 20 %, three seeds) this one was worst
# least often: smaller ones stop in poor optima of case57-raw, larger ones now and then on the others.
FIRST_STEP = 3.0

# From latent vectors ((batch, n_w)) to what is maximised ((batch,)).
Objective = Callable[[Tensor], Tensor]
# From latent vectors ((batch, n_w)) and the numbers of their starts ((batch,)) to the nearest ones allowed.
Project = Callable[[Tensor, Tensor], Tensor]


def paper_climb(
    objective: Objective,
    project: Project,
    starts: Tensor,
    width: Tensor,
    budget: Budget,
    first_step: float = FIRST_STEP,
) -> tuple[Tensor, Tensor]:
    """Climb from every start by the paper's schedule.

    Args:
        objective: what is maximised; differentiable almost everywhere.
        project: keeps each start where it belongs.
        starts: (starts, n_w) latent vectors.
        width: (n_w,) of the whole domain's box: a start has the same step size whatever region it stays in.
        budget: ends the climb early when spent.
        first_step: widths that a start's first step moves at most.

    Returns:
        The best latent vector of every start ((starts, n_w)) and its objective ((starts,)).
    """
    w = starts.clone()
    value, slope = value_and_slope(objective, w)
    best_w, best = w.clone(), value.clone()
    # A coordinate without width moves nowhere; a start without slope stays.
    pace = torch.where(width > 0, slope.abs() / width, 0.0).amax(-1)
    step = torch.where(pace > 0, first_step / pace, 0.0)
    stalled = torch.zeros_like(step, dtype=torch.int64)
    active = torch.arange(len(w), device=w.device)
    for _ in range(MOST_STEPS):
        if budget.spent or not len(active):
            break
        w = project(w + step[active, None] * slope, active)
        value, slope = value_and_slope(objective, w)
        better = value > best[active]
        best_w[active] = torch.where(better[:, None], w, best_w[active])
        best[active] = torch.where(better, value, best[active])
        stalled[active] = torch.where(better, 0, stalled[active] + 1)
        step[active] = torch.where(stalled[active] == PATIENCE, REDUCTION * step[active], step[active])
        going = stalled[active] < GIVE_UP
        w, slope, active = w[going], slope[going], active[going]
    return best_w, best


def value_and_slope(objective: Objective, w: Tensor) -> tuple[Tensor, Tensor]:
    """Return the objective ((batch,)) and its gradient ((batch, n_w)) at latent vectors ((batch, n_w))."""
    w = w.detach().requires_grad_(True)
    value = objective(w)
    (slope,) = torch.autograd.grad(value.sum(), w)
    return value.detach(), slope
