"""The largest gap that can be found by evaluating many inputs: corners, samples, kinks by bisection, and climbs.

It bounds the worst gap from below and knows nothing of bounds, models or solvers: only the float64 forward pass, and
optimal values by enumeration.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from benchmarks.soundness.values import Values, Vertices, values_of
from problems.classification import Classification
from problems.domain import Domain
from problems.interval import Vector
from problems.parametric import ParametricProblem
from proxies.layers import Clamp, Hypersimplex, Relu, Sign, SortRepair
from proxies.proxy import Proxy

# Points of each kind; steps of bisection (a segment is then cut down to neighbouring floats), climbs and their steps.
SAMPLES, CORNERS, PAIRS, BISECTIONS = 150, 64, 48, 56
CLIMBS, STEPS, SHRINK = 6, 22, 0.6
# Points that are returned.
KEPT = 6


@dataclass(frozen=True)
class Found:
    """Inputs with large gaps, best first.

    Attributes:
        latents: (k, n_w).
        gaps: (k,) in the measure's unit, as a batch of the forward pass gives them.
        slacks: (k,) the size of the numbers whose difference each gap is, in the measure's unit.
    """

    latents: Vector
    gaps: Vector
    slacks: Vector

    @property
    def best(self) -> float:
        """The largest gap found; -inf where no input has one."""
        return float(self.gaps[0]) if len(self.gaps) else -np.inf


@dataclass(frozen=True)
class Gaps:
    """The gap at many inputs.

    Attributes:
        proxy, problem, domain: whose.
        relative: whether gaps are shares of the optimal value.
        values: see `values_of`.
    """

    proxy: Proxy
    problem: ParametricProblem
    domain: Domain
    relative: bool
    values: Values

    def at(self, latents: Vector) -> tuple[Vector, Vector]:
        """Return gaps and slacks ((batch,) each) at latent vectors; -inf where an input has no gap."""
        return self.at_inputs(self.domain.to_input(latents))

    def at_inputs(self, x: Vector) -> tuple[Vector, Vector]:
        """Return gaps and slacks ((batch,) each) at inputs ((batch, n_x))."""
        with torch.no_grad():
            y = self.proxy(torch.as_tensor(x)).numpy()
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            costs, optima = self.values.costs(x, y), self.values.optima(x)
            gaps, slacks = costs - optima, self.values.sizes(y, costs, optima)
            if self.relative:
                gaps, slacks = gaps / np.abs(optima), slacks / np.abs(optima)
        wrong = ~np.isfinite(gaps)
        return np.where(wrong, -np.inf, gaps), np.where(wrong, 0.0, slacks)

    def switches(self, latents: Vector) -> Vector:
        """Return what decides every switch ((batch, m)): the decision has a kink or a jump only where one is 0."""
        x = torch.as_tensor(self.domain.to_input(latents))
        found, h = [], x
        with torch.no_grad():
            for layer in self.proxy.layers:
                if isinstance(layer, (Relu, Sign)):
                    found.append(h)
                elif isinstance(layer, Clamp):
                    found += [h - layer.lower, h - layer.upper]
                elif isinstance(layer, SortRepair):
                    a, b = np.triu_indices(h.shape[1], 1)
                    found += [h[:, a] - h[:, b], torch.frac(x[:, -1:] + 0.5) - 0.5]
                h = layer(h, x)
                if isinstance(layer, Hypersimplex):
                    found += [h - layer.lower, h - layer.upper]
            if isinstance(self.problem, Classification):
                a, b = np.triu_indices(h.shape[1], 1)
                found.append(h[:, a] - h[:, b])
        return torch.cat(found, 1).numpy() if found else np.zeros((len(latents), 0))


def gaps_of(proxy: Proxy, problem: ParametricProblem, domain: Domain, relative: bool = False) -> Gaps:
    """Return the evaluation of an instance."""
    return Gaps(proxy, problem, domain, relative, values_of(problem))


def search(gaps: Gaps, seed: int, starts: Vector | None = None, samples: int = SAMPLES) -> Found:
    """Look for the largest gap.

    Args:
        gaps: evaluates.
        seed: of the random points.
        starts: (k, n_w) points to look at and around as well.
        samples: random points of each kind.
    """
    domain, rng = gaps.domain, np.random.default_rng(seed)
    values = gaps.values
    points = _inside(domain, np.concatenate([_points(domain, rng, samples), *([] if starts is None else [starts])]))
    if isinstance(values, Vertices):
        values.keep_all()
        gaps.at(points)
        values.keep_winners()
    found, slack = gaps.at(points)
    order = np.argsort(-found, kind="stable")
    points, found, slack = points[order], found[order], slack[order]
    for more in (_kinks(gaps, points, rng), _climb(gaps, points[:CLIMBS], found[:CLIMBS], rng)):
        if len(more):
            more = _inside(domain, more)
            gap, size = gaps.at(more)
            points, found, slack = np.vstack([points, more]), np.append(found, gap), np.append(slack, size)
    if isinstance(values, Vertices):
        values.keep_all()
    best = np.argsort(-found, kind="stable")[: 4 * KEPT]
    exact, size = gaps.at(points[best])
    order = np.argsort(-exact, kind="stable")[:KEPT]
    order = order[np.isfinite(exact[order])]
    return Found(points[best][order], exact[order], size[order])


def _inside(domain: Domain, points: Vector) -> Vector:
    """Return the points moved into the domain; those that rounding keeps out of a cut are left out."""
    moved = domain.project(points)
    if not domain.cuts:
        return moved
    return moved[[domain.contains(w) for w in moved]]


def _points(domain: Domain, rng: np.random.Generator, samples: int) -> Vector:
    low, high = domain.box.lower, domain.box.upper
    n = domain.size
    width = high - low
    middle = (low + high) / 2
    inner = low + rng.random((samples, n)) * width
    side = np.where(rng.random((samples, n)) < 0.5, low, high)
    faces = np.where(rng.random((samples, n)) < 0.6, side, low + rng.random((samples, n)) * width)
    if 2**n <= CORNERS:
        corners = np.where(np.array(list(product([False, True], repeat=n))), high, low)
    else:
        corners = np.where(rng.random((CORNERS, n)) < 0.5, high, low)
    parts = [middle[None], corners, inner, faces, np.where(rng.random((n, n)) < 0.5, middle, side[:1])]
    free = np.flatnonzero(width > 0)
    if 1 <= len(free) <= 2:
        axes = np.linspace(0, 1, 15 if len(free) == 2 else 65)
        grid = np.tile(middle, (len(axes) ** len(free), 1))
        grid[:, free] = low[free] + np.array(list(product(axes, repeat=len(free)))) * width[free]
        parts.append(grid)
    return np.concatenate(parts)


def _kinks(gaps: Gaps, points: Vector, rng: np.random.Generator) -> Vector:
    """Return points on both sides of switches, found by bisection between the points given (best first)."""
    if len(points) < 2:
        return points[:0]
    first = points[rng.integers(min(len(points), 24), size=PAIRS)]
    last = points[rng.integers(len(points), size=PAIRS)]
    ends = gaps.switches(first), gaps.switches(last)
    change = (ends[0] >= 0) != (ends[1] >= 0)
    rows = np.flatnonzero(change.any(1))
    if not len(rows):
        return points[:0]
    chosen = np.array([rng.choice(np.flatnonzero(change[row])) for row in rows])
    a, b = first[rows], last[rows]
    at_a = ends[0][rows, chosen] >= 0
    for _ in range(BISECTIONS):
        middle = (a + b) / 2
        same = (gaps.switches(middle)[np.arange(len(rows)), chosen] >= 0) == at_a
        a, b = np.where(same[:, None], middle, a), np.where(same[:, None], b, middle)
    return np.concatenate([a, b])


def _climb(gaps: Gaps, points: Vector, found: Vector, rng: np.random.Generator) -> Vector:
    """Return where a pattern search leads from each point: moves of single coordinates, to their ends, and together."""
    domain = gaps.domain
    free = np.flatnonzero(domain.box.width > 0)
    if not len(points) or not len(free):
        return points[:0]
    width, at, best = domain.box.width, points.copy(), found.copy()
    step = np.full(len(at), 0.5)
    for turn in range(STEPS):
        moves = np.zeros((2 * len(free) + 6, domain.size))
        moves[np.arange(len(free)), free] = 1.0
        moves[np.arange(len(free)) + len(free), free] = -1.0
        moves[2 * len(free) :] = rng.normal(size=(6, domain.size))
        tried = at[:, None] + step[:, None, None] * moves * width
        if turn % 4 == 0:
            for k, axis in enumerate(free):
                tried[:, k, axis], tried[:, k + len(free), axis] = domain.box.lower[axis], domain.box.upper[axis]
        tried = domain.project(tried.reshape(-1, domain.size))
        gap = gaps.at(tried)[0].reshape(len(at), -1)
        top = gap.argmax(1)
        rows = np.arange(len(at))
        better = gap[rows, top] > best
        at = np.where(better[:, None], tried.reshape(len(at), -1, domain.size)[rows, top], at)
        best = np.maximum(best, gap[rows, top])
        step = np.where(better, step, step * SHRINK * (0.3 if turn > STEPS // 2 else 1.0))
    return at
