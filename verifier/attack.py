"""PGA-VFA: projected gradient ascent on the gap, with the value function replaced by its stored tangents.

Source: Chen et al. 2024, section 5, Algorithm 1. Ours differs in its steps (signs of the gradient, shrinking), in its
starts (corners first), and in that tangents are made where the ascent goes instead of at 50,000 random inputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from problems.domain import Domain
from problems.interval import Vector
from problems.parametric import ParametricProblem
from proxies.layers import Layer
from verifier.budget import Budget
from verifier.value_function import ValueCut, ValueFunction


@dataclass(frozen=True)
class AttackOptions:
    """How hard to try.

    Attributes:
        starts: points that climb together.
        rounds: climbs, each from new starts and around the best points so far.
        steps: gradient steps a round.
        first_step, last_step: length of a step as a share of the box's width.
        exact: points a round whose gap is computed exactly, and whose tangents are stored.
        seconds: time limit.
        device: where to climb, such as "cuda"; by default a GPU where there is one.
        seed: of the starts.
    """

    starts: int = 256
    rounds: int = 6
    steps: int = 40
    first_step: float = 0.3
    last_step: float = 0.01
    exact: int = 24
    seconds: float = 10.0
    device: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Candidate:
    """A latent vector and the exact value of the objective that was attacked, in the problem's unit."""

    latent: Vector
    gap: float


class Attack:
    """The state of an attack on one proxy and domain: candidates found, and tangents of the value function.

    Args:
        layers: the proxy on the latent vector.
        problem: prices decisions.
        domain: where to look.
        value_function: exact Phi on (a superset of) the domain.
        cuts: tangents known beforehand.
        device: see `AttackOptions`.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        problem: ParametricProblem,
        domain: Domain,
        value_function: ValueFunction,
        cuts: Sequence[ValueCut] = (),
        device: str | None = None,
    ) -> None:
        self.problem, self.domain = problem, domain
        self.value_function = value_function
        self.cuts = list(cuts)
        self.best: Candidate | None = None
        self.found: list[Candidate] = []
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.layers = [copy.deepcopy(layer).to(self.device) for layer in layers]
        self._matrix = self._tensor(domain.matrix.toarray()).T.contiguous()
        self._shift = self._tensor(domain.shift)

    def run(
        self,
        options: AttackOptions,
        budget: Budget,
        ratio: float = 0.0,
        on_best: Callable[[Candidate], None] | None = None,
    ) -> Candidate | None:
        """Maximise c(x, pi(x)) - (1 + ratio) Phi(x); return the best candidate so far.

        Args:
            options: how hard to try.
            budget: stops early when spent.
            ratio: see above.
            on_best: called with every better candidate.
        """
        budget = budget.part(options.seconds)
        rng = np.random.default_rng(options.seed)
        box = self.domain.box
        self.found = []
        self._value(np.stack([self.domain.centre, self.domain.project(box.upper)]), ratio, on_best)
        if not self.cuts:
            self._value(self.domain.sample(options.starts, options.seed), ratio, on_best)
        found: list[Candidate] = []
        for turn in range(options.rounds):
            # Without a tangent no input tried so far has a feasible problem: nothing to climb on.
            if budget.spent or not self.cuts:
                break
            starts = self._starts(options, turn, found, rng)
            climbed, surrogate = self._climb(starts, options, ratio, budget)
            order = np.argsort(-surrogate)
            chosen = _distinct(climbed[order], options.exact)
            found += self._value(chosen, ratio, on_best)
            found = sorted(found, key=lambda c: -c.gap)[: options.exact]
            self.found = found
        return self.best

    def _starts(
        self, options: AttackOptions, turn: int, found: Sequence[Candidate], rng: np.random.Generator
    ) -> Vector:
        seed = int(rng.integers(2**31))
        half = (options.starts + 1) // 2
        points = [self.domain.corners(half, seed), self.domain.sample(options.starts - half, seed)]
        if turn == 0:
            # The latents that move most inputs first: both ends of each, the others in the middle.
            reach = np.asarray(abs(self.domain.matrix).sum(axis=0)).ravel() * self.domain.box.width
            axes = np.argsort(-reach)[: options.starts // 8]
            ends = np.repeat(self.domain.centre[None], 2 * axes.size, axis=0)
            ends[np.arange(axes.size), axes] = self.domain.box.lower[axes]
            ends[np.arange(axes.size, 2 * axes.size), axes] = self.domain.box.upper[axes]
            points.append(self.domain.project(ends))
        elif found:
            # Around the best ones: each with a share of its coordinates thrown to an end of the box.
            base = np.stack([found[k % len(found)].latent for k in range(half)])
            thrown = rng.random(base.shape) < rng.choice([0.02, 0.1, 0.3], size=(half, 1))
            points[0] = self.domain.project(np.where(thrown, points[0][:half], base))
        return np.concatenate(points)

    def _climb(self, starts: Vector, options: AttackOptions, ratio: float, budget: Budget) -> tuple[Vector, Vector]:
        low, width = self._tensor(self.domain.box.lower), self._tensor(self.domain.box.width)
        w = self._tensor(starts)
        best_w, best = w.clone(), torch.full_like(w[:, 0], -np.inf)
        decay = (options.last_step / options.first_step) ** (1 / max(1, options.steps - 1))
        values, slopes = self._tangents()
        step = options.first_step
        for _ in range(options.steps + 1):
            w = w.detach().requires_grad_(True)
            surrogate = self._cost(w) - (1 + ratio) * (values + w @ slopes.T).amax(-1)
            better = surrogate.detach() > best
            best = torch.where(better, surrogate.detach(), best)
            best_w = torch.where(better[:, None], w.detach(), best_w)
            if budget.spent:
                break
            (slope,) = torch.autograd.grad(surrogate.sum(), w)
            w = torch.minimum(torch.maximum(w.detach() + step * width * slope.sign(), low), low + width)
            if self.domain.cuts:
                w = self._tensor(self.domain.project(w.cpu().numpy()))
            step *= decay
        return best_w.cpu().numpy(), best.cpu().numpy()

    def _cost(self, w: Tensor) -> Tensor:
        h = w
        for layer in self.layers:
            h = layer(h, w)
        return self.problem.objective(w @ self._matrix + self._shift, h)

    def _tangents(self) -> tuple[Tensor, Tensor]:
        slopes = np.stack([cut.slope for cut in self.cuts])
        values = np.array([cut.value - cut.slope @ cut.at for cut in self.cuts])
        return self._tensor(values), self._tensor(slopes)

    def _tensor(self, values: Vector) -> Tensor:
        return torch.as_tensor(values, device=self.device)

    def _value(self, points: Vector, ratio: float, on_best: Callable[[Candidate], None] | None) -> list[Candidate]:
        """Compute the exact objective at each point, store its tangent, and report what is better than the best."""
        with torch.no_grad():
            costs = self._cost(self._tensor(points)).cpu().numpy()
        found = []
        for w, cost in zip(points, costs):
            if not np.isfinite(self.value_function.value(w)):
                continue
            cut = self.value_function.cut(w)
            self._keep(cut)
            candidate = Candidate(w, float(cost) - (1 + ratio) * cut.value)
            found.append(candidate)
            if self.best is None or candidate.gap > self.best.gap:
                self.best = candidate
                if on_best is not None:
                    on_best(candidate)
        return found

    def _keep(self, cut: ValueCut) -> None:
        """Store a tangent unless one with the same slope is there: dual vertices repeat."""
        size = 1e-9 * (1 + np.abs(cut.slope).max())
        if not any(np.abs(cut.slope - old.slope).max() <= size for old in self.cuts):
            self.cuts.append(cut)


def _distinct(points: Vector, count: int) -> Vector:
    """Return the first `count` rows that differ."""
    kept: list[Vector] = []
    for point in points:
        if len(kept) == count:
            break
        if not any(np.array_equal(point, other) for other in kept):
            kept.append(point)
    return np.stack(kept)
