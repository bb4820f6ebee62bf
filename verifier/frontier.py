"""The frontier of a search: the parts of the domain that are still open, and what to go on from after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from problems.interval import Vector
from verifier.node import Node


@dataclass(frozen=True)
class Frontier:
    """Where a search stands.

    Attributes:
        nodes: the open parts by number.
        closed: no input outside of them has a larger gap.
        upper: no input at all has a larger gap.
        latent: (n_w,) attained the largest gap so far.
    """

    nodes: Mapping[int, Node]
    closed: float = -np.inf
    upper: float = np.inf
    latent: Vector | None = None

    @property
    def searched(self) -> bool:
        """Whether a search had begun: else there is only what came before it."""
        return bool(self.nodes) or self.closed > -np.inf


@dataclass(frozen=True)
class Change:
    """What changed in a frontier: parts that are open now, numbers of those that are not, and its `closed`."""

    added: Mapping[int, Node]
    dropped: Sequence[int]
    closed: float


OnChange = Callable[[Change], None]
