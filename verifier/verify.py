"""The pipeline: bounds -> attack -> search (tighten, solve or split) -> replay -> Result.

Sources: Chen et al. 2024 (formulations, attack, tightening); Dinkelbach 1967 (relative gaps).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from encoding.bounds import Bounds, input_key
from encoding.layers import stable_units
from problems.domain import Domain
from problems.errors import InputError, SolveTimeoutError
from problems.interval import Vector
from problems.parametric import ParametricProblem
from proxies.layers import Affine, Layer
from proxies.proxy import Proxy
from solvers.linear_model import EMPTY_MODEL, ModelSize
from solvers.registry import open_session_or_default
from solvers.safe_bound import safe_lower_bound
from verifier.attack import Attack, Candidate, best_peaks
from verifier.bounds.over_domain import proxy_bounds
from verifier.budget import Budget
from verifier.cut_store import CutStore
from verifier.frontier import Change, Frontier, OnChange
from verifier.known_values import KnownTangents, known_values
from verifier.model_check import COMPARED, contradiction, with_rows
from verifier.node import FEW_BINARIES, Node
from verifier.options import OptionsError, VerifyOptions
from verifier.polish import Polisher, spread
from verifier.pool import MakePool, Pool
from verifier.replay import cost_size, is_sound, replay
from verifier.result import Event, LayerStability, OnEvent, Result, Termination, Verdict, Witness
from verifier.search import Search
from verifier.task import Task
from verifier.value_function import value_range

# A replayed gap above the upper bound by more than this share of the costs means that something is wrong, not a
# solver's tolerances.
CONTRADICTION = 1e-6
# Where the gap that is attained in every order of summation is this share of the costs below the replayed one, that is
# no rounding of sums: a sign or an order of scores falls on either side.
HANGS_ON_A_TIE = 1e-6
# Seconds that the exact solve at a candidate may take beyond the limit of time.
REPLAY_SECONDS = 2.0
# Share of the time left, and seconds at most, for comparing the model with the forward pass at random inputs.
COMPARE_SHARE, COMPARE_SECONDS = 0.1, 5.0
# Most steps of Dinkelbach's method in the attack; two are usual.
MOST_RATIOS = 3
# Candidates of the attack that are polished by small MILPs, and the share of the time left that this may take; before,
# all candidates climb by moves of single integers in this share of it.
POLISHED, POLISH_SHARE, CLIMB_SHARE = 2, 0.1, 0.35
# Rounds of an attack before a model that the MILP solver gets whole: it finds the rest sooner than the attack does.
FEW_ROUNDS = 2
# Seconds for a polish, or as many as the climb took if that is longer.
POLISH_SECONDS = 4.0
# One way to improve an input.
Polish = Callable[[Vector, Budget], Candidate | None]


def verify(
    proxy: Proxy,
    problem: ParametricProblem,
    domain: Domain,
    options: VerifyOptions | None = None,
    on_event: OnEvent | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    cuts: CutStore | None = None,
    frontier: Frontier | None = None,
    on_change: OnChange | None = None,
    make_pool: MakePool = Pool,
) -> Result:
    """Return the certified interval of the worst-case gap of `proxy` over `domain`.

    A pure call: no files, no global state. It always returns valid bounds, also when stopped.

    Args:
        proxy: the proxy.
        problem: what it answers.
        domain: the inputs that count, usually `problem.domain(u)`.
        options: how; the defaults suit networks of some hundred neurons.
        on_event: progress.
        should_stop: asked often; True ends the work with the bounds so far.
        cuts: tangents of Phi from an earlier call with this problem and map; left as they are, and returned in the
            result together with the new ones. They guide the attack and prove nothing.
        frontier: where an earlier call with the same arguments was interrupted; this one goes on from there.
        on_change: hears what such a later call needs.
        make_pool: the workers of the search.

    Raises:
        CutStoreError: `cuts` belongs to another problem or map.
        OptionsError: the options fit neither the problem nor each other.
        SolverUnavailableError: the solver is not installed.
    """
    options = options or VerifyOptions()
    given = (options, on_event, should_stop, cuts, frontier, on_change, make_pool)
    return _Verification(proxy, problem, domain, *given).run()


@dataclass
class _Verification:
    """The state of one call of `verify`."""

    proxy: Proxy
    problem: ParametricProblem
    domain: Domain
    options: VerifyOptions
    on_event: OnEvent | None
    should_stop: Callable[[], bool]
    cuts: CutStore | None
    frontier: Frontier | None
    on_change: OnChange | None
    make_pool: MakePool

    lower: float = field(init=False)
    upper: float = np.inf
    witness: Witness | None = None
    notes: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    size_before: ModelSize | None = None
    size_after: ModelSize | None = None
    stability: tuple[LayerStability, ...] = ()
    unsound: bool = False
    tied: float = -np.inf
    small: bool = False
    solver_name: str = ""
    nodes: int = 0
    parts: int = 0
    lps: int = 0
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        self.lower = self.problem.least_gap
        self.relative = self.options.measure == "relative"
        self.budget = Budget(self.options.time_limit, self._stop)
        self.task = Task(self.proxy, self.problem, self.domain, self.options)
        # The compact formulation needs a row of the optimum's side only where a point violates it.
        self.kept: set[int] | None = set() if self.options.formulation == "compact" else None
        self.notes += [cut.reason for cut in self.domain.cuts]
        self.given_cuts = 0 if self.cuts is None else len(self.cuts)
        if self.cuts is not None:
            self.cuts.check(self.problem, self.domain)

    # ------------------------------------------------------------------------------------------ pipeline

    def run(self) -> Result:
        self.options.check(self.problem)
        # A missing or unknown solver is told before any work is done.
        with open_session_or_default(self.options.solver, EMPTY_MODEL)[0] as session:
            self.solver_name = f"{session.name} {session.version()}"
        before = self._timed("bounds", self._prepare)
        if self.frontier is not None:
            self._claim(self.frontier.upper)
            if self.frontier.latent is not None:
                self._candidate(self.frontier.latent, "search")
        searched = self.frontier is not None and self.frontier.searched
        if self.options.attack.rounds > 0 and not searched:
            self._timed("attack", lambda: self._attack(before))
        self._timed("check", lambda: self._compare_random(before))
        if not self._decided and not self.budget.spent and self.options.most_parts != 0 and not self.unsound:
            self._timed("search", lambda: self._search(before))
        self._timed("check", lambda: self._compare_witness(before))
        result = self._result()
        self._emit("done")
        return replace(result, events=tuple(self.events))

    def _prepare(self) -> Bounds:
        if self.relative:
            self._find_values()
        arguments = (self.task.layers, self.problem, self.domain, self.options.bounds)
        bounds = proxy_bounds(*arguments, enough=lambda: self.budget.spent)
        if bounds.empty:
            self._doubt("two bounds of one value have nothing in common: please report this")
        whole = self.task.build(self.domain, bounds, 0.0, cutoff=False, kept=self.kept)
        # The box alone bounds the gap: whenever the work is stopped, some upper bound is known.
        box_bound = whole.gap_of(safe_lower_bound(whole.linear, np.zeros(whole.linear.rows)))
        self._claim(max(box_bound, self.problem.least_gap) / (self.task.least_size if self.relative else 1.0))
        self.small = self.options.most_parts != 0 and int(whole.linear.integer.sum()) <= FEW_BINARIES
        if self.task.signed:
            # Any input is a first lower bound where no gap is certain.
            self._candidate(self.domain.centre, "bounds")
        return bounds

    def _attack(self, bounds: Bounds) -> None:
        """Climb by gradients, then around the best inputs by small MILPs; for a relative gap again at its ratio."""
        known = known_values(self.problem, self.domain, self.cuts, self.budget.left)
        attack = Attack(
            self.task.layers,
            self.problem,
            self.domain,
            known,
            self.options.attack.device,
            self.options.workers,
        )
        if isinstance(known, KnownTangents):
            self.cuts = known.cuts
        options = replace(self.options.attack, seed=self.options.seed)
        if self.small:
            options = replace(options, rounds=min(options.rounds, FEW_ROUNDS))
        last: float | None = None
        for _ in range(MOST_RATIOS if self.relative else 1):
            if (last is not None and self.lower <= last) or self.budget.spent or self._decided:
                break
            last, ratio = self.lower, self.task.ratio(self.lower)
            attack.best = None
            began = self.budget.elapsed
            climb = Budget(self.budget.left, lambda: self._stop() or self._decided)
            attack.run(options, climb, ratio, lambda c: self._candidate(c.latent, "attack"))
            self._polish(attack, bounds, last, self.budget.elapsed - began)

    def _polish(self, attack: Attack, bounds: Bounds, goal: float, climbed: float) -> None:
        """Improve the best inputs of an attack on gaps above `goal` that climbed for so many seconds."""
        budget = self.budget.part(min(max(POLISH_SECONDS, climbed), POLISH_SHARE * self.budget.left))
        polisher = Polisher(self.task, bounds, goal, self.kept)
        try:
            tops = self._tops(attack, polisher, budget)
            self._polished(tops[: 0 if self.small else POLISHED], polisher.improve, budget)
        finally:
            polisher.close()

    def _tops(self, attack: Attack, polisher: Polisher, budget: Budget) -> list[Candidate]:
        """Return where the candidates of an attack lead by moves of single integers and a crossing, best first."""
        if self.small or attack.jumps:
            # Where the decision jumps every integer is bound to others: moved alone it leads nowhere.
            return attack.found
        tops = self._polished(spread(attack.found), polisher.climb, budget.part(CLIMB_SHARE * budget.left))
        crossed = polisher.cross(budget)
        if crossed is not None:
            self._candidate(crossed.latent, "attack")
            tops.append(crossed)
        return best_peaks(tops, POLISHED)

    def _polished(self, found: Sequence[Candidate], polish: Polish, budget: Budget) -> list[Candidate]:
        """Return what becomes of candidates, and take in each."""
        better: list[Candidate] = []
        for candidate in found:
            if budget.spent or self._decided:
                break
            polished = polish(candidate.latent, budget)
            if polished is not None:
                self._candidate(polished.latent, "attack")
                better.append(polished)
        return better

    def _compare_random(self, bounds: Bounds) -> None:
        """Compare the closed model with the forward pass at random inputs, in every run."""
        latents = [self.domain.centre, *self.domain.sample(COMPARED, self.options.seed)]
        self._compare(bounds, latents, "a random input", COMPARE_SHARE)

    def _compare_witness(self, bounds: Bounds) -> None:
        if self.witness is not None:
            budget = self.budget.part(COMPARE_SECONDS)
            with_rows(self.task, bounds, self.lower, self.kept, self.witness.latent, budget)
            self._compare(bounds, [self.witness.latent], "the witness", 1.0)

    def _compare(self, bounds: Bounds, latents: Sequence[Vector], where: str, share: float) -> None:
        """Take every upper bound back where the closed model contradicts the forward pass."""
        if self.budget.spent or self.unsound:
            return
        budget = self.budget.part(min(COMPARE_SECONDS, share * self.budget.left))
        wrong = contradiction(self.task, bounds, self.lower, self.kept, latents, where, budget)
        if wrong is not None:
            self._doubt(wrong)

    def _find_values(self) -> None:
        """Bound Phi over the domain: what turns an absolute bound into a relative one."""
        low, high = value_range(self.problem, self.domain, max(self.budget.left, REPLAY_SECONDS))
        if low <= 0 <= high:
            raise OptionsError(
                f"the optimal cost of {self.problem.name} can be 0 or close to it ({low:.6g} to {high:.6g} "
                f"{self.problem.unit}), so a relative gap has no meaning; ask for the absolute one"
            )
        self.task = replace(self.task, values=(low, high))

    def _search(self, before: Bounds) -> None:
        def on_latent(latent: Vector) -> float:
            self._candidate(latent, "search")
            return self.lower

        def on_upper(upper: float, counters: dict[str, float]) -> None:
            self._claim(upper)
            self._emit("search", **counters)

        if self.options.use_start and self.witness is not None:
            self.task = replace(self.task, start=self.witness.latent)
        # Tangents that came from outside may steer the attack, but nothing is proven with them.
        self.task = replace(self.task, cuts=None if self.cuts is None else self.cuts.after(self.given_cuts))
        search = Search(self.task, self.lower, on_latent, on_upper, self.on_change, self.make_pool)
        frontier = self.frontier
        if frontier is None or not frontier.searched:
            frontier = Frontier({0: Node(before, kept=None if self.kept is None else frozenset(self.kept))})
        most = np.inf if self.options.most_parts is None else self.options.most_parts
        search.run(frontier, self.budget, lambda: self._decided or self.unsound or search.explored >= most)
        self._claim(search.upper)
        for note in search.notes:
            self._note(note)
        self.solver_name = search.solver or self.solver_name
        self.nodes, self.parts, self.lps = search.milp_nodes, search.explored, search.lps
        if search.first is not None and search.last is not None:
            self.size_before, self.size_after = search.first.before, search.last.after
            self.bounds = search.first.bounds
            self.stability = self._stability(before, self.bounds or before)

    # ------------------------------------------------------------------------------------------- claims

    def _claim(self, upper: float) -> None:
        """Take in that no input has a larger gap than `upper`."""
        if self.unsound:
            return
        if upper < self.lower - self._rounding(self.witness):
            self._contradict(self.lower, upper)
            return
        self.upper = min(self.upper, max(self.lower, upper))

    def _rounding(self, witness: Witness | None) -> float:
        """Return by how much bounds may cross at a witness before something is wrong, in the measure's unit."""
        if witness is None:
            return 0.0
        size = cost_size(self.problem, witness)
        return CONTRADICTION * (size / abs(witness.optimal_cost) if self.relative else size)

    def _contradict(self, attained: float, upper: float) -> None:
        self._doubt(f"a replayed gap of {attained:.8g} contradicts the upper bound {upper:.8g}: please report this")

    def _doubt(self, why: str) -> None:
        """Take back every upper bound: something that they rest on is wrong."""
        self.unsound, self.upper = True, np.inf
        self._note(why)

    def _candidate(self, latent: Vector, phase: str) -> None:
        """Replay a candidate; only what is replayed becomes a lower bound."""
        try:
            # A candidate that comes when the time is up is still worth a moment.
            seconds = max(self.budget.left, REPLAY_SECONDS)
            witness = replay(self.proxy, self.problem, self.domain, latent, seconds)
        except (InputError, SolveTimeoutError):
            return
        if not is_sound(witness, self.domain):
            self._note("a candidate did not replay: it lies outside the domain or its decision is infeasible")
            return
        gap = witness.least(self.relative)
        size = cost_size(self.problem, witness)
        if witness.gap - witness.attained > HANGS_ON_A_TIE * size:
            self.tied = max(self.tied, witness.relative_gap if self.relative else witness.gap)
        if not gap > self.lower:
            return
        if gap > self.upper + self._rounding(witness):
            self._contradict(gap, self.upper)
        self.lower, self.witness = gap, witness
        self.upper = max(self.upper, gap)
        if self.on_change is not None:
            self.on_change(Change(lower=gap, latent=latent))
        self._emit(phase)

    @property
    def _decided(self) -> bool:
        threshold = self.options.threshold
        if threshold is None:
            return self.task.closed(self.lower, self.upper)
        return self.lower > threshold or self._is_below(threshold) or self._at_threshold(threshold)

    def _is_below(self, threshold: float) -> bool:
        """Whether no gap exceeds the threshold, also if a solver's bounds are off by its tolerances."""
        return self.upper <= threshold - self.task.slack

    def _at_threshold(self, threshold: float) -> bool:
        """Whether both bounds are the threshold but for a solver's tolerances, so that no search decides it."""
        return self.lower >= threshold - self.task.slack and self.upper <= threshold + 2 * self.task.slack

    def _stop(self) -> bool:
        return self.should_stop()

    # ------------------------------------------------------------------------------------------ details

    def _stability(self, before: Bounds, after: Bounds) -> tuple[LayerStability, ...]:
        found = []
        for k, layer in enumerate(self.task.layers):
            if isinstance(layer, Affine):
                continue
            counts = [int(fixed_units(layer, k, bounds).sum()) for bounds in (before, after)]
            found.append(LayerStability(f"{type(layer).__name__} {k}", len(before[input_key(k)]), *counts))
        return tuple(found)

    def _emit(self, phase: str, **counters: float) -> None:
        event = Event(phase, self.budget.elapsed, self.lower, self.upper, counters)
        last = self.events[-1] if self.events else None
        # The story keeps only what changed; listeners hear everything.
        if last is None or (last.phase, last.lower, last.upper) != (event.phase, event.lower, event.upper):
            self.events.append(event)
        if self.on_event is not None:
            self.on_event(event)

    def _timed(self, phase: str, work: Callable):  # type: ignore[no-untyped-def]
        began = self.budget.elapsed
        try:
            return work()
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + self.budget.elapsed - began

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _result(self) -> Result:
        termination, verdict = self._conclusion()
        if self.tied > self.lower:
            self._note(
                f"an input's gap of {self.tied:.8g} hangs on a tie that rounding decides, so that it was not counted: "
                "another order of summation gives less"
            )
        self.seconds["total"] = self.budget.elapsed
        return Result(
            lower=self.lower,
            upper=self.upper,
            unit="1" if self.relative else self.problem.unit,
            verdict=verdict,
            termination=termination,
            witness=self.witness,
            seconds=dict(self.seconds),
            size_before=self.size_before,
            size_after=self.size_after,
            stability=self.stability,
            events=tuple(self.events),
            notes=tuple(self.notes),
            solver=self.solver_name,
            nodes=self.nodes,
            parts=self.parts,
            lps=self.lps,
            bounds=self.bounds,
            cuts=self.cuts,
        )

    def _conclusion(self) -> tuple[Termination, Verdict]:
        threshold = self.options.threshold
        known = Verdict.BOUNDED if np.isfinite(self.upper) else Verdict.UNKNOWN
        if threshold is not None and self.lower > threshold:
            return Termination.THRESHOLD_DECIDED, Verdict.FALSIFIED
        if self.unsound:
            return Termination.ERROR, Verdict.UNKNOWN
        if threshold is not None and self._is_below(threshold):
            return Termination.THRESHOLD_DECIDED, Verdict.CERTIFIED
        if threshold is None and self._decided:
            return Termination.OPTIMAL, Verdict.CERTIFIED
        if threshold is not None and self._at_threshold(threshold):
            self._note(
                f"the largest gap is within {2 * self.task.slack:.2g} of the threshold {threshold:g}: a solver's "
                "tolerances do not tell on which side it lies; ask for a threshold a little above or below"
            )
            return Termination.OPTIMAL, Verdict.BOUNDED
        if self.should_stop():
            return Termination.CANCELLED, known
        limited = self.options.most_parts is not None and not self.budget.spent
        return (Termination.NODE_LIMIT if limited else Termination.TIME_LIMIT), known


def fixed_units(layer: Layer, k: int, bounds: Bounds) -> NDArray[np.bool_]:
    """Return which units of layer k have a fixed state; where the output jumps, that is a fixed output."""
    return bounds[input_key(k + 1)].width == 0 if layer.jumps else stable_units(layer, bounds[input_key(k)])
