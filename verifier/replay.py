"""Replay: what a candidate input really gives, through the proxy itself and an independent exact solve."""

from __future__ import annotations

import numpy as np
import torch

from problems.domain import Domain
from problems.errors import InputError, SolveTimeoutError
from problems.interval import Interval, Vector, difference
from problems.parametric import ParametricProblem
from proxies.layers import Layer
from proxies.proxy import Proxy
from verifier.bounds.crown import layer_boxes
from verifier.bounds.relaxation import Box
from verifier.result import Witness

# A proxy's decision this far outside its feasible set, per unit, is rounding.
FEASIBILITY_TOLERANCE = 1e-7
# An exact solve that takes longer has no value to compare with.
SOLVE_SECONDS = 60.0
# The latent box is hit to within rounding of one projection.
ULPS = 4


def replay(
    proxy: Proxy, problem: ParametricProblem, domain: Domain, latent: Vector, seconds: float = SOLVE_SECONDS
) -> Witness:
    """Return the witness at a latent vector ((n_w,)), after projecting it onto the domain.

    Args:
        proxy, problem, domain, latent: what is replayed, and where.
        seconds: for the exact solve.

    Raises:
        InputError: P(x) is infeasible there.
        SolveTimeoutError: `seconds` did not suffice.
    """
    w = domain.project(latent)
    x = domain.to_input(w)
    with torch.no_grad():
        batch = torch.as_tensor(x)[None]
        decision = proxy(batch)
        cost = float(problem.objective(batch, decision)[0])
        outside = float(problem.infeasibility(batch, decision)[0])
        _, optimum = problem.solve(x, seconds=seconds)
        # The exact solve is primal: pricing its decision ourselves can only make the gap smaller.
        best = float(problem.objective(batch, torch.as_tensor(optimum)[None])[0])
        least = problem.objective_range(x, enclosure(proxy, x))[0]
        most = problem.objective_range(x, Interval(np.asarray(optimum), np.asarray(optimum)))[1]
    attained, _ = difference(least, most)
    return Witness(w, x, decision[0].numpy(), np.asarray(optimum), cost, best, outside, attained)


def enclosure(proxy: Proxy, x: Vector) -> Interval:
    """Return limits of the decision at one input ((n_x,)) in every float64 evaluation, in any order of summation.

    At a tie (a sign of 0, two equal scores) they hold all that rounding may make of it.

    Raises:
        NetworkOverflowError: the network overflows there.
    """
    point = torch.as_tensor(x)[None]
    layers = [layer for layer in proxy.layers if isinstance(layer, Layer)]
    box = layer_boxes(layers, Box(point, point), "interval").inputs[-1]
    return Interval(box.lower[0].numpy(), box.upper[0].numpy())


def is_sound(witness: Witness, domain: Domain) -> bool:
    """Return whether a witness lies in the domain and its decision is feasible: only then does it count."""
    inside = domain.contains(witness.latent, tolerance=ULPS * float(np.finfo(np.float64).eps))
    return inside and witness.infeasibility <= FEASIBILITY_TOLERANCE * (1 + float(np.abs(witness.decision).max()))


def sound_gap(proxy: Proxy, problem: ParametricProblem, domain: Domain, latent: Vector, relative: bool) -> float:
    """Return the gap that is attained at a latent vector; -inf where the replay does not count."""
    try:
        witness = replay(proxy, problem, domain, latent)
    except (InputError, SolveTimeoutError):
        return -np.inf
    if not is_sound(witness, domain):
        return -np.inf
    return witness.least(relative)


def cost_size(problem: ParametricProblem, witness: Witness) -> float:
    """Return the size of the numbers whose difference a witness's gap is: what rounding is a share of."""
    if problem.least_gap < 0:
        # A signed gap is a difference of entries of the decision, and these of others: all of them may be 0.
        return float(np.abs(witness.decision).max()) or problem.objective_scale
    return max(abs(witness.proxy_cost), abs(witness.optimal_cost))


def onnx_gap(onnx: bytes, proxy: Proxy, problem: ParametricProblem, witness: Witness) -> float:
    """Return the witness's gap when the user's own ONNX file is run by onnxruntime, in the file's own arithmetic.

    Args:
        onnx: the file; it must be the network inside `proxy`.
        proxy: supplies the layers before and after the network.
        problem: prices the decision.
        witness: whose input and optimal cost are used.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    first = next(k for k, layer in enumerate(proxy.layers) if layer is proxy.network[0])
    x = torch.as_tensor(witness.input)[None]
    with torch.no_grad():
        h = x
        for layer in proxy.layers[:first]:
            h = layer(h, x)
        kind = np.float64 if "double" in entry.type else np.float32
        answer = session.run(None, {entry.name: h.numpy().astype(kind)})[0]
        h = torch.as_tensor(answer.astype(np.float64)).reshape(1, -1)
        for layer in proxy.layers[first + len(proxy.network) :]:
            h = layer(h, x)
        return float(problem.objective(x, h)[0]) - witness.optimal_cost
