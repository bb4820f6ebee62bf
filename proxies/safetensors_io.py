"""Network and manifest in one safetensors file: weights as tensors, layer list and manifest as metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from proxies.errors import ModelFileError
from proxies.layers import Affine, Clamp, Layer, Relu, Sign
from proxies.manifest import Manifest, parse_manifest
from proxies.onnx_scan import LARGEST_DEPTH

# A header of this size describes far more tensors than any network we can encode has.
LARGEST_HEADER = 1_000_000
_LENGTH = 8  # Bytes of the header's length, little endian, at the start of the file.
_KINDS = {"affine": Affine, "clamp": Clamp, "relu": Relu, "sign": Sign}
_TENSORS = {"affine": ("weight", "bias"), "clamp": ("lower", "upper"), "relu": (), "sign": ()}


def write_safetensors(network: Sequence[Layer], manifest: Manifest, *, single: bool = False) -> bytes:
    """Return the file's bytes; `single` stores float32 where every weight is exactly a float32.

    Raises:
        ModelFileError: a layer has no place in the format, or `single` would change a weight.
    """
    kinds, tensors = [], {}
    for index, layer in enumerate(network):
        kind = next((name for name, cls in _KINDS.items() if type(layer) is cls), None)
        if kind is None:
            raise ModelFileError(f"a {type(layer).__name__} layer cannot be stored as a network layer")
        kinds.append(kind)
        for name in _TENSORS[kind]:
            # A layer may occur twice, but safetensors refuses tensors that share memory.
            value = getattr(layer, name).detach().cpu().clone()
            if single:
                if not torch.equal(value.float().double(), value):
                    raise ModelFileError(f"layer {index} has numbers that float32 cannot hold; use float64")
                value = value.float()
            tensors[f"{index}.{name}"] = value
    metadata = {"certigap": manifest.to_json(), "layers": json.dumps(kinds)}
    return bytes(save_tensors(tensors, metadata=metadata))


def read_safetensors(data: bytes, source: str) -> tuple[list[Layer], Manifest]:
    """Read the network layers and the manifest from a file's bytes; `source` names it in errors.

    Raises:
        ModelFileError: the file is damaged, or was not written for Certigap.
    """
    metadata = _metadata(data, source)
    if "certigap" not in metadata or "layers" not in metadata:
        raise ModelFileError(
            f"{source} holds tensors but no Certigap manifest, so the order of its layers is unknown; "
            "export the network to ONNX, or write it with proxies.write_safetensors"
        )
    manifest = parse_manifest(metadata["certigap"], source)
    try:
        tensors = load_tensors(data)
        kinds = json.loads(metadata["layers"])
        if len(kinds) > LARGEST_DEPTH:
            raise ModelFileError(f"has {len(kinds)} layers, more than the {LARGEST_DEPTH} that can be encoded")
        layers = [_layer(kind, index, tensors) for index, kind in enumerate(kinds)]
    except ModelFileError as error:
        raise ModelFileError(f"{source} {error}") from error
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{source} is damaged ({error}); copy or export it again") from error
    return layers, manifest


def _metadata(data: bytes, source: str) -> dict[str, str]:
    size = int.from_bytes(data[:_LENGTH], "little")
    if len(data) < _LENGTH or size > min(LARGEST_HEADER, len(data) - _LENGTH):
        raise ModelFileError(f"{source} is not a safetensors file or was cut off; copy or export it again")
    try:
        header = json.loads(data[_LENGTH : _LENGTH + size])
        metadata = header.get("__metadata__", {})
        return {str(key): str(value) for key, value in metadata.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{source} has an unreadable header; copy or export it again") from error


def _layer(kind: str, index: int, tensors: dict[str, Tensor]) -> Layer:
    arguments = [tensors[f"{index}.{name}"] for name in _TENSORS[kind]]
    for name, value in zip(_TENSORS[kind], arguments):
        if value.dtype not in (torch.float32, torch.float64):
            raise ModelFileError(f"stores layer {index} as {value.dtype}; store it in float32 or float64")
        if value.ndim not in ((1, 2) if name == "weight" else (1,)) or not value.numel():
            raise ModelFileError(f"has layer {index} with a {name} of shape {list(value.shape)}; fix it")
        if bool(value.isnan().any()) or (kind == "affine" and bool(value.isinf().any())):
            raise ModelFileError(f"has layer {index} whose {name} is not finite; train again")
    return _KINDS[kind](*arguments)
