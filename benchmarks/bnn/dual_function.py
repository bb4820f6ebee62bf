"""Dual functions of branch-and-bound trees: leaves, memory, tightness, validity and gap against perturbation size.

python -m benchmarks.bnn.dual_function --json benchmarks/bnn/dual_function.json [--kinds "knapsack 12;network 4 x 2"]
       [--programs 3] [--perturbations 10000] [--quick] [--resume]

For each kind some random programs; for each a tree is grown, and perturbed programs are solved exactly: normal changes
of a relative size in all numbers of c, A and b that are not zero. Their values are the least of a list of all points
where there are at most 2^12, else by HiGHS. Valid: F is at most the cost of the best point, with no tolerance. "leaves,
LP": the least relaxed value over the leaves, which is F after `sharpen` there. "LP": the relaxation without a tree.
Gaps are means over perturbations, in percent of max(1, |value|). Over the limit: programs whose tree has more leaves
than allowed; they are left out. The solver's time and the time of F are for one program, both from the same run.
"""

from __future__ import annotations

import itertools
import time

import numpy as np

from benchmarks.bnn.mip_programs import KINDS, SMALL, perturbed
from benchmarks.record import Record, command_line, number, table
from solvers.dual_function import DualFunction
from solvers.dual_tree import grow, sharpen
from solvers.elastic_program import ElasticProgram
from solvers.errors import TreeLimitError
from solvers.highs import HighsSession
from solvers.mip_pieces import Outcome, Search, solve_pieces

SIZES = (0.001, 0.01, 0.03, 0.1, 0.3)
# Programs of each tree and size for which leaves are solved, and leaves that are solved, at most.
SHARPENED, LEAVES = 20, 50
# Columns of pure binary programs whose points are listed.
LISTED = 12
HEAD = [
    "kind",
    "columns",
    "rows",
    "over the limit",
    "leaves",
    "kB",
    "solver s",
    "tree s",
    "F, share of solver's time",
    "worst z - F at home",
    "leaf checks",
    "passed %",
]
GAPS = ["kind", "size %", "perturbations", "valid %", "z - F %", "z - leaves, LP %", "z - LP %"]


def relative(value: float, bound: float) -> float:
    """Return the gap in percent of max(1, |value|)."""
    return 100 * (value - bound) / max(1.0, abs(value))


def relaxed(program: ElasticProgram) -> float:
    """Return the value of the linear relaxation."""
    with HighsSession(program.model().relaxed()) as session:
        return session.solve().objective


def at(function: DualFunction, program: ElasticProgram) -> float:
    """Return F at one program."""
    return float(function(program.c, program.A, program.b)[0])


def exact(program: ElasticProgram) -> float:
    """Return the cost of the best point, which a valid bound is not above."""
    answer = solve_pieces(program, Search())
    if answer.outcome is not Outcome.SOLVED:
        raise SystemExit(f"a program ended with {answer.outcome.name}; its value is needed")
    return program.cost(answer.pieces[0].x)


def all_values(programs: list[ElasticProgram]) -> list[float]:
    """Return the value of each of some programs that differ by c, A and b only."""
    first = programs[0]
    if not (first.integer.all() and first.c.size <= LISTED and first.upper.max() <= 1 and first.lower.min() >= 0):
        return [exact(program) for program in programs]
    points = np.array(list(itertools.product((0.0, 1.0), repeat=first.c.size)))
    values = []
    for one in programs:
        short = np.maximum(one.b - points @ one.A.T, 0.0)
        values.append(float((points @ one.c + short @ one.penalty).min()))
    return values


def leaf_checks(function: DualFunction, program: ElasticProgram) -> list[bool]:
    """Return, for some leaves, whether F's leaf bound is below their relaxation and that below their value."""
    bounds = function.leaf_bounds(program.c, program.A, program.b)[0]
    passed = []
    for k in np.linspace(0, function.leaves - 1, min(LEAVES, function.leaves)).astype(int):
        leaf = ElasticProgram(**(vars(program) | {"lower": function.lower[k], "upper": function.upper[k]}))
        linear, whole = relaxed(leaf), exact(leaf)
        slack = 1e-6 * max(1.0, abs(whole))
        passed.append(bool(bounds[k] <= linear + slack and linear <= whole + slack and bounds[k] <= whole))
    return passed


def study(kind: str, programs: int, perturbations: int, record: Record) -> None:
    """Grow the trees of one kind and add its rows."""
    rng = np.random.default_rng(0)
    homes = [KINDS[kind](rng) for _ in range(programs)]
    each = -(-perturbations // (programs * len(SIZES)))
    functions, tight, solver_s, tree_s, f_s, passed = [], [], 0.0, 0.0, 0.0, []
    gaps: dict[float, list[tuple[float, float]]] = {size: [] for size in SIZES}
    few: dict[float, list[tuple[float, float]]] = {size: [] for size in SIZES}
    for home in homes:
        began = time.perf_counter()
        try:
            function = grow(home)
        except TreeLimitError:
            continue
        tree_s += time.perf_counter() - began
        functions.append(function)
        tight.append(exact(home) - at(function, home))
        passed += leaf_checks(function, home) + leaf_checks(function, perturbed(home, rng, SIZES[-2]))
        for size in SIZES:
            others = [perturbed(home, rng, size) for _ in range(each)]
            values = all_values(others)
            parts = [np.stack([getattr(other, name) for other in others]) for name in ("c", "A", "b")]
            began = time.perf_counter()
            bounds = function(*parts)
            f_s += (time.perf_counter() - began) / each
            began = time.perf_counter()
            exact(others[0])
            solver_s += time.perf_counter() - began
            gaps[size] += list(zip(values, bounds.tolist()))
            few[size] += [
                (relative(v, at(sharpen(function, other), other)), relative(v, relaxed(other)))
                for v, other in list(zip(values, others))[:SHARPENED]
            ]
    if not functions:
        raise SystemExit(f"no tree of {kind} is within the limit")
    leaves = sorted(function.leaves for function in functions)
    record.add(
        {
            "kind": kind,
            "programs": programs,
            "columns": homes[0].c.size,
            "rows": homes[0].b.size,
            "over the limit": programs - len(functions),
            "leaves": f"{leaves[0]} to {leaves[-1]}",
            "kB": max(function.nbytes for function in functions) / 1000,
            "solver s": solver_s / len(functions) / len(SIZES),
            "tree s": tree_s / len(functions),
            "F, share of solver's time": f_s / solver_s,
            "worst z - F at home": max(tight),
            "leaf checks": len(passed),
            "passed %": 100 * float(np.mean(passed)),
            "gaps": [
                {
                    "kind": kind,
                    "size %": 100 * size,
                    "perturbations": len(gaps[size]),
                    "valid %": 100 * float(np.mean([bound <= value for value, bound in gaps[size]])),
                    "z - F %": float(np.mean([relative(*pair) for pair in gaps[size]])),
                    "z - leaves, LP %": float(np.mean([pair[0] for pair in few[size]])),
                    "z - LP %": float(np.mean([pair[1] for pair in few[size]])),
                }
                for size in SIZES
            ],
        }
    )


def main() -> None:
    made = command_line(__doc__)
    made.add_argument("--kinds", default=";".join(KINDS), help="separated by semicolons")
    made.add_argument("--programs", type=int, default=3, help="of each kind, with a tree each")
    made.add_argument("--perturbations", type=int, default=10_000, help="of each kind")
    made.add_argument("--quick", action="store_true", help="the small kinds, one program each, 10 perturbations a size")
    arguments = made.parse_args()
    kinds = list(SMALL) if arguments.quick else arguments.kinds.split(";")
    programs, perturbations = (1, 10 * len(SIZES)) if arguments.quick else (arguments.programs, arguments.perturbations)
    record = Record.begin(arguments, ["kind"], {})
    for kind in kinds:
        study(kind, programs, perturbations, record)
    print(table(HEAD, [[shown(row[name]) for name in HEAD] for row in record.rows]) + "\n")
    print(table(GAPS, [[shown(gap[name]) for name in GAPS] for row in record.rows for gap in row["gaps"]]))


def shown(value: float | int | str) -> str:
    """Return a cell."""
    return str(value) if isinstance(value, (int, str)) else number(value, ".3g")


if __name__ == "__main__":
    main()
