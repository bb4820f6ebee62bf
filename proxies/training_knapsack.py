"""Supervised training of a knapsack proxy: its scores shall be value/weight, without the repair, which has no gradient.

Source: Chen et al. 2024, App. B: the distance to value/weight is minimised. The paper's distance is the plain one; the
"focused" one is ours: the narrow hidden layers cannot follow every value, and only the order near the last item that
fits changes a choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from problems.knapsack import Knapsack
from proxies.knapsack import knapsack_manifest, knapsack_proxy
from proxies.layers import Affine, Layer
from proxies.layers.binarized import WeightValues, binarized_perceptron
from proxies.layers.sort_repair import Greedy
from proxies.proxy import Proxy
from proxies.training import OnCheck, TrainingOptions, TrainingReport, diagonal, exact, fit, perceptron

# How the errors of items are weighed: "plain" all alike, in the unit of the scores; "focused" in units of each item's
# own spread, and the less the farther it is from the critical item.
Distance = Literal["plain", "focused"]


def train_knapsack(
    problem: Knapsack,
    options: TrainingOptions,
    distance: Distance = "plain",
    greedy: Greedy = "prefix",
    made_by: str = "",
    on_check: OnCheck | None = None,
    binarized: WeightValues | None = None,
) -> tuple[Proxy, TrainingReport]:
    """Train a knapsack proxy and return it in float64; its report validates the root of the mean squared distance.

    The network reads values and capacity as they are: its first layer normalises them, its last one turns what the
    others write into scores, so that an untrained network already orders the items about as at the nominal values. It
    starts with every ReLU open: value/weight is affine in the input, so a ReLU need only switch where that helps.

    Args:
        problem: the instance.
        options: see `fit`.
        distance: see `Distance`.
        greedy: the rule of the repair.
        made_by: the command, for the manifest.
        on_check: progress.
        binarized: signs instead of ReLUs, behind hidden weights of these values only; see `binarized_perceptron`.
    """
    torch.manual_seed(options.seed)
    manifest = knapsack_manifest(problem, greedy, made_by)
    ratio = torch.as_tensor(problem.values / problem.weights)
    spread = _or_one(options.u * ratio)
    nominal = torch.as_tensor(problem.nominal)
    width = _or_one(options.u * nominal)
    if binarized is None:
        middle = perceptron(problem.input_size, options.hidden, problem.items)
        _open(middle)
    else:
        middle = binarized_perceptron(problem.input_size, options.hidden, problem.items, binarized)
    network = [diagonal(1 / width, -nominal / width), *middle, diagonal(spread, ratio)]
    proxy = knapsack_proxy(network, manifest, problem).float()
    goal = _Distance(torch.as_tensor(problem.weights).float(), _importance(problem, ratio, spread, distance).float())
    report = fit(proxy, goal, problem.domain(options.u), options, on_check)
    return knapsack_proxy(exact(proxy.network), manifest, problem), report


def _or_one(spread: Tensor) -> Tensor:
    """Return the spreads, with 1 for what cannot move."""
    return torch.where(spread > 0, spread, 1.0)


@torch.no_grad()
def _open(layers: list[Layer]) -> None:
    """Shift the biases so that no ReLU switches for inputs in [-1, 1], and the last layer writes 0 in the middle."""
    affine = [layer for layer in layers if isinstance(layer, Affine)]
    middle = torch.zeros_like(affine[0].weight[0])
    radius = torch.ones_like(middle)
    for layer in affine[:-1]:
        radius = layer.weight.abs() @ radius
        layer.bias.copy_(radius - layer.weight @ middle)
        middle = radius
    affine[-1].bias.copy_(-affine[-1].weight @ middle)


def _importance(problem: Knapsack, ratio: Tensor, spread: Tensor, distance: Distance) -> Tensor:
    """Return the factor of each item's error ((n,)).

    The focused one falls with the square of the difference to the critical item's value/weight, in units of what the
    two can move together.
    """
    if distance == "plain":
        return torch.ones_like(ratio)
    order = ratio.argsort(descending=True, stable=True)
    total = torch.as_tensor(problem.weights)[order].cumsum(0)
    # Where everything fits, the last item is the nearest to critical.
    critical = order[min(int((total <= problem.capacity).sum()), problem.items - 1)]
    away = (ratio - ratio[critical]) / (spread + spread[critical])
    return 1 / (spread * (1 + away**2))


@dataclass(frozen=True)
class _Distance:
    """The root mean square over inputs and items of importance * (score - value/weight); `importance` is (n,)."""

    weights: Tensor
    importance: Tensor

    def loss(self, proxy: Proxy, x: Tensor) -> Tensor:
        scores = x
        for layer in proxy.network:
            scores = layer.climbable(scores, x)
        return (self.importance * (scores - x[:, :-1] / self.weights)).square().mean().sqrt()

    def validation(self, proxy: Proxy, x: Tensor) -> Tensor:
        return self.loss(proxy, x)
