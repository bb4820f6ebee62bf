"""Bounds of the gap on many parts of a domain at once, without any linear program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from encoding.bounds import Bounds, inner_key, input_key
from encoding.problem import paid_limits
from problems.interval import Interval, Vector
from verifier.bounds.crown import LayerBoxes
from verifier.bounds.objective import Tangents, objective_bounds
from verifier.bounds.relaxation import Box
from verifier.task import Task

# Steps of the optimiser: more of them took less off the bounds than a linear program that costs as much.
STEPS = 20


def part_bounds(task: Task, parts: Sequence[Bounds], goal: float) -> Vector | None:
    """Return numbers ((parts,)) above the objective at the ratio of `goal` on each part, in the problem's unit.

    Returns:
        None where the problem has no objective of this form, or no tangent of its value function is known.
    """
    if task.cuts is None or not len(task.cuts) or task.terms is None:
        return None
    layers = task.layers
    inputs = [_stack([part[input_key(k)] for part in parts]) for k in range(len(layers) + 1)]
    inner = [
        _stack([part[inner_key(k)] for part in parts]) if inner_key(k) in parts[0] else None for k in range(len(layers))
    ]
    hinges = _stack([paid_limits(task.problem, dict(part.intervals)) for part in parts])
    ratio, _ = task.ratio_and_cutoff(goal)
    tangents = Tangents(*map(torch.as_tensor, task.cuts.affine()))
    none = torch.zeros(len(parts), dtype=torch.bool)
    found = objective_bounds(layers, LayerBoxes(inputs, inner, none), hinges, task.terms, tangents, ratio, STEPS)
    return np.asarray(found.numpy())


def _stack(intervals: Sequence[Interval]) -> Box:
    lower, upper = (np.stack([getattr(i, side) for i in intervals]) for side in ("lower", "upper"))
    return Box(torch.as_tensor(lower), torch.as_tensor(upper))
