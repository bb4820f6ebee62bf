"""What the client asks and reads is what the server takes and sends, name by name."""

from __future__ import annotations

from inspect import signature
from typing import Required, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from app.api import bodies, certificates, layers, operation
from app.jobs import requests as server
from certigap import Client, models
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


def test_a_check_takes_the_servers_parameters() -> None:
    assert set(signature(Client().certificates.check).parameters) == set(certificates.CheckBody.model_fields)


LAYERS = ["qp:QpSolve", "qp:QpVjp", "ilp:IlpSolve", "ilp:IlpVjp", "mip_value:MipValueSolve", "mip_value:MipValueVjp"]


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_the_servers_parameters(name: str) -> None:
    layer, body = name.split(":")
    method = getattr(getattr(Client().layers, layer), "solve" if body.endswith("Solve") else "vjp")
    assert set(signature(method).parameters) == set(getattr(layers, body + "Body").model_fields)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (models.Proxy, bodies.ProxyBody),
        (models.ProxySummary, bodies.ProxySummary),
        (models.Problem, bodies.ProblemBody),
        (models.ProblemSummary, bodies.ProblemSummary),
        (models.Job, bodies.JobBody),
        (models.Check, certificates.CheckedBody),
        (models.Finding, certificates.FindingBody),
        (models.Solver, operation.SolverBody),
        (models.QpSolution, layers.QpSolution),
        (models.QpGradients, layers.QpGradients),
        (models.IlpSolution, layers.IlpSolution),
        (models.IlpGradients, layers.IlpGradients),
        (models.MipValues, layers.MipValueSolution),
        (models.MipGradients, layers.MipValueGradients),
    ],
)
def test_answers_have_only_fields_that_the_server_sends(ours: type[BaseModel], theirs: type[BaseModel]) -> None:
    assert set(ours.model_fields) <= set(theirs.model_fields)
