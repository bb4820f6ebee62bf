"""What a job can be asked, by kind: the bodies of POST /v1/jobs. What is left out, the server decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Required, TypeAlias, TypedDict

InputUnit: TypeAlias = Literal["MW", "pu"]
OutputUnit: TypeAlias = Literal["MW", "pu", "fraction"]


class Options(TypedDict, total=False):
    """How to verify.

    Attributes:
        measure: "absolute" or "relative" gap.
        threshold: only decide whether the gap can exceed this.
        tolerance: stop when lower and upper differ by less than this share.
        time_limit: seconds for everything.
        solver: highs, gurobi or scip.
        attack_seconds: at most, for the attack; 0 for none.
        effort: of one program before its part of the domain is split.
        workers: processes that work on parts; 0 for one a core.
        samples: random inputs to compare with in the report.
    """

    measure: Literal["absolute", "relative"]
    threshold: float
    tolerance: float
    time_limit: float
    solver: Literal["highs", "gurobi", "scip"]
    formulation: Literal["compact", "bilevel"]
    style: Literal["sign", "paper"]
    bounds: Literal["crown", "alpha", "interval"]
    rounds: int
    attack_seconds: float
    attack_style: Literal["ours", "paper"]
    device: Literal["auto", "cpu", "cuda"]
    split: bool
    effort: int
    workers: int
    samples: int
    seed: int


class _OfProxy(TypedDict, total=False):
    """What all jobs about a proxy share.

    Attributes:
        proxy: id of an uploaded proxy.
        problem: id of a problem, instead of the one that the proxy's manifest names.
        input_unit, output_unit: of the network, instead of the manifest's.
        priority: smaller goes first.
    """

    proxy: Required[str]
    problem: str
    input_unit: InputUnit
    output_unit: OutputUnit
    priority: int


class VerifyJob(_OfProxy, total=False):
    """Bound the worst-case gap over all inputs within `u` (0.05 is 5 %)."""

    kind: Required[Literal["verify"]]
    u: float
    options: Options


class AttackJob(_OfProxy, total=False):
    """Only look for a large gap: the lower bound and its witness."""

    kind: Required[Literal["attack"]]
    u: float
    options: Options


class BoundsJob(_OfProxy, total=False):
    """Only bound every neuron over the inputs within `u`, and count the stable ones."""

    kind: Required[Literal["bounds"]]
    u: float
    method: Literal["crown", "alpha", "interval"]


class EvaluateJob(_OfProxy, total=False):
    """Gap statistics at random inputs within `u`: what sampling sees."""

    kind: Required[Literal["evaluate"]]
    u: float
    samples: int
    measure: Literal["absolute", "relative"]
    time_limit: float
    seed: int


class SweepJob(_OfProxy, total=False):
    """A verification for each `u` of a list: the curve of the worst-case gap."""

    kind: Required[Literal["sweep"]]
    u: Required[Sequence[float]]
    options: Options


class TrainJob(TypedDict, total=False):
    """Train a proxy for a problem; the result names the new proxy.

    Attributes:
        problem: id of a problem.
        hidden: widths of the hidden layers.
        minutes, steps: when to stop, whichever comes first.
        stability, l1: weights of the ReLU-stability term and of the mean absolute weight.
        batch: inputs a step.
    """

    kind: Required[Literal["train"]]
    problem: Required[str]
    hidden: Sequence[int]
    minutes: float
    steps: int
    u: float
    stability: float
    l1: float
    batch: int
    seed: int
    priority: int


JobRequest: TypeAlias = VerifyJob | AttackJob | BoundsJob | EvaluateJob | SweepJob | TrainJob
