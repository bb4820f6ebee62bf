"""What must hold on every shipped proxy: bounds contain what samples see, and upper bounds are never exceeded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from encoding.bounds import input_key
from proxies.proxy import latent_layers
from tests.shipped import NAMES, shipped
from verifier.bounds.over_domain import proxy_bounds

SAMPLES = 10_000


@pytest.mark.parametrize("u", [0.01, 0.2])
@pytest.mark.parametrize("name", NAMES)
def test_bounds_contain_sampled_pre_activations(name: str, u: float) -> None:
    loaded = shipped(name)
    domain = loaded.problem.domain(u)
    layers = latent_layers(loaded.proxy, domain)
    w = np.concatenate([domain.sample(SAMPLES // 2, 0), domain.corners(SAMPLES // 2, 1)])
    # Optimised slopes take minutes on the large grids.
    large = loaded.problem.grid.buses >= 300
    for method in ("interval", "crown") if large else ("interval", "crown", "alpha"):
        bounds = proxy_bounds(layers, loaded.problem, domain, method)
        h = source = torch.as_tensor(w)
        with torch.no_grad():
            for k, layer in enumerate(layers):
                assert bounds[input_key(k)].contains(h.numpy()).all(), (method, k)
                h = layer(h, source)
            assert bounds[input_key(len(layers))].contains(h.numpy(), 1e-12).all()
            flow = loaded.problem.flows(torch.as_tensor(domain.to_input(w)), h).numpy()
        assert bounds["flow"].contains(flow).all()
