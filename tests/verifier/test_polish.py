"""The polish leaves peaks that no climb by gradients leaves, and what it returns has the gap that the model says."""

from __future__ import annotations

import numpy as np
import pytest

from proxies.proxy import latent_layers
from tests.shipped import shipped
from verifier.attack import Attack, AttackOptions, Candidate, best_peaks
from verifier.bounds.over_domain import proxy_bounds
from verifier.budget import Budget
from verifier.known_values import known_values
from verifier.options import VerifyOptions
from verifier.polish import Polisher, spread
from verifier.replay import replay
from verifier.task import Task


def test_a_crossing_of_two_peaks_finds_the_certified_optimum() -> None:
    loaded = shipped("dcopf-case118-raw")
    domain = loaded.problem.domain(0.01)
    task = Task(loaded.proxy, loaded.problem, domain, VerifyOptions())
    layers = latent_layers(loaded.proxy, domain)
    attack = Attack(layers, loaded.problem, domain, known_values(loaded.problem, domain))
    reached = attack.run(AttackOptions(), Budget(300.0))
    assert reached is not None
    assert reached.gap == pytest.approx(14747.07, rel=1e-6)
    polisher = Polisher(task, proxy_bounds(layers, loaded.problem, domain), 0.0, set())
    climbed = [polisher.climb(candidate.latent, Budget(300.0)) for candidate in spread(attack.found)]
    crossed = polisher.cross(Budget(300.0))
    polisher.close()
    # The optimum that a single MILP certifies is 14,970 $/h.
    assert crossed is not None
    assert crossed.gap == pytest.approx(14970.14, rel=1e-4)
    for candidate in [*climbed, crossed]:
        if candidate is not None:
            witness = replay(loaded.proxy, loaded.problem, domain, candidate.latent)
            assert witness.gap == pytest.approx(candidate.gap, rel=1e-6)


def test_candidates_of_one_peak_count_once_and_far_ones_come_first() -> None:
    places = [(0.0, 5.0), (0.0, 5.0 - 1e-9), (0.1, 4.0), (1.0, 3.0), (0.6, 2.0)]
    found = best_peaks([Candidate(np.array([w]), gap) for w, gap in places], 4)
    assert [candidate.gap for candidate in found] == [5.0, 4.0, 3.0, 2.0]
    assert [candidate.gap for candidate in spread(found)] == [5.0, 3.0, 2.0, 4.0]
    assert spread([]) == []
