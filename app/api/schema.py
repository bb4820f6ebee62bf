"""The OpenAPI document, with what FastAPI does not say by itself: problem documents and the service's headers."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from app.api.errors import Problem
from app.api.problems import ClassificationBody, DcOpfBody, KnapsackBody

_MODELS = [(model, "validation") for model in (Problem, DcOpfBody, KnapsackBody, ClassificationBody)]


def describe(app: FastAPI) -> None:
    """Have the application serve the completed document."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            _, definitions = models_json_schema(_MODELS, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(definitions["$defs"])
            for path in document["paths"].values():
                for operation in path.values():
                    # FastAPI adds its own shape of a refusal, which is never sent.
                    responses = operation["responses"]
                    if "HTTPValidationError" in str(responses.get("422", "")):
                        del responses["422"]
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
