"""Knapsack proxies: a network that scores the items, then the sort repair.

Source: Chen et al. 2024, section 7.2, figure 7.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from problems.knapsack import Knapsack
from proxies.errors import ProxyError
from proxies.layers import Layer, SortRepair
from proxies.layers.sort_repair import Greedy
from proxies.manifest import KnapsackSpec, Manifest, Repair
from proxies.proxy import Proxy

_REPAIRS: dict[Greedy, Repair] = {"prefix": "sort_prefix", "skip": "sort_skip"}


def knapsack_problem(spec: KnapsackSpec) -> Knapsack:
    """Return the problem of a manifest; raises InstanceError where its numbers describe none."""
    return Knapsack(spec.name, np.array(spec.values), np.array(spec.weights, dtype=np.float64), spec.capacity)


def knapsack_manifest(problem: Knapsack, greedy: Greedy = "prefix", made_by: str = "") -> Manifest:
    """Return the manifest of a proxy for `problem` with a repair rule; see `Greedy`."""
    spec = KnapsackSpec(
        name=problem.name,
        values=tuple(problem.values.tolist()),
        weights=tuple(problem.weights.tolist()),
        capacity=problem.capacity,
    )
    return Manifest(problem=spec, repair=(_REPAIRS[greedy],), made_by=made_by)


def knapsack_proxy(network: Sequence[Layer], manifest: Manifest, problem: Knapsack) -> Proxy:
    """Put the repair layer that a manifest names behind a network.

    Args:
        network: the user's layers: from the n item values and the capacity to n scores.
        manifest: names the repair.
        problem: gives the weights.

    Raises:
        ProxyError: the network reads or writes another number of values, or the manifest names no sort repair.
    """
    rules = {(repair,): greedy for greedy, repair in _REPAIRS.items()}
    if manifest.repair not in rules:
        raise ProxyError(
            "a knapsack proxy must end in one sort repair layer, or its choice is not feasible; "
            'write "repair": ["sort_prefix"] or ["sort_skip"] in the manifest'
        )
    size = problem.input_size
    for layer in network:
        size = layer.output_size(size)
    if size != problem.items:
        raise ProxyError(f"the network writes {size} scores, but {problem.name} has {problem.items} items")
    capacity = torch.zeros(problem.input_size, dtype=torch.float64)
    capacity[-1] = 1.0
    repair = SortRepair(torch.as_tensor(problem.weights), capacity, 0.0, rules[manifest.repair])
    return Proxy([*network, repair], problem.input_size, manifest, network)
