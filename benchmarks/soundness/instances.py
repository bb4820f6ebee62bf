"""One small random instance for each seed: a proxy, its problem, the inputs that count, and the options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.soundness.brute_force import Found, Gaps, gaps_of, search
from benchmarks.soundness.classifiers import draw_classifier
from benchmarks.soundness.dispatches import draw_dispatch
from benchmarks.soundness.draw import Rng, chance, pick
from benchmarks.soundness.knapsacks import draw_knapsack
from problems.domain import Domain
from problems.interval import Vector
from problems.parametric import ParametricProblem
from proxies.proxy import Proxy
from verifier.attack import AttackOptions
from verifier.options import VerifyOptions

# A change of this number changes every instance.
EDITION = 1
TIME_LIMIT = 2.0
DRAW: Mapping[str, Callable[[Rng], tuple[Proxy, ParametricProblem, Domain, float, tuple[str, ...]]]] = {
    "classification": draw_classifier,
    "dcopf": draw_dispatch,
    "knapsack": draw_knapsack,
}
# How often each family is drawn.
SHARES = {"classification": 0.5, "dcopf": 0.25, "knapsack": 0.25}
SMALL_ATTACK = AttackOptions(starts=8, rounds=1, steps=6, exact=4, paper_cuts=8, seconds=0.3, device="cpu")
NO_ATTACK = AttackOptions(rounds=0, device="cpu")
# How often a search is interrupted and goes on, and how often it has processes of its own, which are slow to start.
RESUMED, TWO_WORKERS = 0.1, 0.004
# Thresholds near the largest gap that brute force found: that gap times one of these.
NEAR = (1.0, 1.0, 1 - 1e-12, 1 + 1e-12, 1 - 1e-6, 1 + 1e-6, 1 - 1e-3, 1 + 1e-3, 0.9, 1.1)


@dataclass(frozen=True)
class Instance:
    """What is to be verified.

    Attributes:
        seed: draws the same instance again.
        family: the kind of its problem.
        proxy, problem, domain, u, options: arguments of a verification.
        interrupted: changes of the frontier after which the search is stopped, to go on from there; None for never.
        gaps, found: the brute force, and what it found.
        traits: what is special about it.
    """

    seed: int
    family: str
    proxy: Proxy
    problem: ParametricProblem
    domain: Domain
    u: float
    options: VerifyOptions
    interrupted: int | None
    gaps: Gaps
    found: Found
    traits: tuple[str, ...]

    @property
    def asked(self) -> dict[str, str]:
        """The options by name, as a table counts them."""
        o = self.options
        return {
            "measure": o.measure,
            "threshold": "none" if o.threshold is None else "0" if o.threshold == 0 else "near the truth",
            "formulation": o.formulation,
            "style": o.style,
            "bounds": o.bounds,
            "rounds": str(o.rounds),
            "split": str(o.split),
            "effort": str(o.effort),
            "attack": str(o.attack.rounds > 0),
            "use_cutoff": str(o.use_cutoff),
            "use_start": str(o.use_start),
            "most_parts": str(o.most_parts),
            "workers": str(o.workers),
            "interrupted": str(self.interrupted is not None),
        }

    @property
    def description(self) -> str:
        """The instance in a line."""
        layers = ", ".join(
            f"{type(layer).__name__} {size}" for layer, size in zip(self.proxy.layers, self.proxy.sizes[1:])
        )
        usual = {name: str(value) for name, value in _usual().items()}
        asked = ", ".join(f"{name} {value}" for name, value in self.asked.items() if value != usual[name])
        return (
            f"{self.family} {self.seed}: {layers}; u = {self.u:g}; {', '.join(self.traits)}; {asked or 'usual options'}"
        )


def instance(seed: int) -> Instance:
    """Return the instance of a seed.

    Raises:
        CertigapError: its data are refused before a verification can be asked for.
    """
    rng = np.random.default_rng([EDITION, seed])
    family = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    proxy, problem, domain, u, traits = DRAW[family](rng)
    relative = family != "classification" and chance(rng, 0.25)
    gaps = gaps_of(proxy, problem, domain, relative)
    found = search(gaps, seed)
    options = _options(rng, family, relative, found.best)
    interrupted = int(rng.integers(1, 6)) if chance(rng, RESUMED) else None
    return Instance(seed, family, proxy, problem, domain, u, options, interrupted, gaps, found, traits)


def posed(
    proxy: Proxy,
    problem: ParametricProblem,
    u: float,
    options: VerifyOptions,
    starts: Vector | None = None,
) -> Instance:
    """Return an instance that was not drawn; brute force also looks at the latent vectors `starts` ((k, n_w))."""
    domain = problem.domain(u)
    gaps = gaps_of(proxy, problem, domain, options.measure == "relative")
    found = search(gaps, 0, starts)
    return Instance(0, problem.kind, proxy, problem, domain, u, options, None, gaps, found, ())


def _options(rng: Rng, family: str, relative: bool, best: float) -> VerifyOptions:
    attack = SMALL_ATTACK if chance(rng, 0.5) else NO_ATTACK
    return VerifyOptions(
        measure="relative" if relative else "absolute",
        threshold=_threshold(rng, family, best),
        tolerance=pick(rng, (1e-3, 1e-3, 1e-2, 1e-6)),
        time_limit=TIME_LIMIT,
        formulation="bilevel" if family == "dcopf" and chance(rng, 0.2) else "compact",
        style="paper" if chance(rng, 0.25) else "sign",
        bounds=pick(rng, ("interval", "interval", "crown", "crown", "crown", "alpha")),
        rounds=pick(rng, (0, 1, 2)),
        attack=attack,
        split=not chance(rng, 0.15),
        most_parts=pick(rng, (0, 1, 3)) if chance(rng, 0.15) else None,
        effort=pick(rng, (1, 5, 20, 4000)),
        workers=2 if chance(rng, TWO_WORKERS) else 1,
        use_start=chance(rng, 0.15),
        use_cutoff=not chance(rng, 0.25),
        seed=int(rng.integers(1000)),
    )


def _threshold(rng: Rng, family: str, best: float) -> float | None:
    if chance(rng, 0.55):
        return None
    if family == "classification" and chance(rng, 0.4):
        return 0.0
    if not np.isfinite(best):
        return 1.0
    near = best * pick(rng, NEAR)
    return near if family == "classification" else max(near, 0.0)


def _usual() -> dict[str, Any]:
    return {
        "measure": "absolute", "threshold": "none", "formulation": "compact", "style": "sign", "bounds": "crown",
        "rounds": 1, "split": True, "effort": 4000, "attack": True, "use_cutoff": True, "use_start": False,
        "most_parts": None, "workers": 1, "interrupted": False,
    }  # fmt: skip
