"""The image's Dockerfile, read without docker: what may go wrong in it that no build would tell."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")


def instructions(name: str) -> list[str]:
    """Return the arguments of all instructions of a name, continued lines joined."""
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", DOCKERFILE)).splitlines()
    return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


def test_the_image_needs_no_frontend_from_a_registry() -> None:
    assert "syntax=" not in DOCKERFILE
    assert "--mount" not in DOCKERFILE
    assert len({base.split()[0] for base in instructions("FROM")}) == 1


def test_the_image_runs_as_a_numbered_user_who_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions("USER")[-1])


def test_dependencies_are_pinned_and_come_before_the_code() -> None:
    installs = [run for run in instructions("RUN") if "pip install" in run]
    assert all("--constraint /build/constraints.txt" in run for run in installs[:-1])
    assert "--no-deps" in installs[-1]
    assert "--no-build-isolation" in installs[-1]
    assert DOCKERFILE.index("COPY . ") > DOCKERFILE.index("requirements.txt")


def test_torch_is_the_cpu_build_unless_told_otherwise() -> None:
    assert any(re.fullmatch(r'TORCH_OPTIONS=".*/cpu"', argument) for argument in instructions("ARG"))


def test_what_the_image_copies_is_let_through() -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = {source for line in instructions("COPY") for source in line.split()[:-1] if source[0] not in "./-"}
    assert {source for source in copied if not {f"!{source}", f"!{source.split('/')[0]}"} & set(allowed)} == set()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for package in project["tool"]["setuptools"]["packages"]["find"]["include"]:
        folder = "encodings" if package == "encoding" else package.rstrip("*")
        assert f"!{folder}" in allowed


def test_its_health_is_that_of_the_api() -> None:
    assert instructions("HEALTHCHECK")[0].endswith('CMD ["python", "-m", "app.health", "api"]')
