"""The closed model against the forward pass: with its input fixed, a model must allow what the proxy does there.

A wrong encoding, or a solver that works on another model than it was given, would certify what is not so. This looks at
the bound that the search would trust, from the solver that it would ask, at inputs whose gap is known by replay.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from encoding.bounds import Bounds
from encoding.formulation import GapModel
from problems.errors import InputError, SolveTimeoutError
from problems.interval import Interval, Vector
from solvers.registry import open_session_or_default
from solvers.session import Solution, Status
from verifier.bounds.over_domain import proxy_bounds
from verifier.budget import Budget
from verifier.replay import cost_size, is_sound, replay
from verifier.task import Task

# Model and replay agree at an input to this share of the larger cost (`cost_size`): the solver's tolerances, priced.
MODEL_AGREEMENT = 1e-4
# Random inputs that every run compares, besides the centre.
COMPARED = 30
# Seconds for one input; a solver that needs more says nothing.
INPUT_SECONDS = 1.0


def contradiction(
    task: Task,
    bounds: Bounds,
    lower: float,
    kept: set[int] | None,
    latents: Sequence[Vector],
    where: str,
    budget: Budget,
) -> str | None:
    """Return what is wrong with the closed model, in one sentence; None where nothing was found.

    Args:
        task, bounds: the formulation over the whole domain.
        lower: largest gap attained so far, for the ratio of a relative one.
        kept: optional rows of the optimum's side; every set of them only raises the model's bound.
        latents: (n_w,) each; where to compare.
        where: what they are, for the sentence.
        budget: inputs whose turn comes after it is spent are left out.
    """
    model = task.build(task.domain, bounds, lower, cutoff=False, kept=kept)
    if not model.linear.columns:
        return None
    ratio = task.ratio(lower)
    with open_session_or_default(task.options.solver, model.linear, task.options.seed)[0] as session:
        for latent in latents:
            if budget.spent:
                return None
            try:
                witness = replay(task.proxy, task.problem, task.domain, latent, budget.left)
            except (InputError, SolveTimeoutError):
                continue
            if not is_sound(witness, task.domain):
                continue
            session.set_column_bounds(np.arange(model.linear.columns), *limits_at(task, model, witness.latent))
            found = session.solve(time_limit=min(INPUT_SECONDS, budget.left))
            least = witness.attained - ratio * witness.optimal_cost
            most = witness.gap - ratio * witness.optimal_cost
            size = MODEL_AGREEMENT * cost_size(task.problem, witness)
            given = _allowed(model, found)
            if given is None:
                continue
            # Where decisions jump a closed model also has limits that no input attains, and a model without all rows of
            # the optimum's side allows more.
            more = given > most + size and not task.jumps and not _lacks_rows(task, model, found, kept)
            if given < least - size or more:
                gives = f"gives {given:.8g}" if np.isfinite(given) else "has no point"
                return f"the model {gives} at {where}, its replay {witness.gap:.8g}: please report this"
    return None


def with_rows(task: Task, bounds: Bounds, lower: float, kept: set[int] | None, latent: Vector, budget: Budget) -> None:
    """Add to `kept` the optional rows that the model needs at one latent vector ((n_w,))."""
    lacking = kept is not None
    while lacking and not budget.spent:
        model = task.build(task.domain, bounds, lower, cutoff=False, kept=kept)
        if not model.linear.columns:
            return
        with open_session_or_default(task.options.solver, model.linear, task.options.seed)[0] as session:
            session.set_column_bounds(np.arange(model.linear.columns), *limits_at(task, model, latent))
            found = session.solve(time_limit=min(INPUT_SECONDS, budget.left))
        lacking = _lacks_rows(task, model, found, kept)
        if kept is not None and found.x is not None:
            kept |= task.missing(model, found.x)


def _lacks_rows(task: Task, model: GapModel, found: Solution, kept: set[int] | None) -> bool:
    return kept is not None and found.x is not None and bool(task.missing(model, found.x) - kept)


def _allowed(model: GapModel, found: Solution) -> float | None:
    """Return the upper bound that the solver claims for the model; None where it claims nothing."""
    if found.status is Status.INFEASIBLE:
        return -np.inf
    return model.gap_of(found.dual_bound) if found.status is Status.OPTIMAL else None


def limits_at(task: Task, model: GapModel, latent: Vector) -> tuple[Vector, Vector]:
    """Return column limits of a model ((n,) each) with the latent vector ((n_w,)) fixed.

    The proxy's own bounds there leave presolve nothing to find: on 1354 buses 0.3 seconds, without them 24.
    """
    # At a point intervals are as tight as back-substitution.
    bounds = proxy_bounds(task.layers, task.problem, task.part(Interval(latent, latent)), "interval")
    own = model.linear
    lower, upper = own.column_lower.copy(), own.column_upper.copy()
    for target in model.targets:
        known = bounds[target.key]
        # Where rounding lets the two miss each other, the model's own limit stays.
        low = np.minimum(known.lower[target.indices], upper[target.columns])
        high = np.maximum(known.upper[target.indices], lower[target.columns])
        lower[target.columns] = np.maximum(lower[target.columns], low)
        upper[target.columns] = np.minimum(upper[target.columns], high)
    placed = model.latent.columns >= 0
    lower[model.latent.columns[placed]] = upper[model.latent.columns[placed]] = latent[placed]
    return lower, upper
