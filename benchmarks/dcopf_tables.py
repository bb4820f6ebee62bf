"""Worst-case gaps of the shipped DC-OPF proxies beside the paper's Tables 2, 3, 4, 5 and 7.

Usage: python benchmarks/dcopf_tables.py [--proxies case57-raw,...] [--u 0,1,2,5,10,20] [--time-limit 600]
       [--workers 2] [--quick] [--milp-alone] [--warm-start] [--extra-limit 600] [--json FILE] [--resume]

`--quick` takes the 57- and 118-bus proxies at u = 1 and 20 % with 60 s each. `--milp-alone` adds one MILP without
attack and cutoff, and when it reaches the attack's objective. `--warm-start` adds one MILP that begins with the
attack's witness, and the same one that does not. `--resume` keeps the rows that the JSON has with the same limits.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import published
import torch
from record import Record, case_of, load_shipped, number, ratio, shipped_names, table
from record import parser as shared_parser

from proxies.load import LoadedProxy
from verifier.attack import AttackOptions
from verifier.options import VerifyOptions
from verifier.result import Result, Termination
from verifier.verify import verify

TOLERANCE = 0.01
# The MILP counts as having reached the attack's objective from this share of it on: solvers stop at 1e-6 of a row.
REACHED = 1 - 1e-6
# Two certified intervals of one instance must meet, to this share: the solvers' own tolerances.
AGREEMENT = 1e-6
BILEVEL = Path(__file__).parent / "compact_vs_bilevel.json"
Row = dict[str, Any]


def measure(loaded: LoadedProxy, u: int, options: VerifyOptions) -> Row:
    """Verify one proxy at one u and return what the tables need."""
    domain = loaded.problem.domain(u / 100)
    result = verify(loaded.proxy, loaded.problem, domain, options)
    # Before a small model a verification attacks only shortly: the attack's own figures are those of one that is alone.
    alone = verify(loaded.proxy, loaded.problem, domain, replace(options, most_parts=0))
    attacked = [event for event in alone.events if event.phase == "attack"]
    near = [event.seconds for event in attacked if event.lower >= 0.99 * result.lower]
    return {
        **_outcome(result),
        "relative": result.relative,
        "verdict": result.verdict.value,
        "phases": dict(result.seconds),
        "attack_lower": alone.lower,
        "attack_seconds": attacked[-1].seconds if attacked else None,
        "attack_near_seconds": near[0] if near else None,
        "parts": result.parts,
        "lps": result.lps,
        "nodes": result.nodes,
        "size_before": None if result.size_before is None else asdict(result.size_before),
        "size_after": None if result.size_after is None else asdict(result.size_after),
        "solver": result.solver,
        "witness": None if result.witness is None else result.witness.latent.tolist(),
        "notes": list(result.notes),
    }


def one_milp(options: VerifyOptions) -> VerifyOptions:
    """Return the options of the paper's way to search: one MILP, which no cutoff helps."""
    return replace(options, split=False, use_cutoff=False)


def milp_alone(loaded: LoadedProxy, u: int, options: VerifyOptions, goal: float) -> Row:
    """Solve one MILP that knows no attack; say when its own inputs reach the objective `goal` (the paper's T2PGA)."""
    alone = replace(one_milp(options), attack=AttackOptions(rounds=0))
    result = verify(loaded.proxy, loaded.problem, loaded.problem.domain(u / 100), alone)
    reached = [event.seconds for event in result.events if event.lower >= REACHED * goal]
    return {**_outcome(result), "goal": goal, "reach_seconds": reached[0] if reached else None}


def warm_start(loaded: LoadedProxy, u: int, options: VerifyOptions) -> Row:
    """Solve one MILP after the attack, with and without its witness as a start (the paper's Table 5)."""
    found = {}
    for name, use_start in (("without", False), ("with", True)):
        chosen = replace(one_milp(options), use_start=use_start)
        found[name] = _outcome(verify(loaded.proxy, loaded.problem, loaded.problem.domain(u / 100), chosen))
    return found


def _outcome(result: Result) -> Row:
    return {
        "lower": result.lower,
        "upper": result.upper,
        "seconds": result.seconds["total"],
        "closed": result.termination is Termination.OPTIMAL,
        "termination": result.termination.value,
    }


def show(rows: list[Row], bilevel: dict[published.Key, float]) -> str:
    """Return all tables as Markdown.

    Args:
        rows: as `run` makes them.
        bilevel: bilevel over compact time, by case and u, as `bilevel_ratios` reads it.
    """
    parts = [
        ("All rows", _all(rows)),
        ("Table 2: time to close", _times(rows, bilevel)),
        ("Table 3: where the paper did not close in 6 hours", _open(rows)),
        ("Tables 4 and 7: attack, and the MILP alone", _attacks(rows)),
        ("Table 5: the attack's witness as a start", _starts(rows)),
    ]
    legend = (
        "`*`: stopped at the time limit, which is no time to close. `t.o.`: not reached within the limit. "
        "`below`: closed within the tolerance, below the attack's objective. `-`: not run, or nothing to compare."
    )
    return "\n\n".join([*(f"### {title}\n\n{text}" for title, text in parts if text), legend, agreement(rows)])


def agreement(rows: list[Row]) -> str:
    """Return how many single MILPs closed on a certified interval, and a sentence for each pair that does not meet."""
    closed, apart = 0, []
    for row in rows:
        starts = row.get("warm_start") or {}
        ways = {"alone": row.get("milp_alone"), "no start": starts.get("without"), "start": starts.get("with")}
        for way, other in ways.items():
            if other is None or other["upper"] is None or row["upper"] is None:
                continue
            closed += other["closed"] and row["closed"]
            if max(row["lower"], other["lower"]) > min(row["upper"], other["upper"]) * (1 + AGREEMENT):
                apart.append(
                    f"CONTRADICTION at {row['proxy']}, u = {row['u']} %: the search has {row['lower']:.8g} to "
                    f"{row['upper']:.8g}, one MILP ({way}) {other['lower']:.8g} to {other['upper']:.8g}"
                )
    said = "\n\n".join(apart) or "no two intervals of an instance miss each other."
    return f"Search and single MILP both closed {closed} times; {said}"


def line(row: Row) -> list[str]:
    """Return the cells of one row of the first table."""
    return [
        row["proxy"],
        row["u"],
        number(row["lower"]),
        number(row["upper"]),
        number(ratio(row["upper"], row["lower"]), ".3f"),
        number(None if row["relative"] is None else 100 * row["relative"], ".1f"),
        seconds(row),
        row["termination"],
        row["parts"],
        row["lps"],
        row["nodes"],
    ]


def _all(rows: list[Row]) -> str:
    head = [
        "proxy",
        "u %",
        "lower $/h",
        "upper $/h",
        "upper/lower",
        "worst case %",
        "s",
        "end",
        "parts",
        "LPs",
        "nodes",
    ]
    return table(head, [line(row) for row in rows])


def _times(rows: list[Row], bilevel: dict[published.Key, float]) -> str:
    head = ["proxy", "u %", "s", "paper compact s", "paper / ours", "paper bilevel s", "paper speed-up of compact %"]
    lines = []
    for row, key in _keyed(rows, published.SECONDS):
        of_bilevel, of_compact = published.SECONDS[key]
        times = f"{of_compact / row['seconds']:.2f}" if row["closed"] else "-"
        # Compact against bilevel was measured on the proxies of kind "raw".
        ours = bilevel.get(key) if row["proxy"].endswith("-raw") else None
        cells = [row["proxy"], row["u"], seconds(row), of_compact, times, of_bilevel, published.SPEEDUP[key]]
        lines.append([*cells, "-" if ours is None else f"{100 * (ours - 1):.1f}"])
    return table([*head, "our speed-up of compact %"], lines) if lines else ""


def _open(rows: list[Row]) -> str:
    head = ["proxy", "u %", "s", "lower k$/h", "upper k$/h", "upper/lower"]
    head += ["paper compact: primal k$", "dual k$", "dual/primal", "paper bilevel: primal k$", "dual k$"]
    lines = []
    for row, key in _keyed(rows, published.OPEN):
        paper = published.OPEN[key]
        ours = [_thousands(row["lower"]), _thousands(row["upper"]), number(ratio(row["upper"], row["lower"]), ".3f")]
        compact = [paper.compact_primal, 1000 * paper.compact_dual]
        lines.append(
            [row["proxy"], row["u"], seconds(row), *ours]
            + [f"{value:,.1f}" for value in compact]
            + [f"{compact[1] / compact[0]:.1f}", f"{paper.bilevel_primal:,.1f}", f"{1000 * paper.bilevel_dual:,.1f}"]
        )
    return table(head, lines) if lines else ""


def _attacks(rows: list[Row]) -> str:
    head = ["proxy", "u %", "attack $/h", "share of lower", "s", "s to 99 %", "certified s"]
    head += ["MILP alone $/h", "s", "s to the attack's"]
    head += ["paper PGA $/h", "s", "paper compact $/h", "s", "T2PGA s"]
    lines = []
    for row, key in _keyed(rows, published.ATTACK):
        share = f"{100 * row['attack_lower'] / row['lower']:.2f} %" if row["lower"] else "-"
        ours = [number(row["attack_lower"]), share, number(row["attack_seconds"], ".1f")]
        ours += [number(row["attack_near_seconds"], ".1f"), seconds(row)]
        alone = row.get("milp_alone")
        if alone is None:
            ours += ["-"] * 3
        else:
            below = alone["closed"] and alone["reach_seconds"] is None
            ours += [number(alone["lower"]), seconds(alone), "below" if below else _reached(alone["reach_seconds"])]
        paper = published.ATTACK[key]
        theirs = [number(paper.pga, ",.2f"), paper.pga_seconds, number(paper.compact, ",.2f")]
        theirs += [_reached(paper.compact_seconds), _reached(paper.reach_seconds)]
        lines.append([row["proxy"], row["u"], *ours, *theirs])
    return table(head, lines) if lines else ""


def _starts(rows: list[Row]) -> str:
    head = ["proxy", "u %", "attack $/h", "MILP alone $/h", "no start: lower $/h", "upper $/h", "s"]
    head += [
        "start: lower $/h",
        "upper $/h",
        "s",
        "time ratio",
        "paper PGA $/h",
        "paper nominal $/h",
        "paper start $/h",
    ]
    lines = []
    for row in rows:
        found = row.get("warm_start")
        if found is None:
            continue
        paper = published.START.get((case_of(row["proxy"]), row["u"]))
        theirs = ["-"] * 3 if paper is None else [number(value, ",.2f") for value in paper]
        alone = number((row.get("milp_alone") or {}).get("lower"))
        cells = [row["proxy"], row["u"], number(row["attack_lower"]), alone]
        both = [found["without"], found["with"]]
        for part in both:
            cells += [number(part["lower"]), number(part["upper"]), seconds(part)]
        times = f"{both[0]['seconds'] / both[1]['seconds']:.2f}" if all(part["closed"] for part in both) else "-"
        lines.append([*cells, times, *theirs])
    return table(head, lines) if lines else ""


def _keyed(rows: list[Row], figures: dict[published.Key, Any]) -> Iterable[tuple[Row, published.Key]]:
    keyed = [(row, (case_of(row["proxy"]), row["u"])) for row in rows]
    return [(row, key) for row, key in keyed if key in figures]


def seconds(row: Row) -> str:
    """Return the time of an outcome, starred where it did not close; an end that is neither is named."""
    if row["closed"]:
        return f"{row['seconds']:.1f}"
    star = "*" if row["termination"] == Termination.TIME_LIMIT.value else f"({row['termination']})"
    return f"{row['seconds']:.1f} {star}"


def _reached(value: float | None) -> str:
    return "t.o." if value is None else f"{value:.1f}"


def _thousands(value: float | None) -> str:
    return number(None if value is None else value / 1000, ",.1f")


def bilevel_ratios(path: Path = BILEVEL, solver: str = "highs") -> dict[published.Key, float]:
    """Return bilevel over compact time from the JSON of compact_vs_bilevel.py, where both closed."""
    if not path.is_file():
        return {}
    times: dict[tuple[str, int, str], float] = {}
    for row in json.loads(path.read_text())["rows"]:
        if row["solver"] == solver and row["status"] == "optimal":
            times[str(row["case"]), row["u"], row["formulation"]] = row["seconds"]
    keys = {(case, u) for case, u, _ in times}
    both = [key for key in keys if (*key, "bilevel") in times and (*key, "compact") in times]
    return {key: times[(*key, "bilevel")] / times[(*key, "compact")] for key in both}


def run(arguments: argparse.Namespace) -> list[Row]:
    """Measure every proxy at every u that is not yet in the file, and return all rows."""
    record = Record.begin(arguments, ["proxy", "u"], {"tolerance": TOLERANCE, "seed": VerifyOptions().seed})
    options = VerifyOptions(tolerance=TOLERANCE, time_limit=arguments.time_limit, workers=arguments.workers)
    extra = replace(options, time_limit=arguments.extra_limit)
    for name in arguments.proxies.split(","):
        loaded = load_shipped(name)
        for u in map(int, arguments.u.split(",")):
            key = {"proxy": name, "u": u, "time_limit": arguments.time_limit, "workers": arguments.workers}
            row = record.find(**key)
            if row is None:
                row = record.add({**key, **measure(loaded, u, options)})
                print(table([], [line(row)]).splitlines()[-1], flush=True)
            if arguments.milp_alone and _wants(row, "milp_alone", arguments.extra_limit):
                found = milp_alone(loaded, u, extra, row["attack_lower"])
                row = record.add({**row, "milp_alone": found, "milp_alone_limit": arguments.extra_limit})
            if arguments.warm_start and _wants(row, "warm_start", arguments.extra_limit):
                found = warm_start(loaded, u, extra)
                row = record.add({**row, "warm_start": found, "warm_start_limit": arguments.extra_limit})
    return record.rows


def _wants(row: Row, name: str, limit: float) -> bool:
    """Return whether an extra column is missing, or was measured with another limit."""
    return name not in row or row[f"{name}_limit"] != limit


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = shared_parser(__doc__, ",".join(shipped_names()), "0,1,2,5,10,20", 600.0)
    made.add_argument("--extra-limit", type=float, default=600.0, help="seconds of each extra MILP")
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--quick", action="store_true")
    made.add_argument("--milp-alone", action="store_true")
    made.add_argument("--warm-start", action="store_true")
    return made


def main() -> None:
    """Run the benchmark from the command line."""
    arguments = parser().parse_args()
    if arguments.quick:
        arguments.u, arguments.time_limit, arguments.extra_limit = "1,20", 60.0, 60.0
        arguments.proxies = ",".join(name for name in shipped_names() if name.startswith(("case57-", "case118-")))
    torch.set_num_threads(1)
    print(show(run(arguments), bilevel_ratios()))


if __name__ == "__main__":
    main()
