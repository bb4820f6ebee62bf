"""Gomory-Chvatal functions of small covering programs: how often the cuts close the gap, and the bound elsewhere.

python -m benchmarks.bnn.chvatal --json benchmarks/bnn/chvatal.json [--programs 20] [--quick] [--resume]

min c'x, A x >= b, x >= 0 integer, with A uniform in 0 to 9, b in 10 to 40, c in 5 to 30. Closed: F(b) equals the value.
Other right sides: 20 uniform ones for each program, between 0 and 40; F as a share of the value there, and valid where
F is not above it. LP: the same share for the relaxation.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.record import Record, command_line, number, table
from solvers.chvatal import ChvatalFunction, chvatal_function
from solvers.elastic_program import ElasticProgram
from solvers.highs import HighsSession

SHAPES = ((3, 4), (4, 6), (5, 8), (6, 12))
OTHERS, LARGEST = 20, 40
HEAD = [
    "rows",
    "columns",
    "programs",
    "closed",
    "steps",
    "seconds",
    "right sides",
    "valid %",
    "F / value %",
    "LP / value %",
]


def value_of(c: np.ndarray, A: np.ndarray, b: np.ndarray, whole: bool = True) -> float:
    """Return the value, or that of the relaxation; a whole number in the first case, as costs are."""
    m, n = A.shape
    free = np.zeros(n), np.full(n, float(LARGEST)), np.full(n, whole)
    program = ElasticProgram(c, A, b, *free, np.full(m, np.inf), np.zeros(m, dtype=bool))
    with HighsSession(program.model()) as session:
        found = session.solve(mip_gap=0.0).objective
    return round(found) if whole else found


def study(rows: int, columns: int, programs: int) -> dict[str, float | int | str]:
    """Return one row of the table."""
    rng = np.random.default_rng(0)
    closed, steps, seconds, shares, relaxed, valid = 0, [], 0.0, [], [], []
    for _ in range(programs):
        A = rng.integers(0, 10, (rows, columns)).astype(float)
        A[np.arange(rows), rng.integers(columns, size=rows)] += 1
        b, c = rng.integers(10, LARGEST + 1, rows).astype(float), rng.integers(5, 31, columns).astype(float)
        began = time.perf_counter()
        function: ChvatalFunction = chvatal_function(c, A, b)
        seconds += time.perf_counter() - began
        closed += bool(function(b[None])[0] >= value_of(c, A, b) - 1e-6)
        steps.append(len(function.steps))
        others = rng.integers(0, LARGEST + 1, (OTHERS, rows)).astype(float)
        for side, bound in zip(others, function(others)):
            value = value_of(c, A, side)
            valid.append(bound <= value)
            if value > 0:
                shares.append(bound / value)
                relaxed.append(value_of(c, A, side, whole=False) / value)
    return {
        "rows": rows,
        "columns": columns,
        "programs": programs,
        "closed": closed,
        "steps": f"{min(steps)} to {max(steps)}",
        "seconds": seconds / programs,
        "right sides": len(valid),
        "valid %": 100 * float(np.mean(valid)),
        "F / value %": 100 * float(np.mean(shares)),
        "LP / value %": 100 * float(np.mean(relaxed)),
    }


def main() -> None:
    made = command_line(__doc__)
    made.add_argument("--programs", type=int, default=20, help="of each shape")
    made.add_argument("--quick", action="store_true", help="the smallest shape, 5 programs")
    arguments = made.parse_args()
    shapes, programs = (SHAPES[:1], 5) if arguments.quick else (SHAPES, arguments.programs)
    record = Record.begin(arguments, ["rows", "columns"], {})
    for rows, columns in shapes:
        record.add(study(rows, columns, programs))
    cells = ([row[name] for name in HEAD] for row in record.rows)
    print(table(HEAD, [[v if isinstance(v, (int, str)) else number(v, ".3g") for v in row] for row in cells]))


if __name__ == "__main__":
    main()
