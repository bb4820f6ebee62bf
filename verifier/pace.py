"""How fast a MILP's bound comes to its goal: what decides between going on and splitting."""

from __future__ import annotations

import numpy as np

# Distances are kept for node counts that differ by this factor.
APART = 1.1


class Pace:
    """The distances of a bound to its goal, by the nodes spent."""

    def __init__(self) -> None:
        self._marks = [(0, np.inf)]

    def share(self, nodes: int, distance: float) -> float:
        """Take in a distance; return which share of it the later half of the nodes took off, 0 where none is known."""
        nodes = max(nodes, 0)
        if nodes > APART * self._marks[-1][0]:
            self._marks.append((nodes, distance))
        halfway = [far for count, far in self._marks if 2 * count <= nodes][-1]
        return 1.0 - distance / halfway if 0 < halfway < np.inf else 0.0
