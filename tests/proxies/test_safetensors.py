"""Safetensors files: an exact round trip, and a reason for every refusal."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import save

from proxies.errors import ModelFileError
from proxies.layers import Affine, Clamp, Hypersimplex, Layer, Relu, Sign
from proxies.manifest import DcOpfSpec, Manifest
from proxies.safetensors_io import read_safetensors, write_safetensors

MANIFEST = Manifest(problem=DcOpfSpec(case="pglib_opf_case5_pjm"), made_by="a test")


def network(single: bool = False) -> list[Layer]:
    rng = np.random.default_rng(0)
    number = lambda *shape: torch.as_tensor(  # noqa: E731
        rng.normal(size=shape).astype(np.float32 if single else np.float64)
    )
    return [
        Affine(number(3), number(3)),
        Affine(number(5, 3), number(5)),
        Relu(),
        Affine(number(5), number(5)),
        Sign(),
        Affine(number(2, 5), number(2)),
        Clamp(torch.tensor([-torch.inf, 0.0]), torch.tensor([1.0, torch.inf])),
    ]


def same_bits(one: list[Layer], other: list[Layer]) -> bool:
    def content(layers: list[Layer]) -> list[tuple]:
        return [
            (type(layer), [(n, v.shape, v.numpy().tobytes()) for n, v in layer.state_dict().items()])
            for layer in layers
        ]

    return content(one) == content(other)


@pytest.mark.parametrize("single", [True, False])
def test_round_trip_is_bit_exact(single: bool) -> None:
    layers = network(single)
    data = write_safetensors(layers, MANIFEST, single=single)
    read, manifest = read_safetensors(data, "m.safetensors")
    assert manifest == MANIFEST
    assert same_bits(read, layers)


def test_a_layer_may_occur_twice() -> None:
    layers = network()[:1] * 2
    assert same_bits(read_safetensors(write_safetensors(layers, MANIFEST), "m")[0], layers)


def test_writing_refuses_what_it_cannot_store() -> None:
    with pytest.raises(ModelFileError, match="float64"):
        write_safetensors(network(), MANIFEST, single=True)
    with pytest.raises(ModelFileError, match="Hypersimplex"):
        write_safetensors([Hypersimplex(torch.zeros(2), torch.ones(2), torch.ones(2))], MANIFEST)


def made(kinds: object = ("affine",), manifest: str | None = None, **tensors: torch.Tensor) -> bytes:
    named = {name.replace("_", ".", 1).removeprefix("t"): value for name, value in tensors.items()}
    metadata = {"layers": json.dumps(kinds), "certigap": manifest or MANIFEST.to_json()}
    return save(named, metadata=metadata)


def header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


TWO, EYE = torch.zeros(2), torch.eye(2)
REFUSED = {
    "no manifest": (save({"w": EYE}), "no Certigap manifest"),
    "bad manifest": (made(manifest="{}", t0_weight=EYE, t0_bias=TWO), "manifest"),
    "missing tensor": (made(t0_weight=EYE), "damaged"),
    "unknown layer": (made(["sigmoid"]), "damaged"),
    "layers no list": (made(3), "damaged"),
    "layer no name": (made([[1]]), "damaged"),
    "nan": (made(t0_weight=EYE * torch.nan, t0_bias=TWO), "not finite"),
    "infinite": (made(t0_weight=EYE, t0_bias=TWO + torch.inf), "not finite"),
    "half": (made(t0_weight=EYE.half(), t0_bias=TWO), "float16"),
    "whole numbers": (made(t0_weight=EYE.int(), t0_bias=TWO), "int32"),
    "three axes": (made(t0_weight=torch.ones(2, 2, 2), t0_bias=TWO), "shape"),
    "no values": (made(t0_weight=torch.ones(0, 2), t0_bias=torch.ones(0)), "shape"),
    "other bias": (made(t0_weight=EYE, t0_bias=torch.zeros(3)), "bias"),
    "crossed limits": (made(["clamp"], t0_lower=TWO + 1, t0_upper=TWO), "limits"),
    "huge header": ((2**40).to_bytes(8, "little") + b"{}", "cut off"),
    "header bomb": ((2_000_000).to_bytes(8, "little") + b"{" + b" " * 2_000_000, "cut off"),
    "deep header": (header(b"[" * 500_000), "header"),
    "header no object": (header(b"[1]"), "header"),
    "header no text": (header(b"\xff\xfe"), "header"),
    "metadata no object": (header(b'{"__metadata__": 3}'), "header"),
    "declared size": (
        header(
            json.dumps(
                {
                    "__metadata__": {"layers": '["affine"]', "certigap": MANIFEST.to_json()},
                    "0.weight": {"dtype": "F64", "shape": [10**6, 5 * 10**6], "data_offsets": [0, 8]},
                }
            ).encode()
        )
        + bytes(8),
        "damaged",
    ),
    "no bytes": (b"", "cut off"),
    "text": (b"hello, this is no model", "cut off"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_a_reason(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(ModelFileError, match=rf"(?s)file\.safetensors.*{reason}|{reason}.*file\.safetensors"):
        read_safetensors(data, "file.safetensors")


@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_never_raise_anything_else(seed: int) -> None:
    rng = random.Random(seed)
    valid = write_safetensors(network(), MANIFEST)
    end = 8 + int.from_bytes(valid[:8], "little")  # Most of what can go wrong is in the header.
    for trial in range(60):
        data = bytearray(valid)
        if trial % 3 == 0:
            data = data[: rng.randrange(len(data))]
        else:
            for _ in range(rng.choice([1, 1, 2, 5])):
                data[rng.randrange(end if trial % 3 == 1 else len(data))] ^= 1 << rng.randrange(8)
        try:
            layers, _ = read_safetensors(bytes(data), "damaged.safetensors")
        except ModelFileError:
            continue
        assert all(isinstance(layer, (Affine, Clamp, Relu, Sign)) for layer in layers)
