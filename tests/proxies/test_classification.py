"""Classifiers from files: scores as the network's own, samples as files, and what is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from problems.errors import InstanceError
from proxies.classification import classification_problem, read_sample
from proxies.errors import ModelFileError, ProxyError
from proxies.files import save_network
from proxies.load import load_proxy
from proxies.manifest import ClassificationSpec, Manifest, parse_manifest
from tests.proxies.classifiers import classifier, network

SAMPLE = {"centre": [0.1, -0.2], "label": 1, "lower": -1, "upper": [1, 1]}


def written(folder: Path, **change: Any) -> str:
    told = {key: value for key, value in {**SAMPLE, **change}.items() if value is not None}
    (folder / "sample.json").write_text(json.dumps(told))
    return str(folder / "sample.json")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    """A float32 network of three classes, as torch writes it: no manifest."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = torch.nn.Linear(2, 6), torch.nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.relu(self.first(x))
            return self.last(torch.where(h - 0.5 >= 0, 1.0, -1.0))

    torch.manual_seed(3)
    net, path = Net(), tmp_path_factory.mktemp("onnx") / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.zeros(1, 2),), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}
        )
    return path, net


def test_an_exported_network_needs_only_a_sample(exported: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
    path, net = exported
    loaded = load_proxy(path, written(tmp_path))
    x = torch.rand(50, 2) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(loaded.proxy(x.double()).float(), net(x), atol=1e-5)
    assert loaded.problem.name == "sample"
    assert loaded.problem.decision_size == 3
    told = loaded.proxy.manifest.problem
    assert isinstance(told, ClassificationSpec)
    assert told.classes == 3


def test_one_output_is_the_score_of_class_1(tmp_path: Path) -> None:
    layers = network("sign", 1, 0)
    x = torch.rand(20, 2, dtype=torch.float64)
    for label in (0, 1):
        proxy, problem = classifier(layers, label)
        scores, h = proxy(x), x
        for layer in layers:
            h = layer(h, x)
        assert torch.equal(scores, torch.cat([torch.zeros_like(h), h], 1))
        assert torch.equal(problem.objective(x, scores), h[:, 0] if label == 0 else -h[:, 0])


@pytest.mark.parametrize("suffix", ["safetensors", "onnx"])
def test_a_file_with_a_manifest_carries_its_sample(suffix: str, tmp_path: Path) -> None:
    proxy, problem = classifier(network("mixed", 4, 1), 2, names=("a", "b"), name="mine")
    path = tmp_path / f"net.{suffix}"
    save_network(path, proxy.network, proxy.manifest)
    loaded = load_proxy(path)
    assert loaded.problem.fingerprint() == problem.fingerprint()
    assert loaded.proxy.fingerprint() == proxy.fingerprint()
    assert loaded.proxy.manifest == proxy.manifest
    # Another sample, by file or by its data, counts before the file's own.
    assert load_proxy(path, written(tmp_path)).problem.label == 1  # type: ignore[attr-defined]
    spec = ClassificationSpec(centre=(0.0, 0.0), label=3)
    assert load_proxy(path, spec=spec).problem.label == 3  # type: ignore[attr-defined]


def test_a_manifest_chooses_no_units_and_no_repair() -> None:
    problem = {"kind": "classification", **SAMPLE}
    text = {"schema": "certigap.proxy/1", "problem": problem}
    assert "repair" not in json.loads(parse_manifest(json.dumps(text), "m").to_json())
    for extra in ({"repair": ["clamp"]}, {"input": {"unit": "MW"}}):
        with pytest.raises(ModelFileError, match="classification proxy has no"):
            parse_manifest(json.dumps(text | extra), "m")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"label": 3}, "count from 0 to 2"),
        ({"label": None}, "label"),
        ({"centre": None}, "centre"),
        ({"centre": [0.1]}, "reads 2 features, but the sample sample has 1"),
        ({"centre": [0.1, float("nan")]}, "finite"),
        ({"centre": [0.1, 7]}, "outside of its range"),
        ({"upper": None}, "both or none"),
        ({"upper": [1, 1, 1]}, "one for each of the 2"),
        ({"classes": 10}, "10 classes, the network tells 3 apart"),
        ({"names": ["a"]}, "1 names"),
        ({"radius": 1}, "radius"),
        ({"schema": "certigap.knapsack/1"}, "schema"),
        ({"label": True}, "wrong at label"),
        ({"label": "1"}, "wrong at label"),
    ],
)
def test_a_wrong_sample_gets_one_clear_sentence(
    exported: tuple[Path, torch.nn.Module], change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises((InstanceError, ProxyError), match=says) as caught:
        load_proxy(exported[0], written(tmp_path, **change))
    assert "\n" not in str(caught.value)


def test_other_mistakes(exported: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
    with pytest.raises(InstanceError, match="cannot be read"):
        load_proxy(exported[0], str(tmp_path / "nowhere.json"))
    with pytest.raises(ProxyError, match="no unit to choose"):
        load_proxy(exported[0], written(tmp_path), "pu")
    (tmp_path / "sample.json").write_text("[1, 2")
    with pytest.raises(InstanceError, match="wrong at the top level"):
        read_sample(tmp_path / "sample.json")


def test_without_a_network_there_are_as_many_classes_as_the_sample_needs() -> None:
    counts = {
        label: classification_problem(ClassificationSpec(centre=(0.0,), label=label)).classes for label in (0, 1, 4)
    }
    assert counts == {0: 2, 1: 2, 4: 5}
    assert np.array_equal(classification_problem(ClassificationSpec(centre=(1, 2), label=0)).centre, [1.0, 2.0])
    assert Manifest(problem=ClassificationSpec(centre=(0.0,), label=0)).problem.kind == "classification"
