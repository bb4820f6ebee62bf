"""The certificate: everything needed to repeat and to check a claim, as JSON that a person can read.

Schema "certigap.certificate/1". Numbers are written so that they read back bit for bit; an unknown bound is null.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from encoding.bounds import Bounds
from problems.domain import Domain
from problems.parametric import ParametricProblem
from proxies.manifest import Manifest
from proxies.proxy import Proxy
from verifier.options import VerifyOptions
from verifier.result import Result, Termination, Verdict, Witness, settles
from verifier.rounding import lower_amount, upper_amount

# Digits of the bounds in the statement; the claim's own numbers are exact.
DIGITS = 8
SCHEMA = "certigap.certificate/1"
ARITHMETIC = "verified as a float64 function of the stored weights"
_PACKAGES = ("certigap-server", "torch", "highspy", "numpy", "scipy", "pyomo", "gurobipy", "pyscipopt", "onnxruntime")


def make_certificate(
    result: Result,
    proxy: Proxy,
    problem: ParametricProblem,
    domain: Domain,
    u: float,
    options: VerifyOptions,
    file_sha256: str = "",
    onnx_gap: float | None = None,
) -> dict[str, Any]:
    """Return the certificate of a result as plain data.

    Args:
        result: what was found.
        proxy, problem, domain, options: what it was found for, and how.
        u: the domain's relative size, to rebuild it.
        file_sha256: of the model file.
        onnx_gap: the witness's gap when the network is run by onnxruntime, where it is an ONNX file.
    """
    return {
        "schema": SCHEMA,
        "claim": {
            "statement": statement(
                result.verdict, result.termination, (result.lower, result.upper), result.unit, u, problem
            ),
            "measure": options.measure,
            "unit": result.unit,
            "lower": finite_or_none(result.lower),
            "upper": finite_or_none(result.upper),
            "verdict": result.verdict.value,
            "termination": result.termination.value,
            "threshold": options.threshold,
            "tolerance": options.tolerance,
        },
        "problem": {**proxy.manifest.problem.model_dump(), "name": problem.name, "fingerprint": problem.fingerprint()},
        "proxy": {
            "file_sha256": file_sha256,
            "fingerprint": proxy.fingerprint(),
            "layers": layer_list(proxy),
            **units(proxy.manifest),
            "arithmetic": ARITHMETIC,
        },
        "domain": {
            "u": u,
            "latent_size": domain.size,
            "fingerprint": domain.fingerprint(),
            "cuts": [cut.reason for cut in domain.cuts],
        },
        "witness": None if result.witness is None else _witness(result.witness, problem, onnx_gap),
        "bounds": None if result.bounds is None else _bounds(result.bounds),
        "trusted": list(trusted(result)),
        "options": asdict(options),
        "solver": result.solver,
        "nodes": result.nodes,
        "sizes": {
            "before": None if result.size_before is None else asdict(result.size_before),
            "after": None if result.size_after is None else asdict(result.size_after),
        },
        "stability": [asdict(layer) for layer in result.stability],
        "seconds": dict(result.seconds),
        "notes": list(result.notes),
        "versions": versions(),
    }


def statement(
    verdict: Verdict,
    termination: Termination,
    interval: tuple[float, float],
    unit: str,
    u: float,
    problem: ParametricProblem,
) -> str:
    """Return the claim in a sentence or two, its bounds rounded outward.

    Args:
        verdict, termination, unit: as in `Result`.
        interval: lower and upper.
        u: the domain's relative size.
        problem: whose gap it is.
    """
    lower, upper = interval
    share = " of the optimal value" if unit == "1" else ""
    domain = f"over all inputs within u = {100 * u:g} %"
    if verdict is Verdict.UNKNOWN or np.isposinf(upper):
        attained = "" if np.isinf(lower) else f"; a gap of {lower_amount(lower, unit, DIGITS)}{share} was attained"
        return f"No upper bound of the gap is known {domain}{attained}."
    attained = "" if np.isinf(lower) else f"; {lower_amount(lower, unit, DIGITS)}{share} was attained"
    said = f"The gap never exceeds {upper_amount(upper, unit, DIGITS)}{share} {domain}{attained}."
    return f"{said} {problem.reading(lower, upper, settles(verdict, termination))}".rstrip()


def trusted(result: Result) -> tuple[str, ...]:
    """Return what a reader has to believe beyond arithmetic that can be repeated."""
    return (
        f"the dual bound of {result.solver} on the final mixed-integer model",
        "the encodings of the layers and of the problem, as published with the source code",
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that took part."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def to_json(certificate: Mapping[str, Any]) -> str:
    """Return a certificate as JSON text without NaN or infinity."""
    return json.dumps(_plain(certificate), indent=1, allow_nan=False)


def _witness(witness: Witness, problem: ParametricProblem, onnx_gap: float | None) -> dict[str, Any]:
    factor, unit = problem.display
    return {
        "latent": witness.latent,
        "unit": unit,
        "input": factor * witness.input,
        "decision": factor * witness.decision,
        "optimum": factor * witness.optimum,
        "infeasibility": factor * witness.infeasibility,
        "proxy_cost": witness.proxy_cost,
        "optimal_cost": witness.optimal_cost,
        "gap": witness.gap,
        "relative_gap": witness.relative_gap,
        "onnxruntime_gap": onnx_gap,
    }


def layer_list(proxy: Proxy) -> list[str]:
    """Return the kind and the number of outputs of each layer."""
    return [f"{type(layer).__name__} -> {n}" for layer, n in zip(proxy.layers, proxy.sizes[1:])]


def units(manifest: Manifest) -> dict[str, Any]:
    """Return what the network reads and writes, where its problem leaves a choice."""
    told = json.loads(manifest.to_json())
    return {key: told[key] for key in ("input", "output") if key in told}


def _bounds(bounds: Bounds) -> dict[str, Any]:
    intervals = {key: {"lower": i.lower, "upper": i.upper} for key, i in bounds.intervals.items()}
    return {"cutoff": bounds.cutoff, "latent": asdict(bounds.box), "intervals": intervals}


def finite_or_none(value: float) -> float | None:
    """Return a number as JSON can hold it."""
    return value if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, (float, np.floating)):
        return finite_or_none(float(value))
    return value
