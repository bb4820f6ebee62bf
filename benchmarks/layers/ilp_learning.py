"""Learns the constraints of integer programs from costs and solutions, many independent runs in one batch.

Source: Paulus et al. 2021, CombOptNet, section 4.1 and App. A.1, Tab. 2 (Adam, rate 5e-4, batch 8, 100 epochs,
tau 0.5, mean squared error of solutions scaled to [-0.5, 0.5]).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.layers.ilp_tasks import Task, half_spaces
from proxies.layers.ilp import CombOptNet, ILPLayer, ILPOptions
from proxies.layers.ilp_constraints import ConstraintModule
from proxies.layers.ilp_gradient import Basis
from proxies.layers.ilp_solve import DEFAULT_OPTIONS

# "learned": every constraint has an own origin that is learned. "corner", "centre": all turn about that fixed point.
Origins = Literal["learned", "corner", "centre"]


@dataclass(frozen=True)
class Learning:
    """How to learn.

    Attributes:
        multiple: learned constraints for each true one.
        epochs, batch, rate: of Adam.
        tau, basis: of the gradient.
        origins: see `Origins`.
        cooling: epochs at the end over which the rate falls to zero; the paper has none.
    """

    multiple: int = 1
    epochs: int = 100
    batch: int = 8
    rate: float = 5e-4
    tau: float = 0.5
    basis: Basis = "delta"
    origins: Origins = "learned"
    cooling: int = 0

    def rate_in(self, epoch: int) -> float:
        """Return the rate in an epoch, counted from 0; it falls by equal steps while it cools."""
        return self.rate * min(1.0, (self.epochs - epoch) / (self.cooling + 1))


@dataclass(frozen=True)
class Learned:
    """What was learned.

    Attributes:
        accuracy: of each run, the share of test solutions that are met exactly.
        loss: of each run, the mean in the last epoch.
        infeasible: share of all programs in the last epoch that had no point.
        seconds, solves: all runs together.
    """

    accuracy: list[float]
    loss: list[float]
    infeasible: float
    seconds: float
    solves: int


def learn(tasks: Sequence[Task], how: Learning, seed: int = 0, options: ILPOptions = DEFAULT_OPTIONS) -> Learned:
    """Learn one set of constraints for each task; tasks may repeat and have the same sizes.

    Args:
        tasks: what to learn from.
        how: options.
        seed: of initial constraints and of the order of samples.
        options: of the solves.
    """
    began = time.perf_counter()
    lower, upper = tasks[0].lower, tasks[0].upper
    runs, n = len(tasks), tasks[0].train[0].shape[1]
    constraints = initial_constraints(tasks, how, seed)
    layer = ILPLayer(lower, upper, CombOptNet(how.tau, how.basis), options)
    optimizer = torch.optim.Adam(constraints.parameters(), lr=how.rate)
    c, y = (torch.stack([task.train[k] for task in tasks]) for k in (0, 1))
    generator = torch.Generator().manual_seed(seed)
    count = c.shape[1]
    for epoch in range(how.epochs):
        for group in optimizer.param_groups:
            group["lr"] = how.rate_in(epoch)
        order = torch.stack([torch.randperm(count, generator=generator) for _ in range(runs)])
        total, missing = torch.zeros(runs, dtype=c.dtype), 0.0
        for some in order.split(how.batch, dim=1):
            picked = some[..., None].expand(-1, -1, n)
            solved, feasible = solve(layer, constraints, c.gather(1, picked))
            loss = ((solved - y.gather(1, picked)) / (upper - lower)).square().mean((1, 2))
            optimizer.zero_grad()
            # Runs share no parameter: the sum leaves each its own gradient.
            loss.sum().backward()
            optimizer.step()
            total += loss.detach() * some.shape[1] / count
            missing += float((~feasible).double().mean()) * some.shape[1] / count
    accuracy = evaluate(layer, constraints, tasks)
    return Learned(accuracy, total.tolist(), missing, time.perf_counter() - began, how.epochs * count * runs)


def initial_constraints(tasks: Sequence[Task], how: Learning, seed: int) -> ConstraintModule:
    """Return random half-spaces for each task, drawn like those of the data but not turned."""
    rng = np.random.default_rng([seed, 2])
    task = tasks[0]
    m, n = how.multiple * task.constraints, task.train[0].shape[1]
    drawn = [half_spaces(rng, m, n, task.lower, task.upper) for _ in tasks]
    normal, distance, origin = (torch.as_tensor(np.stack(part)) for part in zip(*drawn))
    if how.origins != "learned":
        # The same half-spaces, with distances from one point instead.
        point = task.lower if how.origins == "corner" else (task.lower + task.upper) / 2
        distance = distance + (normal * (origin - point)).sum(-1)
        origin = torch.full_like(origin, point)
    return ConstraintModule(normal, distance, origin, learn_origin=how.origins == "learned")


def solve(layer: ILPLayer, constraints: ConstraintModule, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return solutions ((runs, batch, n)) and whether there are any, for costs ((runs, batch, n))."""
    A, b = constraints()
    runs, batch, n = c.shape
    rows = A[:, None].expand(-1, batch, -1, -1).reshape(runs * batch, -1, n)
    found = layer(c.reshape(runs * batch, n), rows, b[:, None].expand(-1, batch, -1).reshape(runs * batch, -1))
    return found.y.reshape(c.shape), found.feasible.reshape(runs, batch)


def evaluate(layer: ILPLayer, constraints: ConstraintModule, tasks: Sequence[Task]) -> list[float]:
    """Return the share of each task's test solutions that are met exactly."""
    c, y = (torch.stack([task.test[k] for task in tasks]) for k in (0, 1))
    with torch.no_grad():
        solved, feasible = solve(layer, constraints, c)
    return ((solved == y).all(-1) & feasible).double().mean(-1).tolist()
