"""Runs a verification and says what is wrong with its answer, by means that share nothing with the engine."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from benchmarks.soundness.brute_force import search
from benchmarks.soundness.exact import exact_gap
from benchmarks.soundness.instances import Instance, instance
from problems.interval import Vector
from solvers.errors import CertigapError
from verifier.frontier import Change, Frontier
from verifier.node import Node
from verifier.result import Result, Verdict
from verifier.verify import verify

# Two gaps that differ by less than this share of the numbers they are differences of differ by rounding.
ROUNDING = 1e-9
# A witness is evaluated in batches of these sizes: sums are taken in another order in each.
BATCHES = (1, 2, 3, 17, 64)
# Seconds beyond its time limit that a verification may take.
GRACE = 5.0
# Points whose gap is computed in rational arithmetic, the random points of a search around the witness, and how often
# an interrupted search goes on.
EXACT, AROUND, RESUMPTIONS = 2, 20, 4
# A point of the domain may be outside of its box by this share of its size.
ULPS = 4 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Violation:
    """Something that must not be.

    Attributes:
        kind: of fault.
        detail: the numbers.
        excess: by how much, as a share of the numbers whose difference a gap is.
    """

    kind: str
    detail: str
    excess: float = 0.0


@dataclass
class Report:
    """What became of one instance.

    Attributes:
        seed, family, traits, asked: of the instance.
        outcome: the verdict, "refused" or "failed".
        lower, upper, attained: the answer, and the largest gap that the brute force found.
        seconds: of the verification.
        violations: what is wrong.
        refusal: the message of a CertigapError.
        reports: notes that ask for a report.
    """

    seed: int
    family: str = ""
    traits: tuple[str, ...] = ()
    asked: dict[str, str] = field(default_factory=dict)
    description: str = ""
    outcome: str = "failed"
    termination: str = ""
    lower: float = -np.inf
    upper: float = np.inf
    attained: float = -np.inf
    seconds: float = 0.0
    violations: list[Violation] = field(default_factory=list)
    refusal: str = ""
    reports: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judge(seed: int) -> Report:
    """Verify the instance of a seed and judge the answer."""
    report = Report(seed)
    try:
        given = instance(seed)
    except CertigapError as error:
        report.outcome, report.refusal = "refused", f"{type(error).__name__}: {error}"
        return report
    except Exception as error:
        report.violations.append(_raised(error, "while the instance was made"))
        return report
    return judge_instance(given, report)


def judge_instance(given: Instance, report: Report | None = None) -> Report:
    """Verify an instance and judge the answer."""
    report = report or Report(given.seed)
    report.family, report.traits, report.asked = given.family, given.traits, given.asked
    report.description, report.attained = given.description, given.found.best
    began = time.perf_counter()
    try:
        for result in _results(given, report):
            report.violations += [one for one in violations(given, result) if one not in report.violations]
            report.outcome, report.termination = result.verdict.value, result.termination.value
            report.lower, report.upper, report.notes = result.lower, result.upper, list(result.notes)
            report.reports = [note for note in result.notes if "please report" in note]
    except CertigapError as error:
        report.outcome, report.refusal = "refused", f"{type(error).__name__}: {error}"
    except Exception as error:
        report.violations.append(_raised(error, ""))
    report.seconds = time.perf_counter() - began
    return report


def _raised(error: Exception, when: str) -> Violation:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "site-packages" not in f.filename and "soundness" not in f.filename] or frames[-1:]
    place = f"{ours[-1].filename.split('/')[-1]}, {ours[-1].name}"
    return Violation("exception", f"{type(error).__name__} in {place} {when}: {error}")


class _Store:
    """What a database keeps of a search, as text."""

    def __init__(self) -> None:
        self.nodes: dict[int, str] = {}
        self.closed = -np.inf
        self.latent: Vector | None = None
        self.changes = 0

    def hear(self, change: Change) -> None:
        self.changes += 1
        for number in change.dropped:
            self.nodes.pop(number, None)
        self.nodes.update({number: node.to_json() for number, node in change.added.items()})
        self.closed = max(self.closed, change.closed)
        if change.latent is not None:
            self.latent = change.latent

    def frontier(self, upper: float) -> Frontier:
        nodes = {number: Node.from_json(text) for number, text in self.nodes.items()}
        return Frontier(nodes, self.closed, upper, self.latent)


def _results(given: Instance, report: Report) -> Iterator[Result]:
    """Return the answers: one, or those of a search that is interrupted and goes on."""
    if given.interrupted is None:
        yield _timed(given, report, lambda: False, None, None)
        return
    store, upper = _Store(), np.inf
    for turn in range(RESUMPTIONS):
        begun = store.changes
        most = np.inf if turn == RESUMPTIONS - 1 else begun + given.interrupted
        frontier = None if turn == 0 else store.frontier(upper)
        result = _timed(given, report, lambda most=most: store.changes >= most, frontier, store)
        upper = result.upper
        yield result
        if result.termination.value != "cancelled":
            return


def _timed(
    given: Instance, report: Report, stop: Callable[[], bool], frontier: Frontier | None, store: _Store | None
) -> Result:
    began = time.perf_counter()
    change = None if store is None else store.hear
    arguments = (given.proxy, given.problem, given.domain, given.options)
    result = verify(*arguments, should_stop=stop, frontier=frontier, on_change=change)
    late = time.perf_counter() - began - given.options.time_limit
    if late > GRACE:
        report.violations.append(Violation("time limit", f"passed by {late:.1f} s", late))
    return result


def violations(given: Instance, result: Result) -> list[Violation]:
    """Return what is wrong with an answer."""
    found = _of_numbers(result)
    if found:
        return found
    with np.errstate(over="ignore"):  # Shares of numbers that are next to nothing.
        return [*_of_verdict(given, result), *_of_upper(given, result), *_of_witness(given, result)]


def _of_numbers(result: Result) -> list[Violation]:
    pairs = [(result.lower, result.upper), *[(event.lower, event.upper) for event in result.events]]
    if any(np.isnan(pair).any() for pair in pairs):
        return [Violation("NaN", f"[{result.lower}, {result.upper}] and events")]
    if result.lower > result.upper:
        return [Violation("lower above upper", f"[{result.lower}, {result.upper}]")]
    return []


def _of_verdict(given: Instance, result: Result) -> list[Violation]:
    """Return contradictions between verdict, bounds and threshold."""
    threshold, verdict = given.options.threshold, result.verdict
    bounded = np.isfinite(result.upper)
    wrong = ""
    if verdict is Verdict.FALSIFIED and (threshold is None or not result.lower > threshold or result.witness is None):
        wrong = "falsified without a witness above the threshold"
    elif threshold is not None and result.lower > threshold and verdict is not Verdict.FALSIFIED:
        wrong = "not falsified above the threshold"
    elif verdict is Verdict.CERTIFIED and threshold is not None and not result.upper <= threshold:
        wrong = "certified with an upper bound above the threshold"
    elif verdict is Verdict.CERTIFIED and not (bounded and result.lower <= result.upper):
        wrong = "certified without bounds"
    elif verdict is Verdict.BOUNDED and not bounded:
        wrong = "bounded by nothing"
    elif verdict is Verdict.UNKNOWN and bounded:
        wrong = "unknown with a bound"
    least = given.problem.least_gap
    if result.witness is None and result.lower != least:
        wrong = f"a lower bound that is not {least} without a witness"
    return [Violation("verdict", f"{wrong}: [{result.lower}, {result.upper}], threshold {threshold}")] if wrong else []


def _of_upper(given: Instance, result: Result) -> list[Violation]:
    """Return gaps above the upper bound, as the forward pass attains them and as exact arithmetic does."""
    if not np.isfinite(result.upper):
        return []
    found = given.found
    points, gaps, slacks = found.latents, found.gaps, found.slacks
    if result.witness is not None:
        near = search(given.gaps, given.seed, result.witness.latent[None], AROUND)
        points, gaps, slacks = (
            np.concatenate(both) for both in ((points, near.latents), (gaps, near.gaps), (slacks, near.slacks))
        )
        order = np.argsort(-gaps, kind="stable")
        points, gaps, slacks = points[order], gaps[order], slacks[order]
    worst: dict[str, Violation] = {}
    for k in range(min(EXACT, len(points))):
        x = given.domain.to_input(points[k])
        alone = float(given.gaps.at_inputs(x[None])[0][0])
        exact = _exact(given, x)
        slack = max(slacks[k], *(abs(gap) for gap in (alone, exact) if np.isfinite(gap)), np.finfo(np.float64).tiny)
        excess = {"float": (min(alone, gaps[k]) - result.upper) / slack, "exact": (exact - result.upper) / slack}
        above = [way for way, share in excess.items() if share > ROUNDING]
        if not above:
            continue
        kind = "upper exceeded" if len(above) == 2 else f"upper exceeded, in {above[0]} arithmetic only"
        share = max(excess[way] for way in above)
        detail = f"{alone!r} (exactly {exact!r}) at w = {points[k].tolist()} > {result.upper!r}"
        if kind not in worst or worst[kind].excess < share:
            worst[kind] = Violation(kind, detail, float(share))
    return list(worst.values())


def _exact(given: Instance, x: Vector) -> float:
    """Return the exact gap at an input, rounded once; -inf where it has none."""
    if not np.isfinite(given.gaps.values.optima(x[None])[0]):
        return -np.inf
    gap, optimum = exact_gap(given.proxy, given.problem, x)
    if given.options.measure == "relative":
        gap = gap / abs(optimum) if optimum else Fraction(0)
    try:
        return float(gap)
    except OverflowError:
        return np.inf if gap > 0 else -np.inf


def _of_witness(given: Instance, result: Result) -> list[Violation]:
    """Return what a replay of the witness, in batches of several sizes and exactly, does not attain."""
    witness = result.witness
    if witness is None:
        return []
    box, found = given.domain.box, []
    room = ULPS * np.maximum(np.abs(box.lower), np.abs(box.upper))
    if not ((witness.latent >= box.lower - room) & (witness.latent <= box.upper + room)).all():
        found.append(Violation("witness outside", f"w = {witness.latent.tolist()}"))
    size = np.abs(given.domain.matrix) @ np.abs(witness.latent) + np.abs(given.domain.shift)
    if not (np.abs(given.domain.to_input(witness.latent) - witness.input) <= 1e-12 * size).all():
        found.append(Violation("witness outside", f"x = {witness.input.tolist()} is not T w + t"))
    for cut in given.domain.cuts:
        value, room = float(cut.coefficients @ witness.latent), 1e-9 * (1 + np.abs(cut.coefficients).sum())
        if not cut.lower - room <= value <= cut.upper + room:
            found.append(Violation("witness outside", f"{value} is not in [{cut.lower}, {cut.upper}]: {cut.reason}"))
    replays, slack = {}, 0.0
    for size in BATCHES:
        gaps, slacks = given.gaps.at_inputs(np.tile(witness.input, (size, 1)))
        replays[f"a batch of {size}"] = float(gaps.min())
        slack = max(slack, float(slacks.max()))
    replays["exact arithmetic"] = _exact(given, witness.input)
    slack = max(slack, *(abs(gap) for gap in replays.values() if np.isfinite(gap)), np.finfo(np.float64).tiny)
    missing = {way: (result.lower - gap) / slack for way, gap in replays.items()}
    lacking = {way: share for way, share in missing.items() if share > ROUNDING}
    if lacking:
        ways = ["batches"] if any("batch" in way for way in lacking) else []
        ways += ["exact arithmetic"] if "exact arithmetic" in lacking else []
        told = ", ".join(f"{replays[way]!r} in {way}" for way in lacking)
        kind = f"witness not attained in {' and '.join(ways)}"
        found.append(Violation(kind, f"{result.lower!r} is claimed, {told}", float(max(lacking.values()))))
    return found
