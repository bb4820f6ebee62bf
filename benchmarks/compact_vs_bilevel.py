"""Compact against bilevel: sizes and times beside the paper's Tables 1 and 2, with one solver, one set of bounds.

Usage: python benchmarks/compact_vs_bilevel.py [--cases 57,118] [--u 0,1,2,5,10,20] [--solvers highs,gurobi]
       [--time-limit 120] [--kind raw] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoding.bilevel import bilevel_model
from encoding.compact import compact_model
from proxies.load import load_proxy
from proxies.proxy import latent_layers
from solvers.errors import SolverLimitError
from solvers.linear_model import ModelSize
from solvers.registry import open_session
from verifier.bounds.obbt import Tightener
from verifier.bounds.over_domain import proxy_bounds
from verifier.budget import Budget
from verifier.certificate import versions

FOLDER = Path(__file__).parent / "proxies"
MIP_GAP = 1e-3
# Chen et al. 2024, Table 2 (Gurobi 10, 16 threads): seconds for bilevel and compact at u = 0, 1, 2, 5, 10, 20 %.
PUBLISHED_SECONDS = {
    57: {0: (0.4, 0.3), 1: (0.6, 0.6), 2: (0.6, 0.5), 5: (1.9, 1.1), 10: (1.2, 1.2), 20: (0.7, 0.5)},
    118: {0: (1.7, 1.2), 1: (3.9, 2.1), 2: (4.7, 3.1), 5: (28.4, 12.1), 10: (18.7, 14.1), 20: (76.8, 59.4)},
}
# Table 1 (presolved): continuous, binary, rows of bilevel and compact.
PUBLISHED_SIZES = {57: ((255, 69, 350), (259, 64, 342)), 118: ((609, 218, 862), (522, 100, 619))}
BUILDERS = {"bilevel": bilevel_model, "compact": compact_model}


def measure(case: int, u: int, kind: str, solvers: list[str], time_limit: float) -> Iterator[dict[str, Any]]:
    """Yield one row per solver and formulation."""
    loaded = load_proxy(FOLDER / f"dcopf-case{case}-{kind}.safetensors")
    problem, domain = loaded.problem, loaded.problem.domain(u / 100)
    layers = latent_layers(loaded.proxy, domain)
    bounds = proxy_bounds(layers, problem, domain)
    tightener = Tightener(compact_model(layers, problem, domain, bounds), bounds)
    bounds = tightener.run(Budget(60.0)).bounds
    tightener.close()
    for solver in solvers:
        for name, build in BUILDERS.items():
            model = build(layers, problem, domain, bounds)
            row: dict[str, Any] = {"case": case, "u": u, "solver": solver, "formulation": name}
            row["size"] = asdict(ModelSize.of(model.linear))
            try:
                with open_session(solver, model.linear) as session:
                    began = time.perf_counter()
                    solution = session.solve(time_limit=time_limit, mip_gap=MIP_GAP)
                    row["seconds"] = time.perf_counter() - began
                    row["status"], row["nodes"] = solution.status.value, solution.nodes
                    row["lower"], row["upper"] = model.gap_of(solution.objective), model.gap_of(solution.dual_bound)
            except SolverLimitError as error:
                row["status"] = f"refused: {error}"
            yield row


def show(rows: list[dict[str, Any]]) -> str:
    """Return the table as Markdown, the published seconds and sizes beside ours."""
    head = (
        "| case | u % | solver | bilevel cols/bin/rows | compact cols/bin/rows | bilevel s | compact s | ratio "
        "| paper bilevel s | paper compact s | same optimum |\n|" + " --- |" * 11
    )
    pairs = list(zip(rows[::2], rows[1::2]))
    lines = [head, *(_line(bilevel, compact) for bilevel, compact in pairs)]
    lines.append("\n`*`: stopped at the time limit. Published presolved sizes (continuous/binary/rows): ")
    for case, (bilevel_size, compact_size) in PUBLISHED_SIZES.items():
        lines.append(f"{case}: bilevel {'/'.join(map(str, bilevel_size))}, compact {'/'.join(map(str, compact_size))}.")
    solved = [(b, c) for b, c in pairs if b["status"] == c["status"] == "optimal"]
    if solved:
        mean = np.exp(np.mean([np.log(b["seconds"] / c["seconds"]) for b, c in solved]))
        lines.append(f"\nGeometric mean of bilevel/compact time over {len(solved)} pairs: {mean:.2f}")
    return "\n".join(lines)


def _line(bilevel: dict[str, Any], compact: dict[str, Any]) -> str:
    published = PUBLISHED_SECONDS.get(compact["case"], {}).get(compact["u"], ("-", "-"))
    sizes = ["/".join(str(row["size"][k]) for k in ("continuous", "integer", "rows")) for row in (bilevel, compact)]
    ratio = same = "-"
    if bilevel["status"] == compact["status"] == "optimal":
        ratio = f"{bilevel['seconds'] / compact['seconds']:.2f}"
        near = np.isclose(bilevel["lower"], compact["lower"], rtol=2 * MIP_GAP, atol=1e-2)
        same = "yes" if near else f"NO: {bilevel['lower']:.6g} / {compact['lower']:.6g}"
    times = [_seconds(bilevel), _seconds(compact)]
    cells = (compact["case"], compact["u"], compact["solver"], *sizes, *times, ratio, *published, same)
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _seconds(row: dict[str, Any]) -> str:
    if "seconds" not in row:
        return "refused"
    return f"{row['seconds']:.1f}{'' if row['status'] == 'optimal' else ' *'}"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="57,118")
    parser.add_argument("--u", default="0,1,2,5,10,20")
    parser.add_argument("--solvers", default="highs,gurobi")
    parser.add_argument("--kind", default="raw")
    parser.add_argument("--time-limit", type=float, default=120.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for case in map(int, arguments.cases.split(",")):
        for u in map(int, arguments.u.split(",")):
            rows += measure(case, u, arguments.kind, arguments.solvers.split(","), arguments.time_limit)
            print(f"case {case}, u = {u} % done", flush=True)
    print(show(rows))
    if arguments.json:
        machine = {"processor": platform.processor() or platform.machine(), "threads": 1}
        facts = {"command": vars(arguments) | {"json": None}, "machine": machine, "versions": versions(), "rows": rows}
        arguments.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
