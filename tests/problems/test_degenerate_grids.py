"""Small grids with odd numbers everywhere: each is refused in one sentence, or its value is right."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from problems.dcopf import DcOpf
from problems.errors import CaseError, DomainError, InputError
from problems.grid import Grid, grid_from_tables
from problems.interval import Vector

# What replaces a number of a sound case.
ODD = (np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1e-320, 1e-12, 0.1, 1e7, 1e20, 1e300, -1e300, 2.5, 2.0**63, 1e19)
# (table, column): those that a DC model reads.
READ = [(0, c) for c in (0, 1, 2, 4)] + [(1, c) for c in (0, 7, 8, 9)] + [(2, c) for c in (0, 3, 4, 5)]
READ += [(3, c) for c in (0, 1, 2, 3, 5, 10, 11, 12)]

Tables = list[Vector]


def sound(rng: np.random.Generator) -> Tables:
    """Return the tables of a connected case of 1 to 5 buses and one or two generators."""
    buses, generators = int(rng.integers(1, 6)), int(rng.integers(1, 3))
    bus = np.zeros((buses, 13))
    bus[:, 0], bus[:, 1] = rng.choice(50, buses, replace=False) + 1, 1
    bus[rng.integers(buses), 1] = 3
    bus[:, 2] = rng.integers(0, 60, buses) * (rng.random(buses) < 0.7)
    gen = np.zeros((generators, 10))
    gen[:, 0], gen[:, 7] = rng.choice(bus[:, 0], generators), 1
    gen[:, 8] = rng.integers(50, 300, generators)
    gen[:, 9] = np.where(rng.random(generators) < 0.2, gen[:, 8], 0)
    cost = np.zeros((generators, 6))
    cost[:, 0], cost[:, 3], cost[:, 4], cost[:, 5] = 2, 2, rng.integers(0, 40, generators), rng.integers(0, 3)
    ends = [(k, int(rng.integers(k))) for k in range(1, buses)]
    ends += [tuple(rng.choice(buses, 2, replace=False)) for _ in range(int(rng.integers(0, 4))) if buses > 1]
    branch = np.zeros((len(ends), 13))
    for row, (a, b) in zip(branch, ends):
        row[0], row[1], row[3] = bus[a, 0], bus[b, 0], rng.choice([0.1, 0.2, 0.05])
    branch[:, 5], branch[:, 10] = rng.choice([0, 30, 60], len(ends)), 1
    branch[:, 11], branch[:, 12] = -360, 360
    return [bus, gen, cost, branch]


def exact_factors(grid: Grid) -> Vector:
    """The distribution factors by Gauss-Jordan elimination in rational numbers."""
    keep = [bus for bus in range(grid.buses) if bus != grid.reference]
    b = [Fraction(float(value)) for value in grid.susceptance]
    ends = [(int(i), int(j)) for i, j in zip(grid.branch_from, grid.branch_to)]
    laplacian = {i: {j: Fraction(0) for j in keep} for i in range(grid.buses)}
    for value, (i, j) in zip(b, ends):
        for row, column, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            if column in laplacian[row]:
                laplacian[row][column] += sign * value
    rows = [[*laplacian[i].values(), *(Fraction(int(i == j)) for j in keep)] for i in keep]
    for k in range(len(keep)):
        pivot = next(r for r in range(k, len(keep)) if rows[r][k] != 0)
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for r in range(len(keep)):
            if r != k:
                rows[r] = [value - rows[r][k] * of for value, of in zip(rows[r], rows[k])]
    angles = {bus: row[len(keep) :] for bus, row in zip(keep, rows)}
    angles[grid.reference] = [Fraction(0)] * len(keep)
    factors = np.zeros((grid.branches, grid.buses))
    for k, (value, (i, j)) in enumerate(zip(b, ends)):
        factors[k, keep] = [float(value * (to - out)) for to, out in zip(angles[i], angles[j])]
    return factors


def cheapest(problem: DcOpf, x: Vector) -> float:
    """Phi(x) with soft limits: the best of every breakpoint of one generator's output."""
    grid, factors = problem.grid, exact_factors(problem.grid)

    def flows(p: Vector) -> Vector:
        return factors @ (np.bincount(grid.gen_bus, p, grid.buses) - x)

    def dispatch(first: float) -> Vector:
        return np.array([first, x.sum() - first][: grid.generators])

    low, high = grid.pmin[0], grid.pmax[0]
    if grid.generators == 2:
        low, high = max(low, x.sum() - grid.pmax[1]), min(high, x.sum() - grid.pmin[1])
    else:
        low, high = max(low, x.sum()), min(high, x.sum())
    slack = 1e-9 * (1 + abs(low) + abs(high))
    if low > high + slack:
        return np.inf
    points = [low, max(low, high)]
    if grid.generators == 2:
        at_low, at_high = flows(dispatch(low)), flows(dispatch(points[1]))
        slope = (at_high - at_low) / (points[1] - low) if points[1] > low else np.zeros(grid.branches)
        with np.errstate(all="ignore"):
            kinks = low + np.concatenate([(side - at_low) / slope for side in (grid.rating, -grid.rating)])
        points += kinks[(kinks > low) & (kinks < high)].tolist()
    costs = []
    for point in points:
        p = dispatch(point)
        over = np.maximum(np.abs(flows(p)) - grid.rating, 0.0).sum() if grid.branches else 0.0
        costs.append(p @ grid.cost + grid.cost_constant.sum() + problem.overload_cost * over)
    return float(min(costs))


def refused(error: CaseError) -> str:
    assert str(error).startswith("odd: ")
    assert "\n" not in str(error)
    return "refused"


def assert_right_or_refused(tables: Tables, rng: np.random.Generator) -> str:
    """Try everything that a verification asks of a problem; return how far it went."""
    try:
        problem = DcOpf(grid_from_tables("odd", 100.0, *tables))
    except CaseError as error:
        return refused(error)
    with np.errstate(all="raise", under="ignore"):
        try:
            domain = problem.domain(0.1)
        except DomainError:
            return "no domain"
        try:
            factors = problem.grid.ptdf
        except CaseError as error:
            return refused(error)
        np.testing.assert_allclose(factors, exact_factors(problem.grid), atol=1e-7)
        went = "infeasible"
        for w in np.concatenate([domain.sample(2, int(rng.integers(100))), domain.centre[None]]):
            x = domain.to_input(w)
            expected = cheapest(problem, x)
            try:
                value, best = problem.solve(x)
            except InputError:
                assert expected == np.inf
                continue
            went = "solved"
            size = 1 + abs(expected) + float(np.abs(problem.grid.cost).max() * np.abs(best).max())
            # The solver's tolerance of 1e-7 per unit counts at the price of an overload.
            assert value == pytest.approx(expected, abs=1e-7 * size + 1e-6 * problem.overload_cost)
            batch = torch.as_tensor(x)[None], torch.as_tensor(best)[None]
            assert float(problem.objective(*batch)) == pytest.approx(expected, abs=1e-7 * size + 1e-3)
            assert float(problem.infeasibility(*batch)) <= 1e-7 * (1 + np.abs(best).max())
    return went


@pytest.mark.parametrize("seed", range(20))
def test_sound_grids_are_solved_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert assert_right_or_refused(sound(rng), rng) in ("solved", "infeasible", "no domain")


@pytest.mark.parametrize(("table", "column"), READ)
def test_an_odd_number_is_refused_or_does_no_harm(table: int, column: int) -> None:
    for seed, value in enumerate(ODD):
        rng = np.random.default_rng([seed, table, column])
        tables = sound(rng)
        if len(tables[table]):
            tables[table][rng.integers(len(tables[table])), column] = value
        assert_right_or_refused(tables, rng)


def ring() -> Tables:
    """Three buses in a ring, two generators, every number ordinary."""
    bus, gen, cost, branch = np.zeros((3, 13)), np.zeros((2, 10)), np.zeros((2, 6)), np.zeros((3, 13))
    bus[:, 0], bus[:, 1], bus[:, 2] = [1, 2, 7], [3, 1, 1], [0, 80, 40]
    gen[:, 0], gen[:, 7], gen[:, 8] = [1, 2], 1, [200, 150]
    cost[:, 0], cost[:, 3], cost[:, 4] = 2, 2, [10, 40]
    branch[:, 0], branch[:, 1], branch[:, 3], branch[:, 5] = [1, 2, 1], [2, 7, 7], 0.1, [50, 0, 60]
    branch[:, 10], branch[:, 11], branch[:, 12] = 1, -360, 360
    return [bus, gen, cost, branch]


REFUSED = [
    (0, 0, np.nan, "row 2 of the buses has the number nan; give a whole number from 1 up"),
    (0, 0, 2.5, "row 2 of the buses has the number 2.5"),
    (0, 0, -2, "row 2 of the buses has the number -2"),
    (0, 0, 1e19, "row 2 of the buses has the number 1e.19"),
    (0, 0, 7, "a bus number appears twice .7."),
    (0, 1, np.nan, "bus 2 has the type nan"),
    (0, 2, np.inf, "bus 2 has Pd = inf; give a load in MW"),
    (0, 4, np.nan, "bus 2 has Gs = nan"),
    (0, 2, 1e300, r"a load \(Pd\) is 1e.298 in per unit of 100 MVA, more than 1e.09; correct its unit"),
    (1, 0, 99, "generator 2 is at bus 99, which the case does not have"),
    (1, 7, np.nan, "generator 2 has a status that is not a number"),
    (1, 8, np.inf, "generator 2 has Pmax = inf; give a limit in MW"),
    (1, 8, 1e300, "a generator limit .Pmax. is 1e.298"),
    (1, 9, 151, "generator 2 has Pmin above Pmax .151 above 150 MW."),
    (2, 0, np.nan, "generator 2 has the cost model nan"),
    (2, 0, 1, "generator 2 has piecewise linear costs"),
    (2, 3, 1.5, "generator 2 has 1.5 cost terms but 2 columns"),
    (2, 3, np.nan, "generator 2 has nan cost terms"),
    (2, 4, np.nan, "generator 2 has the costs .nan, 0.0.; give finite numbers"),
    (2, 4, 1e300, "a linear cost is 1e.302"),
    (2, 4, 1e308, "a linear cost is inf"),
    (3, 0, 99, r"branch 2 \(99–7\) is at bus 99"),
    (3, 0, 7, r"branch 2 \(7–7\) joins a bus with itself"),
    (3, 2, np.nan, "branch 2 .2–7. has r = nan"),
    (3, 3, 1e300, "branch 2 .2–7. has x = 1e.300"),
    (3, 3, 0.0, "branch 2 .2–7. has no reactance"),
    (3, 3, 1e-12, "branch 2 .2–7. has a reactance of 1e-12 pu"),
    (3, 5, np.nan, "branch 2 .2–7. has rateA = nan; give its limit in MVA, or 0 where it has none"),
    (3, 5, -1, "branch 2 .2–7. has rateA = -1"),
    (3, 5, 1e20, "a branch limit .rateA. is 1e.18 .* write 0 for no limit"),
    (3, 10, np.nan, "branch 2 .2–7. has a status that is not a number"),
    (3, 11, np.nan, "branch 2 .2–7. has the angle limits nan and 360 degrees"),
    (3, 11, np.inf, "branch 2 .2–7. has the angle limits inf and 360 degrees"),
    (3, 12, -400, "branch 2 .2–7. has the angle limits -360 and -400 degrees"),
]


@pytest.mark.parametrize(("table", "column", "value", "says"), REFUSED)
def test_what_makes_no_sense_is_refused_by_its_name(table: int, column: int, value: float, says: str) -> None:
    tables = ring()
    tables[table][1, column] = value
    with pytest.raises(CaseError, match=says):
        grid_from_tables("ring", 100.0, *tables)


@pytest.mark.parametrize("base", [0.0, -100.0, np.nan, np.inf, 1e-300])
def test_a_base_that_is_no_power_is_refused(base: float) -> None:
    with pytest.raises(CaseError, match=r"baseMVA is .* between 1e-06 and 1e.09"):
        grid_from_tables("ring", base, *ring())


@pytest.mark.parametrize("changes", [{"price": np.nan}, {"price": -1.0}, {"price": np.inf}, {"noise": np.nan}])
def test_a_price_or_noise_that_is_none_is_refused(changes: dict) -> None:
    with pytest.raises(CaseError, match="give"):
        DcOpf(grid_from_tables("ring", 100.0, *ring()), **changes)


def test_only_zero_and_infinity_mean_no_limit() -> None:
    tables = ring()
    tables[3][:, 5] = [0.0, np.inf, 1e-9]
    tables[3][:, 11], tables[3][:, 12] = [0.0, -np.inf, -10.0], [0.0, np.inf, np.inf]
    grid = grid_from_tables("ring", 100.0, *tables)
    assert grid.rating.tolist() == pytest.approx([np.inf, np.inf, 1e-11])
    assert grid.angle_min.tolist() == pytest.approx([-np.inf, -np.inf, -np.pi / 18])
    assert grid.angle_max.tolist() == [np.inf, np.inf, np.inf]


@pytest.mark.parametrize("other", [-0.1, -0.1 * (1 + 1e-15), -0.1 * (1 - 1e-6)])
def test_parallel_branches_that_cancel_are_refused_by_name(other: float) -> None:
    tables = ring()
    tables[3] = np.vstack([tables[3][:2], tables[3][1:2]])
    tables[3][2, 3] = other
    with pytest.raises(CaseError, match=r"branches 2–7 \(susceptance 10 pu\), 2–7 \(.* cancel .* merge parallel"):
        grid_from_tables("ring", 100.0, *tables)


def test_a_loop_that_cancels_is_refused_by_name() -> None:
    tables = ring()
    tables[3][2, 3] = -0.2  # The sum of the reactances around the ring is 0.
    grid = grid_from_tables("ring", 100.0, *tables)
    for use in (lambda: grid.ptdf, lambda: DcOpf(grid).solve(grid.load)):
        with pytest.raises(CaseError, match=r"branches 1–2 .*, 2–7 .*, 1–7 .* cancel each other"):
            use()
    tables[3][2, 3] = -0.1
    assert np.abs(grid_from_tables("ring", 100.0, *tables).ptdf).max() == pytest.approx(2.0)


def test_one_bus_without_a_branch_is_a_problem() -> None:
    bus, gen, cost, _ = ring()
    gen[:, 0] = 1
    bus[0, 2] = 220
    problem = DcOpf(grid_from_tables("one", 100.0, bus[:1], gen, cost, np.zeros((0, 13))))
    value, best = problem.solve(problem.grid.load)
    assert value == pytest.approx(200 * 10 + 20 * 40)
    assert best.tolist() == pytest.approx([2.0, 0.2])
    with pytest.raises(CaseError, match="bus 2 is not connected"):
        grid_from_tables("two", 100.0, bus[:2], gen, cost, np.zeros((0, 13)))


def test_short_tables_are_refused() -> None:
    for k, key in enumerate(("bus", "gen", "gencost", "branch")):
        tables = ring()
        tables[k] = tables[k][:, :3]
        with pytest.raises(CaseError, match=f"the table {key} has 3 columns"):
            grid_from_tables("ring", 100.0, *tables)


@pytest.mark.parametrize("x", [np.zeros(2), np.array([np.nan, 0, 0]), np.array([0, np.inf, 0])])
def test_an_input_of_another_shape_or_without_numbers_is_refused(x: Vector) -> None:
    with pytest.raises(InputError, match="finite demand at each of 3 buses"):
        DcOpf(grid_from_tables("ring", 100.0, *ring())).solve(x)
