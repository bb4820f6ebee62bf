"""How unstable the ReLUs and signs of a proxy are over a domain, as a term that training can lower.

Source: Xiao et al. 2019, eq. (5).
"""

from __future__ import annotations

import torch
from torch import Tensor

from problems.domain import Domain
from proxies.layers import Affine, Relu, Sign
from proxies.proxy import Proxy


def instability(proxy: Proxy, domain: Domain) -> Tensor:
    """Return the mean over units of -tanh(1 + l u), with l, u by intervals over the latent box; -1 when all are stable.

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
        elif isinstance(layer, (Relu, Sign)):
            spread = weight.abs() @ radius if spread is None else spread
            low, high = middle - spread, middle + spread
            terms.append(-torch.tanh(1 + low * high).mean())
            low, high = layer(low, low), layer(high, high)
            middle, spread = (low + high) / 2, (high - low) / 2
        else:
            break
    return torch.stack(terms).mean()
