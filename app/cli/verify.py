"""`certigap verify`: one model file in, a certificate and a report out."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer

from app.answer import answer_of, report_of
from app.cli.progress import LiveProgress
from app.cli.share import parse_share
from app.cli.text import summary
from app.files import write_whole
from problems.domain import Domain
from problems.parametric import ParametricProblem
from proxies.load import load_proxy
from proxies.manifest import InputUnit, OutputUnit
from verifier.attack import AttackOptions
from verifier.certificate import to_json
from verifier.cut_store import CutStore
from verifier.options import OptionsError, VerifyOptions
from verifier.result import Verdict
from verifier.verify import verify as run_engine

EXIT_CODES = {Verdict.CERTIFIED: 0, Verdict.FALSIFIED: 1, Verdict.BOUNDED: 2, Verdict.UNKNOWN: 2}


def verify(
    model: Annotated[Path, typer.Argument(help="ONNX or safetensors file of the network.", show_default=False)],
    u: Annotated[str, typer.Option("-u", help="Half-width of the inputs' range: 5% or 0.05.")] = "5%",
    case: Annotated[
        str | None,
        typer.Option(
            help="PGLib name, .m file, JSON instance, or for a classifier a JSON sample; else the manifest's."
        ),
    ] = None,
    relative: Annotated[bool, typer.Option(help="Bound the gap divided by the optimal value.")] = False,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="Only decide whether the gap can exceed this: 500 ($/h, value), 3% with --relative; a classifier: 0."
        ),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Stop when lower and upper differ by less than this share.")] = 1e-3,
    time_limit: Annotated[float, typer.Option(help="Seconds for everything.")] = 3600.0,
    solver: Annotated[str, typer.Option(help="highs, gurobi, scip, or pyomo:<name>.")] = "highs",
    formulation: Annotated[Literal["compact", "bilevel"], typer.Option(help="Which formulation to solve.")] = "compact",
    style: Annotated[
        Literal["sign", "paper"],
        typer.Option(help="Encoding of the repair layers: ours (sign; knapsack: the threshold form) or the paper's."),
    ] = "sign",
    bounds: Annotated[
        Literal["crown", "alpha", "interval"], typer.Option(help="First bounds of the neurons.")
    ] = "crown",
    rounds: Annotated[int, typer.Option(help="Most rounds of LP tightening.")] = VerifyOptions.rounds,
    split: Annotated[bool, typer.Option(help="Split the domain where one MILP is too hard.")] = True,
    workers: Annotated[int, typer.Option(help="Processes that work on parts; 0 for one a core.")] = 0,
    attack_seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Most time for the attack; 0 for none.", show_default="a quarter of the time left"),
    ] = None,
    attack_style: Annotated[
        Literal["ours", "paper"], typer.Option(help="How to attack: ours, or the paper's Algorithm 1.")
    ] = "ours",
    cuts: Annotated[
        Path | None,
        typer.Option(help="File of stored tangents of Phi (where it is convex): read if there, written after the run."),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Random inputs to compare with in the report.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    input_unit: Annotated[InputUnit | None, typer.Option(help="Unit the network reads.")] = None,
    output_unit: Annotated[OutputUnit | None, typer.Option(help="Unit the network writes.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for certificate.json and report.html.")
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> int:
    """Certify the worst-case optimality gap of a proxy over all its inputs within -u."""
    share = parse_share(u, "-u")
    options = VerifyOptions(
        measure="relative" if relative else "absolute",
        threshold=None if threshold is None else _threshold(threshold, relative),
        tolerance=tolerance,
        time_limit=time_limit,
        solver=solver,
        formulation=formulation,
        style=style,
        bounds=bounds,
        rounds=rounds,
        attack=AttackOptions(
            attack_style, seconds=attack_seconds, rounds=0 if attack_seconds == 0 else AttackOptions.rounds
        ),
        split=split,
        workers=workers or len(os.sched_getaffinity(0)),
        seed=seed,
    )
    loaded = load_proxy(model, case, input_unit, output_unit)
    options.check(loaded.problem)
    domain = loaded.problem.domain(share)
    _check_folder(output, "--output")
    known = None if cuts is None else _known_cuts(cuts, loaded.problem, domain)
    # One thread: HiGHS and torch would otherwise fight for the same cores.
    torch.set_num_threads(1)
    with _stop_signal() as stop, LiveProgress(quiet=as_json, unit="1" if relative else loaded.problem.unit) as live:
        result = run_engine(loaded.proxy, loaded.problem, domain, options, live.on_event, stop.is_set, known)
    if cuts is not None and result.cuts is not None:
        cuts.parent.mkdir(parents=True, exist_ok=True)
        write_whole(cuts, result.cuts.to_npz())
    answer = answer_of(loaded, domain, share, options, result)
    # Who pressed Ctrl-C waits for no samples.
    samples = 0 if stop.is_set() else samples
    facts = {
        "Model file": f"{model} (sha256 {loaded.sha256[:16]}...)",
        "Command": "certigap " + shlex.join(sys.argv[1:]),
    }
    report = report_of(loaded, domain, share, options, answer.result, samples, facts)
    paths = _write(output, answer.certificate, report)
    if as_json:
        written = {name: str(path.resolve()) for name, path in paths.items()}
        print(json.dumps({**answer.data, **written}, allow_nan=False))
    else:
        print(summary(answer.result, loaded.problem, share))
        print(f"certificate: {paths['certificate']}\nreport:      {paths['report']}")
    return EXIT_CODES[answer.result.verdict]


def _known_cuts(file: Path, problem: ParametricProblem, domain: Domain) -> CutStore | None:
    """Return the tangents in `file`; None where it is not there yet but can be written.

    Raises:
        OptionsError: the problem's optimal value has no tangents to store.
    """
    if not problem.convex:
        raise OptionsError(
            f"--cuts stores tangents of the optimal value, and that of a {problem.kind} problem is not convex and has "
            "none; leave the option out"
        )
    _check_folder(file.absolute().parent, "--cuts")
    return CutStore.from_npz(file.read_bytes(), problem, domain) if file.exists() else None


def _check_folder(folder: Path, option: str) -> None:
    """Find out before the work, not after it, whether its results can be written."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise typer.BadParameter(f"{folder} is no folder that can be written; choose another", param_hint=option)


def _threshold(text: str, relative: bool) -> float:
    if relative or text.strip().endswith("%"):
        if not relative:
            raise typer.BadParameter("a threshold in per cent needs --relative", param_hint="--threshold")
        return parse_share(text, "--threshold")
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number", param_hint="--threshold") from None


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C (or SIGTERM) into a request to stop with the bounds so far; a second one kills."""
    stop = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    old = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _write(folder: Path, certificate: dict[str, Any], report: str) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"certificate": folder / "certificate.json", "report": folder / "report.html"}
    write_whole(paths["certificate"], to_json(certificate))
    write_whole(paths["report"], report)
    return paths
