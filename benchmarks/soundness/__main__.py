"""Verifies random small instances by the thousand and counts what independent means say is wrong with the answers.

Usage: python -m benchmarks.soundness [--instances 100000] [--start 0] [--processes 2] [--resume]
       [--rows soundness-rows.jsonl] [--json benchmarks/soundness.json]

Every instance has a seed. Answers are appended to the file of rows as they come, one a line; with `--resume` the seeds
in it are not asked again. The JSON file holds the counts, and every violation with its seed: a violation is a gap above
the upper bound, a witness that does not replay, a verdict that its bounds contradict, a crash, a time limit passed.
The exit code is 1 where there is one. Look at one with: python -m benchmarks.soundness --seed SEED
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import commit, plain, table
from benchmarks.soundness.instances import EDITION
from benchmarks.soundness.run import Row, row_of, rows
from verifier.certificate import versions

OUTCOMES = ("certified", "falsified", "bounded", "unknown", "refused", "failed")


def counts(found: Sequence[Row]) -> Row:
    """Return the counts of some rows: outcomes, violations by kind, the largest excess, seconds."""
    outcomes = Counter(row["outcome"] for row in found)
    kinds = Counter(kind for row in found for kind in {violation["kind"] for violation in row["violations"]})
    over = [v["excess"] for row in found for v in row["violations"] if v["kind"].startswith("upper exceeded")]
    return {
        "instances": len(found),
        **{outcome: outcomes[outcome] for outcome in OUTCOMES},
        "asks for a report": sum(bool(row.get("reports")) for row in found),
        "time limit": sum(row.get("termination") == "time_limit" for row in found),
        "violations": dict(sorted(kinds.items())),
        "largest excess": max(over, default=0.0),
        "seconds": sum(row.get("elapsed") or 0.0 for row in found),
    }


def summary(found: Sequence[Row]) -> Row:
    """Return the counts of all rows, by family, by option and by trait, and every violation with its seed."""
    families = sorted({row.get("family") or "-" for row in found})
    options = sorted({pair for row in found for pair in (row.get("asked") or {}).items()})
    traits = sorted({trait for row in found for trait in row.get("traits") or ()})
    return {
        "all": counts(found),
        "families": {name: counts([row for row in found if (row.get("family") or "-") == name]) for name in families},
        "options": {
            f"{name} {value}": counts([row for row in found if (row.get("asked") or {}).get(name) == value])
            for name, value in options
        },
        "traits": {name: counts([row for row in found if name in (row.get("traits") or ())]) for name in traits},
        "refusals": dict(Counter(_words(row["refusal"]) for row in found if row.get("refusal")).most_common()),
        "violations": [
            {"seed": row["seed"], **violation, "instance": row.get("description", "")}
            for row in sorted(found, key=lambda row: row["seed"])
            for violation in row["violations"]
        ],
        "reports": [
            {"seed": row["seed"], "notes": row["reports"], "instance": row.get("description", "")}
            for row in sorted(found, key=lambda row: row["seed"])
            if row.get("reports")
        ],
    }


def _words(text: str) -> str:
    """Return a message without its numbers, so that alike ones count together."""
    return " ".join("#" if any(c.isdigit() for c in word) else word for word in text.split())


def show(told: Row) -> str:
    """Return the tables: by family and option, and the kinds of violations with their first seeds."""
    head = ["", "instances", *OUTCOMES, "time limit", "report", "violations", "largest excess", "s each"]
    lines = []
    for name, one in [
        ("all", told["all"]),
        *told["families"].items(),
        *told["options"].items(),
        *told["traits"].items(),
    ]:
        violations, each = sum(one["violations"].values()), one["seconds"] / max(1, one["instances"])
        lines.append(
            [name, one["instances"], *(one[outcome] for outcome in OUTCOMES), one["time limit"]]
            + [one["asks for a report"], violations, f"{one['largest excess']:.1e}", f"{each:.2f}"]
        )
    kinds: dict[str, list[int]] = {}
    for violation in told["violations"]:
        kinds.setdefault(violation["kind"], []).append(violation["seed"])
    seeds = [[kind, len(set(found)), ", ".join(map(str, sorted(set(found))[:12]))] for kind, found in kinds.items()]
    parts = [table(head, lines), table(["violation", "instances", "seeds"], seeds)]
    parts.append(table(["refused", "times"], list(told["refusals"].items())))
    return "\n\n".join(parts)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file, without a last line that an interruption cut off."""
    found: dict[int, Row] = {}
    if path.is_file():
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[row["seed"]] = row
    return list(found.values())


def write_summary(path: Path, arguments: argparse.Namespace, told: Row) -> None:
    """Write the JSON file anew."""
    head = {
        "command": {"instances": arguments.instances, "start": arguments.start, "edition": EDITION},
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": versions(),
        "commit": commit(),
    }
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(plain({**head, **told}), indent=1, allow_nan=False) + "\n")
    beside.replace(path)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=Path, default=Path("soundness-rows.jsonl"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args(given)
    if arguments.seed is not None:
        print(json.dumps(row_of(arguments.seed), indent=1))
        return 0
    found = read_rows(arguments.rows) if arguments.resume else []
    wanted = range(arguments.start, arguments.start + arguments.instances)
    found = [row for row in found if row["seed"] in wanted]
    known = {row["seed"] for row in found}
    began, told_at = time.monotonic(), time.monotonic()
    with arguments.rows.open("a" if arguments.resume else "w") as file:
        for row in rows((seed for seed in wanted if seed not in known), arguments.processes):
            found.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            if time.monotonic() - told_at > 10:
                told_at = time.monotonic()
                wrong = sum(bool(one["violations"]) for one in found)
                print(f"{told_at - began:.0f} s: {len(found)} of {len(wanted)}, {wrong} wrong", flush=True)
    told = summary(found)
    print(show(told))
    if arguments.json is not None:
        write_summary(arguments.json, arguments, told)
    return int(bool(told["violations"]))


if __name__ == "__main__":
    sys.exit(main())
