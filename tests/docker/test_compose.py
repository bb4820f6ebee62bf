"""The compose file, read without docker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.settings_table import fields, variable

DOCKER = Path(__file__).parent.parent.parent / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VARIABLES = {variable(name) for name in fields()}


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(place.startswith("/tmp") for place in service["tmpfs"])
    assert "privileged" not in service
    assert service.get("user", "postgres") == "postgres"


@pytest.mark.parametrize("name", ["postgres", "api", "worker"])
def test_every_lasting_container_is_watched_and_restarted(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    # The API's is the image's.
    assert name == "api" or SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_only_the_api_is_reached_from_outside_and_from_this_machine_alone() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["api"]
    assert SERVICES["api"]["ports"] == ["${LISTEN:-127.0.0.1:8787}:8787"]
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert [name for name, service in SERVICES.items() if service["networks"] != ["inside"]] == ["api"]


def test_tables_are_made_once_before_anything_uses_them() -> None:
    assert SERVICES["migrate"]["command"] == ["migrate"]
    assert "restart" not in SERVICES["migrate"]
    for name in ("api", "worker"):
        assert SERVICES[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("name", SERVICES)
def test_every_variable_of_the_service_is_a_setting(name: str) -> None:
    named = re.findall(r"CERTIGAP_[A-Z_]+", yaml.safe_dump(SERVICES[name]))
    assert set(named) <= VARIABLES


def test_the_example_names_what_compose_reads() -> None:
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    read = set(re.findall(r"\$\{([A-Z_]+):", text))
    example = (DOCKER / "example.env").read_text(encoding="utf-8")
    assert set(re.findall(r"(?m)^#?([A-Z_]+)=", example)) == read
    assert re.search(r"(?m)^POSTGRES_PASSWORD=$", example), "no password is committed"


def test_compose_is_kept_to_what_docker_compose_1_29_reads() -> None:
    assert set(COMPOSE) <= {"services", "networks", "volumes", "x-hardened", "x-certigap"}
    known = (
        "build cap_drop command depends_on environment healthcheck image init logging networks ports read_only restart "
        "security_opt shm_size stop_grace_period tmpfs user volumes"
    )
    assert {key for service in SERVICES.values() for key in service} <= set(known.split())
