"""The pipeline: attack -> bounds -> tightening -> one MILP -> replay -> Result.

Sources: Chen et al. 2024 (formulations, attack, tightening); Dinkelbach 1967 (relative gaps).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from encoding.bilevel import bilevel_model
from encoding.bounds import Bounds, input_key
from encoding.compact import compact_model
from encoding.formulation import GapModel
from encoding.layers import stable_units
from problems.domain import Domain
from problems.errors import InputError
from problems.parametric import ParametricProblem
from proxies.layers import Affine
from proxies.proxy import Proxy, latent_layers
from solvers.errors import CertigapError
from solvers.linear_model import EMPTY_MODEL, ModelSize
from solvers.registry import open_session_or_default
from solvers.safe_bound import safe_lower_bound
from solvers.session import Progress, Solution, Status
from verifier.attack import Attack, Candidate
from verifier.bounds.crown import proxy_bounds
from verifier.bounds.obbt import Tightener, mark_cutoff
from verifier.budget import Budget
from verifier.options import OptionsError, VerifyOptions
from verifier.replay import is_sound, replay
from verifier.result import Event, LayerStability, OnEvent, Result, Termination, Verdict, Witness
from verifier.value_function import ValueFunction, least_value

# Another round of tightening is worth its LPs while the last one took this share off the distance to the lower bound.
WORTH_A_ROUND = 0.1
# The share of the time left that one round of tightening may take, so that the search gets its turn.
TIGHTENING_SHARE = 0.5
# A replayed gap above the upper bound by more than this share means that something is wrong, not rounding.
CONTRADICTION = 1e-6
# Most steps of Dinkelbach's method; each at least halves the distance in practice, two or three are usual.
MOST_RATIOS = 12


class SoundnessError(CertigapError, RuntimeError):
    """Two of our own claims contradict each other: a defect, never the user's fault."""


def verify(
    proxy: Proxy,
    problem: ParametricProblem,
    domain: Domain,
    options: VerifyOptions | None = None,
    on_event: OnEvent | None = None,
    should_stop: Callable[[], bool] = lambda: False,
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

    Raises:
        OptionsError: the options fit neither the problem nor each other.
        SolverUnavailableError: the solver is not installed.
    """
    options = options or VerifyOptions()
    return _Verification(proxy, problem, domain, options, on_event, should_stop).run()


@dataclass
class _Verification:
    """The state of one call of `verify`."""

    proxy: Proxy
    problem: ParametricProblem
    domain: Domain
    options: VerifyOptions
    on_event: OnEvent | None
    should_stop: Callable[[], bool]

    lower: float = 0.0
    upper: float = np.inf
    witness: Witness | None = None
    notes: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    size_before: ModelSize | None = None
    size_after: ModelSize | None = None
    stability: tuple[LayerStability, ...] = ()
    unsound: bool = False
    solver_name: str = ""
    nodes: int = 0
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        self.relative = self.options.measure == "relative"
        self.budget = Budget(self.options.time_limit, self._stop)
        self.layers = latent_layers(self.proxy, self.domain)
        self.least_value = 0.0
        self.notes += [cut.reason for cut in self.domain.cuts]

    # ------------------------------------------------------------------------------------------ pipeline

    def run(self) -> Result:
        # A missing or unknown solver is told before any work is done.
        with open_session_or_default(self.options.solver, EMPTY_MODEL)[0] as session:
            self.solver_name = f"{session.name} {session.version()}"
        if self.relative:
            self._timed("bounds", self._find_least_value)
        if self.options.attack.rounds > 0:
            self._timed("attack", self._attack)
        if not self._decided and not self.budget.spent:
            before = self._timed(
                "bounds", lambda: proxy_bounds(self.layers, self.problem, self.domain, self.options.bounds)
            )
            self._maximise(before)
        result = self._result()
        self._emit("done")
        return replace(result, events=tuple(self.events))

    def _maximise(self, before: Bounds) -> None:
        """Tighten and search; for a relative gap again for each better ratio (Dinkelbach)."""
        bounds = before
        for _ in range(MOST_RATIOS):
            ratio, cutoff = self._ratio_and_cutoff()
            bounds, empty = self._tighten(bounds, ratio, cutoff)
            self.bounds, self.stability = bounds, self._stability(before, bounds)
            if empty:
                self._lower_upper(-np.inf, ratio, cutoff)
            if empty or self._decided or self.budget.spent:
                return
            found = self._timed("search", lambda r=ratio, c=cutoff, b=bounds: self._solve(b, r, c))
            if self._decided or self.budget.spent or not (self.relative and found):
                return

    def _ratio_and_cutoff(self) -> tuple[float, float | None]:
        """Return Dinkelbach's ratio and the least objective that still matters, in the problem's unit."""
        goal = self.lower
        if self.options.threshold is not None:
            goal = max(goal, self.options.threshold)
        elif not self.relative:
            # A little below what was attained, so that the attained point itself stays a solution.
            goal -= abs(goal) * self.options.tolerance / 2
        if self.relative:
            return goal, (0.0 if self.options.use_cutoff else None)
        return 0.0, (goal if self.options.use_cutoff and goal > 0 else None)

    def _attack(self) -> None:
        values = ValueFunction(self.problem, self.domain)
        attack = Attack(self.layers, self.problem, self.domain, values)
        attack_options = replace(self.options.attack, seed=self.options.seed)
        ratio = 0.0
        for _ in range(3 if self.relative else 1):
            candidate = attack.run(attack_options, self.budget, ratio, lambda c: self._candidate(c, "attack"))
            attack.best = None
            if candidate is None or not self.relative or self.lower <= ratio:
                break
            ratio = self.lower

    def _find_least_value(self) -> None:
        """Bound Phi from below over the domain: what turns an absolute bound into a relative one."""
        self.least_value = least_value(self.problem, self.domain)
        if self.least_value <= 0:
            raise OptionsError(
                f"the optimal cost of {self.problem.name} can be {self.least_value:.6g} {self.problem.unit} or less, "
                "so a relative gap has no meaning; ask for the absolute one"
            )

    def _tighten(self, bounds: Bounds, ratio: float, cutoff: float | None) -> tuple[Bounds, bool]:
        """Tighten until the relaxation stops moving; return the bounds and whether nothing is left above the cutoff."""
        last = np.inf
        for turn in range(self.options.rounds):
            if self.budget.spent or self._decided:
                break
            model = self._timed("build", lambda b=bounds: self._build(b, ratio, cutoff))
            if self.size_before is None:
                self.size_before = ModelSize.of(model.linear)
            tightener = Tightener(model, bounds)
            part = self.budget.part(self.budget.left * TIGHTENING_SHARE)

            def on_lp(solved: int, upper: float) -> None:
                self._emit("tightening", round=turn + 1, lps=solved)  # noqa: B023

            try:
                done = self._timed("tightening", lambda t=tightener, p=part: t.run(p, on_lp))
            finally:
                tightener.close()
            bounds = mark_cutoff(done.bounds, cutoff)
            if done.empty:
                return bounds, True
            self._lower_upper(done.upper, ratio, cutoff)
            self._emit("tightening", round=turn + 1, lps=done.solved)
            if not done.finished or last - done.upper < WORTH_A_ROUND * (last - (cutoff or 0.0)):
                break
            last = done.upper
        return bounds, False

    def _solve(self, bounds: Bounds, ratio: float, cutoff: float | None) -> bool:
        """Solve the MILP; return whether it found a better witness."""
        model = self._timed("build", lambda: self._build(bounds, ratio, cutoff))
        self.size_after = ModelSize.of(model.linear)
        self.size_before = self.size_before or self.size_after
        box_bound = safe_lower_bound(model.linear, np.zeros(model.linear.rows))
        self._lower_upper(model.gap_of(box_bound), ratio, cutoff)
        session, note = open_session_or_default(self.options.solver, model.linear, self.options.seed)
        if note is not None:
            self._note(note)
        self.solver_name = f"{session.name} {session.version()}"

        def on_progress(progress: Progress) -> bool:
            self._lower_upper(model.gap_of(progress.dual_bound), ratio, cutoff)
            self._emit("search", nodes=progress.nodes, incumbent=model.gap_of(progress.incumbent))
            return self._decided or self.budget.spent

        with session:
            solution = session.solve(
                time_limit=self.budget.left,
                mip_gap=1e-9 if self.relative else self.options.tolerance / 4,
                on_progress=on_progress,
            )
        self.nodes += solution.nodes
        before = self.lower
        if solution.x is not None:
            gap = model.gap_of(solution.objective)
            self._candidate(Candidate(model.latent_of(solution.x), gap), "search")
        self._close(solution, model, ratio, cutoff)
        return self.lower > before

    def _close(self, solution: Solution, model: GapModel, ratio: float, cutoff: float | None) -> None:
        if solution.status is Status.FAILED:
            self._note(f"{self.solver_name} stopped without an answer; the bounds are those found before")
            return
        if solution.status is Status.INFEASIBLE and cutoff is not None and self._must_be_feasible(cutoff):
            self.unsound = True
            self._note("the solver found no input at all, though one is known: its answer is not used")
            return
        self._lower_upper(model.gap_of(solution.dual_bound), ratio, cutoff)

    def _must_be_feasible(self, cutoff: float) -> bool:
        return not self.relative and self.witness is not None and self.witness.gap > cutoff + abs(cutoff) * 1e-5

    # ------------------------------------------------------------------------------------------- claims

    def _lower_upper(self, objective: float, ratio: float, cutoff: float | None) -> None:
        """Take in an upper bound of the objective over all inputs that reach the cutoff."""
        if np.isnan(objective):
            return
        beyond = max(objective, cutoff if cutoff is not None else -np.inf)
        if self.relative:
            claim = ratio + max(beyond, 0.0) / self.least_value
        else:
            claim = max(beyond, 0.0)
        self.upper = min(self.upper, max(claim, self.lower))

    def _candidate(self, candidate: Candidate, phase: str) -> None:
        """Replay a candidate; only what is replayed becomes a lower bound."""
        try:
            witness = replay(self.proxy, self.problem, self.domain, candidate.latent)
        except InputError:
            return
        if not is_sound(witness, self.domain):
            self._note("a candidate did not replay: it lies outside the domain or its decision is infeasible")
            return
        gap = witness.relative_gap if self.relative else witness.gap
        if gap <= self.lower:
            return
        if gap > self.upper * (1 + CONTRADICTION) + CONTRADICTION:
            self.unsound = True
            self._note(f"a replayed gap of {gap:.8g} contradicts the upper bound {self.upper:.8g}: please report this")
            self.upper = np.inf
        self.lower, self.witness = gap, witness
        self.upper = max(self.upper, gap)
        self._emit(phase)

    @property
    def _decided(self) -> bool:
        threshold = self.options.threshold
        if threshold is not None and (self.lower > threshold or self.upper <= threshold):
            return True
        return bool(np.isfinite(self.upper) and self.upper - self.lower <= self.options.tolerance * self.upper)

    def _stop(self) -> bool:
        return self.should_stop()

    # ------------------------------------------------------------------------------------------ details

    def _first_bounds(self) -> Bounds:
        return proxy_bounds(self.layers, self.problem, self.domain, self.options.bounds)

    def _build(self, bounds: Bounds, ratio: float, cutoff: float | None) -> GapModel:
        build = compact_model if self.options.formulation == "compact" else bilevel_model
        return build(self.layers, self.problem, self.domain, bounds, self.options.style, ratio, cutoff)

    def _stability(self, before: Bounds, after: Bounds) -> tuple[LayerStability, ...]:
        found = []
        for k, layer in enumerate(self.layers):
            if isinstance(layer, Affine):
                continue
            key = input_key(k)
            counts = [int(stable_units(layer, bounds[key]).sum()) for bounds in (before, after)]
            found.append(LayerStability(f"{type(layer).__name__} {k}", len(before[key]), *counts))
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
            bounds=self.bounds,
        )

    def _conclusion(self) -> tuple[Termination, Verdict]:
        threshold = self.options.threshold
        known = Verdict.BOUNDED if np.isfinite(self.upper) else Verdict.UNKNOWN
        if threshold is not None and self.lower > threshold:
            return Termination.THRESHOLD_DECIDED, Verdict.FALSIFIED
        if self.unsound:
            return Termination.ERROR, Verdict.UNKNOWN
        if threshold is not None and self.upper <= threshold:
            return Termination.THRESHOLD_DECIDED, Verdict.CERTIFIED
        if self._decided:
            return Termination.OPTIMAL, Verdict.CERTIFIED
        if self.should_stop():
            return Termination.CANCELLED, known
        return Termination.TIME_LIMIT, known
