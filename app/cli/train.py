"""`certigap train`: a proxy from a grid case (self-supervised) or from a knapsack instance (supervised)."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.share import parse_share
from problems.dcopf import DcOpf
from problems.grid import load_grid
from problems.interval import Vector
from problems.knapsack import Knapsack
from problems.knapsack_instances import random_knapsack, read_knapsack
from proxies.files import save_network
from proxies.layers.binarized import WeightValues
from proxies.layers.sort_repair import Greedy
from proxies.manifest import DcOpfSpec
from proxies.training import OnCheck, TrainingOptions, TrainingReport
from proxies.training_dcopf import train_dcopf
from proxies.training_knapsack import Distance, train_knapsack
from verifier.sampling import sampled_gaps

cli = typer.Typer(help="Train a proxy and write it with its manifest and this command.")

Hidden = Annotated[str, typer.Option(help="Widths of the hidden layers.")]
Minutes = Annotated[float, typer.Option(min=0.01, help="Stop after this long.")]
Steps = Annotated[int, typer.Option(min=1, help="Stop after this many steps: the reproducible limit.")]
Stability = Annotated[float, typer.Option(help="Weight of the ReLU-stability term.")]
L1 = Annotated[float, typer.Option(help="Weight of the mean absolute weight.")]
Batch = Annotated[int, typer.Option(min=1, help="Inputs a step.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write.")]
Samples = Annotated[int, typer.Option(min=1, help="Random inputs to measure the gap on afterwards.")]


@cli.command()
def dcopf(
    case: Annotated[str, typer.Option(help="PGLib name or .m file.")],
    hidden: Hidden = "64,64",
    minutes: Minutes = 5.0,
    steps: Steps = 20_000,
    u: Annotated[str, typer.Option("-u", help="Half-width of the global load factor in training.")] = "20%",
    centred: Annotated[bool, typer.Option(help="Subtract the mean load and divide by its spread first.")] = False,
    stability: Stability = 0.0,
    l1: L1 = 0.0,
    batch: Batch = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and inputs.")] = 0,
    output: Output = Path("proxy.safetensors"),
    samples: Samples = 500,
) -> None:
    """Train a DC-OPF proxy by the cost of its own dispatch."""
    options = _options(hidden, u, stability, l1, steps, batch, minutes, seed)
    problem = DcOpf(load_grid(case))
    with _progress(problem.name, options, lambda cost: f"mean cost {cost:,.0f} $/h") as on_check:
        spec = DcOpfSpec(case=case)
        proxy, report = train_dcopf(problem, spec, options, centred, _command(), on_check)
    save_network(output, proxy.network, proxy.manifest, single=True)
    gaps = sampled_gaps(proxy, problem, problem.domain(options.u), samples, seed=seed + 1, relative=True)
    _say(report, f"mean cost {report.best:,.0f} $/h", gaps, output, u)


@cli.command()
def knapsack(
    instance: Annotated[Path | None, typer.Option(help="JSON file of the instance.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Instead of a file: a random instance of this size.")] = None,
    hidden: Hidden = "32,32",
    minutes: Minutes = 5.0,
    steps: Steps = 20_000,
    u: Annotated[str, typer.Option("-u", help="Half-width of values and capacity in training.")] = "20%",
    distance: Annotated[
        Distance, typer.Option(help="Errors of scores: plain (the paper's), or focused on items near the critical one.")
    ] = "plain",
    greedy: Annotated[
        Greedy, typer.Option(help="At an item that does not fit: stop (prefix), or try the next (skip).")
    ] = "prefix",
    binarized: Annotated[
        WeightValues | None,
        typer.Option(help="Sign units, and hidden weights of -1 and 1 only (binary), or also 0 (ternary)."),
    ] = None,
    stability: Stability = 0.0,
    l1: L1 = 0.0,
    batch: Batch = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, inputs and the random instance.")] = 0,
    output: Output = Path("proxy.safetensors"),
    samples: Samples = 500,
) -> None:
    """Train a knapsack proxy to score every item by its value/weight."""
    problem = _instance(instance, items, seed)
    options = _options(hidden, u, stability, l1, steps, batch, minutes, seed)
    with _progress(problem.name, options, lambda error: f"distance {error:.4g}") as on_check:
        proxy, report = train_knapsack(problem, options, distance, greedy, _command(), on_check, binarized)
    save_network(output, proxy.network, proxy.manifest, single=True)
    gaps = sampled_gaps(proxy, problem, problem.domain(options.u), samples, seed=seed + 1, relative=True)
    _say(report, f"{distance} distance to value/weight {report.best:.4g}", gaps, output, u)


def _instance(file: Path | None, items: int | None, seed: int) -> Knapsack:
    if file is not None and items is None:
        return read_knapsack(file)
    if items is not None and file is None:
        return random_knapsack(items, seed)
    raise typer.BadParameter("name one instance: a file with --instance, or a random one with --items")


def _options(
    hidden: str, u: str, stability: float, l1: float, steps: int, batch: int, minutes: float, seed: int
) -> TrainingOptions:
    torch.set_num_threads(1)
    return TrainingOptions(
        hidden=_widths(hidden),
        u=parse_share(u, "-u"),
        stability=stability,
        l1=l1,
        steps=steps,
        batch=batch,
        minutes=minutes,
        seed=seed,
    )


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise typer.BadParameter(f"{text!r} is no list of widths; write for example 64,64", param_hint="--hidden")
    return widths


def _command() -> str:
    return "certigap " + shlex.join(sys.argv[1:])


@contextmanager
def _progress(name: str, options: TrainingOptions, words: Callable[[float], str]) -> Iterator[OnCheck]:
    """Show a bar on stderr for as long as training lasts; `words` says what a validation found."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[now]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"training {name}", total=options.steps, now="")

        def on_check(step: int, value: float, seconds: float) -> None:
            share = max(step / options.steps, seconds / (60 * options.minutes))
            bar.update(task, completed=share * options.steps, now=f"step {step:,}: {words(value)}")

        yield on_check
        bar.update(task, completed=options.steps)


def _say(report: TrainingReport, validated: str, gaps: Vector, output: Path, u: str) -> None:
    sampled = "none of the random inputs has a relative gap"
    if gaps.size:
        sampled = (
            f"gap at {gaps.size} random inputs: mean {100 * gaps.mean():.2f} %, largest {100 * gaps.max():.2f} % "
            f"(what sampling sees; `certigap verify {output} -u {u}` finds the worst case)"
        )
    print(f"{report.steps:,} steps in {report.seconds:.0f} s; {validated}\n{sampled}\nwritten: {output}")
