"""The frontier of a search: what is still open, and what a later search goes on from after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

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
    """What changed: what an interrupted verification must have stored to go on.

    Attributes:
        added: parts that are open now, by number.
        dropped: numbers of parts that no longer are.
        closed: see `Frontier`; -inf before the search.
        lower, latent: a larger gap that was attained, and where; None where none was.
    """

    added: Mapping[int, Node] = field(default_factory=dict)
    dropped: Sequence[int] = ()
    closed: float = -np.inf
    lower: float | None = None
    latent: Vector | None = None


OnChange = Callable[[Change], None]
