"""A proxy and its gap in rational arithmetic: what the stored numbers mean, without any rounding."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np

from benchmarks.soundness.values import Vertices
from problems.classification import Classification
from problems.dcopf import DcOpf
from problems.interval import Vector
from problems.knapsack import Knapsack
from problems.parametric import ParametricProblem
from proxies.layers import Affine, Clamp, Hypersimplex, Relu, Sign, SortRepair
from proxies.proxy import Proxy

Numbers = list[Fraction]


def exact_gap(proxy: Proxy, problem: ParametricProblem, x: Vector) -> tuple[Fraction, Fraction]:
    """Return c(x, pi(x)) - Phi(x) and Phi(x) at one input ((n_x,)); Phi of a dispatch is rounded to a float."""
    given = [Fraction(float(v)) for v in x]
    decision = exact_decision(proxy, given)
    if isinstance(problem, Classification):
        others = [score for k, score in enumerate(decision) if k != problem.label]
        return max(others) - decision[problem.label], Fraction(0)
    if isinstance(problem, Knapsack):
        best = _best_choice(given, [int(w) for w in problem.weights])
        return best - sum((v * t for v, t in zip(given, decision)), Fraction(0)), -best
    assert isinstance(problem, DcOpf)
    values = Vertices(problem)
    optimum = Fraction(float(values.optima(x[None])[0]))
    cost = sum((Fraction(c) * p for c, p in zip(problem.grid.cost.tolist(), decision)), Fraction(values.constant))
    return cost + _exact_overload_cost(values, given, decision) - optimum, optimum


def exact_decision(proxy: Proxy, x: Numbers) -> Numbers:
    """Return pi(x)."""
    h = x
    for layer in proxy.layers:
        if isinstance(layer, Affine):
            h = _affine(layer, h)
        elif isinstance(layer, Relu):
            h = [max(v, Fraction(0)) for v in h]
        elif isinstance(layer, Sign):
            h = [Fraction(1) if v >= 0 else Fraction(-1) for v in h]
        elif isinstance(layer, Clamp):
            h = [_clip(v, low, high) for v, low, high in zip(h, layer.lower.tolist(), layer.upper.tolist())]
        elif isinstance(layer, Hypersimplex):
            h = _hypersimplex(layer, h, x)
        else:
            assert isinstance(layer, SortRepair)
            h = _sort_repair(layer, h, x)
    return h


def _affine(layer: Affine, h: Numbers) -> Numbers:
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    if layer.weight.ndim == 1:
        return [Fraction(w) * v + Fraction(b) for w, v, b in zip(weight, h, bias)]
    rows = zip(weight, bias)
    return [sum((Fraction(w) * v for w, v in zip(row, h) if w and v), Fraction(b)) for row, b in rows]


def _clip(value: Fraction, low: float, high: float) -> Fraction:
    if low > float("-inf"):
        value = max(value, Fraction(low))
    return min(value, Fraction(high)) if high < float("inf") else value


def _hypersimplex(layer: Hypersimplex, p: Numbers, x: Numbers) -> Numbers:
    low, high = ([Fraction(v) for v in side.tolist()] for side in (layer.lower, layer.upper))
    weights = layer.demand_weight.tolist()
    demand = sum((Fraction(w) * v for w, v in zip(weights, x)), Fraction(float(layer.demand_constant)))
    demand = min(max(demand, sum(low, Fraction(0))), sum(high, Fraction(0)))

    def moved(shift: Fraction) -> Numbers:
        return [min(max(v + shift, a), b) for v, a, b in zip(p, low, high)]

    points = sorted({limit - v for v, a, b in zip(p, low, high) for limit in (a, b)})
    last = points[0]
    for point in points:
        if sum(moved(point)) >= demand:
            before, after = sum(moved(last)), sum(moved(point))
            share = Fraction(0) if after == before else (demand - before) / (after - before)
            return moved(last + share * (point - last))
        last = point
    return moved(last)


def _sort_repair(layer: SortRepair, scores: Numbers, x: Numbers) -> Numbers:
    weights = layer.capacity_weight.tolist()
    room = sum((Fraction(w) * v for w, v in zip(weights, x)), Fraction(float(layer.capacity_constant)))
    taken, total = [Fraction(0)] * len(scores), Fraction(0)
    for item in sorted(range(len(scores)), key=lambda k: (-scores[k], k)):
        weight = Fraction(float(layer.weights[item]))
        if total + weight <= room:
            taken[item], total = Fraction(1), total + weight
        elif layer.greedy == "prefix":
            break
    return taken


def _best_choice(x: Numbers, weights: list[int]) -> Fraction:
    choices = (chosen for chosen in product((0, 1), repeat=len(weights)))
    fitting = (c for c in choices if sum(t * w for t, w in zip(c, weights)) <= x[-1])
    return max(sum((v for t, v in zip(c, x) if t), Fraction(0)) for c in fitting)


def _exact_overload_cost(values: Vertices, x: Numbers, decision: Numbers) -> Fraction:
    """Return the price of the overloads; the distribution factors are taken as the floats they are."""
    injection = [-v - Fraction(f) for v, f in zip(x, values.fixed.tolist())]
    for bus, p in zip(values.grid.gen_bus.tolist(), decision):
        injection[bus] += p
    over = Fraction(0)
    for row, low, high in zip(values.flow.tolist(), values.flow_low.tolist(), values.flow_high.tolist()):
        flow = sum((Fraction(f) * v for f, v in zip(row, injection)), Fraction(0))
        beyond = [flow - Fraction(high)] if np.isfinite(high) else []
        beyond += [Fraction(low) - flow] if np.isfinite(low) else []
        over += max([Fraction(0), *beyond])
    return over * Fraction(float(values.price))
