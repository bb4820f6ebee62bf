"""Blobs: bytes under tenant/sha256, in a folder or in S3."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import unquote, urlparse

from obstore.store import ObjectStore, from_url


class Blobs:
    """A place for bytes, addressed by what they are.

    Args:
        url: `file:///folder` (made when it is missing) or `s3://bucket/prefix`.
    """

    def __init__(self, url: str) -> None:
        parsed = urlparse(url)
        if parsed.scheme == "file":
            Path(unquote(parsed.path)).mkdir(parents=True, exist_ok=True)
        self._store: ObjectStore = from_url(url)

    def put(self, tenant: str, data: bytes) -> str:
        """Store bytes and return their SHA-256, which is their name."""
        name = hashlib.sha256(data).hexdigest()
        self._store.put(f"{tenant}/{name}", data)
        return name

    def put_file(self, tenant: str, name: str, path: Path) -> None:
        """Store a file's bytes under their SHA-256, which the caller knows; nothing is read into memory at once."""
        self._store.put(f"{tenant}/{name}", path)

    def has(self, tenant: str, name: str) -> bool:
        """Return whether there are bytes of this name."""
        try:
            self._store.head(f"{tenant}/{name}")
        except FileNotFoundError:
            return False
        return True

    def get(self, tenant: str, name: str) -> bytes:
        """Return stored bytes.

        Raises:
            FileNotFoundError: there are none of this name.
        """
        return bytes(self._store.get(f"{tenant}/{name}").bytes())

    def get_file(self, tenant: str, name: str, path: Path) -> None:
        """Write stored bytes to a file, piece by piece; raises FileNotFoundError as `get`."""
        with path.open("wb") as file:
            for piece in self._store.get(f"{tenant}/{name}").stream():
                file.write(piece)

    def delete(self, tenant: str, name: str) -> None:
        """Forget bytes; it is no error where there are none."""
        self._store.delete(f"{tenant}/{name}")
