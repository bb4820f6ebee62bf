"""What further instances give a dual function: its gap at fresh programs after multipliers, or splits, at others.

python -m benchmarks.bnn.dual_instances --json benchmarks/bnn/dual_instances.json [--size 0.03] [--quick] [--resume]

A tree is grown for one program of each kind; then F is sharpened (more multipliers at the same leaves) or tightened
(further splits too) at 1, 4, 16, 64 perturbed programs in all. Gaps z - F are means over fresh perturbed programs, in
percent of max(1, |value|).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.bnn.dual_function import all_values, relative
from benchmarks.bnn.mip_programs import KINDS, SMALL, perturbed
from benchmarks.record import Record, command_line, number, table
from solvers.dual_function import DualFunction
from solvers.dual_tree import grow, sharpen, tighten
from solvers.elastic_program import ElasticProgram

COUNTS = (0, 1, 4, 16, 64)
FRESH = 100
HEAD = ["kind", "way", *(f"z - F % after {count}" for count in COUNTS), "leaves", "multipliers", "kB"]
WAYS: dict[str, Callable[[DualFunction, ElasticProgram], DualFunction]] = {"sharpen": sharpen, "tighten": tighten}


def study(kind: str, way: str, size: float, counts: tuple[int, ...]) -> dict[str, object]:
    """Return one row of the table."""
    rng = np.random.default_rng(0)
    home = KINDS[kind](rng)
    fresh = [perturbed(home, rng, size) for _ in range(FRESH)]
    values = all_values(fresh)
    parts = [np.stack([getattr(one, name) for one in fresh]) for name in ("c", "A", "b")]
    function, seen, gaps = grow(home), 0, {}
    for count in counts:
        for _ in range(count - seen):
            function = WAYS[way](function, perturbed(home, rng, size))
        seen = count
        bounds = function(*parts)
        gaps[f"z - F % after {count}"] = float(np.mean([relative(v, bound) for v, bound in zip(values, bounds)]))
    sizes = {"leaves": function.leaves, "multipliers": len(function.multipliers), "kB": function.nbytes / 1000}
    return {"kind": kind, "way": way, "size": size, **gaps, **sizes}


def main() -> None:
    made = command_line(__doc__)
    made.add_argument("--kinds", default=";".join(SMALL), help="separated by semicolons")
    made.add_argument("--size", type=float, default=0.03, help="relative, of the perturbations")
    made.add_argument("--quick", action="store_true", help="one kind, four instances")
    arguments = made.parse_args()
    kinds, counts = (SMALL[:1], COUNTS[:3]) if arguments.quick else (arguments.kinds.split(";"), COUNTS)
    record = Record.begin(arguments, ["kind", "way", "size"], {})
    for kind in kinds:
        for way in WAYS:
            record.add(study(kind, way, arguments.size, counts))
    cells = ([row.get(name, "-") for name in HEAD] for row in record.rows)
    print(table(HEAD, [[v if isinstance(v, (int, str)) else number(v, ".3g") for v in row] for row in cells]))


if __name__ == "__main__":
    main()
