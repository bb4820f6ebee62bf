"""A proxy: an ordered list of layers that turns a problem's input into a feasible decision."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from problems.domain import Domain
from proxies.errors import ProxyError
from proxies.layers import Affine, Layer, Sign
from proxies.layers.sign import off_ties
from proxies.manifest import Manifest


class Proxy(nn.Module):
    """y = pi(x). Its forward pass in float64 is the oracle for every bound and encoding.

    Args:
        layers: the network's layers, then the repair layers.
        input_size: number of entries of x.
        manifest: what the proxy was made for.
        network_layers: how many of `layers` are the user's own network (for writing it back to a file);
            they start at `network_start`.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_size: int,
        manifest: Manifest,
        network: Sequence[Layer] = (),
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.input_size = input_size
        self.manifest = manifest
        self.network = list(network)
        size = input_size
        self.sizes = [size]
        for layer in layers:
            size = layer.output_size(size)
            self.sizes.append(size)
        for name, value in self.state_dict().items():
            wrong = value.isnan() if ".lower" in name or ".upper" in name else ~value.isfinite()
            if bool(wrong.any()):
                raise ProxyError(f"the network has a weight that is not finite ({name}); train or export it again")

    def forward(self, x: Tensor) -> Tensor:
        """Return the decisions y ((batch, n_y)) for inputs x ((batch, n_x)), both in the problem's units."""
        h = x
        for layer in self.layers:
            h = layer(h, x)
        return h

    @property
    def output_size(self) -> int:
        """Number of entries of y."""
        return self.sizes[-1]

    def fingerprint(self) -> str:
        """Return a sha256 over the kinds and the numbers of all layers, in order."""
        digest = hashlib.sha256()
        for layer in self.layers:
            digest.update(type(layer).__name__.encode())
            for name, value in sorted(layer.state_dict().items()):
                array = value.detach().cpu().contiguous().numpy()
                digest.update(f"{name}{array.shape}{array.dtype.str}".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()


def latent_layers(proxy: Proxy, domain: Domain) -> list[Layer]:
    """Return layers that compute the same decision from the domain's latent vector w instead of x = T w + t.

    Adjacent affine layers become one, so that the first one maps w straight to the first pre-activations and
    correlation between the inputs is kept; it knows how far the layers' own float64 forward pass can be from it
    (`Affine.rounding`). Between two sign layers an affine one is moved off its ties (see `off_ties`): a model of signs
    holds both of them at 0.
    """
    matrix = torch.as_tensor(domain.matrix.toarray())
    shift = torch.as_tensor(domain.shift)
    with torch.no_grad():
        fused: list[Layer] = [Affine(matrix, shift)]
        for layer in proxy.layers:
            last = fused[-1]
            if isinstance(layer, Affine) and isinstance(last, Affine):
                fused[-1] = layer.after(last)
            elif isinstance(layer, Layer):
                fused.append(layer.on_latent(matrix, shift))
        for k in range(1, len(fused) - 1):
            layer = fused[k]
            if isinstance(fused[k - 1], Sign) and isinstance(layer, Affine) and isinstance(fused[k + 1], Sign):
                fused[k] = Affine(*off_ties(layer.matrix, layer.bias))
    return fused


def can_jump(layers: Sequence[Layer]) -> bool:
    """Return whether a decision can jump: then a point of a closed model may be a limit and no witness."""
    return any(layer.jumps for layer in layers)
