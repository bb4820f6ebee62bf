"""What the scripts with tables of learned constraints share: one row for each setting, beside the published figure."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict
from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.layers.ilp_learning import Learned, Learning, learn
from benchmarks.layers.ilp_published import Figure
from benchmarks.layers.ilp_tasks import Task
from benchmarks.record import Record, command_line, table

Row = dict[str, Any]
HEAD = ["accuracy %", "chosen %", "published %", "within", "box alone %", "data sets", "restarts", "epochs"]
HEAD += ["s", "solves/s"]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the command line that these scripts share."""
    made = command_line(description)
    made.add_argument("--runs", type=int, default=10, help="one data set each")
    made.add_argument("--epochs", type=int, default=100)
    made.add_argument("--quick", action="store_true", help="the smallest setting with 2 runs and 3 epochs")
    return made


def study_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the command line of `parser` and of what `study` does beyond one run on each data set."""
    made = parser(description)
    made.add_argument("--restarts", type=int, default=2, help="on each data set")
    made.add_argument("--rate", type=float, default=Learning.rate, help="of Adam; the paper's, unless told")
    made.add_argument("--cooling", type=int, default=0, help="epochs at the end over which the rate falls to zero")
    return made


def variant(name: str, arguments: argparse.Namespace) -> str:
    """Return the name of a variant, with what differs from the paper's way to learn."""
    rate = "" if arguments.rate == Learning.rate else f", rate {arguments.rate:g}"
    return name + rate + (", cooled" if arguments.cooling else "")


def learning(multiple: int, arguments: argparse.Namespace) -> Learning:
    """Return how to learn by a command line of `study_parser`."""
    return Learning(multiple, arguments.epochs, rate=arguments.rate, cooling=arguments.cooling)


def begin(arguments: argparse.Namespace) -> Record:
    """Return the record of a run; torch gets one thread, since its tensors here are small."""
    torch.set_num_threads(1)
    if arguments.quick:
        arguments.runs, arguments.epochs = 2, 3
    return Record.begin(arguments, ["task", "m", "variant", "multiple"], {})


def study(
    record: Record, key: Mapping[str, Any], make: Callable[[int], Task], how: Learning, sets: int, restarts: int = 1
) -> Row:
    """Learn from each of `sets` data sets, `make(seed)`, `restarts` times from other constraints, and keep the row.

    A row that is there is not made again.
    """
    key = {**key, "runs": sets * restarts, "restarts": restarts, "learning": asdict(how)}
    old = record.find(**key)
    if old is not None:
        return old
    tasks = [make(seed) for seed in range(sets)] * restarts
    row = record.add({**key, **outcome(learn(tasks, how), tasks, sets)})
    print(*line(row, None), flush=True)
    return row


def outcome(learned: Learned, tasks: list[Task], sets: int) -> Row:
    """Return the figures of a row; "chosen" takes the restart with the least training loss on each data set."""
    best = [min(range(k, len(tasks), sets), key=learned.loss.__getitem__) for k in range(sets)]
    return {
        "accuracy": mean(learned.accuracy),
        "chosen": mean(learned.accuracy[run] for run in best),
        "deviation": stdev(learned.accuracy),
        "box": mean(task.box_accuracy for task in tasks),
        "accuracies": learned.accuracy,
        "losses": learned.loss,
        "infeasible": learned.infeasible,
        "seconds": learned.seconds,
        "solves": learned.solves,
    }


def line(row: Row, published: Figure | None) -> list[Any]:
    """Return the cells of a row: "within" says whether our mean reaches the published one less its deviation."""
    ours, spread = 100 * row["accuracy"], 100 * row["deviation"]
    chosen = f"{100 * row['chosen']:.1f}" if row["restarts"] > 1 and "chosen" in row else "-"
    cells = [row["task"], row["m"], row["variant"], row["multiple"], f"{ours:.1f} ± {spread:.1f}", chosen]
    if published is None:
        cells += ["-", "-"]
    else:
        cells += [f"{published[0]} ± {published[1]}", "yes" if ours >= published[0] - published[1] else "no"]
    rate = f"{row['solves'] / row['seconds']:,.0f}"
    counts = [row["runs"] // row["restarts"], row["restarts"], row["learning"]["epochs"]]
    return [*cells, f"{100 * row['box']:.1f}", *counts, f"{row['seconds']:.0f}", rate]


def show(rows: list[Row], published: Callable[[Row], Figure | None]) -> str:
    """Return the table of all rows."""
    return table(["task", "m", "variant", "k", *HEAD], [line(row, published(row)) for row in rows])
