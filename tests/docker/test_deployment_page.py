"""docs/deployment.md says what there is: its table of settings, and the variables, commands and counters it names."""

from __future__ import annotations

import re

import pytest

from app.api.metrics import Metrics
from app.cli.main import COMMANDS
from tests.docker.settings_table import PAGE, fields, page, variable

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_table_of_settings_is_up_to_date() -> None:
    assert page() == TEXT, "run `python -m tests.docker.settings_table`"


@pytest.mark.parametrize("name", fields())
def test_every_setting_says_what_it_is(name: str) -> None:
    description = fields()[name].description
    assert description is not None
    assert description.endswith(".")
    assert f"| `{variable(name)}` |" in TEXT


def test_every_variable_it_names_is_a_setting() -> None:
    assert set(re.findall(r"CERTIGAP_[A-Z_]+", TEXT)) <= {variable(name) for name in fields()}


def test_every_command_it_names_is_there() -> None:
    assert set(re.findall(r"\bcertigap (serve|worker|migrate|keys|[a-z]+ctl)\b", TEXT)) <= set(COMMANDS)


def test_every_counter_it_names_is_there() -> None:
    named = set(re.findall(r"\bcertigap_(?!server)[a-z_]+", TEXT))
    metrics = Metrics()
    metrics.answered("GET", "/healthz", 200, 0.1)
    shown = metrics.render({"queued": 1}, 1).decode()
    assert {name for name in named if f"\n{name}" not in shown} == set()
