"""Proxies: uploaded model files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certigap.errors import UsageError
from certigap.flow import Flow, Request, Stream
from certigap.models import Proxy
from certigap.operation import Resource, Runner, iteration, operation, segment


class Proxies(Resource[Runner]):
    """`client.proxies`."""

    @operation
    def upload(self, model: str | os.PathLike[str] | bytes, manifest: Mapping[str, Any] | None = None) -> Flow[Proxy]:
        """Upload a model; the same bytes and manifest again give the same proxy.

        Args:
            model: an ONNX or safetensors file, or its bytes.
            manifest: what the file does not say about itself; default: the JSON file beside an ONNX file, if there is
                one, else the manifest inside the file.

        Raises:
            UsageError: the file cannot be read.
            UnsupportedFormatError, UnprocessableError: the server does not take it, and says where.
        """
        data, beside = (model, None) if isinstance(model, bytes) else _read(Path(model))
        own = beside if manifest is None else json.dumps(manifest, allow_nan=False).encode()
        if own is None:
            headers = {"Content-Type": "application/octet-stream"}
            request = Request("POST", "/v1/proxies", content=data, headers=headers)
        else:
            parts = {
                "model": ("model", data, "application/octet-stream"),
                "manifest": ("manifest.json", own, "application/json"),
            }
            request = Request("POST", "/v1/proxies", files=parts)
        return (yield from self.ask(request, Proxy))

    @operation
    def get(self, proxy: str) -> Flow[Proxy]:
        """Return an uploaded proxy by its id: layers, sizes, problem, fingerprint."""
        return (yield from self.ask(Request("GET", f"/v1/proxies/{segment(proxy)}"), Proxy))

    @iteration
    def list(self, page_size: int = 100) -> Stream[Proxy]:
        """Iterate over all proxies, newest first, fetching pages as they are needed."""
        yield from self.pages(Request("GET", "/v1/proxies", {"limit": page_size}), Proxy)


def _read(path: Path) -> tuple[bytes, bytes | None]:
    """Return a model file's bytes, and those of the manifest beside an ONNX file."""
    beside = path.with_suffix(".json")
    try:
        data = path.read_bytes()
        onnx = path.suffix.lower() == ".onnx"
        return data, beside.read_bytes() if onnx and beside.is_file() else None
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}; check the path") from error
