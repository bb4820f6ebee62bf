"""Knapsack instances: random ones, and JSON files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from problems.errors import InstanceError
from problems.instance_file import read_instance
from problems.knapsack import LARGEST_TOTAL_WEIGHT, Knapsack

SCHEMA: Final = "certigap.knapsack/1"
# Largest weight and value of a random instance, and the share of the total weight that fits: the usual uncorrelated
# instances (Pisinger 2005). The paper perturbs values and capacity of one instance but does not state that instance.
LARGEST = 100
TIGHTNESS = 0.5


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: Literal["certigap.knapsack/1"] = Field(default=SCHEMA, alias="schema")
    name: str
    values: tuple[float, ...]
    weights: tuple[Annotated[int, Field(ge=1, le=LARGEST_TOTAL_WEIGHT)], ...]
    capacity: float


def random_knapsack(items: int, seed: int, largest: int = LARGEST, tightness: float = TIGHTNESS) -> Knapsack:
    """Return an instance with independent uniform integer values and weights.

    Args:
        items: how many.
        seed: the same seed gives the same instance.
        largest: values and weights are between 1 and this.
        tightness: the capacity is this share of the total weight, rounded down.

    Raises:
        InstanceError: there is no item, or the weights have no room between 1 and `largest`.
    """
    if items < 1 or largest < 1:
        raise InstanceError(f"a knapsack of {items} items with weights up to {largest} is empty; give at least 1 each")
    rng = np.random.default_rng(seed)
    values, weights = rng.integers(1, largest + 1, size=(2, items))
    capacity = float(np.floor(tightness * weights.sum()))
    return Knapsack(f"knapsack{items}-{seed}", values.astype(np.float64), weights, capacity)


def read_knapsack(path: str | os.PathLike[str]) -> Knapsack:
    """Read an instance from a JSON file; see `write_knapsack`.

    Raises:
        InstanceError: the file cannot be read or does not describe an instance.
    """
    data = read_instance(Path(path), _File, "knapsack")
    return Knapsack(data.name, np.array(data.values, dtype=np.float64), np.array(data.weights), data.capacity)


def write_knapsack(problem: Knapsack, path: str | os.PathLike[str]) -> None:
    """Write an instance as JSON: schema, name, values, weights, capacity."""
    data = _File(
        name=problem.name,
        values=tuple(problem.values.tolist()),
        weights=tuple(problem.weights.tolist()),
        capacity=problem.capacity,
    )
    Path(path).write_text(data.model_dump_json(by_alias=True, indent=2) + "\n")
