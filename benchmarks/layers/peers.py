"""The layers beside their peers: runs `qp_peers` and `ilp_peers` one after the other and prints both tables.

Usage: python benchmarks/layers/peers.py [--quick] [--folder FOLDER]

Each has a process of its own, as packages of one do not share a process with packages of the other. Their own options
are theirs alone; with --folder they write qp_peers.json and ilp_peers.json there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {"qp_peers": "Quadratic programs", "ilp_peers": "Integer linear programs"}


def command(script: str, quick: bool, folder: Path | None) -> list[str]:
    """Return the command line of one of the scripts."""
    json = [] if folder is None else ["--json", str(folder.resolve() / f"{script}.json")]
    return [sys.executable, "-m", f"benchmarks.layers.{script}", *(["--quick"] if quick else []), *json]


def main(argv: Sequence[str] | None = None) -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--quick", action="store_true", help="the small form of both, which takes seconds")
    asked.add_argument("--folder", type=Path, help="where to write the figures")
    arguments = asked.parse_args(argv)
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    # The QP scripts import each other by name, the ILP scripts from the root of the repository.
    paths = [str(ROOT), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    for script, title in SCRIPTS.items():
        print(f"{title}\n", flush=True)
        words = command(script, arguments.quick, arguments.folder)
        subprocess.run(words, cwd=ROOT, env=environment, check=True)
        print(flush=True)


if __name__ == "__main__":
    main()
