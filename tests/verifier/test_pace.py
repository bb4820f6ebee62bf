"""The pace of a bound towards its goal."""

from __future__ import annotations

import numpy as np

from verifier.pace import Pace


def test_the_share_is_that_of_the_later_half_of_the_nodes() -> None:
    pace = Pace()
    assert pace.share(0, np.inf) == 0.0
    assert pace.share(1, 1000.0) == 0.0
    assert pace.share(100, 800.0) == 1.0 - 800.0 / 1000.0
    assert pace.share(200, 600.0) == 1.0 - 600.0 / 800.0
    assert pace.share(250, 600.0) == 1.0 - 600.0 / 800.0
    assert pace.share(400, 600.0) == 0.0


def test_a_solver_that_counts_no_nodes_or_a_bound_at_its_goal_has_no_pace() -> None:
    pace = Pace()
    assert pace.share(-1, 5.0) == 0.0
    assert pace.share(1, 0.0) == 0.0
    assert pace.share(2, 0.0) == 0.0


def test_a_bound_that_moves_steadily_keeps_its_share_however_often_it_is_asked() -> None:
    pace = Pace()
    shares = [pace.share(nodes, 1e6 / nodes) for nodes in range(1, 5000)]
    assert all(0.45 < share < 0.6 for share in shares[100:])
