"""PGA-VFA: projected gradient ascent on the gap, with the value function replaced by what is known of it.

Source: Chen et al. 2024, section 5, Algorithm 1. Ours differs in its steps (signs of the gradient, shrinking), in its
starts (corners first), and in that it asks for Phi where the ascent goes, not at 50,000 random inputs. The paper's
own is `verifier.paper_attack`; `AttackOptions.style` chooses. Only a gap with an exact Phi counts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from problems.domain import Domain
from problems.interval import Interval, Vector
from problems.parametric import ParametricProblem
from proxies.layers import Layer
from proxies.proxy import can_jump
from verifier.budget import Budget
from verifier.known_values import KnownValues
from verifier.paper_attack import paper_climb, value_and_slope

# Points whose exact values are found between two looks at the clock.
BATCH = 128
# The share of the time left that an attack without a limit of its own may take.
SHARE = 0.25
# The share of the time that the paper's style may spend on learning before it climbs.
TANGENT_SHARE = 0.5
# A part counts as empty when its middle, moved into the domain's cuts, misses them by more than rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class AttackOptions:
    """How hard to try.

    Attributes:
        style: "ours", or the "paper" one, which makes one climb by the paper's schedule: `rounds` (but for 0), `steps`
            and the lengths of steps do not matter to it.
        starts: points that climb together.
        rounds: climbs, each from new starts and around the best points so far.
        patience: rounds in a row that may bring less than a thousandth before the attack ends.
        steps: gradient steps a round.
        first_step, last_step: length of a step as a share of the box's width.
        exact: points a round whose gap is computed exactly, and (in our style) which are learnt from.
        regions: equal parts of the domain, along the latent with the largest reach, that share the starts; every start
            stays in its part.
        paper_cuts: random inputs that the paper's style learns from beforehand; the paper took 50,000.
        seconds: time limit; None for a quarter of all the time that is left. An attack ends by `patience` before, but
            for the largest problems.
        device: where to climb, such as "cuda"; by default a GPU where there is one.
        seed: of the starts.
    """

    style: Literal["ours", "paper"] = "ours"
    starts: int = 256
    rounds: int = 8
    patience: int = 3
    steps: int = 40
    first_step: float = 0.3
    last_step: float = 0.01
    exact: int = 24
    regions: int = 1
    paper_cuts: int = 4000
    seconds: float | None = None
    device: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Candidate:
    """A latent vector and the exact value of the objective that was attacked, in the problem's unit."""

    latent: Vector
    gap: float


# In so many rounds every second start first drives up one of so many pressures.
PRESSED_ROUNDS, PRESSURES = 2, 32
# The length of short steps, as a share of the usual one.
SHORT = 0.1
# Climbed points whose single coordinates are moved too, where the decision jumps: between jumps it has no slope.
MOVED = 16
# Where Phi has a cheap lower limit: random inputs and corners are ranked by it in so many batches of this size, and so
# many of the best are valued exactly; each takes at most this share of the time.
RANKED_BATCHES, RANKED_BATCH, RANKED_SHARE, VALUED = 8, 2048, 0.1, 64
# A round that raises the best gap by a smaller share brought nothing.
WORTH = 1e-3
# Candidates whose gaps differ by a smaller share lie on one peak.
ALIKE = 1e-6
# Called with every better candidate.
OnBest = Callable[[Candidate], None]


class Attack:
    """The state of an attack on one proxy and domain: candidates found, and what is known of the value function.

    Args:
        layers: the proxy on the latent vector.
        problem: prices decisions.
        domain: where to look.
        known: what is known of Phi on (a superset of) the domain; grows.
        device: see `AttackOptions`.
        workers: threads that find exact values; the result does not depend on how many.

    Attributes:
        best: the best candidate so far, or None.
        found: the best candidates of the last run, best first.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        problem: ParametricProblem,
        domain: Domain,
        known: KnownValues,
        device: str | None = None,
        workers: int = 1,
    ) -> None:
        self.problem, self.domain = problem, domain
        self.known, self.workers = known, workers
        self.best: Candidate | None = None
        self.found: list[Candidate] = []
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.layers = [copy.deepcopy(layer).to(self.device) for layer in layers]
        self._matrix = self.tensor(domain.matrix.toarray()).T.contiguous()
        self._shift = self.tensor(domain.shift)
        self._sampled = 0
        self.jumps = can_jump(layers)

    def run(
        self,
        options: AttackOptions,
        budget: Budget,
        ratio: float = 0.0,
        on_best: OnBest | None = None,
    ) -> Candidate | None:
        """Maximise c(x, pi(x)) - (1 + ratio) Phi(x); return the best candidate so far.

        Args:
            options: how hard to try.
            budget: stops early when spent.
            ratio: see above.
            on_best: called with every better candidate.
        """
        budget = budget.part(SHARE * budget.left if options.seconds is None else options.seconds)
        self.found = []
        parts = self._parts(options.regions)
        if options.style == "paper":
            self._run_as_paper(options, parts, budget, ratio, on_best)
        else:
            self._run_as_ours(options, parts, budget, ratio, on_best)
        return self.best

    def _run_as_ours(
        self, options: AttackOptions, parts: Sequence[Domain], budget: Budget, ratio: float, on_best: OnBest | None
    ) -> None:
        rng = np.random.default_rng(options.seed)
        upper = self.domain.project(self.domain.box.upper)
        begun = self._value(np.stack([self.domain.centre, upper]), ratio, on_best, budget)
        found: list[Candidate] = []
        ranked = self.found = self._ranked(options, ratio, budget, on_best)
        if not len(self.known) or self.jumps:
            sampled = self._value(self.domain.sample(options.starts, options.seed), ratio, on_best, budget)
            begun += sampled
            # Where the decision jumps, a good input may lie where no climb leads.
            found = _best(sampled, options.exact) if self.jumps else []
        since, last = 0, -np.inf
        for turn in range(options.rounds):
            # Where nothing is known no input tried so far has a feasible problem: nothing to climb on.
            if budget.spent or not len(self.known) or since == options.patience:
                break
            counts = _shares(options.starts, len(parts))
            starts = [self._starts(part, n, turn, found, rng) for part, n in zip(parts, counts)]
            climb = _Climb(self, parts, [len(points) for points in starts], ratio)
            begin = np.concatenate(starts)
            if turn < PRESSED_ROUNDS:
                pressed = climb.pressed(begin, options, budget)
                begin[::2] = pressed[::2]
            climbed, surrogate = climb.by_signs(climb.surrogate, begin, options, budget)
            if self.jumps:
                order = np.argsort(-surrogate)[:MOVED]
                climbed[order], surrogate[order] = climb.by_coordinates(climbed[order], order, budget)
            chosen = _distinct(climbed[np.argsort(-surrogate)], options.exact)
            found += self._value(chosen, ratio, on_best, budget)
            # Where it jumps, many different inputs have one gap.
            keep = _best if self.jumps else best_peaks
            found = keep(found, options.exact)
            self.found = keep([*found, *ranked], options.exact)
            best = max((candidate.gap for candidate in [*begun, *found[:1]]), default=-np.inf)
            since = since + 1 if best <= last + WORTH * abs(best) else 0
            last = max(last, best)

    def _ranked(self, options: AttackOptions, ratio: float, budget: Budget, on_best: OnBest | None) -> list[Candidate]:
        """Value the random inputs and corners whose gap could be largest by the problem's floor; return the best.

        They guide no climb: many are alike, and climbs from there end in fewer different places.
        """
        if self.problem.value_floor(self._inputs(self.tensor(self.domain.centre[None]))) is None:
            return []
        kept, limits = np.zeros((0, self.domain.size)), np.zeros(0)
        ranking = budget.part(RANKED_SHARE * budget.left)
        for k in range(RANKED_BATCHES):
            drawn = self.domain.sample if k % 2 == 0 else self.domain.corners
            points = drawn(RANKED_BATCH, options.seed + k + 1)
            w = self.tensor(points)
            floor = self.problem.value_floor(self._inputs(w))
            if floor is None or ranking.spent:
                break
            with torch.no_grad():
                limit = (self.cost(w) - (1 + ratio) * floor).cpu().numpy()
            kept, limits = np.concatenate([kept, points]), np.concatenate([limits, limit])
            best = np.argsort(-limits, kind="stable")[:VALUED]
            kept, limits = kept[best], limits[best]
        found: list[Candidate] = []
        valuing = budget.part(RANKED_SHARE * budget.left)
        for point in kept:
            if valuing.spent:
                break
            found += self._value(point[None], ratio, on_best, valuing, keep=False)
        return _best(found, options.exact)

    def _run_as_paper(
        self, options: AttackOptions, parts: Sequence[Domain], budget: Budget, ratio: float, on_best: OnBest | None
    ) -> None:
        """Random inputs first, then one climb, then exact values: nothing is learned on the way."""
        self._learn_at_random(options, budget.part(TANGENT_SHARE * budget.left))
        if not len(self.known):
            return
        counts = _shares(options.starts, len(parts))
        starts = [part.sample(n, options.seed + 1 + k) for k, (part, n) in enumerate(zip(parts, counts))]
        climb = _Climb(self, parts, counts, ratio)
        points = self.tensor(np.concatenate(starts))
        width = self.tensor(self.domain.box.width)
        climbed, surrogate = paper_climb(climb.surrogate, climb.project, points, width, budget)
        order = np.argsort(-surrogate.cpu().numpy())
        chosen = _distinct(climbed.cpu().numpy()[order], options.exact)
        self.found = sorted(self._value(chosen, ratio, on_best, budget, keep=False), key=lambda c: -c.gap)

    def _learn_at_random(self, options: AttackOptions, budget: Budget) -> None:
        """Learn from random inputs, once for all runs."""
        points = self.domain.sample(options.paper_cuts, options.seed)
        while self._sampled < len(points) and not budget.spent:
            batch = points[self._sampled : self._sampled + BATCH]
            self.known.learn(batch, self.workers, budget=budget)
            self._sampled += len(batch)

    def _parts(self, count: int) -> list[Domain]:
        """Return the domain cut along the latent with the largest reach, without parts that its cuts leave empty."""
        axis = int(np.argmax(self.domain.reach))
        box = self.domain.box
        if count <= 1 or not box.width[axis] > 0:
            return [self.domain]
        ends = np.linspace(box.lower[axis], box.upper[axis], count + 1)
        parts = []
        for low, high in pairwise(ends):
            lower, upper = box.lower.copy(), box.upper.copy()
            lower[axis], upper[axis] = low, high
            part = replace(self.domain, box=Interval(lower, upper))
            if part.contains(part.centre, ROUNDING):
                parts.append(part)
        return parts

    def _starts(
        self, part: Domain, count: int, turn: int, found: Sequence[Candidate], rng: np.random.Generator
    ) -> Vector:
        """Return about `count` starts in a part of the domain: ((starts, n_w))."""
        seed = int(rng.integers(2**31))
        half = (count + 1) // 2
        points = [part.corners(half, seed), part.sample(count - half, seed)]
        if turn == 0:
            # The latents that move most inputs first: both ends of each, the others in the middle.
            axes = np.argsort(-self.domain.reach)[: count // 8]
            ends = np.repeat(part.centre[None], 2 * axes.size, axis=0)
            ends[np.arange(axes.size), axes] = part.box.lower[axes]
            ends[np.arange(axes.size, 2 * axes.size), axes] = part.box.upper[axes]
            points.append(part.project(ends))
        elif found:
            # Around the best ones: each with a share of its coordinates thrown to an end of the box.
            base = np.stack([found[k % len(found)].latent for k in range(half)])
            thrown = rng.random(base.shape) < rng.choice([0.02, 0.1, 0.3], size=(half, 1))
            points[0] = part.project(np.where(thrown, points[0], base))
        return np.concatenate(points)

    def cost(self, w: Tensor) -> Tensor:
        """Return c(x, pi(x)) ((batch,)) at latent vectors ((batch, n_w)), in the problem's unit."""
        return self.problem.objective(*self._answer(w))

    def pressures(self, w: Tensor) -> Tensor:
        """Return the problem's `pressures` at latent vectors ((batch, n_w))."""
        return self.problem.pressures(*self._answer(w))

    def _answer(self, w: Tensor) -> tuple[Tensor, Tensor]:
        h = w
        for layer in self.layers:
            h = layer.climbable(h, w)
        return self._inputs(w), h

    def _inputs(self, w: Tensor) -> Tensor:
        """Return the inputs ((batch, n_x)) of latent vectors ((batch, n_w))."""
        return w @ self._matrix + self._shift

    def tensor(self, values: Vector) -> Tensor:
        """Return `values` where the attack computes."""
        return torch.as_tensor(values, device=self.device)

    def _value(
        self, points: Vector, ratio: float, on_best: OnBest | None, budget: Budget, keep: bool = True
    ) -> list[Candidate]:
        """Compute the exact objective at each point, learn from it, and report what is better than the best."""
        with torch.no_grad():
            costs = self.cost(self.tensor(points)).cpu().numpy()
        found = []
        for w, cost, value in zip(points, costs, self.known.learn(points, self.workers, keep, budget)):
            if np.isinf(value):
                continue
            candidate = Candidate(w, float(cost) - (1 + ratio) * float(value))
            found.append(candidate)
            if self.best is None or candidate.gap > self.best.gap:
                self.best = candidate
                if on_best is not None:
                    on_best(candidate)
        return found


class _Climb:
    """The surrogate objective with what is known now, and the box of every start.

    Args:
        attack: gives costs and what is known.
        parts: where the starts stay.
        counts: starts in each part, which lie one after the other.
        ratio: of Dinkelbach's method.
    """

    def __init__(self, attack: Attack, parts: Sequence[Domain], counts: Sequence[int], ratio: float) -> None:
        self._attack, self._parts, self._ratio = attack, parts, ratio
        owner = np.repeat(np.arange(len(parts)), counts)
        self._owner = torch.as_tensor(owner, device=attack.device)
        self._low = attack.tensor(np.stack([part.box.lower for part in parts]))
        self._high = attack.tensor(np.stack([part.box.upper for part in parts]))
        self._estimate = attack.known.estimate(attack.device)

    def width(self) -> Tensor:
        """(starts, n_w) of the box of each start."""
        return (self._high - self._low)[self._owner]

    def surrogate(self, w: Tensor) -> Tensor:
        """Return c(x, pi(x)) - (1 + ratio) Phihat(x) ((batch,)) at latent vectors ((batch, n_w))."""
        return self._attack.cost(w) - (1 + self._ratio) * self._estimate(w)

    def project(self, w: Tensor, which: Tensor) -> Tensor:
        """Move latent vectors ((batch, n_w)) into the parts of the starts `which` ((batch,))."""
        owner = self._owner[which]
        w = torch.minimum(torch.maximum(w, self._low[owner]), self._high[owner])
        if self._parts[0].cuts:
            for k, part in enumerate(self._parts):
                mine = owner == k
                w[mine] = self._attack.tensor(part.project(w[mine].cpu().numpy()))
        return w

    def pressed(self, starts: Vector, options: AttackOptions, budget: Budget) -> Vector:
        """Drive up one pressure from each start, in turn those that come closest to being paid; return the points."""
        with torch.no_grad():
            highest = self._attack.pressures(self._attack.tensor(starts)).amax(0)
        if not len(highest):
            return starts
        order = highest.argsort(descending=True)[:PRESSURES]
        which = order[torch.arange(len(starts), device=order.device) // 2 % len(order)]

        def pressure(w: Tensor) -> Tensor:
            return self._attack.pressures(w).gather(1, which[:, None])[:, 0]

        return self.by_signs(pressure, starts, options, budget)[0]

    def by_signs(
        self, objective: Callable[[Tensor], Tensor], starts: Vector, options: AttackOptions, budget: Budget
    ) -> tuple[Vector, Vector]:
        """Climb by signs of the gradient with shrinking steps; return the best point of every start, and its value."""
        w, width = self._attack.tensor(starts), self.width()
        which = torch.arange(len(w), device=w.device)
        best_w, best = w.clone(), torch.full_like(w[:, 0], -np.inf)
        decay = (options.last_step / options.first_step) ** (1 / max(1, options.steps - 1))
        # Every third start takes short steps: long ones jump over a peak that is narrow in the widest latent.
        step = torch.full_like(best, options.first_step)
        step[::3] *= SHORT
        for _ in range(options.steps + 1):
            value, slope = value_and_slope(objective, w)
            better = value > best
            best = torch.where(better, value, best)
            best_w = torch.where(better[:, None], w, best_w)
            if budget.spent:
                break
            w = self.project(w + step[:, None] * width * slope.sign(), which)
            step *= decay
        return best_w.cpu().numpy(), best.cpu().numpy()

    @torch.no_grad()
    def by_coordinates(self, points: Vector, which: NDArray[np.int64], budget: Budget) -> tuple[Vector, Vector]:
        """Throw coordinates to the ends of their ranges while that pays; return the points and their surrogates.

        Of the moves that pay alone, the best first so many are made together: the number that pays most.

        Args:
            points: (count, n_w).
            which: (count,) the numbers of their starts.
            budget: for all.
        """
        moved, values = points.copy(), np.zeros(len(points))
        for k, (point, start) in enumerate(zip(points, which)):
            owner = int(self._owner[start])
            low, high = self._low[owner], self._high[owner]
            w = self._attack.tensor(point)
            value = self.surrogate(w[None])[0]
            mine = torch.as_tensor(start, device=w.device)
            free = torch.nonzero(high > low)[:, 0]
            while free.numel():
                ends = w.repeat(2 * free.numel(), 1)
                rows = torch.arange(free.numel(), device=w.device)
                ends[rows, free], ends[rows + free.numel(), free] = low[free], high[free]
                gain = self.surrogate(self.project(ends, mine.expand(len(ends)))) - value
                best, side = gain.reshape(2, -1).max(0)
                order = best.argsort(descending=True)[: int((best > 0).sum())]
                if not order.numel() or budget.spent:
                    break
                together = w.repeat(order.numel(), 1)
                for place, one in enumerate(order.tolist()):
                    together[place:, free[one]] = (high if side[one] else low)[free[one]]
                together = self.project(together, mine.expand(len(together)))
                tried = self.surrogate(together)
                top = int(tried.argmax())
                if tried[top] <= value:
                    break
                w, value = together[top], tried[top]
            moved[k], values[k] = w.cpu().numpy(), float(value)
        return moved, values


def _best(found: Sequence[Candidate], count: int) -> list[Candidate]:
    """Return the best `count` candidates, best first."""
    return sorted(found, key=lambda c: -c.gap)[:count]


def best_peaks(found: Sequence[Candidate], count: int) -> list[Candidate]:
    """Return the best `count` candidates, best first, one of each peak: of those whose gaps are alike."""
    kept: list[Candidate] = []
    for candidate in _best(found, len(found)):
        if len(kept) == count:
            break
        if not kept or kept[-1].gap - candidate.gap > ALIKE * abs(kept[-1].gap):
            kept.append(candidate)
    return kept


def _shares(total: int, count: int) -> list[int]:
    """Return `total` in `count` nearly equal shares, none below 1."""
    return [max(1, (total + k) // count) for k in range(count)]


def _distinct(points: Vector, count: int) -> Vector:
    """Return the first `count` rows that differ."""
    kept: list[Vector] = []
    for point in points:
        if len(kept) == count:
            break
        if not any(np.array_equal(point, other) for other in kept):
            kept.append(point)
    return np.stack(kept)
