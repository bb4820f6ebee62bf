"""The shipped proxies, by name, for the tests that must hold on every one of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from proxies.load import LoadedProxy, load_proxy

FOLDER = Path(__file__).parent.parent / "benchmarks" / "proxies"
FILES = sorted(FOLDER.glob("dcopf-*.safetensors"))
NAMES = [path.stem for path in FILES]


@cache
def shipped(name: str) -> LoadedProxy:
    """Load a shipped proxy once."""
    return load_proxy(FOLDER / f"{name}.safetensors")
