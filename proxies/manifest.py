"""The manifest: what a network file does not say about itself. A file plus its manifest is a complete proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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


class InputSpec(_Strict):
    """What the network reads: demand in MW or per unit, at every bus or only at those with a load in the case."""

    unit: Literal["MW", "pu"] = "MW"
    at: Literal["buses", "loads"] = "buses"


class OutputSpec(_Strict):
    """What the network writes: MW, per unit or the fraction of [pmin, pmax], for all or the dispatchable generators."""

    unit: Literal["MW", "pu", "fraction"] = "MW"
    of: Literal["generators", "dispatchable"] = "generators"


class Manifest(_Strict):
    """Schema version, problem, units, and the repair layers that the network's output enters.

    Attributes:
        made_by: the command that made the file, for the record.
    """

    schema_version: Literal["certigap.proxy/1"] = Field(default=SCHEMA, alias="schema")
    problem: DcOpfSpec
    input: InputSpec = InputSpec()
    output: OutputSpec = OutputSpec()
    repair: tuple[Literal["clamp", "hypersimplex"], ...] = ("clamp", "hypersimplex")
    made_by: str = ""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def to_json(self) -> str:
        """Return the manifest as JSON text."""
        return self.model_dump_json(by_alias=True, indent=2)


def parse_manifest(text: str | bytes, source: str | Path) -> Manifest:
    """Read a manifest from JSON text; `source` names it in errors.

    Raises:
        ModelFileError: the text is not JSON, or not a manifest.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top level"
        raise ModelFileError(f"the manifest in {source} is wrong at {where}: {first['msg']}") from error
