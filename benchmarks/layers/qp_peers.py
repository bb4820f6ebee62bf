"""The QP layer beside others on the paper's random problems: seconds forward and backward, and errors, in one run.

Usage: python benchmarks/layers/qp_peers.py [--sizes 10,50,100] [--batch 128] [--repeats 5] [--threads 1] [--quick]
       [--json FILE]

Layers: ours (both methods), qpth, proxsuite, cvxpylayers. Solvers in a loop, forward only: PIQP, Clarabel, OSQP,
Gurobi.
What is not installed is left out with a sentence (`pip install -e .[peers]`). Rounds alternate between the entries, and
each entry's best round counts. Slow entries solve only the first problems of the batch; all times are per problem.

The reference is independent of the layer: the active set of PIQP at 1e-12, its KKT system by LU in float64, refined by
residuals in extended precision. Errors are the largest over the problems: of z in the maximum norm, of the gradients of
Q, q, G, h in the Frobenius norm, each relative to the reference's norm.
"""

from __future__ import annotations

import argparse
import sys
import time
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import piqp
import torch
from qp_record import begin, number, parser, random_qps, table
from torch import Tensor

from proxies.layers.qp import QPOptions, qp_solve

Parameters = dict[str, Tensor]
# A layer gives z with a graph behind it; a solver gives z alone.
Entry = Callable[[Parameters], Tensor]
# Interior points in a loop stop here, as ours does before its polish.
TOLERANCE = 1e-8
# Problems that an entry solves where its loop is slow.
FEW = 8


@dataclass(frozen=True)
class Peer:
    """How to set up one entry.

    Attributes:
        make: imports the package and returns the entry.
        package: its name on the index; None for our own.
        backward: it differentiates.
        problems: how many problems it solves at most.
    """

    make: Callable[[Parameters], Entry]
    package: str | None
    backward: bool = True
    problems: int = 10**9


def ours(method: Any) -> Callable[[Parameters], Entry]:
    return lambda _: lambda given: qp_solve(**given, options=QPOptions(method=method)).z


def qpth(given: Parameters) -> Entry:
    # It imports a package that no longer installs, and uses it nowhere on this path.
    sys.modules.setdefault("block", types.ModuleType("block")).block = None  # type: ignore[attr-defined]
    from qpth.qp import QPFunction

    none = torch.empty(0, dtype=torch.float64)
    return lambda p: QPFunction(verbose=-1)(p["Q"], p["q"], p["G"], p["h"], none, none)


def proxsuite(given: Parameters) -> Entry:
    from proxsuite.torch.qplayer import QPFunction

    batch, n = given["q"].shape
    A, b = torch.empty(batch, 0, n, dtype=torch.float64), torch.empty(batch, 0, dtype=torch.float64)
    lower = torch.full_like(given["h"], -1e20)
    parallel = torch.get_num_threads() > 1
    return lambda p: QPFunction(omp_parallel=parallel)(p["Q"], p["q"], A, b, p["G"], lower, p["h"])[0]


def cvxpylayers(given: Parameters) -> Entry:
    import cvxpy
    from cvxpylayers.torch import CvxpyLayer

    n, m = given["q"].shape[1], given["h"].shape[1]
    root, q, G, h = cvxpy.Parameter((n, n)), cvxpy.Parameter(n), cvxpy.Parameter((m, n)), cvxpy.Parameter(m)
    z = cvxpy.Variable(n)
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(root @ z) / 2 + q @ z), [G @ z <= h])
    layer = CvxpyLayer(problem, parameters=[root, q, G, h], variables=[z])
    # It takes no quadratic parameter: Q enters through its factor, whose derivative torch has.
    return lambda p: layer(torch.linalg.cholesky(p["Q"]).mT, p["q"], p["G"], p["h"])[0]


def loop(solve: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Entry:
    def run(p: Parameters) -> Tensor:
        data = zip(*(p[name].detach().numpy() for name in ("Q", "q", "G", "h")))
        return torch.as_tensor(np.stack([solve(*problem) for problem in data]))

    return run


def piqp_loop(given: Parameters) -> Entry:
    def solve(Q: np.ndarray, q: np.ndarray, G: np.ndarray, h: np.ndarray) -> np.ndarray:
        return _piqp(Q, q, G, h, TOLERANCE).x

    return loop(solve)


def clarabel(given: Parameters) -> Entry:
    import clarabel as package
    from scipy.sparse import csc_matrix

    settings = package.DefaultSettings()
    settings.verbose = False

    def solve(Q: np.ndarray, q: np.ndarray, G: np.ndarray, h: np.ndarray) -> np.ndarray:
        cone = [package.NonnegativeConeT(len(h))]
        solver = package.DefaultSolver(csc_matrix(np.triu(Q)), q, csc_matrix(G), h, cone, settings)
        return np.array(solver.solve().x)

    return loop(solve)


def osqp(given: Parameters) -> Entry:
    import osqp as package
    from scipy.sparse import csc_matrix

    def solve(Q: np.ndarray, q: np.ndarray, G: np.ndarray, h: np.ndarray) -> np.ndarray:
        solver = package.OSQP()
        options = {"eps_abs": TOLERANCE, "eps_rel": TOLERANCE, "max_iter": 200_000, "polishing": True}
        solver.setup(csc_matrix(np.triu(Q)), q, csc_matrix(G), np.full(len(h), -np.inf), h, verbose=False, **options)
        return np.array(solver.solve().x)

    return loop(solve)


def gurobi(given: Parameters) -> Entry:
    import gurobipy

    environment = gurobipy.Env(params={"OutputFlag": 0, "Threads": torch.get_num_threads(), "Method": 2})

    def solve(Q: np.ndarray, q: np.ndarray, G: np.ndarray, h: np.ndarray) -> np.ndarray:
        model = gurobipy.Model(env=environment)
        z = model.addMVar(len(q), lb=-gurobipy.GRB.INFINITY)
        model.addConstr(G @ z <= h)
        model.setObjective(z @ (Q / 2) @ z + q @ z)
        model.optimize()
        return z.X

    return loop(solve)


PEERS = {
    "ours": Peer(ours("per_problem"), None),
    "ours, batched": Peer(ours("batched"), None),
    "qpth": Peer(qpth, "qpth"),
    "proxsuite": Peer(proxsuite, "proxsuite"),
    "cvxpylayers": Peer(cvxpylayers, "cvxpylayers", problems=FEW),
    "PIQP loop": Peer(piqp_loop, "piqp", backward=False),
    "Clarabel loop": Peer(clarabel, "clarabel", backward=False, problems=4 * FEW),
    "OSQP loop": Peer(osqp, "osqp", backward=False, problems=FEW),
    "Gurobi loop": Peer(gurobi, "gurobipy", backward=False, problems=4 * FEW),
}


@dataclass(frozen=True)
class Reference:
    """Optima ((batch, n)) and gradients of z . weight, by a way that shares nothing with the layer."""

    z: np.ndarray
    grads: dict[str, np.ndarray]


def reference(given: Parameters, weight: Tensor) -> Reference:
    """Return the reference of a batch; raises RuntimeError where a sign shows that an active set is wrong."""
    z, grads = [], []
    data = zip(*(given[name].numpy() for name in ("Q", "q", "G", "h")), weight.numpy())
    for Q, q, G, h, w in data:
        n = len(q)
        rough = _piqp(Q, q, G, h, 1e-12)
        active = rough.z_u > rough.s_u
        C = G[active]
        kkt = np.block([[Q, C.T], [C, np.zeros((len(C), len(C)))]])
        point = _refined(kkt, np.concatenate([-q, h[active]]))
        if (point[n:] < 0).any() or (G @ point[:n] > h + 1e-12 * np.abs(h).max())[~active].any():
            raise RuntimeError("the reference found a wrong active set")
        pulled = _refined(kkt, np.concatenate([-w, np.zeros(len(C))]))
        full, dual = np.zeros(len(h)), np.zeros(len(h))
        full[active], dual[active] = point[n:], pulled[n:]
        z.append(point[:n])
        dz = pulled[:n]
        dG = np.outer(dual, point[:n]) + np.outer(full, dz)
        grads.append(((np.outer(dz, point[:n]) + np.outer(point[:n], dz)) / 2, dz, dG, -dual))
    return Reference(np.stack(z), {name: np.stack(parts) for name, parts in zip(("Q", "q", "G", "h"), zip(*grads))})


def _refined(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(matrix)
    wide, exact = matrix.astype(np.longdouble), right.astype(np.longdouble)
    point = np.zeros(len(right), dtype=np.longdouble)
    for _ in range(8):
        point = point + inverse @ (exact - wide @ point).astype(float)
    return point.astype(float)


def _piqp(Q: np.ndarray, q: np.ndarray, G: np.ndarray, h: np.ndarray, tolerance: float) -> Any:
    solver = piqp.DenseSolver()
    settings = solver.settings
    settings.eps_abs = settings.eps_rel = tolerance
    settings.eps_duality_gap_abs = settings.eps_duality_gap_rel = tolerance
    solver.setup(Q, q, None, None, G, None, h)
    solver.solve()
    return solver.result


def measure(given: Parameters, weight: Tensor, exact: Reference, repeats: int) -> list[dict[str, Any]]:
    """Run every installed entry on the same problems, in alternating rounds, and return one row each."""
    entries: dict[str, tuple[Peer, Entry]] = {}
    for name, peer in PEERS.items():
        try:
            entries[name] = peer, peer.make(_first(given, peer.problems))
        except ImportError as missing:
            print(f"{name} is left out: {missing}")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in entries}
    rows: dict[str, dict[str, Any]] = {}
    for _ in range(repeats):
        for name, (peer, entry) in entries.items():
            own = {
                key: value.clone().requires_grad_(peer.backward) for key, value in _first(given, peer.problems).items()
            }
            count = len(own["q"])
            began = time.perf_counter()
            z = entry(own)
            middle = time.perf_counter()
            if peer.backward:
                (z * weight[:count]).sum().backward()
            times[name].append(((middle - began) / count, (time.perf_counter() - middle) / count))
            rows[name] = {"entry": name, "problems": count, **_errors(z, own, exact)}
    for name, row in rows.items():
        forward, backward = min(times[name], key=sum)
        row |= {"forward_ms": 1e3 * forward, "backward_ms": 1e3 * backward if entries[name][0].backward else None}
    return list(rows.values())


def _first(given: Parameters, count: int) -> Parameters:
    return {name: value[:count] for name, value in given.items()}


def _errors(z: Tensor, own: Parameters, exact: Reference) -> dict[str, float | None]:
    count = len(z)
    point = np.abs(z.detach().numpy() - exact.z[:count]).max(1) / np.abs(exact.z[:count]).max(1)
    errors: dict[str, float | None] = {"z_error": float(point.max()), "gradient_error": None}
    if own["Q"].grad is not None:
        worst = 0.0
        for name, wanted in exact.grads.items():
            axes = tuple(range(1, wanted.ndim))
            grad = own[name].grad.numpy()
            if name == "Q":
                grad = (grad + grad.transpose(0, 2, 1)) / 2
            off = np.sqrt(((grad - wanted[:count]) ** 2).sum(axes))
            worst = max(worst, float((off / np.sqrt((wanted[:count] ** 2).sum(axes))).max()))
        errors["gradient_error"] = worst
    return errors


def show(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table: times per problem, times over ours, errors."""
    lines = []
    for row in rows:
        own = next(other for other in rows if other["n"] == row["n"] and other["entry"] == "ours")
        total, base = _total(row), _total(own) if row["backward_ms"] is not None else own["forward_ms"]
        times = [number(row[name], ".3f") for name in ("forward_ms", "backward_ms")]
        errors = [number(row[name], ".0e") for name in ("z_error", "gradient_error")]
        lines.append([row["n"], row["entry"], row["problems"], *times, f"{total / base:.2f}", *errors])
    head = ["n = m", "entry", "problems", "forward ms", "backward ms", "time over ours", "z error", "gradient error"]
    return table(head, lines)


def _total(row: dict[str, Any]) -> float:
    return float(row["forward_ms"] + (row["backward_ms"] or 0.0))


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every size, and return the rows."""
    warnings.filterwarnings("ignore")
    packages = [peer.package for peer in PEERS.values() if peer.package]
    kept = begin(arguments, ["n", "entry"], packages)
    for n in [int(size) for size in arguments.sizes.split(",")]:
        given = random_qps(arguments.batch, n, arguments.seed)
        weight = torch.randn(arguments.batch, n, dtype=torch.float64)
        for row in measure(given, weight, reference(given, weight), arguments.repeats):
            kept.add({"n": n, "batch": arguments.batch, **row})
    return list(kept.rows)


def main(argv: Sequence[str] | None = None) -> None:
    command = parser(__doc__)
    command.add_argument("--sizes", default="10,50,100")
    command.add_argument("--batch", type=int, default=128)
    command.add_argument("--repeats", type=int, default=5)
    arguments = command.parse_args(argv)
    if arguments.quick:
        arguments.sizes, arguments.batch, arguments.repeats = "5,10", 8, 2
    print(show(run(arguments)))


if __name__ == "__main__":
    main()
