"""The same verification question with the network encoded by a peer: OMLT, PySCIPOpt-ML, gurobi-machinelearning.

Usage: python benchmarks/against_peers.py [--proxies case57-raw] [--u 1,5,20] [--time-limit 120]
       [--peers omlt,pyscipopt-ml,gurobi-machinelearning] [--json FILE] [--resume]
Peers are no dependency of the project: pip install omlt pyscipopt-ml gurobi-machinelearning

No peer has an encoder for the clamp and the hypersimplex repair, for the overload cost or for the optimum: those rows
are ours for every peer, in the style "paper" and with interval bounds, which are the bounds that the peers make for
themselves. So these rows differ only in who wrote the network. The peers get the latent vector as their input, that is,
with the domain already multiplied into the first layer. The same solver then runs with the same gap and limit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pyomo.environ as pyo
import torch
from record import Record, load_shipped, number, ratio, table
from record import parser as shared_parser
from torch import nn

from encoding.block import Value, add_columns, is_number
from encoding.bounds import Bounds, inner_key, input_key
from encoding.compact import add_latent, compact_model
from encoding.formulation import GapModel, finish
from encoding.layers import encode
from encoding.problem import encode_cost, encode_optimum
from problems.domain import Domain
from problems.interval import Vector
from problems.parametric import ParametricProblem
from proxies.layers import Affine, Layer, Relu
from proxies.load import LoadedProxy
from proxies.proxy import latent_layers
from solvers.errors import SolverLimitError, SolverUnavailableError
from solvers.linear_model import LinearModel, ModelSize
from solvers.registry import open_session
from solvers.session import Session, Status
from verifier.bounds.over_domain import proxy_bounds
from verifier.options import VerifyOptions
from verifier.replay import replay
from verifier.result import Termination
from verifier.verify import verify

MIP_GAP = 1e-3
# Optima of closed rows agree when they differ by no more than both gaps allow.
AGREEMENT = 2 * MIP_GAP
# Two solves' tolerances, as a share of the cost.
PRICED_TOLERANCE = 1e-4
Row = dict[str, Any]
# Writes a network on a block for given inputs, and returns its outputs.
WriteNetwork = Callable[[pyo.Block, Sequence[Value]], list[Value]]


@dataclass(frozen=True)
class Question:
    """One verification question.

    Attributes:
        loaded: the proxy and its problem.
        domain: the inputs.
        layers: the proxy on the latent vector.
        network: how many of the layers are the network; the others are the repair.
        bounds: interval bounds.
    """

    loaded: LoadedProxy
    domain: Domain
    layers: Sequence[Layer]
    network: int
    bounds: Bounds

    @classmethod
    def of(cls, loaded: LoadedProxy, u: float) -> Question:
        """Return the question of one proxy at one relative size u."""
        domain = loaded.problem.domain(u)
        layers = latent_layers(loaded.proxy, domain)
        network = next(k for k, layer in enumerate(layers) if not isinstance(layer, (Affine, Relu)))
        return cls(loaded, domain, layers, network, proxy_bounds(layers, loaded.problem, domain, "interval"))

    @property
    def problem(self) -> ParametricProblem:
        return self.loaded.problem


def with_network(question: Question, write: WriteNetwork) -> tuple[GapModel, list[Value]]:
    """Return the compact formulation whose network `write` writes, and the network's outputs; all else is ours."""
    problem, domain, bounds = question.problem, question.domain, question.bounds
    model = pyo.ConcreteModel()
    for name in ("latent_block", "network", "cost", "optimum"):
        model.add_component(name, pyo.Block(concrete=True))
    latent = add_latent(model.latent_block, domain)
    outputs = values = write(model.network, latent)
    for k in range(question.network, len(question.layers)):
        block = pyo.Block(concrete=True)
        model.add_component(f"repair{k}", block)
        local = {"input": bounds[input_key(k)], "output": bounds[input_key(k + 1)]}
        if inner_key(k) in bounds:
            local["inner"] = bounds[inner_key(k)]
        values = encode(question.layers[k], block, values, latent, local, "paper").outputs
    paid = encode_cost(problem, model.cost, domain, latent, values, bounds)
    optimum = encode_optimum(problem, model.optimum, domain, latent)
    model.gap = pyo.Objective(expr=paid.cost - optimum.cost, sense=pyo.maximize)
    return finish(model, problem.objective_scale, latent, optimum.values, domain.centre, {}), outputs


# ----------------------------------------------------------------------------------------------------- encodings


def ours_alike(question: Question) -> GapModel:
    """Return the compact formulation with what the peers have: our network, style "paper", interval bounds."""
    return compact_model(question.layers, question.problem, question.domain, question.bounds, "paper")


def ours_crown(question: Question) -> GapModel:
    """Return the compact formulation as we write it, with bounds from back-substitution."""
    bounds = proxy_bounds(question.layers, question.problem, question.domain, "crown")
    return compact_model(question.layers, question.problem, question.domain, bounds)


def omlt_model(question: Question) -> GapModel:
    """Return the compact formulation with the network by OMLT (big-M ReLUs, its interval bounds)."""
    omlt = import_module("omlt")
    neuralnet, dense = import_module("omlt.neuralnet"), import_module("omlt.neuralnet.layer")

    def write(block: pyo.Block, latent: Sequence[Value]) -> list[Value]:
        box = question.domain.box
        limits = {i: (float(low), float(high)) for i, (low, high) in enumerate(zip(box.lower, box.upper))}
        network = neuralnet.NetworkDefinition(scaled_input_bounds=limits)
        last = dense.InputLayer([question.domain.size])
        network.add_layer(last)
        for weight, bias, rectified in _dense_layers(question):
            activation = "relu" if rectified else "linear"
            sizes = [weight.shape[1]], [weight.shape[0]]
            layer = dense.DenseLayer(*sizes, activation=activation, weights=weight.T, biases=bias)
            network.add_layer(layer)
            network.add_edge(last, layer)
            last = layer
        block.peer = omlt.OmltBlock()
        block.peer.build_formulation(neuralnet.ReluBigMFormulation(network))
        block.same = pyo.ConstraintList()
        for i, value in enumerate(latent):
            block.same.add(block.peer.inputs[i] == value)
        return [block.peer.outputs[i] for i in range(question.bounds[input_key(question.network)].lower.size)]

    return with_network(question, write)[0]


def _dense_layers(question: Question) -> list[tuple[Vector, Vector, bool]]:
    """Return (weight, bias, whether a ReLU follows) for each affine layer of the network."""
    found: list[tuple[Vector, Vector, bool]] = []
    for layer in question.layers[: question.network]:
        if isinstance(layer, Affine):
            found.append((layer.matrix.detach().numpy(), layer.bias.detach().numpy(), False))
        else:
            found[-1] = (*found[-1][:2], True)
    return found


def _sequential(question: Question) -> nn.Sequential:
    steps: list[nn.Module] = []
    for weight, bias, rectified in _dense_layers(question):
        linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(weight))
            linear.bias.copy_(torch.tensor(bias))
        steps += [linear, nn.ReLU()] if rectified else [linear]
    return nn.Sequential(*steps)


def _without_network(question: Question) -> tuple[GapModel, list[Value]]:
    """Return the compact formulation with the network's outputs free inside their bounds."""
    outputs = question.bounds[input_key(question.network)]
    return with_network(question, lambda block, _: add_columns(block, "z", outputs))


# ------------------------------------------------------------------------------------------------------- solving


def through_session(question: Question, build: Callable[[Question], GapModel], solver: str, limit: float) -> Row:
    """Build a model and solve it through the project's own adapter."""
    began = time.perf_counter()
    model = build(question)
    built = time.perf_counter() - began
    session: Session
    with open_session(solver, model.linear) as session:
        began = time.perf_counter()
        solution = session.solve(time_limit=limit, mip_gap=MIP_GAP)
        row = {"seconds": time.perf_counter() - began, "build_seconds": built, "nodes": solution.nodes}
    row |= {"status": solution.status.value, "closed": solution.status is Status.OPTIMAL}
    row |= {"lower": model.gap_of(solution.objective), "upper": model.gap_of(solution.dual_bound)}
    latent = None if solution.x is None else model.latent_of(solution.x)
    return {**row, "size": asdict(ModelSize.of(model.linear)), **_replayed(question, latent)}


def by_pyscipopt_ml(question: Question, formulation: str, limit: float) -> Row:
    """Let PySCIPOpt-ML write the network into a SCIP model that holds all other rows, and solve it."""
    pyscipopt, peer = import_module("pyscipopt"), import_module("pyscipopt_ml.torch")
    began = time.perf_counter()
    model, outputs = _without_network(question)
    linear = model.linear
    scip = pyscipopt.Model()
    scip.hideOutput()
    scip.setParams({"lp/threads": 1, "limits/time": limit, "limits/gap": MIP_GAP})

    def end(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    x = [
        scip.addVar(lb=end(low), ub=end(high), obj=float(cost), vtype="I" if integer else "C")
        for low, high, cost, integer in zip(linear.column_lower, linear.column_upper, linear.cost, linear.integer)
    ]
    scip.addObjoffset(float(linear.offset))
    parts = pyscipopt.scip
    matrix = linear.matrix
    for row in range(linear.rows):
        entries = range(matrix.indptr[row], matrix.indptr[row + 1])
        body = parts.Expr({parts.Term(x[matrix.indices[k]]): float(matrix.data[k]) for k in entries})
        scip.addCons(parts.ExprCons(body, lhs=end(linear.row_lower[row]), rhs=end(linear.row_upper[row])))

    def variable(column: int, low: float, high: float) -> Any:
        return x[column] if column >= 0 else scip.addVar(lb=float(low), ub=float(high), vtype="C")

    ends = question.bounds[input_key(question.network)]
    inputs = [variable(c, w, w) for c, w in zip(_latent_columns(model, question.domain), model.latent.fixed)]
    answers = [variable(*entry) for entry in zip(_columns(model, outputs), ends.lower, ends.upper)]
    arrays = [np.array(values, dtype=object) for values in (inputs, answers)]
    peer.add_sequential_constr(
        scip, _sequential(question), *arrays, unique_naming_prefix="net_", formulation=formulation
    )
    size = {
        "continuous": scip.getNVars() - scip.getNBinVars() - scip.getNIntVars(),
        "integer": scip.getNBinVars() + scip.getNIntVars(),
        "rows": scip.getNConss(),
    }
    built, began = time.perf_counter() - began, time.perf_counter()
    scip.optimize()
    status = scip.getStatus()
    best = scip.getBestSol() if scip.getNSols() else None
    point = None if best is None else np.array([scip.getSolVal(best, value) for value in x])
    return {
        "seconds": time.perf_counter() - began,
        "build_seconds": built,
        "nodes": scip.getNTotalNodes(),
        "status": status,
        "closed": status in ("optimal", "gaplimit"),
        "lower": model.gap_of(scip.getPrimalbound()) if best is not None else -np.inf,
        "upper": model.gap_of(scip.getDualbound()) if abs(scip.getDualbound()) < scip.infinity() else np.inf,
        "size": size,
        **_replayed(question, None if point is None else model.latent_of(point)),
    }


def by_gurobi_ml(question: Question, limit: float) -> Row:
    """Let gurobi-machinelearning write the network into a Gurobi model that holds all other rows, and solve it."""
    gurobi, peer = import_module("gurobipy"), import_module("gurobi_ml.torch")
    began = time.perf_counter()
    model, outputs = _without_network(question)
    linear = model.linear
    with gurobi.Env(params={"OutputFlag": 0}) as env, gurobi.Model(env=env) as native:
        native.setParam("Threads", 1)
        native.setParam("TimeLimit", limit)
        native.setParam("MIPGap", MIP_GAP)
        kinds = np.where(linear.integer, "I", "C")
        x = native.addMVar(linear.columns, lb=linear.column_lower, ub=linear.column_upper, vtype=kinds)
        native.setObjective(linear.cost @ x + linear.offset)
        for rows, sense, limits in _one_sided(linear):
            native.addMConstr(linear.matrix[rows], x, sense, limits)

        def variables(columns: Vector, low: Vector, high: Vector) -> Any:
            free = native.addMVar(len(columns), lb=low, ub=high)
            chosen = [x[int(c)] if c >= 0 else free[k] for k, c in enumerate(columns)]
            return gurobi.MVar.fromlist([value.item() for value in chosen])

        ends = question.bounds[input_key(question.network)]
        box = question.domain.box
        native.update()
        inputs = variables(_latent_columns(model, question.domain), box.lower, box.upper)
        answers = variables(_columns(model, outputs), ends.lower, ends.upper)
        native.update()
        peer.add_sequential_constr(native, _sequential(question), inputs, answers)
        native.update()
        size = {
            "continuous": native.NumVars - native.NumIntVars,
            "integer": native.NumIntVars,
            "rows": native.NumConstrs + native.NumGenConstrs + native.NumSOS,
        }
        built, began = time.perf_counter() - began, time.perf_counter()
        native.optimize()
        closed = native.Status == gurobi.GRB.OPTIMAL
        status = "time_limit" if native.Status == gurobi.GRB.TIME_LIMIT else f"status {native.Status}"
        found = native.SolCount > 0
        return {
            "seconds": time.perf_counter() - began,
            "build_seconds": built,
            "nodes": int(native.NodeCount),
            "status": "optimal" if closed else status,
            "closed": closed,
            "lower": model.gap_of(native.ObjVal) if found else -np.inf,
            "upper": model.gap_of(native.ObjBound),
            "size": size,
            **_replayed(question, model.latent_of(x.X) if found else None),
        }


def ours_in_full(question: Question, solver: str, limit: float) -> Row:
    """Verify with the default options: bounds, attack, tightening and splitting, not one MILP."""
    options = VerifyOptions(tolerance=MIP_GAP, time_limit=limit, solver=solver)
    result = verify(question.loaded.proxy, question.problem, question.domain, options)
    return {
        "seconds": result.seconds["total"],
        "build_seconds": 0.0,
        "nodes": result.nodes,
        "status": result.termination.value,
        "closed": result.termination is Termination.OPTIMAL,
        "lower": result.lower,
        "upper": result.upper,
        "size": None if result.size_after is None else asdict(result.size_after),
        "replayed": result.lower,
        "cost": None if result.witness is None else result.witness.proxy_cost,
    }


def _one_sided(linear: LinearModel) -> list[tuple[Vector, str, Vector]]:
    equal = linear.row_lower == linear.row_upper
    low, high = np.isfinite(linear.row_lower) & ~equal, np.isfinite(linear.row_upper) & ~equal
    parts = [(equal, "=", linear.row_lower), (low, ">", linear.row_lower), (high, "<", linear.row_upper)]
    return [(np.flatnonzero(which), sense, limits[which]) for which, sense, limits in parts if which.any()]


def _columns(model: GapModel, values: Sequence[Value]) -> Vector:
    """Return the column of each value, -1 for a number or a variable that no other row uses."""
    return np.array([-1 if is_number(v) else int(model.compiled.columns([v])[0]) for v in values], dtype=np.int64)


def _latent_columns(model: GapModel, domain: Domain) -> Vector:
    """Return the column of each latent coordinate; one that moves and is in no row of ours would be lost."""
    lost = (model.latent.columns < 0) & (domain.box.width > 0)
    if lost.any():
        names = [domain.names[i] if domain.names else str(i) for i in np.flatnonzero(lost)]
        raise ValueError(f"the latent coordinates {', '.join(names)} are in no row besides the network's")
    return model.latent.columns


def _replayed(question: Question, latent: Vector | None) -> Row:
    """Return the gap that the proxy itself has at the solver's best input: what its objective should be."""
    if latent is None:
        return {"replayed": None, "cost": None}
    witness = replay(question.loaded.proxy, question.problem, question.domain, latent)
    return {"replayed": witness.gap, "cost": witness.proxy_cost}


# ---------------------------------------------------------------------------------------------------- the script

ALIKE, ONE, FULL = "ours, alike", "ours, one MILP", "ours, in full"
_PACKAGES = {"omlt": "omlt", "pyscipopt-ml": "PySCIPOpt-ML", "gurobi-machinelearning": "gurobi-machinelearning"}
_SOLVERS = {"omlt": "highs", "pyscipopt-ml": "scip", "gurobi-machinelearning": "gurobi"}


def installed(peer: str) -> str | None:
    """Return the version of a peer, or None where it is not installed."""
    try:
        return version(_PACKAGES[peer])
    except PackageNotFoundError:
        return None


def entries(peer: str) -> dict[str, tuple[str, Callable[[Question, float], Row]]]:
    """Return what is run for one peer: the name of each encoding, its solver, and how it is measured."""
    solver = _SOLVERS[peer]
    theirs: dict[str, Callable[[Question, float], Row]] = {
        "omlt": {"omlt": lambda q, limit: through_session(q, omlt_model, "highs", limit)},
        "pyscipopt-ml": {
            "pyscipopt-ml (sos)": lambda q, limit: by_pyscipopt_ml(q, "sos", limit),
            "pyscipopt-ml (bigm)": lambda q, limit: by_pyscipopt_ml(q, "bigm", limit),
        },
        "gurobi-machinelearning": {"gurobi-machinelearning": by_gurobi_ml},
    }[peer]
    ours = {
        ALIKE: lambda q, limit: through_session(q, ours_alike, solver, limit),
        ONE: lambda q, limit: through_session(q, ours_crown, solver, limit),
        FULL: lambda q, limit: ours_in_full(q, solver, limit),
    }
    return {name: (solver, solve) for name, solve in {**theirs, **ours}.items()}


def measure(question: Question, solve: Callable[[Question, float], Row], limit: float) -> Row:
    """Return one row; what a package refuses or cannot do is said in the row, with its own words."""
    try:
        return solve(question, limit)
    except (SolverLimitError, SolverUnavailableError) as error:
        return {"refused": str(error)}
    except Exception as error:  # A peer may raise anything; the row must say what, and the other rows go on.
        return {"refused": f"{type(error).__name__}: {error}"}


def disagreements(rows: list[Row]) -> list[str]:
    """Return a sentence for rows that cannot all be right, and for every objective that does not replay."""
    found = []
    for proxy, u in dict.fromkeys((row["proxy"], row["u"]) for row in rows):
        known = [row for row in rows if (row["proxy"], row["u"]) == (proxy, u) and row.get("lower") is not None]
        closed = [row for row in known if row["closed"]]
        for row in known:
            if row["replayed"] is None:
                continue
            # Before the end, an incumbent's y may still be worse than the optimum, which only understates its gap.
            above = row["lower"] - row["replayed"]
            if (abs(above) if row["closed"] else above) > PRICED_TOLERANCE * row["cost"]:
                found.append(
                    f"NO REPLAY at {proxy}, u = {u} %: '{row['encoding']}' with {row['solver']} says "
                    f"{row['lower']:.8g}, the proxy {row['replayed']:.8g}"
                )
        replayed = [row for row in known if row["replayed"] is not None]
        attained = max(replayed, key=lambda row: row["replayed"], default=None)
        for row in known:
            if attained is None or row["upper"] is None:
                continue
            if attained["replayed"] - row["upper"] > PRICED_TOLERANCE * attained["cost"]:
                found.append(
                    f"WRONG BOUND at {proxy}, u = {u} %: '{row['encoding']}' with {row['solver']} certifies "
                    f"{row['upper']:.8g}, but {attained['replayed']:.8g} was attained"
                )
        for row in closed[1:]:
            if abs(row["lower"] - closed[0]["lower"]) > AGREEMENT * abs(closed[0]["lower"]):
                found.append(
                    f"DISAGREE at {proxy}, u = {u} %: '{closed[0]['encoding']}' with {closed[0]['solver']} "
                    f"{closed[0]['lower']:.8g}, '{row['encoding']}' with {row['solver']} {row['lower']:.8g}"
                )
    return found


def line(row: Row) -> list[Any]:
    """Return the cells of one row."""
    cells = [row["proxy"], row["u"], row["solver"], row["encoding"]]
    if "refused" in row:
        return [*cells, f"not run: {row['refused']}", *["-"] * 6]
    size = row["size"]
    shape = "-" if size is None else "/".join(str(size[name]) for name in ("continuous", "integer", "rows"))
    end = "" if row["closed"] else (" *" if "limit" in row["status"] else f" ({row['status']})")
    bounds = [number(row["lower"], ",.2f"), number(row["upper"], ",.2f")]
    bounds += [number(ratio(row["upper"], row["lower"]), ".3f")]
    return [*cells, shape, f"{row['build_seconds']:.1f}", f"{row['seconds']:.1f}{end}", *bounds, row["nodes"]]


def show(rows: list[Row]) -> str:
    """Return the rows, times against ours, and every disagreement as Markdown."""
    head = ["proxy", "u %", "solver", "network by", "cont./bin./rows", "build s", "solve s", "lower $/h", "upper $/h"]
    text = [table([*head, "upper/lower", "nodes"], [line(row) for row in rows])]
    text.append(
        "`*`: stopped at the time limit. Binaries do not count ReLUs written as SOS or general constraints; rows do. "
        "The repair, the cost and the optimum have no encoder in any peer: in every row they are ours. "
        f"'{ALIKE}': style \"paper\" and interval bounds, as with the peers; '{ONE}': our style and "
        f"CROWN bounds; '{FULL}': the default options; its size is that of its last model (`-`: it needed none)."
    )
    for ours in (ALIKE, ONE, FULL):
        pairs = [(row, _beside(rows, row, ours)) for row in rows if "ours" not in row["encoding"]]
        for name in dict.fromkeys(row["encoding"] for row, _ in pairs):
            both = [(a, b) for a, b in pairs if a["encoding"] == name and b and a.get("closed") and b.get("closed")]
            if both:
                mean = np.exp(np.mean([np.log(a["seconds"] / b["seconds"]) for a, b in both]))
                text.append(
                    f"{name} / {ours}: {mean:.2f} times the seconds (geometric mean of {len(both)}, both closed)"
                )
    found = disagreements(rows)
    return "\n\n".join(
        [
            *text,
            *(found or ["All closed optima agree; no bound is below an attained gap, no objective above its replay."]),
        ]
    )


def _beside(rows: list[Row], row: Row, encoding: str) -> Row | None:
    same = ("proxy", "u", "solver")
    return next((o for o in rows if o["encoding"] == encoding and all(o[k] == row[k] for k in same)), None)


def run(arguments: argparse.Namespace) -> list[Row]:
    """Measure every encoding of every instance that is not yet in the file, and return all rows."""
    peers = arguments.peers.split(",")
    facts = {"mip_gap": MIP_GAP, "peers": {peer: installed(peer) for peer in peers}}
    record = Record.begin(arguments, ["proxy", "u", "solver", "encoding"], facts)
    for name in arguments.proxies.split(","):
        loaded = load_shipped(name)
        for u in map(int, arguments.u.split(",")):
            question = Question.of(loaded, u / 100)
            for peer in peers:
                for encoding, (solver, solve) in entries(peer).items():
                    key = {"proxy": name, "u": u, "solver": solver, "encoding": encoding}
                    row = record.find(**key, time_limit=arguments.time_limit)
                    if row is None or "refused" in row:
                        theirs = not encoding.startswith("ours")
                        absent = theirs and installed(peer) is None
                        refusal = {"refused": f"not installed; pip install {peer}"}
                        found = refusal if absent else measure(question, solve, arguments.time_limit)
                        row = record.add({**key, "time_limit": arguments.time_limit, **found})
                    print(" | ".join(map(str, line(row))), flush=True)
    return record.rows


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = shared_parser(__doc__, "case57-raw", "1,5,20", 120.0)
    made.add_argument("--peers", default=",".join(_PACKAGES))
    return made


def main() -> None:
    """Run the benchmark from the command line."""
    arguments = parser().parse_args()
    torch.set_num_threads(1)
    print(show(run(arguments)))


if __name__ == "__main__":
    main()
