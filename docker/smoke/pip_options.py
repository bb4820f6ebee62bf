"""Prints the pip options that let a build, on this machine's network, install what pip installs here.

    pip_options.py URL FOLDER       FOLDER will be served at URL; links to pip's local folders are put into it

Whatever pip is told here, by its files or by PIP_..., is told again; its authorities are in the base image already.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

# Where Debian keeps the authorities it trusts.
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def options(url: str, folder: Path) -> list[str]:
    """Return the options; `folder` gets a link to each local folder of packages, to be served at `url`."""
    found = {"--cert": [AUTHORITIES]}
    for name in ("index-url", "extra-index-url", "find-links", "trusted-host"):
        said: list[str] = []
        for place in _configured(name):
            local = Path(unquote(urlparse(place).path))
            if urlparse(place).scheme in ("http", "https") or name == "trusted-host":
                said.append(place)
            elif name == "find-links" and local.is_dir():
                link = folder / f"wheels{len(said)}"
                link.symlink_to(local.resolve())
                said.append(f"{url}/{link.name}/")
        found[f"--{name}"] = said
    return [word for option, values in found.items() for value in values for word in (option, value)]


def _configured(name: str) -> list[str]:
    """Return what pip is told, once each: the environment before the files, as pip does."""
    said = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
    if said is None:
        command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return list(dict.fromkeys(said.split()))


if __name__ == "__main__":
    print(" ".join(options(sys.argv[1], Path(sys.argv[2]))))
