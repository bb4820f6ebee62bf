"""A bound of the gap over a batch of sub-domains without any linear program: back-substitution of the whole objective.

The overload terms are replaced by their chords and Phi by a convex combination of its tangents; what is left is one
linear form of the proxy's decision and the latent vector, bounded as alpha-CROWN bounds a neuron. Its free numbers are
optimised together: free slopes, the weights of the tangents, and multipliers of the known limits of every layer's
inputs, through which a split of a neuron (or a tightened bound) acts on the whole network.

Sources: Xu et al. 2021 (alpha-CROWN), Wang et al. 2021 (beta-CROWN: the multipliers), Chen et al. 2024, eq. (8) (the
tangents). Any values of the free numbers give a valid bound, so the optimiser need not converge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from encoding.problem import ObjectiveTerms
from proxies.layers import Affine, Layer
from solvers.safe_bound import gamma
from verifier.bounds.adam import Adam
from verifier.bounds.crown import LayerBoxes, LinearForm, lower_bound
from verifier.bounds.relaxation import SLOPED, Box

# Adam's rate, on numbers scaled to about one.
RATE = 0.1
# Products that were summed to make one coefficient of a tangent, at most.
TANGENT_TERMS = 10_000


@dataclass(frozen=True)
class Tangents:
    """Phi(w) >= constants[k] + slopes[k]'w for every k: (K,) and (K, n_w)."""

    constants: Tensor
    slopes: Tensor


def objective_bounds(
    layers: Sequence[Layer],
    known: LayerBoxes,
    hinges: Box,
    terms: ObjectiveTerms,
    tangents: Tangents,
    ratio: float = 0.0,
    steps: int = 20,
) -> Tensor:
    """Return numbers ((batch,)) above c(x, pi(x)) - (1 + ratio) Phi(x) on each sub-domain, in the problem's unit.

    Args:
        layers: the proxy on the latent vector.
        known: (batch, ...) limits of every layer's inputs and of the decision, of whatever origin.
        hinges: (batch, m) limits of the paid terms.
        terms: the objective.
        tangents: of Phi; at least one.
        ratio: of Dinkelbach's method.
        steps: of the optimiser.
    """
    free = _Free(layers, known, len(tangents.constants))
    best = torch.full_like(known.source.lower[:, 0], torch.inf)
    form, error = _objective(known, hinges, terms)
    optimiser = Adam(free.parameters(), RATE)
    for step in range(steps + 1):
        with torch.enable_grad():
            low = _bound(layers, known, form, error, tangents, ratio, free)
            best = torch.fmin(best, -low.detach())
            if step == steps:
                break
            if step == 0:
                unit = low.detach().abs().clamp(min=1.0)
            (-low / unit).sum().backward()
        optimiser.step()
        free.clip()
    return best


class _Free:
    """The numbers that may be chosen, all valid whatever they are within their limits."""

    def __init__(self, layers: Sequence[Layer], known: LayerBoxes, tangents: int) -> None:
        source = known.source.lower
        self.slopes = {
            k: (known.inputs[k].upper > -known.inputs[k].lower).to(source).requires_grad_(True)
            for k, layer in enumerate(layers)
            if isinstance(layer, SLOPED)
        }
        self.limits = {
            k: torch.zeros(2, *known.inputs[k].lower.shape, dtype=source.dtype, device=source.device).requires_grad_(
                True
            )
            for k, layer in enumerate(layers)
            if k > 0 and not isinstance(layer, Affine)
        }
        self.weights = torch.zeros(len(source), tangents, dtype=source.dtype, device=source.device).requires_grad_(True)

    def parameters(self) -> list[Tensor]:
        return [*self.slopes.values(), *self.limits.values(), self.weights]

    def clip(self) -> None:
        with torch.no_grad():
            for slope in self.slopes.values():
                slope.clamp_(0.0, 1.0)
            for limit in self.limits.values():
                limit.clamp_(min=0.0)


def _objective(known: LayerBoxes, hinges: Box, terms: ObjectiveTerms) -> tuple[LinearForm, Tensor]:
    """Return minus the cost, its paid terms replaced by chords, as a form of the decision and the latent vector."""
    like = known.source.lower
    low, high = hinges.lower, hinges.upper
    off, on = high <= 0, low >= 0
    slope = torch.where(off, 0.0, torch.where(on, 1.0, high / (high - low).clamp(min=torch.finfo(like.dtype).tiny)))
    cut = torch.where(off | on, 0.0, -slope * low)
    price = torch.as_tensor(terms.price).to(like)
    weight = slope * price
    base, paid = terms.base, terms.paid
    of_decision, of_latent, constant = (
        torch.as_tensor(a).to(like) + weight @ torch.as_tensor(b).to(like)
        for a, b in zip(
            (base.of_decision, base.of_latent, base.constant[:, None]),
            (paid.of_decision, paid.of_latent, paid.constant[:, None]),
        )
    )
    constant = constant + (cut * price).sum(-1, keepdim=True)
    # The chords and what is paid beyond them, the sums of coefficients, and the rounding of the quantities themselves.
    reach = (price * hinges.magnitude * (slope + 1)).sum(-1, keepdim=True) + constant.abs()
    size_of_decision, size_of_latent = (
        torch.as_tensor(a).to(like).abs() + weight @ torch.as_tensor(b).to(like).abs()
        for a, b in ((base.of_decision, paid.of_decision), (base.of_latent, paid.of_latent))
    )
    sums = (size_of_decision * known.inputs[-1].magnitude).sum(-1) + (size_of_latent * known.source.magnitude).sum(-1)
    own = (price * (slope + 1)) @ torch.as_tensor(paid.error).to(like) + float(base.error.sum())
    error = gamma(price.numel() + 8) * (8 * reach + sums[:, None]) + own[:, None]
    zero = torch.zeros_like(error)
    return LinearForm(-of_decision[:, None], -of_latent[:, None], -constant, zero), error


def _bound(
    layers: Sequence[Layer],
    known: LayerBoxes,
    form: LinearForm,
    error: Tensor,
    tangents: Tangents,
    ratio: float,
    free: _Free,
) -> Tensor:
    weights = torch.softmax(free.weights, dim=-1)
    of_latent = form.of_latent + (1 + ratio) * (weights @ tangents.slopes)[:, None]
    constant = form.constant + (1 + ratio) * (weights @ tangents.constants)[:, None]
    # The weights sum to one but for rounding, and so do the sums over rows behind each tangent; both are priced at the
    # largest tangent anywhere in the box.
    largest = (tangents.constants.abs() + known.source.magnitude @ tangents.slopes.abs().T).amax(-1, keepdim=True)
    error = error + (1 + ratio) * gamma(weights.shape[-1] + TANGENT_TERMS) * largest
    form = LinearForm(form.of_values, of_latent, constant, error)
    return lower_bound(layers, known, known.inputs[-1], form, free.slopes, free.limits)[:, 0]
