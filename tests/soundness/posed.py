"""Questions put to the engine and answers held against brute force, exact arithmetic and replays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.soundness.instances import NO_ATTACK, Instance, posed
from benchmarks.soundness.judge import violations
from problems.classification import Classification
from problems.interval import Vector
from problems.knapsack import Knapsack
from problems.parametric import ParametricProblem
from proxies.classification import classification_proxy
from proxies.knapsack import knapsack_manifest, knapsack_proxy
from proxies.layers import Affine, Layer, Relu
from proxies.layers.sort_repair import Greedy
from proxies.manifest import ClassificationSpec, Manifest
from proxies.proxy import Proxy
from verifier.options import VerifyOptions
from verifier.result import Result
from verifier.verify import verify

USUAL = VerifyOptions(time_limit=30.0)
ALONE = replace(USUAL, attack=NO_ATTACK)


def affine(weight: Any, bias: Any) -> Affine:
    """Return an affine layer of float64 numbers."""
    return Affine(*(torch.as_tensor(np.asarray(part, dtype=np.float64)) for part in (weight, bias)))


def classifier(layers: list[Layer], centre: Any, label: int = 0, **more: Any) -> tuple[Proxy, Classification]:
    """Return a classifier and its sample; `more` are fields of the sample, such as its limits."""
    told = {name: tuple(np.asarray(value).tolist()) for name, value in more.items()}
    spec = ClassificationSpec(centre=tuple(np.asarray(centre, dtype=float).tolist()), label=label, **told)
    return classification_proxy(layers, Manifest(problem=spec))


def knapsack(problem: Knapsack, layers: list[Layer], greedy: Greedy = "prefix") -> tuple[Proxy, Knapsack]:
    """Return a knapsack proxy and its problem."""
    return knapsack_proxy(layers, knapsack_manifest(problem, greedy), problem), problem


def standardised(problem: Knapsack, seed: int, hidden: int = 4, u: float = 0.3) -> list[Layer]:
    """Return a network whose first layer divides the values and the capacity by their spread."""
    rng = np.random.default_rng(seed)
    x = problem.domain(u).to_input(problem.domain(u).sample(300, seed))
    first = rng.normal(size=(hidden, problem.input_size)) / x.std(0)
    z = x @ first.T
    first, z = first / z.std(0)[:, None], z / z.std(0)
    second = (rng.normal(size=size) for size in ((problem.items, hidden), problem.items))
    return [affine(first, -z.mean(0) + 0.3 * rng.normal(size=hidden)), Relu(), affine(*second)]


def ask(
    parts: tuple[Proxy, ParametricProblem], u: float, options: VerifyOptions = USUAL, starts: Vector | None = None
) -> tuple[Instance, Result]:
    """Verify, check that the answer contradicts nothing that is known, and return question and answer."""
    given = posed(*parts, u, options, starts)
    result = verify(given.proxy, given.problem, given.domain, given.options)
    wrong = violations(given, result)
    assert not wrong, wrong
    return given, result


def asks_for_a_report(result: Result) -> list[str]:
    """Return the notes that call an answer a fault."""
    return [note for note in result.notes if "please report" in note]
