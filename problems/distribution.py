"""Power transfer distribution factors by one factorisation, and whether the reactances determine them.

All reactances positive, no factor exceeds 1. Negative ones (series capacitors, three-winding transformers) may cancel
others around a loop: then the flows are determined badly, or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import splu

from problems.errors import CaseError
from problems.interval import Vector

if TYPE_CHECKING:
    from problems.grid import Grid

# The largest factor of the PGLib cases is 4.7; from here on reactances cancel, and solvers' tolerances with them.
LARGEST_FACTOR = 1e3
# What goes into a bus must come out of it to this share; the PGLib cases stay below 1e-12.
BALANCE = 1e-9
# Where positive susceptances are within this factor of each other, rounding cannot break the balance.
SPREAD = 1e8
# Branches that a message names.
_NAMED = 4


def distribution_factors(grid: Grid) -> Vector:
    """Return the flow on each branch per unit injected at a bus and taken out at the reference bus.

    Args:
        grid: connected, with finite susceptances that are not 0.

    Returns:
        (n_branch, n_bus), 0 for the reference bus.

    Raises:
        CaseError: reactances cancel each other, or are too far apart for double precision.
    """
    incidence, full = grid.branch_incidence, np.zeros((grid.branches, grid.buses))
    keep = np.delete(np.arange(grid.buses), grid.reference)
    if not keep.size:
        return full
    flow_of_angle = sparse.csr_array(sparse.diags_array(grid.susceptance) @ incidence)[:, keep]
    laplacian = sparse.csc_array(incidence[:, keep].T @ flow_of_angle)
    try:
        # PTDF = B_f L^-1 and L is symmetric, so its transpose is L^-1 B_f'.
        factors = splu(laplacian).solve(flow_of_angle.T.toarray()).T
    except RuntimeError as error:  # "Factor is exactly singular"
        raise CaseError(_cancelling(grid, _near_null(laplacian, flow_of_angle))) from error
    with np.errstate(invalid="ignore", over="ignore"):
        largest = np.abs(factors).max(axis=1)
        if not largest.max() <= LARGEST_FACTOR:
            raise CaseError(_cancelling(grid, np.nan_to_num(largest, nan=np.inf)))
        unbalanced = np.abs(incidence[:, keep].T @ factors - np.eye(keep.size)).max()
    if not unbalanced <= BALANCE:
        raise CaseError(_too_far_apart(grid))
    full[:, keep] = factors
    return full


def check_flows(grid: Grid) -> None:
    """Raise CaseError where `distribution_factors` does; where that cannot be, nothing is factorised."""
    size = np.abs(grid.susceptance)
    if size.size and ((grid.susceptance < 0).any() or size.max() > SPREAD * size.min()):
        _ = grid.ptdf


def check_parallel(grid: Grid) -> None:
    """Raise CaseError where the reactances of parallel branches cancel and no other way joins their buses.

    The usual case of a singular grid, told without a factorisation.
    """
    ends = np.sort(np.stack([grid.branch_from, grid.branch_to]), axis=0)
    _, pair = np.unique(ends, axis=1, return_inverse=True)
    total, largest = np.bincount(pair, grid.susceptance), np.zeros(pair.max(initial=-1) + 1)
    np.maximum.at(largest, pair, np.abs(grid.susceptance))
    cancelled = np.abs(total) * LARGEST_FACTOR < largest
    if not cancelled.any():
        return
    joined = grid.branch_incidence[~cancelled[pair]]
    islands, _ = csgraph.connected_components(joined.T @ joined, directed=False)
    if islands > 1:
        raise CaseError(_cancelling(grid, np.where(pair == cancelled.argmax(), np.abs(grid.susceptance), 0.0)))


def _near_null(laplacian: sparse.csc_array, flow_of_angle: sparse.csr_array) -> Vector:
    """Return the size of the flows ((n_branch,)) of the angles that a singular Laplacian maps close to 0."""
    size = laplacian.shape[0]
    shifted = laplacian + 1e-9 * float(np.abs(flow_of_angle).max()) * sparse.eye_array(size)
    angles = splu(sparse.csc_array(shifted)).solve(np.random.default_rng(0).normal(size=size))
    return np.abs(flow_of_angle @ angles)


def _cancelling(grid: Grid, flows: Vector) -> str:
    """Name the branches around the loop: those with the largest flows ((n_branch,))."""
    worst = np.flatnonzero(flows >= 0.1 * flows.max())
    worst = np.sort(worst[np.argsort(-flows[worst], kind="stable")][:_NAMED])
    named = ", ".join(_branch(grid, k) for k in worst.tolist())
    return (
        f"{grid.name}: the reactances of the branches {named} cancel each other, so the loads do not determine the "
        "flows; correct their signs, or merge parallel branches into one"
    )


def _too_far_apart(grid: Grid) -> str:
    size = np.abs(grid.susceptance)
    low, high = (_branch(grid, int(k)) for k in (size.argmax(), size.argmin()))
    return (
        f"{grid.name}: the reactances of the branches {low} and {high} are too far apart for the flows to be computed; "
        "merge the buses that the smaller one joins, or take the larger one out"
    )


def _branch(grid: Grid, k: int) -> str:
    a, b = grid.bus_ids[grid.branch_from[k]], grid.bus_ids[grid.branch_to[k]]
    return f"{a}–{b} (susceptance {grid.susceptance[k]:.6g} pu)"
