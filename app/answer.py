"""From the engine's result to what a user gets: the replayed answer, its certificate, its report.

The command line and the service give the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from problems.domain import Domain
from proxies.load import LoadedProxy
from verifier.certificate import finite_or_none, make_certificate, versions
from verifier.options import VerifyOptions
from verifier.replay import cost_size, onnx_gap
from verifier.result import Result, Verdict
from verifier.sampling import sampled_gaps

# Two evaluations of one network, float32 and float64, agree to this share of the larger cost (see `cost_size`).
ONNX_AGREEMENT = 1e-4
# Share of the time limit that the samples of the report may take.
SAMPLING_SHARE = 0.1


@dataclass(frozen=True)
class Answer:
    """A result whose witness was replayed in the user's own file as well.

    Attributes:
        result: with the notes of loading and of the replay.
        certificate: see `verifier.certificate`.
        data: the result as plain data, the same keys everywhere.
    """

    result: Result
    certificate: dict[str, Any]
    data: dict[str, Any]


def answer_of(loaded: LoadedProxy, domain: Domain, u: float, options: VerifyOptions, result: Result) -> Answer:
    """Return the answer that a result is worth; a witness that onnxruntime does not confirm certifies nothing."""
    result = replace(result, notes=(*loaded.notes, *result.notes))
    gap = None
    if loaded.onnx is not None and result.witness is not None:
        gap = onnx_gap(loaded.onnx, loaded.proxy, loaded.problem, result.witness)
        apart = abs(gap - result.witness.gap) > ONNX_AGREEMENT * cost_size(loaded.problem, result.witness)
        asked = options.threshold
        if apart or (asked is not None and (gap > asked) != (result.witness.gap > asked)):
            note = f"the witness does not replay: onnxruntime gives a gap of {gap:.8g}, not {result.witness.gap:.8g}"
            doubted = result.verdict in (Verdict.CERTIFIED, Verdict.FALSIFIED)
            verdict = Verdict.BOUNDED if doubted else result.verdict
            result = replace(result, notes=(*result.notes, note), verdict=verdict)
    certificate = make_certificate(result, loaded.proxy, loaded.problem, domain, u, options, loaded.sha256, gap)
    factor, unit = loaded.problem.display
    witness = result.witness
    data = {
        "lower": finite_or_none(result.lower),
        "upper": finite_or_none(result.upper),
        "unit": result.unit,
        "relative": finite_or_none(result.relative),
        "verdict": result.verdict.value,
        "termination": result.termination.value,
        "seconds": round(result.seconds["total"], 3),
        "witness": None if witness is None else {"unit": unit, "input": (factor * witness.input).tolist()},
        "notes": list(result.notes),
    }
    return Answer(result, certificate, data)


def report_of(
    loaded: LoadedProxy,
    domain: Domain,
    u: float,
    options: VerifyOptions,
    result: Result,
    samples: int,
    facts: Mapping[str, str],
) -> str:
    """Return the report as one HTML page.

    Args:
        loaded, domain, u, options, result: what was asked and found.
        samples: random inputs to compare with.
        facts: what else the reader may want to know of this run, such as the command.
    """
    from app.report.page import render_report  # Loads matplotlib, which nobody should wait for before an error message.

    relative = options.measure == "relative"
    seconds = SAMPLING_SHARE * options.time_limit
    gaps = sampled_gaps(loaded.proxy, loaded.problem, domain, samples, options.seed, relative, seconds)
    told = {
        **facts,
        "Case": loaded.problem.name,
        "u": f"{100 * u:g} %",
        "Solver": result.solver,
        "Formulation": f"{options.formulation}, style {options.style}",
        "Bounds": f"{options.bounds}, then at most {options.rounds} rounds of LP tightening",
        "Threshold": "none" if options.threshold is None else f"{options.threshold:g}",
        "Tolerance": f"{options.tolerance:g}",
        "Seed": str(options.seed),
        "Proxy fingerprint": loaded.proxy.fingerprint(),
        "Problem fingerprint": loaded.problem.fingerprint(),
        "Domain fingerprint": domain.fingerprint(),
        "Versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }
    return render_report(result, loaded.proxy, loaded.problem, domain, told, gaps)
