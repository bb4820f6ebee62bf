"""Learnable constraints of an integer program: half-spaces with a normal, an own origin, and the distance from it.

Source: Paulus et al. 2021, CombOptNet, section 3 and Fig. 4, App. A.1.
"""

from __future__ import annotations

from torch import Tensor, nn

from proxies.errors import IntegerProgramError


class ConstraintModule(nn.Module):
    """Half-spaces normal'(y - origin) <= distance, returned as rows of unit norm.

    With an own origin, a half-space can turn about a point near the solutions instead of about zero.

    Args:
        normal: (..., m, n) normals, not zero; axes in front hold independent sets.
        distance: (..., m) distances from the origins, in units of the normals' norm.
        origin: (..., m, n) origins.
        learn_origin: whether the origins are parameters; else they stay.

    Raises:
        IntegerProgramError: the shapes do not fit.
    """

    origin: Tensor

    def __init__(self, normal: Tensor, distance: Tensor, origin: Tensor, learn_origin: bool = True) -> None:
        super().__init__()
        if normal.ndim < 2 or normal.shape != origin.shape or normal.shape[:-1] != distance.shape:
            shapes = f"{tuple(normal.shape)}, {tuple(distance.shape)}, {tuple(origin.shape)}"
            raise IntegerProgramError(f"normals, distances and origins have shapes {shapes}; (m, n), (m,), (m, n) fit")
        self.normal = nn.Parameter(normal.detach().clone())
        self.distance = nn.Parameter(distance.detach().clone())
        if learn_origin:
            self.origin = nn.Parameter(origin.detach().clone())
        else:
            self.register_buffer("origin", origin.detach().clone())

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return A ((..., m, n)) of unit rows and b ((..., m)) with A y <= b."""
        norm = self.normal.norm(dim=-1, keepdim=True)
        A = self.normal / norm
        return A, self.distance / norm[..., 0] + (A * self.origin).sum(-1)
