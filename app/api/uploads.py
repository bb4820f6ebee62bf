"""Receiving a file: what its first bytes say, its size while it streams, and multipart bodies with limits."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastapi import Request
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from app.api.errors import Refusal
from app.api.middleware import BodyTooLargeError
from app.api.state import State, allowance, too_many
from app.store import objects
from app.store.keys import Caller

LARGEST_MANIFEST = 65_536
# Bytes that tell the format: the length of a safetensors header, and its first one.
_MAGIC = 9
_LARGEST_HEADER = 2**32
_MOST_PARTS = 4
_REFUSED = {
    b"PK": "a zip archive, as torch.save writes it",
    b"\x80": "a Python pickle",
    b"\x1f\x8b": "compressed",
    b"BZh": "compressed",
    b"\xfd7zXZ": "compressed",
    b"(\xb5/\xfd": "compressed",
}
_EXPORT = "pickles run code when read; export the network to ONNX (torch.onnx.export) or safetensors"


@dataclass(frozen=True)
class Upload:
    """A received file.

    Attributes:
        path: where it is, in the caller's temporary folder.
        sha256, size: of its bytes.
        head: its first bytes.
        manifest: what came along in a part of its own.
    """

    path: Path
    sha256: str
    size: int
    head: bytes
    manifest: bytes | None = None


@asynccontextmanager
async def upload_folder() -> AsyncIterator[Path]:
    """A temporary folder for what a request brings, removed at its end."""
    folder = Path(await run_in_threadpool(tempfile.mkdtemp, prefix="certigap-"))
    try:
        yield folder
    finally:
        await run_in_threadpool(shutil.rmtree, folder, True)


def store(service: State, who: Caller, row: objects.Row, path: Path | None, quota: str) -> tuple[objects.Row, bool]:
    """Store an object and its bytes; see `objects.add`.

    Raises:
        Refusal: 429, the tenant has as many as the limit `quota` allows.
    """
    try:
        most = int(allowance(who, service.settings, quota))
        return objects.add(service.engine, service.blobs, row, path, most)
    except objects.QuotaError as error:
        raise too_many("quota_exceeded", str(error), wait=3600) from error


def model_format(head: bytes) -> Literal["onnx", "safetensors"]:
    """Return what a model file is by its first bytes.

    Raises:
        Refusal: 415, it is something else.
    """
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _LARGEST_HEADER:
        return "safetensors"
    for mark, what in _REFUSED.items():
        if head.startswith(mark):
            raise Refusal(415, "unsupported_format", f"this file is {what}, not a model that is read here: {_EXPORT}")
    if not head.startswith(b"\x08"):
        raise Refusal(415, "unsupported_format", f"this is neither an ONNX nor a safetensors file: {_EXPORT}")
    return "onnx"


async def receive(request: Request, path: Path, most: int, part: str) -> Upload:
    """Write the file in a request's body to `path`; a model's first bytes are looked at before the rest is taken.

    Args:
        request: its body is the file, or multipart with the file in a part of the name `part`.
        path: where to.
        most: bytes.
        part: "model" or "case".

    Raises:
        Refusal: 413, 415, or 422 where there is no file.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise Refusal(422, "invalid", "the multipart body has no boundary; send it with its content type")
        return await _parts(request.stream(), boundary, path, most, part)
    sink = _Sink(path, most, part == "model")
    with sink:
        async for piece in request.stream():
            sink.write(piece)
    return sink.done()


class _Sink:
    """A file that is being received."""

    def __init__(self, path: Path, most: int, model: bool) -> None:
        self._path, self._most, self._model = path, most, model
        self._digest, self._size, self._head = hashlib.sha256(), 0, b""

    def __enter__(self) -> _Sink:
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most:
            raise BodyTooLargeError(self._most)
        if len(self._head) < _MAGIC:
            self._head += piece[: _MAGIC - len(self._head)]
            if self._model and len(self._head) == _MAGIC:
                model_format(self._head)
        self._digest.update(piece)
        self._file.write(piece)

    def done(self, manifest: bytes | None = None) -> Upload:
        if not self._size:
            raise Refusal(422, "empty", "the body has no file; send the file's bytes")
        return Upload(self._path, self._digest.hexdigest(), self._size, self._head, manifest)


class _Parts:
    """What the parser of a multipart body calls: parts of known names go where they belong."""

    def __init__(self, sink: _Sink, part: str) -> None:
        self._sink, self._part = sink, part
        self.manifest: bytearray | None = None
        self.found = self.ended = False
        self._count = 0
        self._now = ""

    def callbacks(self) -> dict[str, object]:
        names = ("part_begin", "header_field", "header_value", "header_end", "headers_finished", "part_data", "end")
        return {f"on_{name}": getattr(self, f"_{name}") for name in names}

    def _part_begin(self) -> None:
        self._count += 1
        if self._count > _MOST_PARTS:
            raise Refusal(422, "invalid", f"the body has more than {_MOST_PARTS} parts; send {self._part} and manifest")
        self._now = ""
        self._field, self._value, self._disposition = b"", b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._now = options.get(b"name", b"").decode("utf-8", "replace")
        known = {self._part, "manifest"} if self._part == "model" else {self._part}
        again = (self._now == self._part and self.found) or (self._now == "manifest" and self.manifest is not None)
        if self._now not in known or again:
            names = " and ".join(sorted(known, reverse=True))
            raise Refusal(422, "invalid", f"the body has a part {self._now[:80]!r}; send one each of: {names}")
        if self._now == "manifest":
            self.manifest = bytearray()
        else:
            self.found = True

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._now != "manifest":
            self._sink.write(piece)
            return
        assert self.manifest is not None
        self.manifest += piece
        if len(self.manifest) > LARGEST_MANIFEST:
            raise Refusal(413, "too_large", f"the manifest has more than {LARGEST_MANIFEST} bytes")

    def _end(self) -> None:
        self.ended = True


async def _parts(stream: AsyncIterator[bytes], boundary: bytes, path: Path, most: int, part: str) -> Upload:
    with _Sink(path, most, part == "model") as sink:
        parts = _Parts(sink, part)
        try:
            parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
            async for piece in stream:
                parser.write(piece)
            parser.finalize()
        except ValueError as error:
            raise Refusal(400, "malformed", f"the multipart body cannot be read ({error})") from error
    if not parts.ended or not parts.found:
        raise Refusal(422, "invalid", f"the multipart body is cut off or has no part {part!r}")
    return sink.done(None if parts.manifest is None else bytes(parts.manifest))
