"""What a job does, by kind: runs in the child process, knows files and messages, but no database.

Messages: {event, lower, upper, unit}, {lower, latent} of a witness, {nodes} of a search, {point} of a sweep.
Files: what a job leaves lies in its folder as result.json, certificate.json, report.html, proxy.safetensors.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial, singledispatch
from typing import Any

import numpy as np
import torch

from app import inspect
from app.answer import answer_of, report_of
from app.jobs.parts import SpreadPool
from app.jobs.requests import (
    AttackJob,
    BoundsJob,
    EvaluateJob,
    SweepJob,
    TrainJob,
    VerifyJob,
)
from app.jobs.work import Work, engine_options
from app.sandbox import Channel
from encoding.bounds import input_key
from problems.dcopf import DcOpf
from problems.knapsack import Knapsack
from proxies.dcopf import dcopf_problem
from proxies.files import save_network
from proxies.knapsack import knapsack_problem
from proxies.load import LoadedProxy
from proxies.manifest import PROBLEM_SPEC, DcOpfSpec, KnapsackSpec
from proxies.proxy import latent_layers
from proxies.training import TrainingOptions
from proxies.training_dcopf import train_dcopf
from proxies.training_knapsack import train_knapsack
from verifier.bounds.over_domain import proxy_bounds
from verifier.certificate import finite_or_none, to_json
from verifier.frontier import Change, Frontier
from verifier.node import Node
from verifier.options import VerifyOptions
from verifier.pool import Pool
from verifier.result import Event, Result
from verifier.sampling import sampled_gaps
from verifier.verify import fixed_units, verify

# Inputs between two looks at whether an evaluation shall stop.
SAMPLES_AT_ONCE = 250


def run(spec: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Do a job; returns {termination, verdict} for its row.

    Args:
        spec: {request, folder, model, case, problem, cores, frontier, points}; see `Work`.
        channel: to the worker.
    """
    torch.set_num_threads(1)
    work, request = Work.of(spec, channel)
    return _run(request, work)


@singledispatch
def _run(request: Any, work: Work) -> dict[str, Any]:
    raise NotImplementedError(f"no work is known for {type(request).__name__}")


@_run.register
def _(request: VerifyJob, work: Work) -> dict[str, Any]:
    return _verify(work, request, engine_options(request.options, work.cores))


@_run.register
def _(request: AttackJob, work: Work) -> dict[str, Any]:
    return _verify(work, request, replace(engine_options(request.options, work.cores), most_parts=0))


def _verify(work: Work, request: VerifyJob | AttackJob, options: VerifyOptions) -> dict[str, Any]:
    loaded = work.load(request)
    result = _search(work, loaded, request.u, options, kept=True)
    domain = loaded.problem.domain(request.u)
    answer = answer_of(loaded, domain, request.u, options, result)
    work.write("result.json", answer.data)
    work.write("certificate.json", to_json(answer.certificate))
    if not work.channel.stopped():
        facts = {"Model file": f"sha256 {loaded.sha256}", "Job": request.kind}
        report = report_of(loaded, domain, request.u, options, answer.result, request.options.samples, facts)
        work.write("report.html", report)
    return {"termination": answer.data["termination"], "verdict": answer.data["verdict"]}


def _search(work: Work, loaded: LoadedProxy, u: float, options: VerifyOptions, *, kept: bool) -> Result:
    """Run the engine; where the search is `kept`, from what an earlier attempt stored, and storing what is open."""

    def on_event(event: Event) -> None:
        bounds = {"lower": finite_or_none(event.lower), "upper": finite_or_none(event.upper)} if kept else {}
        work.say(event.phase, event.seconds, event.counters, **bounds)

    def on_change(change: Change) -> None:
        if change.latent is not None:
            work.channel.say({"lower": change.lower, "latent": change.latent.tolist()})
        else:
            added = {
                number: {"upper": finite_or_none(n.upper), "data": n.to_json()} for number, n in change.added.items()
            }
            nodes = {"added": added, "dropped": list(change.dropped), "closed": finite_or_none(change.closed)}
            work.channel.say({"nodes": nodes})

    domain = loaded.problem.domain(u)
    unit = "1" if options.measure == "relative" else loaded.problem.unit
    work.say("start", 0.0, unit=unit)
    return verify(
        loaded.proxy,
        loaded.problem,
        domain,
        options,
        on_event,
        work.channel.stopped,
        frontier=_frontier(work.frontier) if kept else None,
        on_change=on_change if kept else None,
        make_pool=partial(SpreadPool, work.channel) if kept and work.spread else Pool,
    )


def _frontier(stored: Mapping[str, Any] | None) -> Frontier | None:
    if stored is None:
        return None
    closed, upper, latent = stored["closed"], stored["upper"], stored["latent"]
    return Frontier(
        {int(number): Node.from_json(text) for number, text in stored["nodes"].items()},
        -math.inf if closed is None else closed,
        math.inf if upper is None else upper,
        None if latent is None else np.asarray(latent, dtype=np.float64),
    )


@_run.register
def _(request: BoundsJob, work: Work) -> dict[str, Any]:
    loaded = work.load(request)
    domain = loaded.problem.domain(request.u)
    layers = latent_layers(loaded.proxy, domain)
    bounds = proxy_bounds(layers, loaded.problem, domain, request.method)
    told = []
    for k, layer in enumerate(layers):
        box = bounds[input_key(k)]
        told.append(
            {
                "layer": f"{type(layer).__name__} {k}",
                "units": len(box),
                "stable": int(fixed_units(layer, k, bounds).sum()),
                "lower": box.lower.tolist(),
                "upper": box.upper.tolist(),
            }
        )
    work.write("result.json", {"u": request.u, "method": request.method, "layers": told})
    return {"termination": "optimal", "verdict": None}


@_run.register
def _(request: EvaluateJob, work: Work) -> dict[str, Any]:
    loaded = work.load(request)
    domain = loaded.problem.domain(request.u)
    relative = request.measure == "relative"
    began, gaps, tried = time.monotonic(), [np.zeros(0)], 0
    while tried < request.samples and not work.channel.stopped():
        left = request.time_limit - (time.monotonic() - began)
        if left <= 0:
            break
        count = min(SAMPLES_AT_ONCE, request.samples - tried)
        # Each piece its own seed, so that the first ones are the same however many are asked for.
        seed = request.seed + tried // SAMPLES_AT_ONCE
        gaps.append(sampled_gaps(loaded.proxy, loaded.problem, domain, count, seed, relative, left))
        tried += count
        work.say("evaluate", time.monotonic() - began, {"samples": tried})
    found = np.concatenate(gaps)
    levels = (0.5, 0.9, 0.99)
    quantiles = {str(q): float(np.quantile(found, q)) for q in levels} if found.size else {}
    summary = {
        "samples": int(found.size),
        "unit": "1" if relative else loaded.problem.unit,
        "mean": float(found.mean()) if found.size else None,
        "largest": float(found.max()) if found.size else None,
        "quantiles": quantiles,
    }
    work.write("result.json", {"u": request.u, **summary})
    ended = "cancelled" if work.channel.stopped() else "time_limit" if tried < request.samples else "optimal"
    return {"termination": ended, "verdict": None}


@_run.register
def _(request: SweepJob, work: Work) -> dict[str, Any]:
    loaded = work.load(request)
    points = [dict(point) for point in work.points]
    options = engine_options(request.options, work.cores)
    for u in request.u[len(points) :]:
        result = _search(work, loaded, u, options, kept=False)
        if work.channel.stopped():
            break
        answer = answer_of(loaded, loaded.problem.domain(u), u, options, result)
        points.append({"u": u, **answer.data})
        work.channel.say({"point": points[-1]})
    unit = "1" if options.measure == "relative" else loaded.problem.unit
    work.write("result.json", {"unit": unit, "curve": points})
    if len(points) < len(request.u):
        return {"termination": "cancelled", "verdict": None}
    return {"termination": _worst(points, "termination"), "verdict": _worst(points, "verdict")}


def _worst(points: list[dict[str, Any]], what: str) -> str:
    """Return what all points of a curve share, or else what the least finished one says."""
    good = ("optimal", "threshold_decided", "certified", "falsified")
    found = [str(point[what]) for point in points]
    return next((word for word in found if word not in good), found[0])


@_run.register
def _(request: TrainJob, work: Work) -> dict[str, Any]:
    options = TrainingOptions(
        hidden=tuple(request.hidden),
        u=request.u,
        stability=request.stability,
        l1=request.l1,
        steps=request.steps,
        batch=request.batch,
        minutes=request.minutes,
        seed=request.seed,
    )
    spec = PROBLEM_SPEC.validate_python(work.problem)

    def on_check(step: int, validation: float, seconds: float) -> None:
        work.say("train", seconds, {"step": step, "validation": validation})
        if work.channel.stopped():
            raise _StoppedError

    try:
        problem, proxy, report = _train(spec, work, options, on_check)
    except _StoppedError:
        return {"termination": "cancelled", "verdict": None}
    save_network(work.folder / "proxy.safetensors", proxy.network, proxy.manifest, single=True)
    gaps = sampled_gaps(proxy, problem, problem.domain(request.u), 500, request.seed + 1, relative=True)
    figures = {"steps": report.steps, "validation": report.best, "seconds": round(report.seconds, 1)}
    sampled = {"mean": float(gaps.mean()), "largest": float(gaps.max())} if gaps.size else None
    work.write("result.json", {**figures, "sampled_relative_gap": sampled})
    found = inspect.proxy({"folder": str(work.folder), "model": "proxy.safetensors"})
    return {"termination": "optimal", "verdict": None, **found}


class _StoppedError(Exception):
    """Training was asked to stop."""


def _train(spec: Any, work: Work, options: TrainingOptions, on_check: Any) -> tuple[Any, Any, Any]:
    if isinstance(spec, KnapsackSpec):
        knapsack: Knapsack = knapsack_problem(spec)
        return knapsack, *train_knapsack(knapsack, options, made_by="certigap job", on_check=on_check)
    assert isinstance(spec, DcOpfSpec)  # Others are not taken in.
    case = str(work.folder / work.case) if work.case else None
    problem: DcOpf = dcopf_problem(spec, case)
    return problem, *train_dcopf(problem, spec, options, made_by="certigap job", on_check=on_check)
