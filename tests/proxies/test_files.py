"""Model files on disk: told apart by content, manifests found, written whole or not at all."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from proxies import files
from proxies.errors import ModelFileError
from proxies.files import load_network, save_network
from proxies.layers import Affine, Layer, Relu
from proxies.manifest import DcOpfSpec, Manifest
from proxies.onnx_io import write_onnx
from proxies.safetensors_io import write_safetensors

MANIFEST = Manifest(problem=DcOpfSpec(case="pglib_opf_case5_pjm"))
OTHER = Manifest(problem=DcOpfSpec(case="pglib_opf_case14_ieee"))


def network() -> list[Layer]:
    torch.manual_seed(0)
    return [
        Affine(torch.rand(4, 3).double(), torch.rand(4)),
        Relu(),
        Affine(torch.rand(2, 4), torch.rand(2)),
    ]


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "MODEL.ONNX"])
def test_round_trip(tmp_path: Path, name: str, single: bool) -> None:
    layers = network()
    save_network(tmp_path / name, layers, MANIFEST, single=single)
    read, manifest = load_network(tmp_path / name)
    assert manifest == MANIFEST
    assert [type(layer) for layer in read] == [type(layer) for layer in layers]
    assert torch.equal(read[0].weight, layers[0].weight)
    assert torch.equal(read[2].bias, layers[2].bias)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_manifest_beside_an_onnx_file_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save_network(path, network(), MANIFEST)
    path.with_suffix(".json").write_text(OTHER.to_json())
    assert load_network(path)[1] == OTHER
    with pytest.raises(ModelFileError, match=r"model\.json holds another manifest"):
        save_network(path, network(), MANIFEST)
    save_network(path, network(), OTHER)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ModelFileError, match=r"model\.json"):
        load_network(path)


def test_content_counts_before_the_suffix(tmp_path: Path) -> None:
    one, other = tmp_path / "model.bin", tmp_path / "other.onnx"
    one.write_bytes(write_onnx(network(), MANIFEST))
    other.write_bytes(write_safetensors(network(), MANIFEST))
    assert len(load_network(one)[0]) == len(load_network(other)[0]) == 3


class Evil:
    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.parametrize("name", ["model.pt", "model.onnx", "model.safetensors", "model"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_pickles_are_refused_unread(tmp_path: Path, name: str, protocol: int) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Evil(), protocol))
    with pytest.raises(ModelFileError, match=r"run code when read; export to ONNX"):
        load_network(path)
    torch.save({"w": torch.ones(2)}, path)
    with pytest.raises(ModelFileError, match=r"run code when read; export to ONNX"):
        load_network(path)


def test_what_is_no_model_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"there is no file .*missing\.onnx"):
        load_network(tmp_path / "missing.onnx")
    with pytest.raises(ModelFileError, match="folder"):
        load_network(tmp_path)
    for name, content, reason in (
        ("empty.onnx", b"", "empty"),
        ("model.h5", b"\x89HDF\r\n", "neither"),
        ("model.pkl", b"(dp0", "run code"),
        ("cut.safetensors", write_safetensors(network(), MANIFEST)[:50], "cut off"),
        ("cut.onnx", write_onnx(network(), MANIFEST)[:50], "cut off"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFileError, match=rf"{name}.* {reason}"):
            load_network(tmp_path / name)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 100)
    save_network(tmp_path / "model.onnx", network(), MANIFEST)
    with pytest.raises(ModelFileError, match="larger than 100 bytes"):
        load_network(tmp_path / "model.onnx")


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    save_network(path, network(), MANIFEST)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelFileError, match="No space left"):
        save_network(path, network()[:1], MANIFEST)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_writing_needs_a_known_suffix_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"\.onnx or \.safetensors"):
        save_network(tmp_path / "model.pt", network(), MANIFEST)
    with pytest.raises(ModelFileError, match="cannot be written"):
        save_network(tmp_path / "nowhere" / "model.onnx", network(), MANIFEST)


def test_a_safetensors_file_whose_first_byte_marks_pickles_is_read(tmp_path: Path) -> None:
    for padding in range(0, 512, 8):
        manifest = Manifest(problem=DcOpfSpec(case="x" * (1 + padding)))
        save_network(tmp_path / "m.safetensors", network(), manifest)
        if (tmp_path / "m.safetensors").read_bytes()[0] == 0x80:
            break
    else:
        pytest.fail("no header of this length was met")
    assert load_network(tmp_path / "m.safetensors")[1] == manifest
