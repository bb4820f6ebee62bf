"""Data sets of solved integer programs: random constraints and weighted set covering.

Source: Paulus et al. 2021, CombOptNet, sections 4.1 and 4.2, App. A.1; the details that the text leaves open (uniform
normals, the corner that must stay feasible, a bias that may point either way, how many subsets hold an element) follow
its published program.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from proxies.layers.ilp import ILPOptions, ilp_solve

Kind = Literal["binary", "dense"]
LIMITS = {"binary": (0.0, 1.0), "dense": (-5.0, 5.0)}
VARIABLES = 16
# Distance of a half-space from its own origin, and the share of the box's middle from which origins are drawn.
DISTANCE, MIDDLE = 0.2, 0.5
# Every element lies in two subsets at least: no subset is in every covering.
LARGEST_SUBSET, LEAST_CHOICE = 3, 2
TRAIN, TEST = 1600, 1000
# Half of a data set's programs at a time: enough work for two threads.
OPTIONS = ILPOptions(threads=2)


@dataclass(frozen=True)
class Task:
    """Costs and solutions of one integer program with constraints that a learner does not see.

    Attributes:
        lower, upper: limits of every variable.
        constraints: how many there are.
        train, test: costs ((N, n), of unit norm) and solutions ((N, n)).
    """

    lower: float
    upper: float
    constraints: int
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @property
    def box_accuracy(self) -> float:
        """The share of test costs whose solution the box alone gives."""
        c, y = self.test
        return float((torch.where(c > 0, self.lower, self.upper) == y).all(-1).double().mean())


def half_spaces(rng: np.random.Generator, m: int, n: int, lower: float, upper: float) -> tuple[np.ndarray, ...]:
    """Return m random half-spaces normal'(y - origin) <= distance: normals of unit length, distances, origins."""
    normal = rng.random((m, n)) - 0.5
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    middle, width = (lower + upper) / 2, (upper - lower) * MIDDLE
    origin = middle + width * (rng.random((m, n)) - 0.5)
    return normal, np.full(m, -DISTANCE), origin


def random_rows(kind: Kind, m: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return random rows A ((m, n)) and b ((m,)) turned so that one random corner of the box stays feasible."""
    rng = np.random.default_rng(seed)
    lower, upper = LIMITS[kind]
    normal, distance, origin = half_spaces(rng, m, VARIABLES, lower, upper)
    b = distance + (normal * origin).sum(1)
    corner = np.where(rng.random(VARIABLES) < 0.5, lower, upper)
    turn = np.where(normal @ corner <= b, 1.0, -1.0)
    return torch.as_tensor(turn[:, None] * normal), torch.as_tensor(turn * b)


def random_constraints(kind: Kind, m: int, seed: int, positive_costs: bool = False) -> Task:
    """Return a data set whose programs share m random constraints; see `random_rows`."""
    A, b = random_rows(kind, m, seed)
    return _solved(A, b, *LIMITS[kind], positive_costs, seed)


def covering_rows(m: int, seed: int) -> Tensor:
    """Return rows A ((m, 2 m)) of A y <= -1: m elements, 2 m random subsets of at most 3, each element in two."""
    rng = np.random.default_rng(seed)
    sizes = range(1, LARGEST_SUBSET + 1)
    subsets = [set(some) for size in sizes for some in itertools.combinations(range(m), size)]
    while True:
        chosen = [subsets[k] for k in rng.choice(len(subsets), 2 * m, replace=False)]
        A = torch.tensor([[-1.0 if element in subset else 0.0 for subset in chosen] for element in range(m)]).double()
        if bool((A.sum(1) <= -LEAST_CHOICE).all()):
            return A


def set_covering(m: int, seed: int) -> Task:
    """Return a data set of weighted set covering; see `covering_rows`."""
    return _solved(covering_rows(m, seed), -torch.ones(m, dtype=torch.float64), 0.0, 1.0, True, seed)


def costs(rng: np.random.Generator, count: int, n: int, positive: bool) -> Tensor:
    """Return random costs ((count, n)) of unit norm."""
    c = rng.random((count, n)) * 2 - 1
    return torch.nn.functional.normalize(torch.as_tensor(np.abs(c) if positive else c), dim=-1)


def _solved(A: Tensor, b: Tensor, lower: float, upper: float, positive: bool, seed: int) -> Task:
    c = costs(np.random.default_rng([seed, 1]), TRAIN + TEST, A.shape[1], positive)
    found = ilp_solve(c, A, b, lower, upper, OPTIONS)
    if not bool(found.feasible.all()):
        raise ValueError("a data set's constraints leave no point; take another seed")
    return Task(lower, upper, len(b), (c[TEST:], found.y[TEST:]), (c[:TEST], found.y[:TEST]))
