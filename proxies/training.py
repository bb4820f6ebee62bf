"""The training loop that all families share: fit the network of a proxy to a loss over sampled inputs.

A family gives its network and its goal: `proxies/training_dcopf.py`, `proxies/training_knapsack.py`.
Source: Kingma and Ba 2015 (Adam), with a learning rate that falls on a plateau.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from problems.domain import Domain
from proxies.layers import Affine, Layer, Relu
from proxies.proxy import Proxy
from proxies.stability import instability

# Plateau schedule: the learning rate is cut when the validation has not improved for this many checks.
PATIENCE, CUT, LAST_RATE = 6, 0.3, 3e-6
HELD_OUT = 2048  # inputs a validation


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Attributes:
        hidden: widths of the hidden layers.
        u: half-width of the training distribution, as in `ParametricProblem.domain`.
        stability: weight of the ReLU-stability term.
        l1: weight of the mean absolute weight.
        steps, batch, rate: optimiser steps, inputs a step, first learning rate.
        minutes: stop after this long, whatever `steps` says.
        check_every: steps between two validations.
        seed: of weights and inputs.
    """

    hidden: tuple[int, ...] = (64, 64)
    u: float = 0.2
    stability: float = 0.0
    l1: float = 0.0
    steps: int = 20_000
    batch: int = 256
    rate: float = 2e-3
    minutes: float = 60.0
    check_every: int = 250
    seed: int = 0


@dataclass(frozen=True)
class TrainingReport:
    """What training did: steps taken, best step, validation at the start and at the best step, seconds."""

    steps: int
    best_step: int
    first: float
    best: float
    seconds: float


# Called at every validation with (step, validation, seconds).
OnCheck = Callable[[int, float, float], None]


class Goal(Protocol):
    """What a family wants of a proxy in float32: both are smaller for a better one."""

    def loss(self, proxy: Proxy, x: Tensor) -> Tensor:
        """Return what a step lowers, a differentiable scalar, in the unit of `validation`, for x ((batch, n_x))."""

    def validation(self, proxy: Proxy, x: Tensor) -> Tensor:
        """Return what decides which weights are kept, a scalar, for held-out x ((batch, n_x))."""


def fit(
    proxy: Proxy, goal: Goal, domain: Domain, options: TrainingOptions, on_check: OnCheck | None = None
) -> TrainingReport:
    """Train the full affine layers of a proxy's network in place, and leave the weights of the best validation there.

    Diagonal affine layers are units and normalisation, and stay. The same options and seed give the same weights on
    one machine when `minutes` does not end the training.

    Args:
        proxy: in float32; its network holds the layers to train.
        goal: of the family.
        domain: inputs are drawn from it, evenly.
        options: how to train.
        on_check: progress.
    """
    trainable = [layer for layer in proxy.network if isinstance(layer, Affine) and layer.weight.ndim == 2]
    for parameter in proxy.parameters():
        parameter.requires_grad_(False)
    weights = [p.requires_grad_(True) for layer in trainable for p in layer.parameters()]
    optimiser = torch.optim.Adam(weights, lr=options.rate)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=CUT, patience=PATIENCE)
    sample = _Sampler(domain, options.seed)
    held_out = sample(HELD_OUT)
    began = time.monotonic()
    first = best = _validate(goal, proxy, held_out)
    scale = abs(first) or 1.0  # A proxy may begin without a fault.
    best_step, best_weights, step = 0, [w.detach().clone() for w in weights], 0
    for step in range(1, options.steps + 1):
        loss = goal.loss(proxy, sample(options.batch)) / scale
        if options.stability:
            loss = loss + options.stability * instability(proxy, domain)
        if options.l1:
            loss = loss + options.l1 * torch.stack([layer.weight.abs().mean() for layer in trainable]).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        late = time.monotonic() - began > 60 * options.minutes
        if step % options.check_every == 0 or late:
            value = _validate(goal, proxy, held_out)
            reached = value / scale
            if options.stability:
                with torch.no_grad():
                    reached += options.stability * float(instability(proxy, domain))
            schedule.step(reached)
            if value < best:
                best, best_step, best_weights = value, step, [w.detach().clone() for w in weights]
            if on_check is not None:
                on_check(step, value, time.monotonic() - began)
            if late or optimiser.param_groups[0]["lr"] < LAST_RATE:
                break
    # A stability term trades the goal for stability: there the last weights count, not the best validated ones.
    if not options.stability:
        with torch.no_grad():
            for weight, kept in zip(weights, best_weights):
                weight.copy_(kept)
    return TrainingReport(step, best_step, first, best, time.monotonic() - began)


@torch.no_grad()
def _validate(goal: Goal, proxy: Proxy, x: Tensor) -> float:
    return float(goal.validation(proxy, x))


def perceptron(reads: int, hidden: Sequence[int], writes: int) -> list[Layer]:
    """Return affine layers with ReLUs between them, at torch's usual random start (float32 values)."""
    layers: list[Layer] = []
    size = reads
    for width in hidden:
        layers.extend((_linear(size, width), Relu()))
        size = width
    return [*layers, _linear(size, writes)]


def diagonal(weight: Tensor, bias: Tensor) -> Affine:
    """Return a fixed affine layer weight * h + bias ((n,) each), rounded to float32 as files hold it."""
    return Affine(weight.float().double(), bias.float().double())


def exact(network: Sequence[Layer]) -> list[Layer]:
    """Return a trained float32 network as layers in float64, with the same numbers."""
    return [
        Affine(layer.weight.detach().double(), layer.bias.detach().double()) if isinstance(layer, Affine) else layer
        for layer in network
    ]


def _linear(reads: int, writes: int) -> Affine:
    start = nn.Linear(reads, writes)
    return Affine(start.weight.detach(), start.bias.detach())


class _Sampler:
    """Uniform inputs of a domain, in float32, from one seeded generator."""

    def __init__(self, domain: Domain, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._lower = torch.as_tensor(domain.box.lower).float()
        self._width = torch.as_tensor(domain.box.width).float()
        self._domain = domain
        self._matrix = torch.as_tensor(domain.matrix.toarray()).float().T.contiguous()
        self._shift = torch.as_tensor(domain.shift).float()

    def __call__(self, count: int) -> Tensor:
        w = self._lower + self._width * torch.rand(count, self._lower.numel(), generator=self._generator)
        if self._domain.cuts:
            w = torch.as_tensor(self._domain.project(w.double().numpy())).float()
        return w @ self._matrix + self._shift
