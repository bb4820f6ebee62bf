"""What the QP layer's benchmark scripts share: their command line, their JSON record, and random problems."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# The record of all benchmark scripts lies one folder up, and scripts have only their own folder on the path.
sys.path.append(str(Path(__file__).resolve().parents[1]))
record = import_module("record")
table, number = record.table, record.number


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a command line with the options that every script has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="a small form that takes seconds")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--json", type=Path)
    return made


def begin(arguments: argparse.Namespace, key: Sequence[str], packages: Sequence[str] = ()) -> Any:
    """Return the record of a run, with the versions of the packages that it is about; sets threads and seed."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    command = {name: value for name, value in vars(arguments).items() if name != "json"}
    versions = {name: version(name) for name in ("torch", "daqp", "piqp", *packages)}
    return record.Record(arguments.json, command, key, {"packages": versions})


def version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def random_qps(batch: int, n: int, seed: int) -> dict[str, Tensor]:
    """Return the paper's random problems with n variables and n inequalities.

    Q = UU' + 1e-3 I with U uniform, G normal, h = G z0 + s0 with z0 normal and s0 uniform.
    Source: Amos and Kolter 2017, section 4.1, footnote 4.
    """
    draw = torch.Generator().manual_seed(seed)
    options: dict[str, Any] = {"generator": draw, "dtype": torch.float64}
    half, G = torch.rand(batch, n, n, **options), torch.randn(batch, n, n, **options)
    z0, s0 = torch.randn(batch, n, **options), torch.rand(batch, n, **options)
    Q = half @ half.mT + 1e-3 * torch.eye(n, dtype=torch.float64)
    return {"Q": Q, "q": torch.randn(batch, n, **options), "G": G, "h": (G @ z0[..., None])[..., 0] + s0}
