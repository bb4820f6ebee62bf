"""`certigap train`: a DC-OPF proxy from a case, by self-supervised training."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.text import parse_share
from problems.dcopf import DcOpf
from problems.grid import load_grid
from proxies.files import save_network
from proxies.manifest import DcOpfSpec
from proxies.training import TrainingOptions, train_dcopf
from verifier.sampling import sampled_gaps


def train(
    family: Annotated[Literal["dcopf"], typer.Argument(help="Kind of proxy.")],
    case: Annotated[str, typer.Option(help="PGLib name or .m file.")],
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers.")] = "64,64",
    minutes: Annotated[float, typer.Option(min=0.01, help="Stop after this long.")] = 5.0,
    steps: Annotated[int, typer.Option(min=1, help="Stop after this many steps: the reproducible limit.")] = 20_000,
    u: Annotated[str, typer.Option("-u", help="Half-width of the global load factor in training.")] = "20%",
    centred: Annotated[bool, typer.Option(help="Subtract the mean load and divide by its spread first.")] = False,
    stability: Annotated[float, typer.Option(help="Weight of the ReLU-stability term.")] = 0.0,
    l1: Annotated[float, typer.Option(help="Weight of the mean absolute weight.")] = 0.0,
    batch: Annotated[int, typer.Option(min=1, help="Inputs a step.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and inputs.")] = 0,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("proxy.safetensors"),
    samples: Annotated[int, typer.Option(min=1, help="Random inputs to measure the gap on afterwards.")] = 500,
) -> None:
    """Train a proxy and write it with its manifest; the command itself goes into the file."""
    options = TrainingOptions(
        hidden=_widths(hidden),
        u=parse_share(u, "-u"),
        centred=centred,
        stability=stability,
        l1=l1,
        steps=steps,
        batch=batch,
        minutes=minutes,
        seed=seed,
    )
    torch.set_num_threads(1)
    problem = DcOpf(load_grid(case))
    command = "certigap " + shlex.join(sys.argv[1:])
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[cost]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"training {problem.name}", total=steps, cost="")

        def on_check(step: int, value: float, seconds: float) -> None:
            share = max(step / steps, seconds / (60 * minutes))
            bar.update(task, completed=share * steps, cost=f"step {step:,}: mean cost {value:,.0f} $/h")

        proxy, report = train_dcopf(problem, DcOpfSpec(case=case), options, command, on_check)
        bar.update(task, completed=steps)
    save_network(output, proxy.network, proxy.manifest)
    domain = problem.domain(options.u)
    gaps = sampled_gaps(proxy, problem, domain, samples, seed=seed + 1, relative=True)
    print(
        f"{report.steps:,} steps in {report.seconds:.0f} s; mean cost {report.best_objective:,.0f} $/h\n"
        f"gap at {samples} random inputs: mean {100 * gaps.mean():.2f} %, largest {100 * gaps.max():.2f} % "
        f"(what sampling sees; `certigap verify {output} -u {u}` finds the worst case)\n"
        f"written: {output}"
    )


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise typer.BadParameter(f"{text!r} is no list of widths; write for example 64,64", param_hint="--hidden")
    return widths
