"""Trying to exceed an upper bound: exact gaps at the witness, at corners, at random inputs, and where an attack goes.

The inputs come from a seed that the author of a certificate could not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from problems.domain import Domain
from problems.errors import InputError, SolveTimeoutError
from problems.interval import Vector
from problems.parametric import ParametricProblem
from proxies.proxy import Proxy, latent_layers
from verifier.attack import Attack, AttackOptions, Candidate
from verifier.budget import Budget
from verifier.checks.exact_gap import exact_gap
from verifier.known_values import KnownValues, known_values
from verifier.replay import is_sound, replay
from verifier.result import Witness

# Random corners of the domain that are tried besides its two extreme ones and its centre.
CORNERS = 64
# Random inputs that are drawn, and whose proxy costs are computed, at once.
BATCH = 64
# Inputs that are kept for the check of the neuron bounds.
KEPT = 20


@dataclass
class Trial:
    """What was tried against an upper bound so far, and the largest exact gap among it.

    Attributes:
        proxy, problem, domain: whose gaps.
        upper: the claimed bound, in the measure's unit.
        relative: whether gaps are divided by |Phi|.
        cutoff: inputs with a gap above it are kept.
        largest: the largest gap.
        refuted: whether a replayed gap exceeds `upper` by more than its evaluation may be off.
        kept: some latent vectors with gaps above the cutoff.
    """

    proxy: Proxy
    problem: ParametricProblem
    domain: Domain
    upper: float
    relative: bool
    cutoff: float
    largest: float = -np.inf
    refuted: bool = False
    kept: list[Vector] = field(default_factory=list)
    known: KnownValues = field(init=False)
    _sign: float = 1.0

    def __post_init__(self) -> None:
        self.known = known_values(self.problem, self.domain)

    def try_inputs(self, batches: Iterable[Vector], budget: Budget) -> int:
        """Compute the gaps at batches of latent vectors ((count, n_w) each); return how many were done.

        It ends when the budget is spent, or the bound refuted.
        """
        done = 0
        for batch in batches:
            if budget.spent:
                break
            x = torch.as_tensor(self.domain.to_input(batch))
            with torch.no_grad():
                costs = self.problem.objective(x, self.proxy(x)).tolist()
            for latent, cost in zip(batch, costs):
                if budget.spent or self.refuted:
                    return done
                self._take(latent, cost, float(self.known.learn(latent[None])[0]))
                done += 1
        return done

    def take_witness(self, witness: Witness) -> None:
        """Take in an input that was replayed already."""
        self._note(witness.latent, self._compare(witness))

    def attack(self, seconds: float, seed: int) -> None:
        """Climb towards larger gaps for so many seconds, or until nothing more is found."""
        climb = Budget(seconds, lambda: self.refuted)
        attack = Attack(latent_layers(self.proxy, self.domain), self.problem, self.domain, self.known, "cpu")
        # Of a relative gap, c - (1 + r) Phi is positive where the gap exceeds the claim.
        ratio = self._sign * self.upper if self.relative else 0.0

        def on_best(best: Candidate) -> None:
            # A relative gap is not known from what was climbed.
            known = not self.relative and best.gap <= self.upper
            self._note(best.latent, best.gap if known else self._replayed(best.latent))

        attack.run(AttackOptions(seconds=seconds, seed=seed), climb, ratio, on_best)

    def _take(self, latent: Vector, cost: float, value: float) -> None:
        if not np.isfinite(value) or (self.relative and value == 0):
            return
        self._sign = -1.0 if value < 0 else 1.0
        gap = (cost - value) / (abs(value) if self.relative else 1.0)
        if gap > self.upper:
            gap = self._replayed(latent)
        self._note(latent, gap)

    def _note(self, latent: Vector, gap: float) -> None:
        self.largest = max(self.largest, gap)
        if gap > self.cutoff and len(self.kept) < KEPT:
            self.kept.append(latent)

    def _replayed(self, latent: Vector) -> float:
        """Return the gap by the independent exact solve, which alone refutes; -inf where the input does not count."""
        try:
            witness = replay(self.proxy, self.problem, self.domain, latent)
        except (InputError, SolveTimeoutError):
            return -np.inf
        return self._compare(witness)

    def _compare(self, witness: Witness) -> float:
        """Return the gap of a replayed input, and note whether it refutes; -inf where it does not count."""
        if not is_sound(witness, self.domain):
            return -np.inf
        gap = exact_gap(witness, self.problem, self.relative)
        self.refuted = self.refuted or gap.value > self.upper + gap.rounding
        return gap.value


def corners(domain: Domain, seed: int) -> Iterator[Vector]:
    """Yield the centre and both extreme corners, then random ones ((count, n_w) each)."""
    yield np.stack([domain.centre, domain.project(domain.box.lower), domain.project(domain.box.upper)])
    yield domain.corners(CORNERS, seed)


def samples(domain: Domain, count: int, seed: int) -> Iterator[Vector]:
    """Yield random inputs in batches ((count, n_w) each), which are drawn when they are asked for."""
    for start in range(0, count, BATCH):
        of_batch = int(np.random.SeedSequence([seed, start]).generate_state(1)[0])
        yield domain.sample(min(BATCH, count - start), of_batch)
