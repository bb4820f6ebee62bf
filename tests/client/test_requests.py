"""What the client can ask for is what the server takes, name by name."""

from __future__ import annotations

from typing import Required, get_origin, get_type_hints

import pytest

from app.jobs import requests as server
from certigap import requests as client

KINDS = ["VerifyJob", "AttackJob", "BoundsJob", "EvaluateJob", "SweepJob", "TrainJob", "Options"]


@pytest.mark.parametrize("name", KINDS)
def test_the_fields_are_the_servers(name: str) -> None:
    assert set(get_type_hints(getattr(client, name))) == set(getattr(server, name).model_fields)


@pytest.mark.parametrize("name", KINDS)
def test_what_must_be_given_is_what_the_server_needs(name: str) -> None:
    fields = getattr(server, name).model_fields
    hints = get_type_hints(getattr(client, name), include_extras=True)
    required = {key for key, hint in hints.items() if get_origin(hint) is Required}
    assert required == {key for key, field in fields.items() if field.is_required()}
