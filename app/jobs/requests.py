"""What a job may ask, by kind: the bodies of POST /v1/jobs, as validated and as stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from proxies.manifest import InputUnit, OutputUnit

# Seconds for bounds alone, and for what training does after its last step.
BOUNDS_SECONDS, TRAINING_ENDS = 600.0, 300.0
Queue = Literal["cpu", "gpu", "gurobi"]
Share = Annotated[FiniteFloat, Field(ge=0, lt=1, description="Half-width of the inputs' range: 0.05 is 5 %.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Options(_Body):
    """How to verify: the choices of `certigap verify`, with the same meaning and defaults."""

    measure: Literal["absolute", "relative"] = "absolute"
    threshold: FiniteFloat | None = Field(
        None, description="Only decide whether the gap can exceed this; negative for a classifier only."
    )
    tolerance: FiniteFloat = Field(1e-3, gt=0, lt=1)
    time_limit: FiniteFloat = Field(3600.0, gt=0, le=604_800, description="Seconds for everything.")
    solver: Literal["highs", "gurobi", "scip"] = "highs"
    formulation: Literal["compact", "bilevel"] = "compact"
    style: Literal["sign", "paper"] = "sign"
    bounds: Literal["crown", "alpha", "interval"] = "crown"
    rounds: int = Field(10, ge=0, le=1000)
    attack_seconds: FiniteFloat | None = Field(
        None,
        ge=0,
        le=86_400,
        description="Most seconds for the attack, 0 for none; a quarter of the time left if not given.",
    )
    attack_style: Literal["ours", "paper"] = "ours"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    split: bool = True
    effort: int = Field(4000, ge=1, le=10**9)
    workers: int = Field(0, ge=0, le=256, description="Processes that work on parts; 0 for one a core.")
    samples: int = Field(1000, ge=0, le=1_000_000, description="Random inputs to compare with in the report.")
    seed: int = Field(0, ge=0, le=2**31 - 1)


class _ProxyJob(_Body):
    proxy: str = Field(max_length=40, description="Id of an uploaded proxy.")
    problem: str | None = Field(
        None, max_length=40, description="Id of a problem, instead of the one that the proxy's manifest names."
    )
    input_unit: InputUnit | None = None
    output_unit: OutputUnit | None = None
    priority: int = Field(0, ge=0, le=1000, description="Smaller goes first.")


class VerifyJob(_ProxyJob):
    """Bound the worst-case gap over all inputs within u."""

    kind: Literal["verify"]
    u: Share = 0.05
    options: Options = Options()


class AttackJob(_ProxyJob):
    """Only look for a large gap: the lower bound and its witness."""

    kind: Literal["attack"]
    u: Share = 0.05
    options: Options = Options()


class BoundsJob(_ProxyJob):
    """Only bound every neuron over the inputs within u, and count the stable ones."""

    kind: Literal["bounds"]
    u: Share = 0.05
    method: Literal["crown", "alpha", "interval"] = "crown"


class EvaluateJob(_ProxyJob):
    """Gap statistics at random inputs: what sampling sees."""

    kind: Literal["evaluate"]
    u: Share = 0.05
    samples: int = Field(1000, ge=1, le=1_000_000)
    measure: Literal["absolute", "relative"] = "relative"
    time_limit: FiniteFloat = Field(600.0, gt=0, le=86_400)
    seed: int = Field(0, ge=0, le=2**31 - 1)


class SweepJob(_ProxyJob):
    """A verification for each u of a list: the curve of the worst-case gap."""

    kind: Literal["sweep"]
    u: list[Share] = Field(min_length=1, max_length=100)
    options: Options = Options()


class TrainJob(_Body):
    """Train a proxy for a problem; the result names the new proxy."""

    kind: Literal["train"]
    problem: str = Field(max_length=40)
    hidden: list[Annotated[int, Field(ge=1, le=4096)]] = Field([64, 64], min_length=1, max_length=8)
    minutes: FiniteFloat = Field(5.0, gt=0, le=1440)
    steps: int = Field(20_000, ge=1, le=10_000_000)
    u: Share = 0.2
    stability: FiniteFloat = Field(0.0, ge=0)
    l1: FiniteFloat = Field(0.0, ge=0)
    batch: int = Field(256, ge=1, le=65_536)
    seed: int = Field(0, ge=0, le=2**31 - 1)
    priority: int = Field(0, ge=0, le=1000, description="Smaller goes first.")


AnyJob = VerifyJob | AttackJob | BoundsJob | EvaluateJob | SweepJob | TrainJob
JobRequest = Annotated[AnyJob, Field(discriminator="kind")]


def queue_of(request: Any) -> Queue:
    """Return the queue of what is scarce: a licence, a GPU, or just cores."""
    options = getattr(request, "options", None)
    if options is not None and options.solver == "gurobi":
        return "gurobi"
    return "gpu" if options is not None and options.device == "cuda" else "cpu"


def most_seconds(request: Mapping[str, Any]) -> float:
    """Return how long a stored request may take."""
    if request["kind"] == "train":
        return 60.0 * float(request["minutes"]) + TRAINING_ENDS
    if request["kind"] == "bounds":
        return BOUNDS_SECONDS
    limit = float(request["time_limit"] if request["kind"] == "evaluate" else request["options"]["time_limit"])
    return limit * len(request["u"]) if request["kind"] == "sweep" else limit
