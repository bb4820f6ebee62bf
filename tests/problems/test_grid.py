"""Grids read from files: what is kept, what is refused, and flows by distribution factors against bus angles."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from problems.errors import CaseError
from problems.grid import Grid, load_grid

BUSES = [(1, 3, 50.0, 0.0), (2, 1, 60.0, 5.0), (7, 2, -10.0, 0.0), (9, 1, 20.0, 0.0)]
GENERATORS = [(1, 1, 200.0, 0.0), (1, 1, 80.0, 10.0), (7, 1, 50.0, 20.0), (7, 0, 500.0, 0.0)]
COSTS = [(2, 14.0, 3.0), (2, 20.0, 0.0), (2, 30.0, 1.0), (2, 1.0, 100.0)]
BRANCHES = [
    (1, 2, 0.01, 0.1, 100.0, 1, -30.0, 30.0),
    (2, 7, 0.00, 0.2, 0.0, 1, 0.0, 0.0),
    (7, 9, 0.02, 0.1, 40.0, 1, -360.0, 360.0),
    (9, 1, 0.01, -0.3, 60.0, 1, -30.0, 20.0),
    (1, 7, 0.01, 0.1, 90.0, 0, -30.0, 30.0),
]


def write_case(
    folder: Path,
    buses: list = BUSES,
    generators: list = GENERATORS,
    costs: list = COSTS,
    branches: list = BRANCHES,
) -> Path:
    """Write a MATPOWER case. Bus: id, type, Pd, Gs. Generator: bus, status, Pmax, Pmin. Cost: model, c1, c0 (or a
    quadratic c2 in front). Branch: from, to, r, x, rateA, status, angmin, angmax."""

    def table(name: str, rows: list) -> str:
        lines = ";\n".join("\t" + "\t".join(f"{value:.10g}" for value in row) for row in rows)
        return f"mpc.{name} = [\n{lines};\n];\n"

    text = "function mpc = tiny\nmpc.version = '2';\nmpc.baseMVA = 50.0;\n"
    text += table("bus", [(i, t, pd, 1, gs, 0, 1, 1, 0, 230, 1, 1.1, 0.9) for i, t, pd, gs in buses])
    text += table("gen", [(b, 0, 0, 10, -10, 1, 50, s, high, low) for b, s, high, low in generators])
    text += table("gencost", [(row[0], 0, 0, len(row) - 1, *row[1:]) for row in costs])
    text += table(
        "branch",
        [(f, t, r, x, 0.01, rate, rate, rate, 0, 0, s, low, high) for f, t, r, x, rate, s, low, high in branches],
    )
    path = folder / "tiny.m"
    path.write_text(text)
    return path


def test_a_file_keeps_what_is_in_service_in_per_unit(tmp_path: Path) -> None:
    grid = load_grid(write_case(tmp_path))
    assert grid.name == "tiny"
    assert grid.base_mva == 50.0
    np.testing.assert_array_equal(grid.bus_ids, [1, 2, 7, 9])
    np.testing.assert_allclose(grid.load, [1.0, 1.2, -0.2, 0.4])
    np.testing.assert_allclose(grid.shunt, [0.0, 0.1, 0.0, 0.0])
    np.testing.assert_array_equal(grid.gen_bus, [0, 0, 2])
    np.testing.assert_allclose(grid.pmax, [4.0, 1.6, 1.0])
    np.testing.assert_allclose(grid.pmin, [0.0, 0.2, 0.4])
    np.testing.assert_allclose(grid.cost, [700.0, 1000.0, 1500.0])
    np.testing.assert_allclose(grid.cost_constant, [3.0, 0.0, 1.0])
    assert grid.branches == 4
    np.testing.assert_allclose(grid.rating, [2.0, np.inf, 0.8, 1.2])
    np.testing.assert_allclose(grid.susceptance, [0.1 / 0.0101, 5.0, 0.1 / 0.0104, -0.3 / 0.0901])
    np.testing.assert_allclose(grid.angle_max, [np.pi / 6, np.inf, np.inf, np.pi / 9])
    np.testing.assert_allclose(grid.angle_min, [-np.pi / 6, -np.inf, -np.inf, -np.pi / 6])
    assert grid.generator_incidence.toarray().sum(1).tolist() == [2.0, 0.0, 1.0, 0.0]


def test_an_isolated_bus_takes_its_branches_and_generators_along(tmp_path: Path) -> None:
    path = write_case(
        tmp_path,
        buses=[*BUSES, (12, 4, 30.0, 0.0)],
        generators=[*GENERATORS, (12, 1, 9.0, 0.0)],
        costs=[*COSTS, (2, 1.0, 0.0)],
        branches=[*BRANCHES, (9, 12, 0.01, 0.1, 9.0, 1, 0.0, 0.0)],
    )
    apart = load_grid(path)
    for field in fields(Grid):
        np.testing.assert_array_equal(getattr(apart, field.name), getattr(load_grid(write_case(tmp_path)), field.name))


NO_REFERENCE = [(i, 2 if t == 3 else t, pd, gs) for i, t, pd, gs in BUSES]
OFF = [(b, 0, high, low) for b, _, high, low in GENERATORS]
QUADRATIC = [(2, 0.5, 14.0, 3.0), *((m, 0.0, a, b) for m, a, b in COSTS[1:])]
SHORT = [BRANCHES[0], (2, 7, 0.0, 0.0, 0.0, 1, 0.0, 0.0), *BRANCHES[2:]]
REFUSED = {
    "no reference": ({"buses": NO_REFERENCE}, "reference"),
    "split": ({"branches": [BRANCHES[0], BRANCHES[2]]}, r"2 islands; bus 7 is not connected"),
    "no generator": ({"generators": OFF}, "no generator is in service"),
    "quadratic": ({"costs": QUADRATIC}, "generator 1 has a quadratic cost"),
    "piecewise": ({"costs": [(1, *row[1:]) for row in COSTS]}, "piecewise"),
    "duplicate": ({"buses": [*BUSES, BUSES[0]]}, "twice"),
    "crossed limits": ({"generators": [(1, 1, 5.0, 9.0), *GENERATORS[1:]]}, "generator 1 has Pmin above Pmax"),
    "no impedance": ({"branches": SHORT}, "has no reactance"),
    "not finite": ({"buses": [(1, 3, np.nan, 0.0), *BUSES[1:]]}, "load"),
    "costs missing": ({"costs": COSTS[:2]}, "cost"),
}


@pytest.mark.parametrize(("changes", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_case_that_cannot_be_dispatched_is_refused_with_the_reason(tmp_path: Path, changes: dict, why: str) -> None:
    with pytest.raises(CaseError, match=why):
        load_grid(write_case(tmp_path, **changes))


def test_a_branch_without_reactance_is_refused(tmp_path: Path) -> None:
    """Its DC susceptance is zero, so a bridge of that kind leaves the angles undetermined."""
    bridge = (9, 12, 0.01, 0.0, 9.0, 1, 0.0, 0.0)
    with pytest.raises(CaseError):
        load_grid(write_case(tmp_path, buses=[*BUSES, (12, 1, 3.0, 0.0)], branches=[*BRANCHES, bridge]))


@pytest.mark.parametrize("text", ["", "garbage", "function mpc = x\nmpc.bus = [1 2 3];", "\x00\x01\x02", "[[[["])
def test_an_unreadable_file_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.m"
    path.write_text(text)
    with pytest.raises(CaseError, match=re.escape("broken")):
        load_grid(path)


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="absent"):
        load_grid(tmp_path / "absent.m")


def test_an_unknown_pglib_name_brings_suggestions() -> None:
    with pytest.raises(CaseError, match="did you mean pglib_opf_case118_ieee"):
        load_grid("pglib_opf_case118")


@pytest.mark.parametrize("name", ["", "*", "*case5*", "/tmp/absent/case", "../pglib_opf_case5_pjm", "[", "a/b"])
def test_a_name_is_a_name_and_no_pattern(name: str) -> None:
    with pytest.raises(CaseError, match="PGLib has no case"):
        load_grid(name)


@pytest.mark.parametrize("name", ["pglib_opf_case5_pjm", "pglib_opf_case30_ieee", "pglib_opf_case300_ieee"])
def test_distribution_factors_give_the_flows_of_the_bus_angles(name: str) -> None:
    grid = load_grid(name)
    rng = np.random.default_rng(0)
    injection = rng.normal(size=grid.buses)
    injection[rng.integers(grid.buses)] -= injection.sum()
    # Angles from the full Laplacian by least squares: no reference bus, no factorisation in common.
    incidence = grid.branch_incidence.toarray()
    angles = np.linalg.lstsq(incidence.T @ (grid.susceptance[:, None] * incidence), injection, rcond=None)[0]
    flow = grid.susceptance * (incidence @ angles)
    np.testing.assert_allclose(grid.ptdf @ injection, flow, atol=1e-8 * np.abs(flow).max())


def test_the_fingerprint_sees_every_number_but_not_the_name(tmp_path: Path) -> None:
    grid = load_grid(write_case(tmp_path))
    assert replace(grid, name="other").fingerprint() == grid.fingerprint()
    for field in fields(Grid):
        if field.name == "name":
            continue
        value = np.array(getattr(grid, field.name))
        value.flat[-1] = value.flat[-1] + 1 if value.dtype.kind == "i" else np.nextafter(value.flat[-1], 0.5)
        assert replace(grid, **{field.name: value}).fingerprint() != grid.fingerprint(), field.name
