"""Classifiers: a network whose outputs are the scores of the classes, and the sample it is asked about.

A network with one output s tells two classes apart: 1 where s >= 0, else 0. Its scores are (0, s).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from pydantic import Field

from problems.classification import Classification
from problems.errors import InstanceError
from problems.instance_file import read_instance
from problems.interval import Interval, Vector
from proxies.dcopf import network_sizes
from proxies.errors import ProxyError
from proxies.layers import Affine, Layer
from proxies.manifest import ClassificationSpec, Manifest
from proxies.proxy import Proxy

SCHEMA: Final = "certigap.sample/1"


class _File(ClassificationSpec):
    """A sample in a file of its own."""

    schema_version: Literal["certigap.sample/1"] = Field(default=SCHEMA, alias="schema")


def read_sample(path: str | os.PathLike[str]) -> ClassificationSpec:
    """Read a sample from a JSON file: centre, label, and where wanted name, classes, lower, upper, names.

    Raises:
        InstanceError: the file cannot be read or is no sample.
    """
    path = Path(path)
    needs = "; it needs a centre (the features) and a label"
    data = read_instance(path, _File, "sample", needs, strict=True)
    told = data.model_dump(exclude={"schema_version"})
    name = data.name if "name" in data.model_fields_set else path.stem
    return ClassificationSpec(**{**told, "name": name})


def classification_problem(spec: ClassificationSpec, classes: int | None = None) -> Classification:
    """Return the problem of a sample; raises InstanceError where its numbers describe none.

    Args:
        spec: the sample.
        classes: how many classes a network tells apart; by default what the sample says, or the fewest it allows.
    """
    if classes is not None and spec.classes not in (None, classes):
        raise InstanceError(
            f"{spec.name}: the sample speaks of {spec.classes} classes, the network tells {classes} apart"
        )
    if (spec.lower is None) != (spec.upper is None):
        raise InstanceError(f"{spec.name}: of lower and upper only one is given; give both or none")
    centre = np.array(spec.centre, dtype=np.float64)
    limits = None
    if spec.lower is not None and spec.upper is not None:
        limits = Interval(_one_each(spec.lower, centre), _one_each(spec.upper, centre))
    count = classes or spec.classes or max(2, spec.label + 1)
    return Classification(spec.name, centre, spec.label, count, limits, spec.names)


def _one_each(value: float | tuple[float, ...], centre: Vector) -> Vector:
    return np.full_like(centre, value) if isinstance(value, (int, float)) else np.array(value, dtype=np.float64)


def classification_proxy(network: Sequence[Layer], manifest: Manifest) -> tuple[Proxy, Classification]:
    """Return a classifier, whose manifest then tells the number of classes, and the sample it is asked about.

    Args:
        network: the user's layers: from n features to one score a class, or to a single one.
        manifest: names the sample.

    Raises:
        InstanceError: the sample is none, or its label or number of classes is not one of the network's.
        ProxyError: the network reads another number of features than the sample has.
    """
    spec = manifest.problem
    assert isinstance(spec, ClassificationSpec)
    size, _ = network_sizes(network)
    if size != len(spec.centre):
        raise ProxyError(f"the network reads {size} features, but the sample {spec.name} has {len(spec.centre)}")
    for layer in network:
        size = layer.output_size(size)
    behind = [Affine(torch.tensor([[0.0], [1.0]]), torch.zeros(2))] if size == 1 else []
    problem = classification_problem(spec, max(2, size))
    told = manifest.model_copy(update={"problem": spec.model_copy(update={"classes": problem.classes})})
    return Proxy([*network, *behind], problem.input_size, told, network), problem
