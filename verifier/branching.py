"""Where to split a node: the widest latent while it is wide, else what strong branching on the relaxation finds best.

Source: Achterberg, Koch, Martin 2005 (strong branching), on quantities of the proxy instead of binaries of a MILP.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encoding.bounds import Bounds, input_key
from encoding.formulation import Target
from problems.domain import Domain
from problems.interval import Interval, Vector
from verifier.bounds.obbt import Tightener
from verifier.budget import Budget
from verifier.part_bounds import part_bounds
from verifier.task import Task

# A latent is split at once while it moves the inputs by more than this share of what all others do together.
WIDE = 0.25
# Quantities of one kind, and latents, whose parts are bounded without a linear program.
CANDIDATES = 16
# The best of them whose parts are then tried on the relaxation.
TRIALS = 8
# A split that takes less than this share off the relaxation is no better than halving the widest latent.
USEFUL = 0.02


@dataclass(frozen=True)
class Split:
    """Two parts of a node: the quantity `key`[`index`] at most, and at least, `at`."""

    key: str
    index: int
    at: float

    def parts(self, bounds: Bounds) -> tuple[Bounds, Bounds]:
        """Return the bounds of both parts."""
        whole = bounds[self.key]
        upper, lower = whole.upper.copy(), whole.lower.copy()
        upper[self.index] = lower[self.index] = self.at
        return (
            bounds.tightened(self.key, Interval(whole.lower, upper)),
            bounds.tightened(self.key, Interval(lower, whole.upper)),
        )


def widest_latent(domain: Domain) -> tuple[int, float]:
    """Return the latent that moves the inputs most, and its share relative to all others together."""
    reach = domain.reach
    axis = int(np.argmax(reach))
    others = float(reach.sum() - reach[axis])
    return axis, float(reach[axis]) / others if others > 0 else np.inf


def choose_split(
    task: Task, bounds: Bounds, goal: float, tightener: Tightener, point: Vector | None, budget: Budget
) -> Split:
    """Return the split that lowers the relaxation of the worse part most.

    Args:
        task: what is verified.
        goal: below it an input does not matter.
        bounds: the node's, as the tightener has left them.
        tightener: holds the node's relaxation.
        point: (n,) the relaxation's best point, or None.
        budget: for the trials.
    """
    domain = task.part(bounds.box)
    axis, share = widest_latent(domain)
    latent = Split(input_key(0), axis, float(domain.box.lower[axis] + domain.box.upper[axis]) / 2)
    if share > WIDE or point is None:
        return latent
    best, least = latent, np.inf
    whole, _, _ = tightener.objective_bound(budget)
    for split, column in _promising(task, bounds, goal, _candidates(domain, bounds, tightener, point)):
        if budget.spent:
            break
        values = [_trial(tightener, column, side, split.at, budget) for side in (-1, 1)]
        score = max(values) + 0.1 * min(values)
        if score < least:
            best, least, worse = split, score, max(values)
    if least < np.inf and whole - worse < USEFUL * abs(whole):
        return latent
    return best


def _promising(task: Task, bounds: Bounds, goal: float, found: list[tuple[Split, int]]) -> list[tuple[Split, int]]:
    """Return the candidates whose worse part has the least bound, all parts being bounded at once."""
    values = part_bounds(task, [part for split, _ in found for part in split.parts(bounds)], goal) if found else None
    if values is None:
        return found[:TRIALS]
    order = np.argsort(values.reshape(-1, 2).max(axis=1))
    return [found[k] for k in order[:TRIALS].tolist()]


def _candidates(domain: Domain, bounds: Bounds, tightener: Tightener, point: Vector) -> list[tuple[Split, int]]:
    found = []
    columns = tightener.model.latent.columns
    reach = domain.reach
    for j in np.argsort(-reach)[: CANDIDATES // 4].tolist():
        if columns[j] >= 0 and reach[j] > 0:
            middle = float(domain.box.lower[j] + domain.box.upper[j]) / 2
            found.append((Split(input_key(0), j, middle), int(columns[j])))
    for target in tightener.model.targets:
        for goal in (target.low_goal, target.high_goal):
            found += _by_violation(target, goal, tightener, point)
            if target.joint.any():
                break
        if (
            target.key.startswith("inner")
            and tightener.lower[target.columns[0]] < 0 < tightener.upper[target.columns[0]]
        ):
            found.append((Split(target.key, 0, 0.0), int(target.columns[0])))
    return found


def _by_violation(target: Target, goal: Vector, tightener: Tightener, point: Vector) -> list[tuple[Split, int]]:
    """Return the entries whose relaxation is furthest from max(0, quantity - goal) at the point."""
    low, high = tightener.lower[target.columns] - goal, tightener.upper[target.columns] - goal
    inside = (low < 0) & (high > 0) & np.isfinite(goal)
    z = np.clip(point[target.columns] - goal, low, high)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = np.where(inside, high * (z - low) / (high - low) - np.maximum(z, 0.0), -np.inf)
    order = [k for k in np.argsort(-gap)[:CANDIDATES].tolist() if gap[k] > 0]
    return [(Split(target.key, int(target.indices[k]), float(goal[k])), int(target.columns[k])) for k in order]


def _trial(tightener: Tightener, column: int, side: int, at: float, budget: Budget) -> float:
    """Return the relaxation's objective bound with one column kept on one side of `at`."""
    low, high = float(tightener.lower[column]), float(tightener.upper[column])
    limits = (low, at) if side < 0 else (at, high)
    return tightener.objective_within(column, limits, budget)
