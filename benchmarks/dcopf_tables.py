"""Worst-case gaps of the shipped DC-OPF proxies beside the paper's Tables 2, 3, 4 and 7.

Usage: python benchmarks/dcopf_tables.py [--proxies case57-raw,...] [--u 0,1,2,5,10,20] [--time-limit 600]
       [--workers 2] [--quick] [--json FILE]

`--quick` takes the 57- and 118-bus proxies at u = 1 and 20 % with 60 s each. The paper's networks are not published, so
its objectives are those of other networks; its times are Gurobi's on 16 threads.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from proxies.load import load_proxy
from verifier.certificate import versions
from verifier.options import VerifyOptions
from verifier.verify import verify

FOLDER = Path(__file__).parent / "proxies"
TOLERANCE = 0.01
# Chen et al. 2024, Tables 2, 4 and 7: seconds of the compact formulation and of PGA-VFA; None: not closed in 6 hours.
PUBLISHED: dict[str, dict[int, tuple[float | None, float]]] = {
    "57": {0: (0.3, 2.17), 1: (0.6, 1.44), 2: (0.5, 4.31), 5: (1.1, 3.35), 10: (1.2, 2.28), 20: (0.5, 5.59)},
    "118": {0: (1.2, 1.43), 1: (2.1, 6.96), 2: (3.1, 7.61), 5: (12.1, 4.44), 10: (14.1, 6.26), 20: (59.4, 9.04)},
    "300": {0: (63.4, 4.5), 1: (166.0, 7.1), 2: (420.8, 37.3), 5: (10507.9, 49.3), 10: (None, 41.4), 20: (None, 17.9)},
    "1354": {0: (None, 67.3), 1: (None, 63.5), 2: (None, 42.0), 5: (None, 31.9), 10: (None, 85.9), 20: (None, 76.4)},
}
# Table 3 and Table 4: upper over lower bound of the compact formulation after 6 hours, where it did not close.
PUBLISHED_RATIO = {
    "300": {10: 6.4, 20: 15.9},
    "1354": {0: 72.2, 1: 96.8, 2: 122, 5: 200, 10: 368, 20: 655},
}


def measure(name: str, u: int, time_limit: float, workers: int) -> dict[str, Any]:
    """Verify one proxy at one u and return what the table needs."""
    loaded = load_proxy(FOLDER / f"dcopf-{name}.safetensors")
    options = VerifyOptions(tolerance=TOLERANCE, time_limit=time_limit, workers=workers)
    result = verify(loaded.proxy, loaded.problem, loaded.problem.domain(u / 100), options)
    attacked = [event for event in result.events if event.phase == "attack"]
    near = [event.seconds for event in attacked if event.lower >= 0.99 * result.lower]
    return {
        "proxy": name,
        "u": u,
        "lower": result.lower,
        "upper": result.upper,
        "relative": result.relative,
        "verdict": result.verdict.value,
        "termination": result.termination.value,
        "seconds": dict(result.seconds),
        "attack_lower": attacked[-1].lower if attacked else 0.0,
        "attack_near_seconds": near[0] if near else None,
        "parts": result.parts,
        "lps": result.lps,
        "nodes": result.nodes,
        "size_before": None if result.size_before is None else asdict(result.size_before),
        "size_after": None if result.size_after is None else asdict(result.size_after),
        "notes": list(result.notes),
    }


def show(rows: list[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    head = (
        "| proxy | u % | lower $/h | upper $/h | upper/lower | worst case % | s | paper: s, or upper/lower after 6 h "
        "| attack, share of lower | attack at 99 % after s | paper's PGA s | parts | LPs | nodes |\n|" + " --- |" * 14
    )
    return "\n".join([head, *map(_line, rows)])


def _line(row: dict[str, Any]) -> str:
    case = row["proxy"].split("-")[0].removeprefix("case")
    closed, attack = PUBLISHED.get(case, {}).get(row["u"], (None, 0.0))
    published = f"{closed:g} s" if closed else f"{PUBLISHED_RATIO.get(case, {}).get(row['u'], '-')}x"
    ratio = row["upper"] / row["lower"] if row["lower"] > 0 else float("inf")
    near = row["attack_near_seconds"]
    cells = (
        row["proxy"],
        row["u"],
        f"{row['lower']:,.0f}",
        f"{row['upper']:,.0f}",
        f"{ratio:.3f}",
        f"{100 * row['relative']:.1f}",
        f"{row['seconds']['total']:.1f}{'' if row['termination'] == 'optimal' else ' *'}",
        published,
        f"{100 * row['attack_lower'] / row['lower']:.1f} %" if row["lower"] > 0 else "-",
        "-" if near is None else f"{near:.1f}",
        attack,
        row["parts"],
        row["lps"],
        row["nodes"],
    )
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = sorted(path.stem.removeprefix("dcopf-") for path in FOLDER.glob("dcopf-*.safetensors"))
    parser.add_argument("--proxies", default=",".join(every))
    parser.add_argument("--u", default="0,1,2,5,10,20")
    parser.add_argument("--time-limit", type=float, default=600.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.u, arguments.time_limit = "1,20", 60.0
        arguments.proxies = ",".join(name for name in every if name.startswith(("case57-", "case118-")))
    torch.set_num_threads(1)
    rows = []
    for name in arguments.proxies.split(","):
        for u in map(int, arguments.u.split(",")):
            rows.append(measure(name, u, arguments.time_limit, arguments.workers))
            print(_line(rows[-1]), flush=True)
            if arguments.json:
                machine = {"processor": platform.processor() or platform.machine(), "workers": arguments.workers}
                command = {key: value for key, value in vars(arguments).items() if key != "json"}
                facts = {"command": command, "tolerance": TOLERANCE, "machine": machine, "versions": versions()}
                arguments.json.write_text(json.dumps({**facts, "rows": rows}, indent=1))
    print(show(rows))


if __name__ == "__main__":
    main()
