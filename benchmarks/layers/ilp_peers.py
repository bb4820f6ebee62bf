"""Integer programs solved by the ILP layer and by Gurobi, HiGHS, SCIP and enumeration: time and accuracy in one run.

Usage: python -m benchmarks.layers.ilp_peers [--kinds binary,dense] [--m 1,2,4,8] [--sets 5] [--batch 64] [--peers ...]
       [--quick] [--json FILE] [--resume]

16 variables in {0, 1} ("binary") or -5..5 ("dense"), m random constraints shared by a batch of random costs: the
programs of `random_constraints`. Every solver gets one thread and the same programs; times are CPU seconds;
HiGHS and SCIP get `--few` of each batch. "gurobi rebuilt" writes the model variable by variable for each program, as
CombOptNet's program does; "reused" changes the objective only. Gurobi keeps its own gap (1e-4), HiGHS and SCIP get 0.

An answer is *dearer* if another solver has a feasible one that is cheaper by more than 1e-6, and *outside* if it
exceeds a row by more than 1e-6. The costs have norm 1.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from statistics import geometric_mean, median
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from benchmarks.layers.ilp_tasks import LIMITS, VARIABLES, costs, random_rows
from benchmarks.record import Record, command_line, table
from proxies.layers.ilp import ilp_solve, ilp_vjp
from solvers.errors import SolverLimitError, SolverUnavailableError
from solvers.gurobi_licence import load_gurobipy, start_environment
from solvers.linear_model import LinearModel
from solvers.registry import open_session

OURS = "ILP layer"
DEARER, OUTSIDE = 1e-6, 1e-6
REPEATS = 5
Row = dict[str, Any]
Array = np.ndarray
# Solves programs with costs ((B, n)), rows, right sides and limits; returns points ((B, n)) and CPU seconds.
Solve = Callable[[Tensor, Tensor, Tensor, float, float], tuple[Array, float]]


def ours(c: Tensor, A: Tensor, b: Tensor, lower: float, upper: float) -> tuple[Array, float]:
    """Solve by the layer's forward function; the median of some repeats."""
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        found = ilp_solve(c, A, b, lower, upper)
        seconds.append(time.process_time() - began)
    return found.y.numpy(), median(seconds)


def backward(c: Tensor, A: Tensor, b: Tensor, lower: float, upper: float) -> float:
    """Return the seconds of CombOptNet's gradient of a batch."""
    y = ilp_solve(c, A, b, lower, upper).y
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        ilp_vjp(c, A, b, lower, upper, y, y - 0.5)
        seconds.append(time.process_time() - began)
    return median(seconds)


def enumeration(c: Tensor, A: Tensor, b: Tensor, lower: float, upper: float) -> tuple[Array, float]:
    """List all points of a binary box once for the batch."""
    began = time.process_time()
    points = np.array(list(itertools.product((lower, upper), repeat=VARIABLES)))
    points = points[(points @ A.numpy().T <= b.numpy() + 1e-9).all(1)]
    found = points[(c.numpy() @ points.T).argmin(1)]
    return found, time.process_time() - began


def gurobi_rebuilt(c: Tensor, A: Tensor, b: Tensor, lower: float, upper: float) -> tuple[Array, float]:
    """Write each model anew with one call a variable and one a row."""
    grb, rows, sides, found = load_gurobipy(), A.tolist(), b.tolist(), []
    with start_environment({"Threads": 1}) as env:
        began = time.process_time()
        for cost in c.tolist():
            model = grb.Model(env=env)
            y = [model.addVar(lb=lower, ub=upper, vtype=grb.GRB.INTEGER) for _ in cost]
            model.setObjective(grb.quicksum(price * one for price, one in zip(cost, y)), grb.GRB.MINIMIZE)
            for row, side in zip(rows, sides):
                model.addConstr(grb.quicksum(a * one for a, one in zip(row, y)) <= side)
            model.optimize()
            found.append([one.X for one in y])
        return np.array(found), time.process_time() - began


def gurobi_reused(c: Tensor, A: Tensor, b: Tensor, lower: float, upper: float) -> tuple[Array, float]:
    """Write one model and change its objective."""
    grb, found = load_gurobipy(), []
    with start_environment({"Threads": 1}) as env:
        began = time.process_time()
        model = grb.Model(env=env)
        y = model.addMVar(VARIABLES, lb=lower, ub=upper, vtype=grb.GRB.INTEGER)
        model.addConstr(A.numpy() @ y <= b.numpy())
        for cost in c.numpy():
            y.Obj = cost
            model.optimize()
            found.append(y.X)
        return np.array(found), time.process_time() - began


def through_session(solver: str) -> Solve:
    """Return a solve by the project's adapter: one session for the batch, the objective changed, gap 0."""

    def solve(c: Tensor, A: Tensor, b: Tensor, lower: float, upper: float) -> tuple[Array, float]:
        every, found = np.arange(VARIABLES), []
        limits = np.full(VARIABLES, lower), np.full(VARIABLES, upper)
        rows, sides = sparse.csr_array(A.numpy()), b.numpy()
        began = time.process_time()
        model = LinearModel(c[0].numpy(), rows, np.full(len(b), -np.inf), sides, *limits, np.ones(VARIABLES, bool))
        with open_session(solver, model) as session:
            for cost in c.numpy():
                session.set_cost(every, cost)
                found.append(session.solve(mip_gap=0.0).x)
        return np.array(found), time.process_time() - began

    return solve


PEERS: dict[str, Solve] = {
    "gurobi rebuilt": gurobi_rebuilt,
    "gurobi reused": gurobi_reused,
    "highs": through_session("highs"),
    "scip": through_session("scip"),
    "enumeration": enumeration,
}
SLOW = ("highs", "scip")


def measure(kind: str, m: int, arguments: argparse.Namespace) -> list[Row]:
    """Solve the same programs by every solver; returns a row each."""
    lower, upper = LIMITS[kind]
    peers = [name for name in arguments.peers.split(",") if name != "enumeration" or kind == "binary"]
    answers: dict[str, list[Array]] = {name: [] for name in (OURS, *peers)}
    seconds: dict[str, list[float]] = {name: [] for name in answers}
    sets, behind = [], []
    for seed in range(arguments.sets):
        A, b = random_rows(kind, m, seed)
        c = costs(np.random.default_rng([seed, 3]), arguments.batch, VARIABLES, False)
        ilp_solve(c[:1], A, b, lower, upper)
        sets.append((c, A, b))
        for name in list(answers):
            given = c[: arguments.few] if name in SLOW else c
            try:
                y, spent = (ours if name == OURS else PEERS[name])(given, A, b, lower, upper)
            except (SolverUnavailableError, SolverLimitError) as error:
                print(f"{name}: {error}")
                del answers[name], seconds[name]
                continue
            answers[name].append(y)
            seconds[name].append(spent / len(y))
        behind.append(backward(c, A, b, lower, upper) / len(c))
    own = geometric_mean(seconds[OURS])
    rows = []
    for name, found in answers.items():
        mean = geometric_mean(seconds[name])
        row = {"kind": kind, "m": m, "solver": name, "solved": sum(map(len, found)), "seconds": mean}
        row |= {"ratio": mean / own, **accuracy(sets, answers, name)}
        rows.append(row | ({"backward_seconds": geometric_mean(behind)} if name == OURS else {}))
    return rows


def accuracy(sets: list[tuple[Tensor, ...]], answers: dict[str, list[Array]], name: str) -> Row:
    """Hold a solver's points against the rows and against the cheapest feasible point of all solvers."""
    dearer, outside, worst = 0, 0, 0.0
    for k, (c, A, b) in enumerate(sets):
        best = np.full(len(c), np.inf)
        for other in answers.values():
            y = np.rint(other[k])
            feasible = (y @ A.numpy().T <= b.numpy() + 1e-9).all(1)
            value = np.where(feasible, (c.numpy()[: len(y)] * y).sum(1), np.inf)
            best[: len(y)] = np.minimum(best[: len(y)], value)
        y = np.rint(answers[name][k])
        excess = (c.numpy()[: len(y)] * y).sum(1) - best[: len(y)]
        dearer += int((excess > DEARER).sum())
        outside += int((y @ A.numpy().T > b.numpy() + OUTSIDE).any(1).sum())
        worst = max(worst, float(excess.max()))
    return {"dearer": dearer, "outside": outside, "worst": worst}


def show(rows: list[Row]) -> str:
    """Return the table: "ratio" is the solver's time over ours."""
    head = ["kind", "m", "solver", "programs", "solves/s", "ratio", "dearer", "outside", "worst excess"]
    lines = []
    for row in rows:
        rate, worst = f"{1 / row['seconds']:,.0f}", f"{max(row['worst'], 0.0):.0e}"
        figures = [row["solved"], rate, f"{row['ratio']:,.0f}", row["dearer"], row["outside"], worst]
        lines.append([row["kind"], row["m"], row["solver"], *figures])
    return table(head, lines)


def run(arguments: argparse.Namespace) -> list[Row]:
    """Measure every size of the command line."""
    torch.set_num_threads(1)
    record = Record.begin(arguments, ["kind", "m", "solver"], {})
    kinds, sizes = arguments.kinds.split(","), arguments.m.split(",")
    if arguments.quick:
        kinds, sizes, arguments.sets, arguments.batch, arguments.few = ["binary"], ["4"], 2, 16, 4
    for kind in kinds:
        for m in sizes:
            if record.find(kind=kind, m=int(m), solver=OURS) is None:
                rows = [record.add(row) for row in measure(kind, int(m), arguments)]
                print(*(f"{row['solver']} {row['ratio']:.1f}" for row in rows), flush=True)
    return record.rows


if __name__ == "__main__":
    asked = command_line(__doc__)
    asked.add_argument("--kinds", default="binary,dense")
    asked.add_argument("--m", default="1,2,4,8")
    asked.add_argument("--sets", type=int, default=5, help="constraint sets of each size")
    asked.add_argument("--batch", type=int, default=64, help="programs for each set")
    asked.add_argument("--few", type=int, default=16, help="of which HiGHS and SCIP get this many")
    asked.add_argument("--peers", default=",".join(PEERS))
    asked.add_argument("--quick", action="store_true", help="one size, few programs")
    print(show(run(asked.parse_args())))
