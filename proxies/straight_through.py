"""Straight-through training of small binarized networks: the quick way, without a bound.

Sources: Courbariaux et al. 2015, Hubara et al. 2016: gradients pass rounded weights and signs as if they were not
rounded; latent weights stay in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from proxies.layers import Affine, Layer, Sign
from proxies.layers.binarized import WeightValues, binarize

RATE, STEPS, RESTARTS = 0.02, 400, 5
# Steps between two looks at the rounded network.
LOOK = 10


class BinarizedNetwork(nn.Module):
    """Affine layers with whole weights and signs between them, one output, and latent weights that are trained.

    Each layer reads a constant 1 last: its weight is the bias.

    Args:
        inputs: n.
        hidden: widths of the hidden layers.
        values: of the weights.
        margin: what counts as negative in the first layer is at most -margin; thresholds lie in the middle.
        summed: the last layer adds up the signs before it, and has no weights of its own.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], values: WeightValues, margin: float, summed: bool = False
    ) -> None:
        super().__init__()
        layers: list[Layer] = []
        for before, units in pairwise((inputs, *hidden, 1)):
            start = torch.rand(units, before + 1, dtype=torch.float64) * 2 - 1
            layers += [binarize(Affine(start, torch.zeros(units)), values), Sign()]
        if summed:
            ones = torch.ones(1, hidden[-1] + 1)
            ones[0, -1] = 0.0
            layers[-2] = Affine(ones, torch.zeros(1)).requires_grad_(False)
        self.layers = nn.ModuleList(layers[:-1])
        self.margin, self.size = margin, hidden[-1] ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        """Return the output ((n,)) for samples ((n, d)), with slopes to follow; its class is 1 where it is positive."""
        h, below = x, self.margin
        for layer in self.layers:
            if isinstance(layer, Affine):
                h, below = layer(torch.cat([h, torch.ones_like(h[:, :1])], 1), h) + below / 2, 1.0
            elif isinstance(layer, Sign):
                h = layer.climbable(h, h)
        return h[:, 0]

    def latent(self) -> list[nn.Parameter]:
        """Return the real weights behind the rounded ones."""
        rounded = [layer for layer in self.layers if parametrize.is_parametrized(layer)]
        return [parameter for layer in rounded for parameter in layer.parametrizations.parameters()]  # type: ignore[union-attr]

    def weights(self) -> tuple[Tensor, ...]:
        """Return each layer's rounded weights ((units, inputs + 1))."""
        return tuple(layer.weight.detach().clone() for layer in self.layers if isinstance(layer, Affine))

    def loss(self, out: Tensor, labels: Tensor) -> Tensor:
        """Return the mean logistic loss of outputs ((n,)), in units of their usual size, for labels of 1 and -1."""
        return nn.functional.softplus(-labels * out / self.size).mean()


def straight_through(
    x: Tensor,
    labels: Tensor,
    hidden: Sequence[int],
    values: WeightValues,
    margin: float,
    summed: bool = False,
    seed: int = 0,
    steps: int = STEPS,
    restarts: int = RESTARTS,
) -> tuple[Tensor, ...]:
    """Return the weights of the network, of all looked at, with most samples right, and then with the least loss.

    Args:
        x: (n, d) float64, about of size 1.
        labels: (n,) of 1 and -1.
        hidden, values, margin, summed: see `BinarizedNetwork`.
        seed: of the starts.
        steps, restarts: of Adam.
    """
    torch.manual_seed(seed)
    best = (-1.0, 0.0)
    kept: tuple[Tensor, ...] = ()
    for _ in range(restarts):
        network = BinarizedNetwork(x.shape[1], hidden, values, margin, summed)
        optimiser = torch.optim.Adam(network.latent(), lr=RATE)
        for step in range(steps + 1):
            out = network(x)
            loss = network.loss(out, labels)
            if step % LOOK == 0:
                reached = float((labels * out > 0).double().mean()), -float(loss.detach())
                if reached > best:
                    best, kept = reached, network.weights()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            clip(network)
    return kept


@torch.no_grad()
def clip(network: BinarizedNetwork) -> None:
    """Put latent weights back into [-1, 1], beyond which they would only take longer to return."""
    for weight in network.latent():
        weight.clamp_(-1.0, 1.0)
