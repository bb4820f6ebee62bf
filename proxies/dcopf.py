"""DC-OPF proxies: a network between unit conversions, then clamp and hypersimplex.

Source: Chen et al. 2024, section 6.2, figures 3 and 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from problems.dcopf import DcOpf
from problems.grid import Grid, load_grid
from proxies.errors import ProxyError
from proxies.layers import Affine, Clamp, Hypersimplex, Layer
from proxies.manifest import DcOpfSpec, InputSpec, Manifest, OutputSpec
from proxies.proxy import Proxy


def dcopf_problem(spec: DcOpfSpec, case: str | None = None) -> DcOpf:
    """Return the problem of a manifest, with its case replaced by `case` where one is given."""
    return DcOpf(load_grid(case or spec.case), spec.thermal, spec.shunts, spec.angle_limits)


def dcopf_proxy(network: Sequence[Layer], manifest: Manifest, problem: DcOpf) -> Proxy:
    """Put a network between the unit conversions and the repair layers that its manifest names.

    Args:
        network: the user's layers, first to last.
        manifest: units and places of the network's inputs and outputs.
        problem: the problem whose demand (per unit, every bus) the proxy reads and whose dispatch (per unit, every
            generator) it writes.

    Raises:
        ProxyError: the network reads or writes another number of values than the manifest and the case say.
    """
    grid = problem.grid
    if manifest.repair != ("clamp", "hypersimplex"):
        raise ProxyError(
            "a DC-OPF proxy must end in the repair layers clamp and hypersimplex, or its dispatch is not feasible; "
            'write "repair": ["clamp", "hypersimplex"] in the manifest'
        )
    _check_sizes(network, manifest, grid)
    low, high = torch.as_tensor(grid.pmin), torch.as_tensor(grid.pmax)
    demand = torch.ones(grid.buses, dtype=torch.float64)
    layers = [
        *_input_layers(manifest.input, grid),
        *network,
        *_output_layers(manifest.output, grid),
        Clamp(low, high),
        Hypersimplex(low, high, demand, float(problem.fixed_demand.sum())),
    ]
    return Proxy(layers, problem.input_size, manifest, network)


def infer_specs(
    network: Sequence[Layer], grid: Grid, input_unit: str, output_unit: str
) -> tuple[InputSpec, OutputSpec]:
    """Guess from the network's sizes alone whether it reads every bus or the loads, and which generators it writes."""
    reads, writes = network_sizes(network)
    at = "buses" if reads == grid.buses else "loads"
    of = "generators" if writes == grid.generators else "dispatchable"
    return (
        InputSpec.model_validate({"unit": input_unit, "at": at}),
        OutputSpec.model_validate({"unit": output_unit, "of": of}),
    )


def network_sizes(network: Sequence[Layer]) -> tuple[int, int]:
    """Return how many values a network reads and writes; raises ProxyError where it has no affine layer."""
    affine = [layer for layer in network if isinstance(layer, Affine)]
    if not affine:
        raise ProxyError("the network has no affine layer (Gemm or MatMul), so it cannot answer anything")
    return int(affine[0].weight.shape[-1]), int(affine[-1].weight.shape[0])


def _check_sizes(network: Sequence[Layer], manifest: Manifest, grid: Grid) -> None:
    reads, writes = network_sizes(network)
    inputs = {"buses": grid.buses, "loads": int(np.count_nonzero(grid.load))}
    outputs = {"generators": grid.generators, "dispatchable": int(grid.dispatchable.size)}
    if reads != inputs[manifest.input.at]:
        raise ProxyError(
            f"the network reads {reads} values, but {grid.name} has {inputs['buses']} buses and "
            f"{inputs['loads']} loads; check the case, and input.at in the manifest"
        )
    if writes != outputs[manifest.output.of]:
        raise ProxyError(
            f"the network writes {writes} values, but {grid.name} has {outputs['generators']} generators, "
            f"{outputs['dispatchable']} of them dispatchable; check the case, and output.of in the manifest"
        )


def _input_layers(spec: InputSpec, grid: Grid) -> list[Layer]:
    scale = grid.base_mva if spec.unit == "MW" else 1.0
    if spec.at == "loads":
        loads = np.flatnonzero(grid.load)
        gather = torch.zeros(loads.size, grid.buses, dtype=torch.float64)
        gather[torch.arange(loads.size), torch.as_tensor(loads)] = scale
        return [Affine(gather, torch.zeros(loads.size))]
    if scale == 1.0:
        return []
    return [Affine(torch.full((grid.buses,), scale), torch.zeros(grid.buses))]


def _output_layers(spec: OutputSpec, grid: Grid) -> list[Layer]:
    which = grid.dispatchable if spec.of == "dispatchable" else np.arange(grid.generators)
    scale, shift = np.ones(which.size), grid.pmin.copy()
    if spec.unit == "MW":
        scale /= grid.base_mva
    if spec.unit == "fraction":
        scale = (grid.pmax - grid.pmin)[which]
    else:
        shift[which] = 0.0
    if spec.of == "generators":
        if np.all(scale == 1.0) and not shift.any():
            return []
        return [Affine(torch.as_tensor(scale), torch.as_tensor(shift))]
    scatter = np.zeros((grid.generators, which.size))
    scatter[which, np.arange(which.size)] = scale
    return [Affine(torch.as_tensor(scatter), torch.as_tensor(shift))]
