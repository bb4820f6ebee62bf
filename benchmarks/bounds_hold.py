"""Tries to break every certified upper bound with a million inputs: random ones, corners, and some around climbed ones.

Usage: python benchmarks/bounds_hold.py RESULTS.json [--evaluations 1000000] [--batch 8192] [--seed 1] [--json FILE]

RESULTS.json is what dcopf_tables.py wrote; the witnesses in it count as climbed inputs. The exact gap of an input takes
a linear program, so an input is first held against stored tangents of the value function Phi, which are nowhere above
it: c(x, pi(x)) - max of tangents is at least the gap. Only an input where that exceeds the bound gets an exact Phi, and
its tangent is stored. An input that still exceeds the bound is replayed by an independent solve; where the replay
agrees, the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import Record, load_shipped, number, table

from problems.domain import Domain
from problems.interval import Vector
from proxies.load import LoadedProxy
from proxies.proxy import latent_layers
from verifier.attack import Attack, AttackOptions
from verifier.budget import Budget
from verifier.known_values import KnownTangents
from verifier.replay import is_sound, replay
from verifier.value_function import ValueCut

# A gap above the bound by less than this share of Phi is the rounding of two solves of about that size.
ROUNDING = 1e-9
# Shares of the inputs: random points, corners; the others lie around climbed points.
RANDOM, CORNERS = 0.4, 0.3
# Around a climbed point: the share of coordinates thrown to an end of the box, and the size of the noise of the others
# as a share of the box.
THROWN, NOISE = (0.0, 0.02, 0.1, 0.3), (0.0, 1e-3, 1e-2, 1e-1)
# Attacks, from different seeds, whose best points are started from.
CLIMBS, CLIMB = 2, AttackOptions(seconds=10.0)
Row = dict[str, Any]


@dataclass
class Tally:
    """What the inputs of one row have shown.

    Attributes:
        evaluated: inputs whose gap was bounded or computed.
        exact: of them, those that needed an exact Phi.
        largest: the largest exact gap that was computed.
        largest_bound: no input that was tried has a larger gap than this.
        violations: replayed inputs whose gap exceeds the bound.
    """

    evaluated: int = 0
    exact: int = 0
    largest: float = -np.inf
    largest_bound: float = -np.inf
    violations: tuple[Row, ...] = ()


class Trial:
    """One proxy and domain whose upper bound is tried.

    Args:
        loaded: the proxy.
        domain: the inputs.
        upper: the bound, in the problem's unit.
    """

    def __init__(self, loaded: LoadedProxy, domain: Domain, upper: float) -> None:
        self.loaded, self.domain, self.upper = loaded, domain, upper
        self.layers = latent_layers(loaded.proxy, domain)
        self.known = KnownTangents(loaded.problem, domain)
        self.tally = Tally()
        self.climbed: list[Vector] = []
        self._matrix = torch.as_tensor(domain.matrix.toarray()).T.contiguous()
        self._shift = torch.as_tensor(domain.shift)

    def climb(self, options: AttackOptions, seeds: Iterator[int], known: Sequence[Vector] = ()) -> None:
        """Attack from several seeds; keep the best points and every tangent, and hold the points against the bound.

        Args:
            options: how hard to attack.
            seeds: one attack from each.
            known: points to keep besides, such as the verification's own witness.
        """
        self.climbed += known
        for seed in seeds:
            attack = Attack(self.layers, self.loaded.problem, self.domain, self.known)
            attack.run(AttackOptions(**{**vars(options), "seed": seed}), Budget(math.inf))
            self.climbed += [candidate.latent for candidate in attack.found]
        if self.climbed:
            points = np.stack(self.climbed)
            self.tally.evaluated += len(points)
            for point, cost in zip(points, self._cost(points)):
                self._value(point, cost)

    def hold(self, points: Vector) -> None:
        """Hold a batch of latent vectors ((batch, n_w)) against the bound."""
        cost = self._cost(points)
        self.tally.evaluated += len(points)
        bound = cost - self.known.cuts(points)
        while True:
            worst = int(np.argmax(bound))
            if bound[worst] <= self.upper:
                break
            cut = self._value(points[worst], cost[worst])
            if cut is None:
                bound[worst] = -np.inf
                continue
            bound = np.minimum(bound, cost - cut(points))
            # The tangent is tight at its own point; what is left there has been judged exactly.
            bound[worst] = -np.inf
        self.tally.largest_bound = max(self.tally.largest_bound, float(bound.max()))

    def _value(self, point: Vector, cost: float) -> ValueCut | None:
        """Compute the exact gap at a point, replay it where it exceeds the bound, and store its tangent."""
        self.tally.exact += 1
        value = self.known.function.value(point)
        if not np.isfinite(value):
            return None
        gap = float(cost - value)
        self.tally.largest = max(self.tally.largest, gap)
        self.tally.largest_bound = max(self.tally.largest_bound, gap)
        if gap > self.upper + ROUNDING * abs(value):
            self._replay(point)
        cut = self.known.function.cut(point)
        self.known.cuts.add([cut])
        return cut

    def _replay(self, point: Vector) -> None:
        witness = replay(self.loaded.proxy, self.loaded.problem, self.domain, point)
        if is_sound(witness, self.domain) and witness.gap > self.upper + ROUNDING * abs(witness.optimal_cost):
            found = {"gap": witness.gap, "upper": self.upper, "latent": witness.latent.tolist()}
            self.tally.violations = (*self.tally.violations, found)

    def _cost(self, points: Vector) -> Vector:
        w = torch.as_tensor(points)
        with torch.no_grad():
            h = w
            for layer in self.layers:
                h = layer(h, w)
            return self.loaded.problem.objective(w @ self._matrix + self._shift, h).numpy()


def batches(trial: Trial, count: int, size: int, seed: int) -> Iterator[Vector]:
    """Yield `count` latent vectors in batches of at most `size`: random ones, corners, and some around climbed ones."""
    rng = np.random.default_rng(seed)
    domain, left = trial.domain, count
    while left > 0:
        now = min(size, left)
        left -= now
        drawn = round(RANDOM * now)
        corners = round(CORNERS * now) if trial.climbed else now - drawn
        parts = [
            domain.sample(drawn, int(rng.integers(2**31))),
            domain.corners(corners, int(rng.integers(2**31))),
            _around(trial, now - drawn - corners, rng),
        ]
        yield np.concatenate([part for part in parts if len(part)])


def _around(trial: Trial, count: int, rng: np.random.Generator) -> Vector:
    domain = trial.domain
    if count == 0 or not trial.climbed:
        return np.zeros((0, domain.size))
    base = np.stack(trial.climbed)[rng.integers(len(trial.climbed), size=count)]
    noise = rng.choice(NOISE, size=(count, 1)) * domain.box.width * rng.standard_normal(base.shape)
    thrown = rng.random(base.shape) < rng.choice(THROWN, size=(count, 1))
    ends = np.where(rng.random(base.shape) < 0.5, domain.box.upper, domain.box.lower)
    return domain.project(np.where(thrown, ends, base + noise))


def measure(row: Row, count: int, batch: int, seed: int, climb: AttackOptions) -> Row:
    """Try the upper bound of one row of dcopf_tables.py with `count` inputs, besides the climbed ones."""
    loaded = load_shipped(row["proxy"])
    trial = Trial(loaded, loaded.problem.domain(row["u"] / 100), row["upper"])
    began = time.perf_counter()
    witness = row.get("witness")
    known = [] if witness is None else [np.array(witness)]
    trial.climb(climb, iter(range(seed, seed + CLIMBS)), known)
    for points in batches(trial, count, batch, seed):
        trial.hold(points)
    tally = trial.tally
    return {
        "proxy": row["proxy"],
        "u": row["u"],
        "lower": row["lower"],
        "upper": row["upper"],
        "evaluated": tally.evaluated,
        "exact": tally.exact,
        "tangents": len(trial.known),
        "largest": tally.largest,
        "largest_bound": tally.largest_bound,
        "violations": list(tally.violations),
        "seconds": time.perf_counter() - began,
    }


def show(rows: list[Row], skipped: list[Row]) -> str:
    """Return the table, what was left out, and the verdict as Markdown."""
    head = ["proxy", "u %", "upper $/h", "inputs", "exact Phi", "tangents", "largest gap / upper", "none above / upper"]
    lines = [
        [row["proxy"], row["u"], number(row["upper"]), row["evaluated"], row["exact"], row["tangents"]]
        + [_share(row["largest"], row["upper"]), _share(row["largest_bound"], row["upper"])]
        + [f"{row['seconds']:.1f}", "BROKEN" if row["violations"] else "holds"]
        for row in rows
    ]
    text = [table([*head, "s", "bound"], lines)]
    text += [f"Left out: {row['proxy']} at u = {row['u']} %, which has no upper bound." for row in skipped]
    broken = sum(len(row["violations"]) for row in rows)
    total, exact = sum(row["evaluated"] for row in rows), sum(row["exact"] for row in rows)
    text.append(f"{total:,} inputs, {exact:,} of them with an exact Phi; {broken} violations.")
    return "\n\n".join(text)


def _share(value: float | None, upper: float) -> str:
    return "-" if value is None or upper <= 0 else f"{value / upper:.6f}"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--evaluations", type=int, default=1_000_000, help="in all, shared equally by the rows")
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--seed", type=int, default=1, help="another one than the verification's")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    every = json.loads(arguments.results.read_text())["rows"]
    known = [row for row in every if row["upper"] is not None]
    if not known:
        raise SystemExit(f"{arguments.results.name} holds no row with an upper bound; run dcopf_tables.py first")
    command = {name: value for name, value in vars(arguments).items() if name != "json"}
    record = Record(arguments.json, command, ["proxy", "u"])
    count = math.ceil(arguments.evaluations / len(known))
    for row in known:
        measured = record.add(measure(row, count, arguments.batch, arguments.seed, CLIMB))
        print(f"{row['proxy']}, u = {row['u']} %: {len(measured['violations'])} violations", flush=True)
    print(show(record.rows, [row for row in every if row["upper"] is None]))
    sys.exit(1 if any(row["violations"] for row in record.rows) else 0)


if __name__ == "__main__":
    main()
