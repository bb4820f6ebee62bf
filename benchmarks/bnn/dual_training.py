"""Dual functions of training programs: accuracy, gap z - F, leaves, memory and time against samples and hidden units.

python -m benchmarks.bnn.dual_training --json benchmarks/bnn/dual_training.json [--data NAME,...] [--samples 4,6,8]
       [--hidden 1,2,3,4] [--objectives min-weight,min-hinge] [--perturbations 5] [--seconds 60] [--quick] [--resume]

The program is `encoding.bnn_model.training_model` with ternary weights and a trained last unit. The first layer's sums
are elastic, so that the value is finite at any samples; all else is logic, and hard. For each program the value z, the
network that has it, and a tree, within `--seconds` in all. Where a tree does not close, programs with more samples of
the same data, objective and units are not tried. Gaps z - F in percent of max(1, |z|), means over perturbed programs
that are solved exactly: normal changes of every sample's features, and of every sum's right side (which is 0), both as
shares of the features' mean size. `--quick`: one data set, 4 samples, 1 unit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from benchmarks.bnn.data import DATA, split
from benchmarks.bnn.dual_function import at, relative
from benchmarks.record import Record, command_line, number, table
from encoding.bnn_model import Indices, Objective, TrainingModel, margins, training_model
from problems.interval import Vector
from solvers.dual_function import DualFunction
from solvers.dual_tree import grow
from solvers.elastic_program import ElasticProgram
from solvers.errors import SolverFailedError, TreeLimitError
from solvers.mip_pieces import Outcome, Search, solve_pieces

# What a sum of the first layer must clear to be negative, and the price of missing a sum by one.
MARGIN, PENALTY = 0.1, 10.0
SHARES = (0.01, 0.1)
# Seconds for all perturbed programs of one tree; those that are not solved by then are left out.
PERTURBED_SECONDS = 30.0
CHANGED = [f"{what} {100 * share:g} %" for what, share in product(("samples", "sums"), SHARES)]
HEAD = ["data", "objective", "samples", "hidden", "columns", "rows", "train %", "test %", "z", "z - F %", "leaves"]
HEAD += ["kB", "solver s", "tree s", *CHANGED, "valid"]


@dataclass(frozen=True)
class Training:
    """A training program with elastic sums.

    Attributes:
        program: what is solved; its rows are those of the training model, split into one-sided ones.
        model: the training model.
        sums: (n, units) the program's rows that hold the data, all equalities.
    """

    program: ElasticProgram
    model: TrainingModel
    sums: Indices

    def with_samples(self, change: Vector) -> ElasticProgram:
        """Return the program with a change of the samples ((n, d))."""
        rows = self.program.A.copy()
        rows[self.sums[:, :, None], self.model.weights[0][:, :-1]] -= change[:, None, :]
        return replace(self.program, A=rows)

    def with_sums(self, change: Vector) -> ElasticProgram:
        """Return the program with a change of the sums' right sides ((n, units))."""
        right = self.program.b.copy()
        right[self.sums] += change
        return replace(self.program, b=right)


def training_program(x: Vector, labels: Vector, hidden: int, objective: Objective) -> Training:
    """Return the training of one hidden layer on samples ((n, d)) and labels ((n,))."""
    model = training_model(x, labels, (hidden,), objective=objective, margin=MARGIN)
    linear = model.linear
    penalty = np.full(linear.rows, np.inf)
    penalty[model.sums] = PENALTY
    # A hinge loss has no limit of its own: the output's size is at most the number of its weights.
    upper = np.minimum(linear.column_upper, hidden + 2.0) if objective == "min-hinge" else linear.column_upper
    program = ElasticProgram.of(replace(linear, column_upper=upper), penalty)
    return Training(program, model, np.searchsorted(np.flatnonzero(np.isfinite(linear.row_lower)), model.sums))


def perturbed_gaps(training: Training, function: DualFunction, x: Vector, count: int) -> dict[str, Any]:
    """Return the mean gaps by kind and share of the change, and how many perturbed programs were solved and valid."""
    rng = np.random.default_rng(0)
    size = float(np.abs(x).mean())
    gaps: dict[str, list[float]] = {name: [] for name in CHANGED}
    valid, began = 0, time.monotonic()
    for _, (name, (what, share)) in product(range(count), zip(CHANGED, product(("samples", "sums"), SHARES))):
        if what == "samples":
            other = training.with_samples(share * size * rng.normal(size=x.shape))
        else:
            other = training.with_sums(share * size * rng.normal(size=training.sums.shape))
        left = PERTURBED_SECONDS - (time.monotonic() - began)
        answer = solve_pieces(other, Search(time_limit=max(left, 0.0)))
        if answer.outcome is Outcome.SOLVED:
            value, bound = other.cost(answer.pieces[0].x), at(function, other)
            valid += bound <= value
            gaps[name].append(relative(value, bound))
    means = {name: float(np.mean(found)) if found else None for name, found in gaps.items()}
    return {**means, "valid": valid, "perturbed": sum(map(len, gaps.values())), "asked": count * len(CHANGED)}


def measure(key: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return one row's figures."""
    given = split(key["data"], key["samples"] // 2, 0)
    training = training_program(given.x, given.labels, key["hidden"], key["objective"])
    program = training.program
    size = {"columns": program.c.size, "rows": program.b.size}
    began = time.perf_counter()
    answer = solve_pieces(program, Search(time_limit=arguments.seconds))
    solver_seconds = time.perf_counter() - began
    if answer.outcome is not Outcome.SOLVED:
        return {**size, "solver s": solver_seconds, "not closed": "the value was not found in time"}
    best = answer.pieces[0].x
    weights = training.model.weights_at(best)
    home = {
        **size,
        "train %": accuracy(given.x, given.labels, weights),
        "test %": accuracy(given.test_x, given.test_labels, weights),
        "z": program.cost(best),
        "solver s": solver_seconds,
    }
    began = time.perf_counter()
    try:
        function = grow(program, time_limit=arguments.seconds)
    except (TreeLimitError, SolverFailedError) as error:
        return {**home, "not closed": str(error).split(";")[0]}
    tree = {"tree s": time.perf_counter() - began, "leaves": function.leaves, "kB": function.nbytes / 1000}
    tight = relative(home["z"], at(function, program))
    return {**home, **tree, "z - F %": tight, **perturbed_gaps(training, function, given.x, arguments.perturbations)}


def accuracy(x: Vector, labels: Vector, weights: Sequence[Vector]) -> float:
    """Return the percentage of samples ((n, d)) that are classified right."""
    return 100 * float((labels * margins(x, weights, MARGIN) > 0).mean())


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Grow what is not yet in the file; return all rows."""
    key_names = ["data", "objective", "samples", "hidden"]
    record = Record.begin(arguments, key_names, {"margin": MARGIN, "penalty": PENALTY, "values": "ternary"})
    counts = [int(count) for count in arguments.samples.split(",")]
    units = [int(count) for count in arguments.hidden.split(",")]
    for data, objective, hidden in product(arguments.data.split(","), arguments.objectives.split(","), units):
        for samples in counts:
            key = dict(zip(key_names, (data, objective, samples, hidden)))
            row = record.find(**key) or record.add({**key, **measure(key, arguments)})
            print(table([], [line(row)]).splitlines()[-1], flush=True)
            if "not closed" in row:
                break
    return record.rows


def line(row: dict[str, Any]) -> list[Any]:
    """Return the cells of one row."""
    cells = {name: "-" if row.get(name) is None else shown(row[name]) for name in HEAD}
    if "not closed" in row:
        return list((cells | {"leaves": row["not closed"]}).values())
    return list((cells | {"valid": f"{row['valid']} of {row['perturbed']}"}).values())


def shown(value: float | int | str) -> str:
    """Return a cell."""
    return str(value) if isinstance(value, (int, str)) else number(value, ".3g")


def main() -> None:
    """Run the benchmark from the command line."""
    made = command_line(__doc__)
    made.add_argument("--data", default=",".join(DATA))
    made.add_argument("--objectives", default="min-weight,min-hinge")
    made.add_argument("--samples", default="4,6,8,10,16,20")
    made.add_argument("--hidden", default="1,2,3,4")
    made.add_argument("--perturbations", type=int, default=5, help="of each kind and share")
    made.add_argument("--seconds", type=float, default=60.0, help="for one tree")
    made.add_argument("--quick", action="store_true")
    arguments = made.parse_args()
    if arguments.quick:
        arguments.data, arguments.samples, arguments.hidden = "heart-like (generated)", "4", "1"
    print(table(HEAD, [line(row) for row in run(arguments)]))


if __name__ == "__main__":
    main()
