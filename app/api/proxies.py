"""Proxies: uploaded model files."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.api.bodies import Page, ProxyBody, proxy_body
from app.api.children import reading as reading_limits
from app.api.errors import Refusal, not_found, refused
from app.api.links import PROXY_LINKS
from app.api.pages import decode, encode
from app.api.state import Service, State, Who
from app.api.uploads import LARGEST_MANIFEST, Upload, model_format, receive, store, upload_folder
from app.store import objects
from app.store.database import new_id, now, reading
from app.store.keys import Caller
from app.store.tables import Proxy

router = APIRouter(prefix="/v1/proxies", tags=["proxies"])

_LISTED = 20  # Operators that the detail of one refusal names.
_FILE = {"schema": {"type": "string", "format": "binary"}}
_PARTS = {
    "schema": {
        "type": "object",
        "required": ["model"],
        "properties": {
            "model": {"type": "string", "format": "binary"},
            "manifest": {"type": "string", "description": "JSON, at most 64 kB."},
        },
    }
}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "One ONNX or safetensors file, or multipart with it and its manifest.",
        "content": {"application/octet-stream": _FILE, "multipart/form-data": _PARTS},
    }
}


@router.post(
    "",
    status_code=201,
    operation_id="create_proxy",
    response_model=ProxyBody,
    openapi_extra=_BODY,
    responses={
        200: {"description": "The same bytes and manifest are known.", "model": ProxyBody, "links": PROXY_LINKS},
        201: {"description": "Stored.", "links": PROXY_LINKS},
        **refused(400, 413, 415, 422, 507),
    },
)
async def upload(
    request: Request,
    response: Response,
    service: Service,
    who: Who,
    manifest: Annotated[
        str | None,
        Header(alias="X-Certigap-Manifest", description="The manifest of an ONNX file: JSON in base64, at most 64 kB."),
    ] = None,
) -> ProxyBody:
    """Upload a model file. Its address is the SHA-256 of its bytes: the same file is stored once."""
    async with upload_folder() as folder:
        found = await receive(request, folder / "upload", service.settings.largest_upload, "model")
        text = found.manifest if manifest is None else _decoded(manifest)
        row, new = await run_in_threadpool(_store, service, who, found, text)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/v1/proxies/{row.id}"
    return proxy_body(row)


@router.get("", operation_id="list_proxies", responses=refused(400, 422))
def list_proxies(
    service: Service,
    who: Who,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[ProxyBody]:
    """List your proxies, newest first."""
    after = decode(cursor)
    with reading(service.engine) as s:
        rows = objects.page(s, Proxy, who.tenant, after, limit)
    return Page(data=[proxy_body(row) for row in rows], next_cursor=encode(rows[-1].id) if len(rows) == limit else None)


@router.get("/{proxy:id}", operation_id="show_proxy", responses=refused(404))
def show(proxy: str, service: Service, who: Who) -> ProxyBody:
    """Show a proxy: its layers, sizes, problem and fingerprint."""
    with reading(service.engine) as s:
        row = objects.find_proxy(s, who.tenant, proxy)
    if row is None:
        raise not_found("proxy")
    return proxy_body(row)


def _decoded(header: str) -> bytes:
    try:
        text = base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError) as error:
        where = [("header:X-Certigap-Manifest", str(error))]
        raise Refusal(422, "invalid", "the manifest in the header is not base64", where) from error
    if len(text) > LARGEST_MANIFEST:
        raise Refusal(413, "too_large", f"the manifest has more than {LARGEST_MANIFEST} bytes")
    return text


def _store(service: State, who: Caller, upload: Upload, manifest: bytes | None) -> tuple[Proxy, bool]:
    kind = model_format(upload.head)
    if manifest is not None and kind == "safetensors":
        raise Refusal(422, "manifest_inside", "a safetensors file carries its manifest inside; send none beside it")
    path = upload.path.rename(upload.path.with_name(f"model.{kind}"))
    if manifest is not None:
        path.with_suffix(".json").write_bytes(manifest)
    found = service.children.read(
        "app.inspect:proxy",
        {"folder": str(path.parent), "model": path.name},
        reading_limits(service.settings, upload.size),
    )
    if "unsupported" in found:
        raise _unsupported(found["unsupported"])
    row = Proxy(
        id=new_id("prx"),
        tenant=who.tenant,
        sha256=upload.sha256,
        manifest_sha256=objects.digest(found["manifest"]),
        format=kind,
        size=upload.size,
        manifest=found["manifest"],
        summary=found["summary"],
        created_at=now(),
    )
    return store(service, who, row, path, "proxies")


def _unsupported(places: list[list[Any]]) -> Refusal:
    names = sorted({str(operator) for operator, _, _ in places})
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    errors = [
        (f"/graph/node/{position - 1}", f"{operator} (node {position}{f', {name!r}' if name else ''})")
        for operator, position, name in places[: 5 * _LISTED]
    ]
    detail = f"the network uses operators that cannot be encoded: {', '.join(names[:_LISTED])}{more}"
    return Refusal(422, "unsupported_operators", detail, errors)
