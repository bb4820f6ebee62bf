"""Self-supervised training of a proxy: minimise the objective of its own decisions over sampled inputs.

Sources: Chen et al. 2023a (end-to-end self-supervised learning, as used by Chen et al. 2024, section 6.3.1);
Xiao et al. 2019 (the ReLU-stability term).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from problems.dcopf import DcOpf
from problems.domain import Domain
from proxies.dcopf import dcopf_proxy
from proxies.layers import Affine, Clamp, Layer, Relu
from proxies.manifest import DcOpfSpec, InputSpec, Manifest, OutputSpec
from proxies.proxy import Proxy

# Without a pull back, a saturated clamp has no gradient and its generator never moves again.
SATURATION_WEIGHT = 0.1
# Plateau schedule: the learning rate is cut when the validation cost has not improved for this many checks.
PATIENCE, CUT, LAST_RATE = 6, 0.3, 3e-6


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Attributes:
        hidden: widths of the hidden layers.
        u: half-width of alpha in the training distribution.
        centred: subtract the mean load and divide by its spread first (an affine layer of the network).
        stability: weight of the ReLU-stability term.
        l1: weight of the mean absolute weight.
        steps, batch, rate: optimiser steps, inputs a step, first learning rate.
        minutes: stop after this long, whatever `steps` says.
        check_every: steps between two validations.
        seed: of weights and inputs.
    """

    hidden: tuple[int, ...] = (64, 64)
    u: float = 0.2
    centred: bool = False
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
    """What training did: steps taken, best step, mean validation objective at the start and at the best step."""

    steps: int
    best_step: int
    first_objective: float
    best_objective: float
    seconds: float


# Called at every validation with (step, validation objective, seconds).
OnCheck = Callable[[int, float, float], None]


def train_dcopf(
    problem: DcOpf, spec: DcOpfSpec, options: TrainingOptions, made_by: str = "", on_check: OnCheck | None = None
) -> tuple[Proxy, TrainingReport]:
    """Train a DC-OPF proxy and return it in float64 with the weights of its best validation.

    The same options and seed give the same weights on one machine when `minutes` does not end the training.

    Args:
        problem: the problem, with soft thermal limits.
        spec: how the manifest shall name it.
        options: how to train.
        made_by: the command, for the manifest.
        on_check: progress.
    """
    torch.manual_seed(options.seed)
    domain = problem.domain(options.u)
    manifest = Manifest(
        problem=spec,
        input=InputSpec(unit="pu", at="loads"),
        output=OutputSpec(unit="fraction", of="dispatchable"),
        made_by=made_by,
    )
    network = _network(problem, domain, options)
    proxy = dcopf_proxy(network, manifest, problem).float()
    trained, report = _fit(proxy, problem, domain, options, on_check)
    exact = [_doubled(layer) for layer in trained.network]
    return dcopf_proxy(exact, manifest, problem), report


def _network(problem: DcOpf, domain: Domain, options: TrainingOptions) -> list[Layer]:
    loads = torch.as_tensor(problem.grid.load)[torch.as_tensor(problem.grid.load) != 0]
    layers: list[Layer] = []
    if options.centred:
        spread = loads.abs() * (options.u + problem.noise)
        layers.append(Affine((1 / spread).float().double(), (-loads / spread).float().double()))
    size = loads.numel()
    writes = problem.grid.dispatchable.size
    for width in options.hidden:
        layers.extend((_linear(size, width), Relu()))
        size = width
    last = _linear(size, writes)
    with torch.no_grad():
        last.bias.add_(0.5)  # Start in the middle of every generator's range.
    return [*layers, last]


def _linear(reads: int, writes: int) -> Affine:
    start = nn.Linear(reads, writes)
    return Affine(start.weight.detach(), start.bias.detach())


def _doubled(layer: Layer) -> Layer:
    if isinstance(layer, Affine):
        return Affine(layer.weight.detach().double(), layer.bias.detach().double())
    return layer


def _fit(
    proxy: Proxy, problem: DcOpf, domain: Domain, options: TrainingOptions, on_check: OnCheck | None
) -> tuple[Proxy, TrainingReport]:
    trainable = [layer for layer in proxy.network if isinstance(layer, Affine) and layer.weight.ndim == 2]
    for parameter in proxy.parameters():
        parameter.requires_grad_(False)
    weights = [p.requires_grad_(True) for layer in trainable for p in layer.parameters()]
    optimiser = torch.optim.Adam(weights, lr=options.rate)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=CUT, patience=PATIENCE)
    sample = _Sampler(domain, options.seed)
    held_out = sample(2048)
    began = time.monotonic()
    first = best = _validate(proxy, problem, held_out)
    scale = abs(first)
    best_step, best_weights, step = 0, [w.detach().clone() for w in weights], 0
    for step in range(1, options.steps + 1):
        x = sample(options.batch)
        loss = _loss(proxy, problem, x) / scale
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
            value = _validate(proxy, problem, held_out)
            goal = value / scale
            if options.stability:
                with torch.no_grad():
                    goal += options.stability * float(instability(proxy, domain))
            schedule.step(goal)
            if value < best:
                best, best_step, best_weights = value, step, [w.detach().clone() for w in weights]
            if on_check is not None:
                on_check(step, value, time.monotonic() - began)
            if late or optimiser.param_groups[0]["lr"] < LAST_RATE:
                break
    # A stability term trades cost for stability: there the last weights count, not the cheapest ones.
    if not options.stability:
        with torch.no_grad():
            for weight, kept in zip(weights, best_weights):
                weight.copy_(kept)
    report = TrainingReport(step, best_step, first, best, time.monotonic() - began)
    return proxy, report


def _loss(proxy: Proxy, problem: DcOpf, x: Tensor) -> Tensor:
    h, pull = x, x.new_zeros(())
    for layer in proxy.layers:
        after = layer(h, x)
        if isinstance(layer, Clamp):
            pull = (h - after).abs().sum(-1).mean()
        h = after
    return problem.objective(x, h).mean() + SATURATION_WEIGHT * pull * float(problem.grid.cost.max())


@torch.no_grad()
def _validate(proxy: Proxy, problem: DcOpf, x: Tensor) -> float:
    return float(problem.objective(x, proxy(x)).mean())


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


def instability(proxy: Proxy, domain: Domain) -> Tensor:
    """Return the mean over ReLUs of -tanh(1 + l u), with l, u by intervals over the latent box; -1 when all are stable.

    Source: Xiao et al. 2019, eq. (5).
    """
    dtype = next(proxy.parameters()).dtype
    centre = torch.as_tensor((domain.box.lower + domain.box.upper) / 2, dtype=dtype)
    radius = torch.as_tensor(domain.box.width / 2, dtype=dtype)
    matrix = torch.as_tensor(domain.matrix.toarray(), dtype=dtype)
    weight, middle = matrix, matrix @ centre + torch.as_tensor(domain.shift, dtype=dtype)
    spread: Tensor | None = None  # None while the map from w is still affine, and `weight` is that map.
    terms = []
    for layer in proxy.layers:
        if isinstance(layer, Affine):
            middle = layer(middle[None], middle)[0]
            if spread is None:
                weight = layer.weight[:, None] * weight if layer.weight.ndim == 1 else layer.weight @ weight
            else:
                spread = spread @ layer.matrix.abs().T
        elif isinstance(layer, Relu):
            spread = weight.abs() @ radius if spread is None else spread
            low, high = middle - spread, middle + spread
            terms.append(-torch.tanh(1 + low * high).mean())
            low, high = torch.relu(low), torch.relu(high)
            middle, spread = (low + high) / 2, (high - low) / 2
        else:
            break
    return torch.stack(terms).mean()
