"""What each ingredient is worth: one at a time taken out of the default, and the paper's own recipe, with one solver.

Usage: python benchmarks/ablation.py [--proxies case57-raw,case118-raw] [--u 1,5,20] [--time-limit 300] [--workers 1]
       [--variants default,...] [--solver highs] [--json FILE] [--resume]

A time-out counts as the time limit in a geometric mean, so a mean with time-outs is a lower bound of the true one and
is marked with ">=". Instances that the default does not close are left out of the means.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from record import Record, load_shipped, number, ratio, table
from record import parser as shared_parser

from proxies.load import LoadedProxy
from verifier.attack import AttackOptions
from verifier.options import VerifyOptions
from verifier.result import Termination
from verifier.verify import verify

TOLERANCE = 0.01
DEFAULT = "default"
PAPER = "paper's recipe"
# Two certified intervals of one instance must meet, to this share: the solvers' own tolerances.
AGREEMENT = 1e-6
Row = dict[str, Any]


# Variant: what is changed. The paper's recipe has interval bounds, one round of LP tightening, clamps of two ReLUs, and
# one MILP that begins with the attack's witness; branches that no input can overload are left out of it as of ours.
VARIANTS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "interval bounds": {"bounds": "interval"},
    "alpha-CROWN bounds": {"bounds": "alpha"},
    "no LP tightening": {"rounds": 0},
    "no cutoff": {"use_cutoff": False},
    "no cutoff but a start": {"use_cutoff": False, "use_start": True},
    "paper's clamp and hypersimplex": {"style": "paper"},
    "one MILP": {"split": False},
    "no attack": {"attack": AttackOptions(rounds=0)},
    PAPER: {
        "bounds": "interval",
        "rounds": 1,
        "style": "paper",
        "split": False,
        "use_cutoff": False,
        "use_start": True,
    },
}


def measure(loaded: LoadedProxy, u: int, variant: str, options: VerifyOptions) -> Row:
    """Verify one proxy at one u with one variant of the options."""
    chosen = replace(options, **VARIANTS[variant])
    result = verify(loaded.proxy, loaded.problem, loaded.problem.domain(u / 100), chosen)
    return {
        "lower": result.lower,
        "upper": result.upper,
        "seconds": result.seconds["total"],
        "closed": result.termination is Termination.OPTIMAL,
        "termination": result.termination.value,
        "parts": result.parts,
        "lps": result.lps,
        "nodes": result.nodes,
        "solved_by": result.solver,
        "notes": list(result.notes),
    }


def contradictions(rows: list[Row]) -> list[str]:
    """Return a sentence for every instance of which two variants certified intervals that do not meet."""
    found = []
    for proxy, u in _instances(rows):
        known = [row for row in rows if (row["proxy"], row["u"]) == (proxy, u)]
        lower = max(known, key=lambda row: row["lower"])
        upper = min(known, key=lambda row: np.inf if row["upper"] is None else row["upper"])
        if upper["upper"] is not None and lower["lower"] > upper["upper"] * (1 + AGREEMENT):
            found.append(
                f"CONTRADICTION at {proxy}, u = {u} %: '{lower['variant']}' attained {lower['lower']:.8g}, "
                f"'{upper['variant']}' certified {upper['upper']:.8g}"
            )
    return found


def means(rows: list[Row]) -> list[tuple[str, float, int, int]]:
    """Return (variant, geometric mean of its time over the default's, instances, time-outs) for every variant."""
    base = {(row["proxy"], row["u"]): row for row in rows if row["variant"] == DEFAULT and row["closed"]}
    found = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        mine = [row for row in rows if row["variant"] == variant]
        pairs = [(row, base[row["proxy"], row["u"]]) for row in mine if (row["proxy"], row["u"]) in base]
        if pairs:
            logs = [np.log(_counted(row) / _counted(first)) for row, first in pairs]
            late = sum(not row["closed"] for row, _ in pairs)
            found.append((variant, float(np.exp(np.mean(logs))), len(pairs), late))
    return found


def _counted(row: Row) -> float:
    """Return the seconds that count: the limit itself where it did not close, however it ended."""
    return float(row["seconds"] if row["closed"] else max(row["seconds"], row["time_limit"]))


def _instances(rows: list[Row]) -> list[tuple[str, int]]:
    return list(dict.fromkeys((row["proxy"], row["u"]) for row in rows))


def line(row: Row, base: Row | None) -> list[Any]:
    """Return the cells of one row, beside the default's row of the same instance."""
    cells = [row["proxy"], row["u"], row["variant"]]
    end = "" if row["closed"] else (" *" if row["termination"] == "time_limit" else f" ({row['termination']})")
    times = "-"
    if base is not None and base["closed"]:
        times = f"{'' if row['closed'] else '>= '}{_counted(row) / base['seconds']:.2f}"
    bounds = [number(row["lower"]), number(row["upper"]), number(ratio(row["upper"], row["lower"]), ".3f")]
    return [*cells, f"{row['seconds']:.1f}{end}", times, *bounds, row["parts"], row["lps"], row["nodes"]]


def show(rows: list[Row]) -> str:
    """Return the rows, the means and any contradiction as Markdown."""
    head = ["proxy", "u %", "variant", "s", "time / default", "lower $/h", "upper $/h", "upper/lower"]
    base = {(row["proxy"], row["u"]): row for row in rows if row["variant"] == DEFAULT}
    lines = [line(row, base.get((row["proxy"], row["u"]))) for row in rows]
    of_means = [
        [variant, f"{'>= ' if late else ''}{mean:.2f}", count, late] for variant, mean, count, late in means(rows)
    ]
    parts = [
        table([*head, "parts", "LPs", "nodes"], lines),
        "`*`: stopped at the time limit. Time / default: how many times slower than the default.",
        table(["variant", "geometric mean of time / default", "instances", "of them not closed"], of_means),
        "What did not close counts as the time limit: `>=`. Instances that the default did not close are left out.",
    ]
    met = f"The certified intervals of each of the {len(_instances(rows))} instances meet, whichever the variant."
    return "\n\n".join([*parts, *(contradictions(rows) or [met])])


def run(arguments: argparse.Namespace) -> list[Row]:
    """Measure every variant of every instance that is not yet in the file, and return all rows."""
    facts = {"tolerance": TOLERANCE, "seed": VerifyOptions().seed, "variants": {k: str(v) for k, v in VARIANTS.items()}}
    record = Record.begin(arguments, ["proxy", "u", "variant"], facts)
    options = VerifyOptions(
        tolerance=TOLERANCE,
        time_limit=arguments.time_limit,
        workers=arguments.workers,
        solver=arguments.solver,
    )
    limits = {name: getattr(arguments, name) for name in ("time_limit", "workers", "solver")}
    for name in arguments.proxies.split(","):
        loaded = load_shipped(name)
        for u in map(int, arguments.u.split(",")):
            for variant in arguments.variants.split(","):
                key = {"proxy": name, "u": u, "variant": variant, **limits}
                row = record.find(**key)
                if row is None:
                    row = record.add({**key, **measure(loaded, u, variant, options)})
                base = record.find(**{**key, "variant": DEFAULT})
                print(" | ".join(map(str, line(row, base))), flush=True)
    return record.rows


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = shared_parser(__doc__, "case57-raw,case118-raw", "1,5,20", 300.0)
    made.add_argument("--variants", default=",".join(VARIANTS))
    made.add_argument("--workers", type=int, default=1)
    made.add_argument("--solver", default="highs")
    return made


def main() -> None:
    """Run the benchmark from the command line."""
    arguments = parser().parse_args()
    unknown = sorted(set(arguments.variants.split(",")) - set(VARIANTS))
    if unknown:
        raise SystemExit(f"no variant is called {', '.join(unknown)}; known are: {', '.join(VARIANTS)}")
    torch.set_num_threads(1)
    print(show(run(arguments)))


if __name__ == "__main__":
    main()
