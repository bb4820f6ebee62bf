"""Whether the lower bound is attained: the witness is replayed, and all that is told of it compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from problems.domain import Domain
from problems.errors import InputError, SolveTimeoutError
from problems.parametric import ParametricProblem
from proxies.proxy import Proxy
from verifier.certificate_schema import Certificate, WitnessPart
from verifier.checks.exact_gap import exact_gap
from verifier.checks.finding import Finding, compared, finding
from verifier.replay import FEASIBILITY_TOLERANCE, cost_size, is_sound, onnx_gap, replay
from verifier.result import Witness

# Two exact solves of one problem, by different versions of a solver, agree to this, relative.
REPLAY_TOLERANCE = 1e-6
# A stored latent vector is in the domain to within rounding of one projection, relative.
MOVED = 1e-12
# Two evaluations of one network, float32 and float64, agree to this share of the larger cost.
ONNX_AGREEMENT = 1e-4


@dataclass(frozen=True)
class ModelFile:
    """The model file at hand: the sha256 of its bytes, and the bytes themselves where it is an ONNX file."""

    sha256: str
    onnx: bytes | None


def check_witness(
    certificate: Certificate, proxy: Proxy, problem: ParametricProblem, domain: Domain, file: ModelFile | None
) -> tuple[list[Finding], Witness | None]:
    """Return the findings about the witness, and its replay where there is one."""
    claim, stored = certificate.claim, certificate.witness
    if stored is None:
        least = None if np.isinf(problem.least_gap) else problem.least_gap
        told = f"no witness: only {least} may be claimed"
        return [finding("the lower bound was attained", claim.lower == least, told)], None
    lengths = {
        "latent": len(stored.latent) == domain.size,
        "input": len(stored.input) == problem.input_size,
        "decision": len(stored.decision) == problem.decision_size,
        "optimum": len(stored.optimum) == problem.decision_size,
    }
    if not all(lengths.values()):
        return [compared("the vectors of the witness have the right lengths", lengths)], None
    latent = np.array(stored.latent, dtype=np.float64)
    try:
        again = replay(proxy, problem, domain, latent)
    except (InputError, SolveTimeoutError) as error:
        return [finding("the witness can be replayed", False, str(error))], None
    moved = float((np.abs(again.latent - latent) / np.maximum(1.0, np.abs(latent))).max(initial=0.0))
    gap = exact_gap(again, problem, claim.measure == "relative")
    near = claim.lower is not None and (
        abs(gap.value - claim.lower) <= REPLAY_TOLERANCE * abs(gap.value) + gap.rounding
    )
    parts = {
        **_parts(stored, again, problem),
        **_optimum(stored, again, problem),
        **_onnx(stored, again, proxy, problem, file),
    }
    findings = [
        finding("the witness lies in the domain", is_sound(again, domain) and moved <= MOVED, f"moved by {moved:.1e}"),
        finding(
            "the lower bound is attained at the witness", near, f"replayed {gap.value:.10g}, claimed {claim.lower}"
        ),
        compared("decision, costs and gap at the witness match its replay", parts),
    ]
    return findings, again


def _parts(stored: WitnessPart, again: Witness, problem: ParametricProblem) -> dict[str, bool]:
    """Compare what a stored witness tells with its replay; a gap is as exact as the costs are."""
    (factor, unit), cost = problem.display, cost_size(problem, again)
    x, y = factor * again.input, factor * again.decision
    outside = factor * FEASIBILITY_TOLERANCE * (1 + float(np.abs(again.decision).max()))
    told = (
        ("input", stored.input, x, np.abs(x).max()),
        ("decision", stored.decision, y, np.abs(y).max()),
        ("proxy_cost", stored.proxy_cost, again.proxy_cost, cost),
        ("optimal_cost", stored.optimal_cost, again.optimal_cost, cost),
        ("gap", stored.gap, again.gap, cost),
    )
    near = REPLAY_TOLERANCE
    return {
        "unit": stored.unit == unit,
        **{name: bool(np.allclose(one, other, near, near * scale)) for name, one, other, scale in told},
        "relative_gap": _same_share(stored.relative_gap, again, near * cost),
        "infeasibility": abs(stored.infeasibility - factor * again.infeasibility) <= outside,
    }


def _same_share(told: float | None, again: Witness, tolerance: float) -> bool:
    """Compare relative gaps, where Phi is not 0, by gaps that may differ by `tolerance`."""
    if told is None or np.isnan(again.relative_gap):
        return told is None and bool(np.isnan(again.relative_gap))
    return abs(told - again.relative_gap) * abs(again.optimal_cost) <= tolerance


def _optimum(stored: WitnessPart, again: Witness, problem: ParametricProblem) -> dict[str, bool]:
    """See whether the stored optimum is one: feasible, at the optimal cost; there may be several."""
    optimum = np.array(stored.optimum, dtype=np.float64) / problem.display[0]
    x, y = (torch.as_tensor(part)[None] for part in (again.input, optimum))
    with torch.no_grad():
        cost, outside = float(problem.objective(x, y)[0]), float(problem.infeasibility(x, y)[0])
    allowed = FEASIBILITY_TOLERANCE * (1 + float(np.abs(optimum).max()))
    near = abs(cost - again.optimal_cost) <= REPLAY_TOLERANCE * cost_size(problem, again)
    return {"optimum": near and outside <= allowed}


def _onnx(
    stored: WitnessPart, again: Witness, proxy: Proxy, problem: ParametricProblem, file: ModelFile | None
) -> dict[str, bool]:
    """Run the user's own ONNX file again, where it is at hand."""
    told = stored.onnxruntime_gap
    if told is None or file is None:
        return {}
    if file.onnx is None:
        return {"onnxruntime_gap": False}
    cost = cost_size(problem, again)
    return {"onnxruntime_gap": abs(onnx_gap(file.onnx, proxy, problem, again) - told) <= ONNX_AGREEMENT * cost}
