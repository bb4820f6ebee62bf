"""The tables of a MATPOWER case, checked before anything is computed from them.

Every number that is read must be one; 0 means "no limit" only where MATPOWER says so (rateA, both angle limits), and an
infinite limit means the same. What is not in service, and columns that a DC model does not read, may hold anything.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from problems.errors import CaseError
from problems.interval import Vector

# Columns of the MATPOWER case format (version 2), counted from zero.
BUS_ID, BUS_TYPE, PD, GS = 0, 1, 2, 4
GEN_BUS, GEN_STATUS, PMAX, PMIN = 0, 7, 8, 9
COST_MODEL, COST_TERMS, COSTS = 0, 3, 4
FROM, TO, R, X, RATE_A, STATUS, ANGMIN, ANGMAX = 0, 1, 2, 3, 5, 10, 11, 12
REFERENCE, ISOLATED = 3, 4
POLYNOMIAL = 2
# Columns that a table must have.
_COLUMNS = {"bus": GS + 1, "gen": PMIN + 1, "gencost": COSTS, "branch": STATUS + 1}
# Bus numbers up to here are exact in a table of float64.
LARGEST_BUS = 2**53
# MVA per unit; usual are 1 to 1000.
BASE_RANGE = (1e-6, 1e9)
# Nothing in per unit exceeds this: beyond it solvers' tolerances and rounding are larger than a megawatt, and from 1e20
# on solvers take a limit for none.
LARGEST = 1e9
# Least reactance, per unit.
LEAST_REACTANCE = 1e-9

Name = Callable[[int], str]


def checked_tables(
    name: str, base_mva: float, bus: Vector, gen: Vector, gencost: Vector, branch: Vector
) -> tuple[Vector, Vector, Vector, Vector]:
    """Return the rows of the four tables that are in service; of `gencost`, those of the generators returned.

    Args:
        name: the case's name.
        base_mva: MVA per unit.
        bus, gen, gencost, branch: the case's tables, in its own units and column order.

    Raises:
        CaseError: a number is missing, makes no sense, or is beyond what can be computed with.
    """
    if not BASE_RANGE[0] <= base_mva <= BASE_RANGE[1]:
        low, high = BASE_RANGE
        raise CaseError(f"{name}: baseMVA is {base_mva:g}; give the MVA per unit, between {low:g} and {high:g}")
    bus, gen, gencost, branch = (
        _shaped(name, key, table) for key, table in zip(_COLUMNS, (bus, gen, gencost, branch), strict=True)
    )
    bus = _buses(name, bus)
    known = bus[:, BUS_ID]
    bus = bus[bus[:, BUS_TYPE] != ISOLATED]
    gen, gencost = _generators(name, gen, gencost, known, bus[:, BUS_ID])
    return bus, gen, gencost, _branches(name, branch, known, bus[:, BUS_ID])


def _shaped(name: str, key: str, table: Vector) -> Vector:
    table = np.atleast_2d(np.asarray(table, dtype=np.float64))
    if table.size == 0:
        return np.zeros((0, _COLUMNS[key]))
    if table.shape[1] < _COLUMNS[key]:
        raise CaseError(
            f"{name}: the table {key} has {table.shape[1]} columns, and a case has at least {_COLUMNS[key]}; export it "
            "as MATPOWER version 2"
        )
    return table


def _buses(name: str, bus: Vector) -> Vector:
    numbers = bus[:, BUS_ID]
    _refuse(
        ~((numbers >= 1) & (numbers <= LARGEST_BUS) & (numbers == np.floor(numbers))),
        lambda k: f"{name}: row {k + 1} of the buses has the number {numbers[k]:.17g}; give a whole number from 1 up",
    )
    unique, counts = np.unique(numbers, return_counts=True)
    if unique.size < numbers.size:
        raise CaseError(
            f"{name}: a bus number appears twice ({unique[counts > 1][0]:.0f}); give every bus its own number"
        )
    _refuse(
        ~np.isin(bus[:, BUS_TYPE], (1, 2, REFERENCE, ISOLATED)),
        lambda k: (
            f"{name}: bus {numbers[k]:.0f} has the type {bus[k, BUS_TYPE]:g}; give 1 (load), 2 (generator), "
            "3 (reference) or 4 (isolated)"
        ),
    )
    live = bus[:, BUS_TYPE] != ISOLATED
    for column, what, label in ((PD, "Pd", "a load in MW"), (GS, "Gs", "a shunt conductance in MW at 1 pu")):
        _finite(live, bus[:, column], lambda k: f"{name}: bus {numbers[k]:.0f}", what, label)
    return bus


def _generators(name: str, gen: Vector, gencost: Vector, known: Vector, live: Vector) -> tuple[Vector, Vector]:
    def called(k: int) -> str:
        return f"{name}: generator {k + 1}"

    on = _in_service(gen[:, GEN_STATUS], called)
    _existing(on, gen[:, GEN_BUS], known, called)
    on &= np.isin(gen[:, GEN_BUS], live)
    if not on.any():
        raise CaseError(f"{name}: no generator is in service; the dispatch has nothing to decide")
    for column, what in ((PMAX, "Pmax"), (PMIN, "Pmin")):
        _finite(on, gen[:, column], called, what, "a limit in MW")
    low, high = gen[:, PMIN], gen[:, PMAX]
    _refuse(
        on & (low > high),
        lambda k: f"{called(k)} has Pmin above Pmax ({low[k]:g} above {high[k]:g} MW); correct the case",
    )
    if gencost.shape[0] < gen.shape[0]:
        raise CaseError(f"{name}: {gen.shape[0]} generators but {gencost.shape[0]} rows of costs; give each its costs")
    gencost = gencost[: gen.shape[0]]  # Rows beyond the generators are costs of reactive power.
    _check_costs(gencost, on, called)
    return gen[on], gencost[on]


def _check_costs(gencost: Vector, on: NDArray[np.bool_], called: Name) -> None:
    model, terms, columns = gencost[:, COST_MODEL], gencost[:, COST_TERMS], gencost.shape[1] - COSTS
    _refuse(
        on & (model != POLYNOMIAL),
        lambda k: (
            f"{called(k)} has piecewise linear costs (model 1), which are not supported; give polynomial ones (model 2)"
            if model[k] == 1
            else f"{called(k)} has the cost model {model[k]:g}; give polynomial costs (model 2)"
        ),
    )
    _refuse(
        on & ~((terms >= 0) & (terms <= columns) & (terms == np.floor(terms))),
        lambda k: f"{called(k)} has {terms[k]:g} cost terms but {columns} columns of them; correct the case",
    )
    for k in np.flatnonzero(on).tolist():
        given = gencost[k, COSTS : COSTS + int(terms[k])]
        if not np.isfinite(given).all():
            raise CaseError(f"{called(k)} has the costs {given.tolist()}; give finite numbers of $/MWh and $/h")
        if np.any(given[:-2] != 0):
            raise CaseError(f"{called(k)} has a quadratic cost; only linear costs can be certified: linearise it")


def _branches(name: str, branch: Vector, known: Vector, live: Vector) -> Vector:
    def called(k: int) -> str:
        return f"{name}: branch {k + 1} ({branch[k, FROM]:g}–{branch[k, TO]:g})"

    on = _in_service(branch[:, STATUS], called)
    for column in (FROM, TO):
        _existing(on, branch[:, column], known, called)
    on &= np.isin(branch[:, FROM], live) & np.isin(branch[:, TO], live)
    _refuse(on & (branch[:, FROM] == branch[:, TO]), lambda k: f"{called(k)} joins a bus with itself; take it out")
    for column, what in ((R, "r"), (X, "x")):
        _finite(on, branch[:, column], called, what, f"a value in per unit, at most {LARGEST:g}", LARGEST)
    x = branch[:, X]
    _refuse(
        on & (x == 0),
        lambda k: f"{called(k)} has no reactance, so it has no place in a DC model; merge its two buses",
    )
    _refuse(
        on & (np.abs(x) < LEAST_REACTANCE),
        lambda k: f"{called(k)} has a reactance of {x[k]:g} pu, less than {LEAST_REACTANCE:g}; merge its two buses",
    )
    rate = branch[:, RATE_A]
    _refuse(
        on & ~(rate >= 0),
        lambda k: f"{called(k)} has rateA = {rate[k]:g}; give its limit in MVA, or 0 where it has none",
    )
    if branch.shape[1] > ANGMAX:
        low, high = branch[:, ANGMIN], branch[:, ANGMAX]
        _refuse(
            on & ~((low <= high) & (low < np.inf) & (high > -np.inf)),
            lambda k: (
                f"{called(k)} has the angle limits {low[k]:g} and {high[k]:g} degrees; give the lower one first, "
                "or 0 for both where there are none"
            ),
        )
    return branch[on]


def _in_service(status: Vector, called: Name) -> NDArray[np.bool_]:
    _refuse(
        np.isnan(status), lambda k: f"{called(k)} has a status that is not a number; give 1 (in service) or 0 (out)"
    )
    return status > 0


def _existing(on: NDArray[np.bool_], numbers: Vector, known: Vector, called: Name) -> None:
    _refuse(
        on & ~np.isin(numbers, known),
        lambda k: (
            f"{called(k)} is at bus {numbers[k]:.17g}, which the case does not have; add the bus, or set the "
            "status to 0"
        ),
    )


def _finite(
    on: NDArray[np.bool_], values: Vector, called: Name, what: str, label: str, largest: float = np.inf
) -> None:
    _refuse(
        on & ~(np.isfinite(values) & (np.abs(values) <= largest)),
        lambda k: f"{called(k)} has {what} = {values[k]:g}; give {label}, a finite number",
    )


def _refuse(wrong: NDArray[np.bool_], says: Callable[[int], str]) -> None:
    """Raise CaseError about the first row that is wrong."""
    found = np.flatnonzero(wrong)
    if found.size:
        raise CaseError(says(int(found[0])))
