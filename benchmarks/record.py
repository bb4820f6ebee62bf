"""What the benchmark scripts share: the shipped proxies, and a JSON file that grows row by row and can be resumed."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxies.load import LoadedProxy, load_proxy
from verifier.certificate import versions

FOLDER = Path(__file__).parent / "proxies"


def shipped_names(family: str = "dcopf") -> list[str]:
    """Return the names of a family's shipped proxies, such as "case57-raw"."""
    return sorted(path.stem.removeprefix(f"{family}-") for path in FOLDER.glob(f"{family}-*.safetensors"))


def load_shipped(name: str, family: str = "dcopf") -> LoadedProxy:
    """Load the shipped proxy of a name from `shipped_names`."""
    return load_proxy(FOLDER / f"{family}-{name}.safetensors")


def case_of(name: str) -> str:
    """Return the number of buses in a proxy's name: "57" of "case57-raw"."""
    return name.split("-")[0].removeprefix("case")


def commit() -> str | None:
    """Return the commit of the code that is measured, marked where files differ from it; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it; what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.name
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def command_line(description: str | None) -> argparse.ArgumentParser:
    """Return the command line of any script with a `Record`: where its rows go, and whether earlier ones count."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--resume", action="store_true")
    made.add_argument("--json", type=Path)
    return made


def parser(description: str | None, proxies: str, u: str, time_limit: float) -> argparse.ArgumentParser:
    """Return the command line that scripts with rows by proxy and u share, with their defaults."""
    made = command_line(description)
    made.add_argument("--proxies", default=proxies)
    made.add_argument("--u", default=u)
    made.add_argument("--time-limit", type=float, default=time_limit)
    return made


@dataclass
class Record:
    """The rows of one benchmark, written to a file after each of them.

    Attributes:
        path: the JSON file; None keeps the rows in memory.
        command: the options of the run.
        key: names of the fields that tell rows apart.
        facts: anything else that the file should say.
        rows: so far.
    """

    path: Path | None
    command: Mapping[str, Any]
    key: Sequence[str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def resume(self) -> None:
        """Read the rows of an earlier run from the file, where there is one."""
        if self.path is not None and self.path.is_file():
            self.rows = json.loads(self.path.read_text())["rows"]

    @classmethod
    def begin(cls, arguments: argparse.Namespace, key: Sequence[str], facts: Mapping[str, Any]) -> Record:
        """Return the record of a run with arguments of `command_line`, with the earlier rows where it resumes."""
        command = {name: value for name, value in vars(arguments).items() if name != "json"}
        record = cls(arguments.json, command, key, facts)
        if arguments.resume:
            record.resume()
        return record

    def find(self, **key: Any) -> dict[str, Any] | None:
        """Return the row with these fields, or None."""
        return next((row for row in self.rows if all(row.get(name) == value for name, value in key.items())), None)

    def add(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Take in a row, in the place of one with the same key, and write the file."""
        new = plain({**row, "commit": commit()})
        same = {name: new.get(name) for name in self.key}
        old = self.find(**same)
        if old is None:
            self.rows.append(new)
        else:
            self.rows[self.rows.index(old)] = new
        self.write()
        return new

    def write(self) -> None:
        """Write the file anew; a reader never sees half of it."""
        if self.path is None:
            return
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        head = {"command": self.command, "machine": machine, "versions": versions(), **self.facts}
        rows = ",\n".join(json.dumps(row, allow_nan=False) for row in self.rows)
        # One row a line: a changed row is a changed line.
        text = json.dumps(plain(head), indent=1, allow_nan=False)[:-2] + f',\n "rows": [\n{rows}\n ]\n}}\n'
        beside = self.path.with_suffix(".part")
        beside.write_text(text)
        beside.replace(self.path)


def table(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def number(value: float | None, form: str = ",.0f") -> str:
    """Return a number in the given form, "-" where it is not known."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def ratio(upper: float | None, lower: float | None) -> float:
    """Return upper/lower; infinite where either says nothing, 1 where both are zero."""
    if upper is None or lower is None:
        return math.inf
    if lower <= 0:
        return 1.0 if upper <= 0 else math.inf
    return upper / lower
