"""Self-supervised training of a DC-OPF proxy: minimise the cost of its own dispatch over sampled loads.

Source: Chen et al. 2023a (end-to-end self-supervised learning, as used by Chen et al. 2024, section 6.3.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from problems.dcopf import DcOpf
from proxies.dcopf import dcopf_proxy
from proxies.layers import Affine, Clamp, Layer
from proxies.manifest import DcOpfSpec, InputSpec, Manifest, OutputSpec
from proxies.proxy import Proxy
from proxies.training import OnCheck, TrainingOptions, TrainingReport, diagonal, exact, fit, perceptron

# Without a pull back, a saturated clamp has no gradient and its generator never moves again.
SATURATION_WEIGHT = 0.1


def train_dcopf(
    problem: DcOpf,
    spec: DcOpfSpec,
    options: TrainingOptions,
    centred: bool = False,
    made_by: str = "",
    on_check: OnCheck | None = None,
) -> tuple[Proxy, TrainingReport]:
    """Train a DC-OPF proxy and return it in float64; its report validates the mean cost in $/h.

    Args:
        problem: the problem, with soft thermal limits.
        spec: how the manifest shall name it.
        options: see `fit`.
        centred: subtract the mean load and divide by its spread first (an affine layer of the network).
        made_by: the command, for the manifest.
        on_check: progress.
    """
    torch.manual_seed(options.seed)
    manifest = Manifest(
        problem=spec,
        input=InputSpec(unit="pu", at="loads"),
        output=OutputSpec(unit="fraction", of="dispatchable"),
        made_by=made_by,
    )
    proxy = dcopf_proxy(_network(problem, options, centred), manifest, problem).float()
    report = fit(proxy, _Cost(problem), problem.domain(options.u), options, on_check)
    return dcopf_proxy(exact(proxy.network), manifest, problem), report


def _network(problem: DcOpf, options: TrainingOptions, centred: bool) -> list[Layer]:
    loads = torch.as_tensor(problem.grid.load)[torch.as_tensor(problem.grid.load) != 0]
    spread = loads.abs() * (options.u + problem.noise)
    first: list[Layer] = [diagonal(1 / spread, -loads / spread)] if centred else []
    layers = perceptron(loads.numel(), options.hidden, problem.grid.dispatchable.size)
    last = layers[-1]
    assert isinstance(last, Affine)
    with torch.no_grad():
        last.bias.add_(0.5)  # Start in the middle of every generator's range.
    return [*first, *layers]


@dataclass(frozen=True)
class _Cost:
    """The mean cost of the dispatch; a loss also pulls saturated generators back."""

    problem: DcOpf

    def loss(self, proxy: Proxy, x: Tensor) -> Tensor:
        h, pull = x, x.new_zeros(())
        for layer in proxy.layers:
            after = layer(h, x)
            if isinstance(layer, Clamp):
                pull = (h - after).abs().sum(-1).mean()
            h = after
        return self.problem.objective(x, h).mean() + SATURATION_WEIGHT * pull * float(self.problem.grid.cost.max())

    def validation(self, proxy: Proxy, x: Tensor) -> Tensor:
        return self.problem.objective(x, proxy(x)).mean()
