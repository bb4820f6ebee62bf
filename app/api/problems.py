"""Problems: a PGLib case by name, a case file of the caller's own, a knapsack instance, or a sample to classify."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from app.api.bodies import Page, ProblemBody, problem_body
from app.api.children import reading as reading_limits
from app.api.errors import Refusal, not_found, refused
from app.api.links import PROBLEM_LINKS
from app.api.middleware import BodyTooLargeError
from app.api.pages import decode, encode
from app.api.state import Service, State, Who
from app.api.strict import parse_json
from app.api.uploads import Upload, receive, store, upload_folder
from app.store import objects
from app.store.database import new_id, now, reading
from app.store.keys import Caller
from app.store.tables import Problem
from problems.knapsack import LARGEST_TOTAL_WEIGHT

router = APIRouter(prefix="/v1/problems", tags=["problems"])

Thermal = Literal["soft", "hard"]
# What the spec of an uploaded case says in place of a name: its bytes are stored beside it.
UPLOADED = "uploaded.m"
_LARGEST_INSTANCE = 100_000
# Bytes that a case of PGLib counts for: the largest one has 27 MB.
_NAMED_CASE = 2**25


_Features = Annotated[list[FiniteFloat], Field(min_length=1, max_length=_LARGEST_INSTANCE)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class DcOpfBody(_Body):
    """A PGLib case by name."""

    kind: Literal["dcopf"]
    case: str = Field(pattern=r"^pglib_opf_[A-Za-z0-9_]{1,80}$", examples=["pglib_opf_case57_ieee"])
    thermal: Thermal = "soft"
    shunts: bool = False
    angle_limits: bool = False


class KnapsackBody(_Body):
    """A knapsack instance."""

    kind: Literal["knapsack"]
    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    values: list[Annotated[FiniteFloat, Field(ge=0)]] = Field(min_length=1, max_length=_LARGEST_INSTANCE)
    weights: list[Annotated[int, Field(ge=1, le=LARGEST_TOTAL_WEIGHT)]] = Field(
        min_length=1, max_length=_LARGEST_INSTANCE
    )
    capacity: FiniteFloat = Field(ge=0)


class ClassificationBody(_Body):
    """A sample that a classifier is asked about.

    `label` counts the classes from 0, `classes` is left open for as many as the network tells apart. `lower` and
    `upper` are the features' limits, one number for all or one for each: they clip the inputs, and u is a share of the
    range between them. Without limits u counts in the features' own unit.
    """

    kind: Literal["classification"]
    name: str = Field("sample", min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    centre: _Features
    label: int = Field(ge=0, lt=_LARGEST_INSTANCE)
    classes: int | None = Field(None, ge=2, le=_LARGEST_INSTANCE)
    lower: FiniteFloat | _Features | None = None
    upper: FiniteFloat | _Features | None = None
    names: list[Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]] = Field(
        [], max_length=_LARGEST_INSTANCE
    )


_Instance = Annotated[DcOpfBody | KnapsackBody | ClassificationBody, Field(discriminator="kind")]
_adapter: TypeAdapter[DcOpfBody | KnapsackBody | ClassificationBody] = TypeAdapter(_Instance)
_EXAMPLES = {
    "pglib": {"value": {"kind": "dcopf", "case": "pglib_opf_case57_ieee"}},
    "knapsack": {
        "value": {"kind": "knapsack", "name": "three", "values": [3, 5, 4], "weights": [2, 4, 3], "capacity": 6}
    },
    "classification": {"value": {"kind": "classification", "centre": [0.2, 0.7], "label": 1, "lower": 0, "upper": 1}},
}
_FILE = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "JSON, or the text of a MATPOWER case file, for which the query says how to read it.",
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        {"$ref": "#/components/schemas/DcOpfBody"},
                        {"$ref": "#/components/schemas/KnapsackBody"},
                        {"$ref": "#/components/schemas/ClassificationBody"},
                    ],
                    "discriminator": {
                        "propertyName": "kind",
                        "mapping": {
                            "dcopf": "#/components/schemas/DcOpfBody",
                            "knapsack": "#/components/schemas/KnapsackBody",
                            "classification": "#/components/schemas/ClassificationBody",
                        },
                    },
                },
                "examples": _EXAMPLES,
            },
            "text/plain": _FILE,
            "application/octet-stream": _FILE,
        },
    }
}


@router.post(
    "",
    status_code=201,
    operation_id="create_problem",
    response_model=ProblemBody,
    openapi_extra=_BODY,
    responses={
        200: {"description": "The same problem is known.", "model": ProblemBody, "links": PROBLEM_LINKS},
        201: {"description": "Stored.", "links": PROBLEM_LINKS},
        **refused(400, 413, 415, 422, 507),
    },
)
async def create(
    request: Request,
    response: Response,
    service: Service,
    who: Who,
    kind: Annotated[Literal["dcopf"], Query(description="Of an uploaded case file.")] = "dcopf",
    name: Annotated[str, Query(pattern=r"^[A-Za-z0-9_.-]{1,80}$", description="Of an uploaded case.")] = "case",
    thermal: Annotated[Thermal, Query(description="Of an uploaded case file.")] = "soft",
    shunts: Annotated[bool, Query(description="Of an uploaded case file.")] = False,
    angle_limits: Annotated[bool, Query(description="Of an uploaded case file.")] = False,
) -> ProblemBody:
    """Create a problem. The same data make the same problem."""
    media = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media == "application/json":
        row, new = await run_in_threadpool(_store, service, who, _parsed(await _body(request, service)), None)
    elif media in ("text/plain", "application/octet-stream"):
        spec = {"kind": kind, "case": UPLOADED, "thermal": thermal, "shunts": shunts, "angle_limits": angle_limits}
        async with upload_folder() as folder:
            found = await receive(request, folder / f"{name}.m", service.settings.largest_case, "case")
            row, new = await run_in_threadpool(_store, service, who, spec, found)
    else:
        raise Refusal(415, "unsupported_media", "send application/json, or a .m file as text/plain")
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/v1/problems/{row.id}"
    return problem_body(row)


@router.get("", operation_id="list_problems", responses=refused(400, 422))
def list_problems(
    service: Service,
    who: Who,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[ProblemBody]:
    """List your problems, newest first."""
    after = decode(cursor)
    with reading(service.engine) as s:
        rows = objects.page(s, Problem, who.tenant, after, limit)
    last = encode(rows[-1].id) if len(rows) == limit else None
    return Page(data=[problem_body(row) for row in rows], next_cursor=last)


@router.get("/{problem:id}", operation_id="show_problem", responses=refused(404))
def show(problem: str, service: Service, who: Who) -> ProblemBody:
    """Show a problem."""
    with reading(service.engine) as s:
        row = objects.find_problem(s, who.tenant, problem)
    if row is None:
        raise not_found("problem")
    return problem_body(row)


async def _body(request: Request, service: State) -> bytes:
    body, most = bytearray(), service.settings.largest_json
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise BodyTooLargeError(most)
    return bytes(body)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        data = parse_json(body)
    except json.JSONDecodeError as error:
        raise Refusal(400, "malformed_json", f"the body is not JSON: {error.msg}") from error
    try:
        return _adapter.validate_python(data).model_dump(mode="json")
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(found, body=data) from error


def _store(service: State, who: Caller, spec: dict[str, Any], upload: Upload | None) -> tuple[Problem, bool]:
    size = _NAMED_CASE if upload is None else upload.size
    folder, case = (None, None) if upload is None else (str(upload.path.parent), upload.path.name)
    asked = {"problem": spec, "folder": folder, "case": case}
    found = service.children.read("app.inspect:problem", asked, reading_limits(service.settings, size))
    file = None if upload is None else upload.sha256
    name = found["summary"]["name"]
    row = Problem(
        id=new_id("prb"),
        tenant=who.tenant,
        spec_sha256=objects.digest({**spec, "file": file, "name": name}),
        sha256=file,
        spec=spec,
        summary=found["summary"],
        created_at=now(),
    )
    return store(service, who, row, None if upload is None else upload.path, "problems")
