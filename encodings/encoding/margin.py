"""How far from equality the strict comparisons of a model must hold: 0 in proofs, a little where a witness is sought.

A closed model also allows the limits of what a layer with jumps can do: two scores that are equal, in either order. As
a bound that is right; as a witness it may not replay. A model with a margin has only points that do.
"""

from __future__ import annotations

import pyomo.environ as pyo

# Share of a quantity's range: far above the solvers' tolerances and rounding, far below what anyone would notice.
MARGIN = 1e-5

_NAME = "certigap_margin"


def keep_off(model: pyo.ConcreteModel, margin: float) -> None:
    """Ask for a margin in all that is written on `model` from now on, as a share of each quantity's range."""
    setattr(model, _NAME, margin)


def margin_of(block: pyo.Block) -> float:
    """Return the margin that was asked for in the model of `block`."""
    return float(getattr(block.model(), _NAME, 0.0))
