"""What random sampling would have said: exact gaps at random inputs of a domain."""

from __future__ import annotations

import numpy as np
import torch

from problems.domain import Domain
from problems.interval import Vector
from problems.parametric import ParametricProblem
from proxies.proxy import Proxy
from verifier.budget import Budget
from verifier.known_values import known_values


def sampled_gaps(
    proxy: Proxy,
    problem: ParametricProblem,
    domain: Domain,
    count: int,
    seed: int = 0,
    relative: bool = False,
    seconds: float = np.inf,
) -> Vector:
    """Return the gap at `count` random inputs ((count,)), absolute or divided by |Phi(x)|.

    Inputs at which P(x) is infeasible are left out, those at which Phi is 0 for a relative gap, and those for which
    `seconds` do not suffice.
    """
    if count == 0:
        return np.zeros(0)
    budget = Budget(seconds)
    latent = domain.sample(count, seed)
    x = torch.as_tensor(domain.to_input(latent))
    with torch.no_grad():
        cost = problem.objective(x, proxy(x)).numpy()
    known = known_values(problem, domain, seconds=budget.left)
    value = np.array([np.inf if budget.spent else known.learn(w[None], keep=False, budget=budget)[0] for w in latent])
    counts = np.isfinite(value) & ((value != 0) | (not relative))
    gaps = cost[counts] - value[counts]
    return gaps / np.abs(value[counts]) if relative else gaps
