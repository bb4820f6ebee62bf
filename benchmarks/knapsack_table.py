"""Worst-case gaps of the shipped knapsack proxies beside the paper's Table 6.

Usage: python benchmarks/knapsack_table.py [--proxies 10,50,80,...] [--u 1,5,10,20] [--styles threshold,paper]
       [--solvers highs,gurobi] [--time-limit 300] [--workers 2] [--quick] [--json FILE] [--resume]

`--quick` takes the proxies of 10 and 50 items at u = 1 and 20 %, HiGHS, the threshold style, with 60 s each. `--resume`
keeps the rows that the JSON has with the same limits. The paper's style has n^2 binaries, and is left out above 80
items.
"""

from __future__ import annotations

import argparse
from itertools import product

import published
import torch
from dcopf_tables import Row, measure, seconds
from record import Record, load_shipped, number, ratio, shipped_names, table
from record import parser as shared_parser

from encoding.layers import Style
from proxies.load import LoadedProxy
from solvers.errors import SolverUnavailableError
from verifier.options import VerifyOptions

TOLERANCE = 0.01
# The largest instance whose permutation matrix is tried.
LARGEST_PAPER = 80
# The engine's name of each style; "sign" is its word for ours, whatever the repair layer.
STYLES: dict[str, Style] = {"threshold": "sign", "paper": "paper"}
HEAD = ["proxy", "u %", "style", "solver", "lower", "upper", "upper/lower", "worst case %", "bound gap %", "s", "end"]
PAPER_HEAD = ["parts", "nodes", "paper: bound gap %", "s", "paper / ours"]


def items_of(name: str) -> int:
    """Return the number of items in a proxy's name: 80 of "80-free"."""
    return int(name.split("-")[0])


def line(row: Row) -> list[object]:
    """Return the cells of one row."""
    paper = published.KNAPSACK.get((str(items_of(row["proxy"])), row["u"]))
    head = [row["proxy"], row["u"], row["style"], row["asked"]]
    if "refused" in row:
        cells: list[object] = [*head, *["-"] * 5, "-", "not available", "-", "-"]
    else:
        share = ratio(row["upper"], row["lower"])
        cells = [*head, number(row["lower"], ",.2f"), number(row["upper"], ",.2f"), number(share, ".3f")]
        cells += [number(None if row["relative"] is None else 100 * row["relative"], ".2f")]
        cells += [number(100 * (share - 1), ".1f"), seconds(row), row["termination"], row["parts"], row["nodes"]]
    if paper is None:
        return [*cells, "-", "-", "-"]
    closed = row.get("closed") and paper.seconds is not None
    times = f"{paper.seconds / row['seconds']:.2f}" if closed else "-"
    return [*cells, f"{paper.gap:.1f}", "t.o." if paper.seconds is None else paper.seconds, times]


def show(rows: list[Row]) -> str:
    """Return the table, what contradicts itself in it, and its legend, as Markdown."""
    legend = (
        "`lower`, `upper`: in units of item value. `bound gap`: upper over lower, less one; the paper's is its "
        f"solver's after 6 hours, ours counts as closed below {100 * TOLERANCE:g} %. `*`: stopped at the time limit. "
        "`t.o.`: not within 6 hours (Gurobi 10, 16 threads; its instances and networks are not published). "
        "`paper / ours`: of seconds, where both closed."
    )
    notes = sorted({f"{row['asked']}: {row['refused']}" for row in rows if "refused" in row})
    notes += sorted({f"{row['proxy']}, {row['asked']}: solved by {row['solver']}" for row in rows if _fell_back(row)})
    return "\n\n".join(
        [table([*HEAD, *PAPER_HEAD], [line(row) for row in rows]), *contradictions(rows), *notes, legend]
    )


def _fell_back(row: Row) -> bool:
    return "refused" not in row and not row["solver"].lower().startswith(row["asked"])


def contradictions(rows: list[Row]) -> list[str]:
    """Return a sentence wherever one row attained more than another proved for the same inputs, or for more inputs."""
    found = []
    for one, other in product([row for row in rows if "refused" not in row], repeat=2):
        covered = one["proxy"] == other["proxy"] and one["u"] <= other["u"]
        # Null stands for an infinite upper bound.
        if covered and other["upper"] is not None and one["lower"] > other["upper"] * (1 + 1e-6):
            found.append(
                f"CONTRADICTION at {one['proxy']}: at u = {one['u']} % {one['style']} with {one['asked']} attained "
                f"{one['lower']:.6g}, at {other['u']} % {other['style']} with {other['asked']} proved "
                f"{other['upper']:.6g}"
            )
    return found


def attempt(loaded: LoadedProxy, u: int, options: VerifyOptions) -> Row:
    """Verify one proxy at one u; where the solver is not there, return why."""
    try:
        return measure(loaded, u, options)
    except SolverUnavailableError as error:
        return {"refused": str(error)}


def run(arguments: argparse.Namespace) -> list[Row]:
    """Measure every combination that is not yet in the file, and return all rows."""
    key_names = ["proxy", "u", "style", "asked"]
    record = Record.begin(arguments, key_names, {"tolerance": TOLERANCE, "seed": VerifyOptions().seed})
    styles, solvers = arguments.styles.split(","), arguments.solvers.split(",")
    shares = [int(u) for u in arguments.u.split(",")]
    for name in arguments.proxies.split(","):
        loaded = load_shipped(name, "knapsack")
        for style, solver, u in product(styles, solvers, shares):
            if style == "paper" and items_of(name) > LARGEST_PAPER:
                continue
            key = {"proxy": name, "u": u, "style": style, "asked": solver}
            limits = {"time_limit": arguments.time_limit, "workers": arguments.workers}
            if record.find(**key, **limits) is None:
                options = VerifyOptions(tolerance=TOLERANCE, style=STYLES[style], solver=solver, **limits)
                row = record.add({**key, **limits, **attempt(loaded, u, options)})
                print(table([], [line(row)]).splitlines()[-1], flush=True)
    return record.rows


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    names = sorted(shipped_names("knapsack"), key=lambda name: (items_of(name), name))
    made = shared_parser(__doc__, ",".join(names), "1,5,10,20", 300.0)
    made.add_argument("--styles", default=",".join(STYLES))
    made.add_argument("--solvers", default="highs,gurobi")
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--quick", action="store_true")
    return made


def main() -> None:
    """Run the benchmark from the command line."""
    arguments = parser().parse_args()
    if arguments.quick:
        arguments.proxies, arguments.u, arguments.time_limit = "10,50", "1,20", 60.0
        arguments.styles, arguments.solvers = "threshold", "highs"
    torch.set_num_threads(1)
    print(show(run(arguments)))


if __name__ == "__main__":
    main()
