"""Prints what pyproject.toml files depend on, and what builds them, so that an image installs that before the code.

requirements.py EXTRA,EXTRA PYPROJECT...
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path


def requirements(extras: Sequence[str], files: Sequence[Path]) -> list[str]:
    """Return requirements, sorted, each once.

    Args:
        extras: optional dependencies, each of which one of the files must have.
        files: paths of pyproject.toml files.

    Raises:
        KeyError: no file has such an extra.
    """
    found: set[str] = set()
    optional: dict[str, list[str]] = {}
    for file in files:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        found.update(content["build-system"]["requires"], content["project"]["dependencies"])
        optional |= content["project"].get("optional-dependencies", {})
    for extra in extras:
        found.update(optional[extra])
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(requirements([name for name in sys.argv[1].split(",") if name], [Path(p) for p in sys.argv[2:]])))
