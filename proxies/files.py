"""Model files on disk: their format, where their manifest is, and writing them whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from proxies.errors import ModelFileError
from proxies.layers import Layer
from proxies.manifest import Manifest, parse_manifest
from proxies.onnx_io import read_onnx, write_onnx
from proxies.onnx_scan import LARGEST_FILE
from proxies.safetensors_io import read_safetensors, write_safetensors

LARGEST_MANIFEST = 1_000_000  # Bytes; a manifest has a few hundred.

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # torch.save writes the one, pickle and old torch.save the other.
_PICKLE_SUFFIXES = {".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
_ONNX_START = b"\x08"  # The tag of ir_version, which every exporter writes first.
_SUFFIXES = "name it .onnx or .safetensors"


def load_network(path: str | os.PathLike[str]) -> tuple[list[Layer], Manifest | None]:
    """Read a network from an ONNX or safetensors file; what it is, its first bytes say.

    Args:
        path: the file. A manifest beside an ONNX file (same name, `.json`) counts before the one inside it.

    Returns:
        The network's layers in order, and its manifest; None where an ONNX file has none.

    Raises:
        ModelFileError: there is no such file, or it is a pickle, damaged, or holds what cannot be encoded.
    """
    path = Path(path)
    data = _read(path, LARGEST_FILE)
    # The first byte of a safetensors file counts its header, and so may be a pickle's mark.
    pickled = data.startswith((_ZIP, _PICKLE)) and not _is_safetensors(data)
    if pickled or path.suffix.lower() in _PICKLE_SUFFIXES:
        raise ModelFileError(
            f"{path}: PyTorch pickle files run code when read; export to ONNX (torch.onnx.export) or safetensors"
        )
    if _is_safetensors(data) or path.suffix.lower() == ".safetensors":
        return read_safetensors(data, str(path))
    if not data.startswith(_ONNX_START) and path.suffix.lower() != ".onnx":
        raise ModelFileError(f"{path} is neither an ONNX nor a safetensors file; export the network to one")
    layers, manifest = read_onnx(data, str(path))
    return layers, _manifest_beside(path) or manifest


def save_network(
    path: str | os.PathLike[str], network: Sequence[Layer], manifest: Manifest, *, single: bool = False
) -> None:
    """Write a network and its manifest to a file that appears whole or not at all.

    Args:
        path: ends in `.onnx` or `.safetensors`.
        network: affine, ReLU, clamp and sign layers.
        manifest: goes into the file.
        single: store float32; every number must be exactly a float32.

    Raises:
        ModelFileError: the suffix is another one, a layer or number cannot be stored, the folder cannot be
            written, or another manifest lies beside an ONNX file and would count before this one.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".onnx", ".safetensors"):
        raise ModelFileError(f"the suffix of {path.name} names no model format; {_SUFFIXES}")
    if suffix == ".onnx" and _manifest_beside(path) not in (None, manifest):
        raise ModelFileError(
            f"{path.with_suffix('.json')} holds another manifest, which would count before this one; "
            "remove it, or choose another name"
        )
    write = write_onnx if suffix == ".onnx" else write_safetensors
    data = write(network, manifest, single=single)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be written ({error.strerror}); choose another place") from error
    finally:
        part.unlink(missing_ok=True)


def _read(path: Path, largest: int) -> bytes:
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder; give the model file in it")
    if not path.is_file():
        raise ModelFileError(f"there is no file {path}; check the path")
    try:
        with path.open("rb") as file:
            # What `read` is given it allocates: never more than the file has.
            data = file.read(min(os.fstat(file.fileno()).st_size, largest) + 1)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    if len(data) > largest:
        raise ModelFileError(f"{path} is larger than {largest} bytes, the most that can be read")
    if not data:
        raise ModelFileError(f"{path} is empty; copy or export it again")
    return data


def _is_safetensors(data: bytes) -> bool:
    """Whether a header's length and a header come first; in an ONNX file these bytes are a huge number."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data)


def _manifest_beside(path: Path) -> Manifest | None:
    beside = path.with_suffix(".json")
    return parse_manifest(_read(beside, LARGEST_MANIFEST), beside) if beside.is_file() else None
