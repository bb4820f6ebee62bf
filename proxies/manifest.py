"""The manifest: what a network file does not say about itself. A file plus its manifest is a complete proxy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator

from proxies.errors import ModelFileError

SCHEMA: Final = "certigap.proxy/1"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DcOpfSpec(_Strict):
    """Which DC-OPF the proxy answers; `case` is a PGLib name or the path of a `.m` file."""

    kind: Literal["dcopf"] = "dcopf"
    case: str
    thermal: Literal["soft", "hard"] = "soft"
    shunts: bool = False
    angle_limits: bool = False


class KnapsackSpec(_Strict):
    """The knapsack instance itself: n nominal item values, integer weights and the nominal capacity."""

    kind: Literal["knapsack"] = "knapsack"
    name: str
    values: tuple[float, ...]
    weights: tuple[int, ...]
    capacity: float


class ClassificationSpec(_Strict):
    """The sample that a classifier is asked about.

    Attributes:
        name: of the sample.
        centre: its n features.
        label: its class, counted from 0.
        classes: how many there are; None for as many as the network tells apart.
        lower, upper: the features' limits, one number for all or one for each; none, or both.
        names: of the features; none, or one each.
    """

    kind: Literal["classification"] = "classification"
    name: str = "sample"
    centre: tuple[float, ...]
    label: int
    classes: int | None = None
    lower: float | tuple[float, ...] | None = None
    upper: float | tuple[float, ...] | None = None
    names: tuple[str, ...] = ()


def _kind(spec: object) -> str:
    """Return a problem's kind; "dcopf" where a manifest does not say."""
    return str(spec.get("kind", "dcopf") if isinstance(spec, Mapping) else getattr(spec, "kind", "dcopf"))


ProblemSpec = Annotated[
    Annotated[DcOpfSpec, Tag("dcopf")]
    | Annotated[KnapsackSpec, Tag("knapsack")]
    | Annotated[ClassificationSpec, Tag("classification")],
    Discriminator(_kind),
]
PROBLEM_SPEC: TypeAdapter[DcOpfSpec | KnapsackSpec | ClassificationSpec] = TypeAdapter(ProblemSpec)
# What a manifest cannot choose, by the kind of its problem.
_NO_CHOICE = {
    "dcopf": set[str](),
    "knapsack": {"input", "output"},
    "classification": {"input", "output", "repair"},
}
InputUnit = Literal["MW", "pu"]
OutputUnit = Literal["MW", "pu", "fraction"]
Repair = Literal["clamp", "hypersimplex", "sort_prefix", "sort_skip"]


class InputSpec(_Strict):
    """What the network reads: demand in MW or per unit, at every bus or only at those with a load in the case."""

    unit: InputUnit = "MW"
    at: Literal["buses", "loads"] = "buses"


class OutputSpec(_Strict):
    """What the network writes: MW, per unit or the fraction of [pmin, pmax], for all or the dispatchable generators."""

    unit: OutputUnit = "MW"
    of: Literal["generators", "dispatchable"] = "generators"


class Manifest(_Strict):
    """Schema version, problem, units, and the repair layers that the network's output enters.

    A knapsack network reads the item values and the capacity as they are and writes a score an item: there, `input`
    and `output` do not apply; nor do they to a classifier, whose scores need no `repair` either.

    Attributes:
        made_by: the command that made the file, for the record.
    """

    schema_version: Literal["certigap.proxy/1"] = Field(default=SCHEMA, alias="schema")
    problem: ProblemSpec
    input: InputSpec = InputSpec()
    output: OutputSpec = OutputSpec()
    repair: tuple[Repair, ...] = ("clamp", "hypersimplex")
    made_by: str = ""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="after")
    def _chooses_what_there_is(self) -> Manifest:
        extra = _NO_CHOICE[self.problem.kind] & self.model_fields_set
        if extra:
            no = " and no ".join(sorted(extra))
            raise ValueError(f"a {self.problem.kind} proxy has no {no} to choose; leave it out")
        return self

    def to_json(self) -> str:
        """Return the manifest as JSON text."""
        return self.model_dump_json(by_alias=True, indent=2, exclude=_NO_CHOICE[self.problem.kind])


def parse_manifest(text: str | bytes, source: str | Path) -> Manifest:
    """Read a manifest from JSON text; `source` names it in errors.

    Raises:
        ModelFileError: the text is not JSON, or not a manifest.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        # The second part of a place inside the problem is the kind that was looked for: no part of the text.
        place = [part for k, part in enumerate(first["loc"]) if not (k == 1 and first["loc"][0] == "problem")]
        where = ".".join(str(part) for part in place) or "the top level"
        raise ModelFileError(f"the manifest in {source} is wrong at {where}: {first['msg']}") from error
