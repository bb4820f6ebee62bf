"""OptNet's timing experiments: a QP layer beside a linear layer (figure 1), and beside Gurobi by batch size (figure 2).

Usage: python benchmarks/layers/qp_timing.py [--device cpu] [--trials 10] [--threads 1] [--quick] [--json FILE]

Figure 1: batch of 128, n variables and n inequalities for n = 10, 50, 100, 500; the linear layer is a product with one
matrix an instance. Figure 2: n = 100 and batches of 1, 64 and 128. The paper's figures are plots without numbers; its
text states 0.18 s for its layer on a GPU of 2017 and 4.7 s for Gurobi on four cores. Only ratios of one run compare.
Source: Amos and Kolter 2017, section 4.1, figures 1 and 2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from qp_peers import gurobi
from qp_record import begin, number, parser, random_qps, table
from torch import Tensor

from proxies.layers.qp import QPOptions, qp_solve

# Seconds in the text of section 4.1, for n = 100 and a batch of 128: the paper's layer, Gurobi.
PUBLISHED = {"layer": 0.18, "gurobi": 4.7}


def timed(make: Callable[[], Tensor], trials: int, device: str) -> tuple[float, float]:
    """Return the mean seconds forward and backward (the sum of the output), after one round to warm up."""
    spent = []
    for _ in range(trials + 1):
        began = _now(device)
        out = make()
        middle = _now(device)
        out.sum().backward()
        spent.append((middle - began, _now(device) - middle))
    forward, backward = (sum(side) / trials for side in zip(*spent[1:]))
    return forward, backward


def figure_1(n: int, batch: int, trials: int, device: str, seed: int) -> dict[str, Any]:
    """Return the seconds of the linear layer and of the QP layer, forward and backward."""
    given = {name: value.to(device).requires_grad_() for name, value in random_qps(batch, n, seed).items()}
    matrix = torch.randn(n, n, dtype=torch.float64, device=device, requires_grad=True)
    inputs = torch.randn(batch, n, dtype=torch.float64, device=device, requires_grad=True)
    linear = timed(lambda: inputs @ matrix, trials, device)
    layer = timed(lambda: qp_solve(**given).z, trials, device)
    names = ("linear_forward", "linear_backward", "qp_forward", "qp_backward")
    return {"figure": 1, "n": n, "batch": batch, **dict(zip(names, (*linear, *layer)))}


def figure_2(n: int, batch: int, trials: int, device: str, seed: int) -> dict[str, Any]:
    """Return the seconds forward of one batch: ours at once, ours one by one, the batched method, Gurobi in a loop."""
    given = {name: value.to(device).requires_grad_() for name, value in random_qps(batch, n, seed).items()}
    batched = QPOptions(method="batched")

    def one_by_one() -> Tensor:
        return torch.cat([qp_solve(**{name: value[k] for name, value in given.items()}).z for k in range(batch)])

    row: dict[str, Any] = {"figure": 2, "n": n, "batch": batch}
    row["serial"] = timed(one_by_one, max(1, trials // 3), device)[0]
    row["at_once"] = timed(lambda: qp_solve(**given).z, trials, device)[0]
    row["batched"] = timed(lambda: qp_solve(**given, options=batched).z, max(1, trials // 3), device)[0]
    try:
        solve, plain = gurobi({}), {name: value.detach().cpu() for name, value in given.items()}
        began = time.perf_counter()
        solve(plain)
        row["gurobi"] = time.perf_counter() - began
    except ImportError as missing:
        print(f"Gurobi is left out: {missing}")
        row["gurobi"] = None
    return row


def show(rows: Sequence[dict[str, Any]]) -> str:
    """Return both tables."""

    def ms(value: float | None) -> str:
        return number(None if value is None else 1e3 * value, ".2f")

    head = ["n", "linear forward ms", "linear backward ms", "QP forward ms", "QP backward ms"]
    keys = ("linear_forward", "linear_backward", "qp_forward", "qp_backward")
    first = table(head, [[row["n"], *(ms(row[key]) for key in keys)] for row in rows if row["figure"] == 1])
    lines = []
    for row in rows:
        if row["figure"] == 2:
            ratio = number(row["gurobi"] and row["gurobi"] / row["at_once"], ".1f")
            stated = f"{PUBLISHED['gurobi'] / PUBLISHED['layer']:.0f}" if row["batch"] == 128 else "-"
            times = [ms(row[key]) for key in ("serial", "at_once", "batched", "gurobi")]
            lines.append([row["batch"], *times, ratio, stated])
    head = ["batch", "one by one ms", "at once ms", "batched method ms", "Gurobi ms", "Gurobi/ours", "published ratio"]
    return f"Figure 1: batch of 128\n\n{first}\n\nFigure 2: n = 100, forward\n\n{table(head, lines)}"


def _now(device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure both figures and return the rows."""
    kept = begin(arguments, ["figure", "n", "batch"], ["gurobipy"])
    sizes, batches, n, batch = (
        ((5, 10), (1, 4), 10, 4) if arguments.quick else ((10, 50, 100, 500), (1, 64, 128), 100, 128)
    )
    trials = 2 if arguments.quick else arguments.trials
    for size in sizes:
        # The largest size is a hundred times the work of the next.
        kept.add(figure_1(size, batch, min(trials, 2) if size > 100 else trials, arguments.device, arguments.seed))
    for count in batches:
        kept.add(figure_2(n, count, trials, arguments.device, arguments.seed))
    return list(kept.rows)


def main(argv: Sequence[str] | None = None) -> None:
    command = parser(__doc__)
    command.add_argument("--device", default="cpu")
    command.add_argument("--trials", type=int, default=10)
    print(show(run(command.parse_args(argv))))


if __name__ == "__main__":
    main()
