"""The attack and alpha-CROWN on the processor and on a CUDA device: seconds, best gap, agreement of the bounds.

Usage: python benchmarks/gpu.py [--proxies case57-raw,case118-raw,case300-raw] [--u 20] [--parts 256] [--starts 4096]
       [--rounds 6] [--steps 20] [--workers 2] [--quick] [--json FILE]

The attack makes the same rounds on both devices, so its seconds compare; exact values are found on the processor in any
case. alpha-CROWN bounds `parts` equal parts of the domain in one batch. Where there is no CUDA device, only the
processor's part is run. `--quick` takes the 57-bus proxy with few starts, parts and steps.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from problems.domain import Domain
from proxies.layers import Layer
from proxies.load import LoadedProxy, load_proxy
from proxies.proxy import latent_layers
from verifier.attack import Attack, AttackOptions
from verifier.bounds.alpha import alpha_boxes
from verifier.bounds.crown import LayerBoxes, layer_boxes
from verifier.bounds.relaxation import Box
from verifier.budget import Budget
from verifier.certificate import versions
from verifier.known_values import KnownTangents

FOLDER = Path(__file__).parent / "proxies"
# Bounds differ between devices by the order of their sums only: by at most this share of their size.
AGREEMENT = 1e-9


def devices() -> list[str]:
    """Return where to run: the processor, and a CUDA device where there is one."""
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def attack(loaded: LoadedProxy, domain: Domain, device: str, options: AttackOptions, workers: int) -> dict[str, Any]:
    """Attack on one device and return seconds and the best gap, whose optimal cost is exact."""
    layers = latent_layers(loaded.proxy, domain)
    _warm_up(layers, domain, device)
    known = KnownTangents(loaded.problem, domain)
    job = Attack(layers, loaded.problem, domain, known, device, workers)
    began = time.perf_counter()
    best = job.run(options, Budget(options.seconds))
    return {
        "seconds": _now(device) - began,
        "gap": None if best is None else best.gap,
        "lps": known.function.solves,
        "tangents": len(known),
    }


def bounds(loaded: LoadedProxy, domain: Domain, device: str, parts: int, steps: int) -> tuple[float, LayerBoxes]:
    """Return the seconds of CROWN and alpha-CROWN over many parts of the domain on one device, and the bounds."""
    layers = latent_layers(loaded.proxy, domain)
    _warm_up(layers, domain, device)
    layers = [copy.deepcopy(layer).to(device) for layer in layers]
    source = _parts(domain, parts, device)
    began = time.perf_counter()
    with torch.no_grad():
        found = alpha_boxes(layers, layer_boxes(layers, source), steps)
    return _now(device) - began, found


def disagreement(first: LayerBoxes, second: LayerBoxes) -> float:
    """Return the largest difference of two sets of bounds, as a share of the size of the layer's values."""
    worst = 0.0
    for ours, theirs in zip(first.inputs, second.inputs):
        size = float(ours.magnitude.max()) or 1.0
        for one, other in ((ours.lower, theirs.lower), (ours.upper, theirs.upper)):
            worst = max(worst, float((one.cpu() - other.cpu()).abs().max()) / size)
    return worst


def measure(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row a device for one proxy."""
    loaded = load_proxy(FOLDER / f"dcopf-{name}.safetensors")
    domain = loaded.problem.domain(arguments.u / 100)
    options = AttackOptions(starts=arguments.starts, rounds=arguments.rounds, seconds=600.0)
    rows: list[dict[str, Any]] = []
    reference: LayerBoxes | None = None
    for device in devices():
        row = {"proxy": name, "u": arguments.u, "device": device, "parts": arguments.parts, "starts": arguments.starts}
        row["attack"] = attack(loaded, domain, device, options, arguments.workers)
        seconds, found = bounds(loaded, domain, device, arguments.parts, arguments.steps)
        reference = reference or found
        width = float((found.inputs[-1].upper - found.inputs[-1].lower).mean())
        row["bounds"] = {"seconds": seconds, "output_width": width, "disagreement": disagreement(reference, found)}
        rows.append(row)
    return rows


def show(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    head = (
        "| proxy | device | starts | attack s | best gap $/h | parts | alpha-CROWN s | mean output width "
        "| differs from cpu by |\n|" + " --- |" * 9
    )
    return "\n".join([head, *map(_line, rows)])


def _line(row: dict[str, Any]) -> str:
    gap, found = row["attack"]["gap"], row["bounds"]
    cells = (
        row["proxy"],
        row["device"],
        row["starts"],
        f"{row['attack']['seconds']:.2f}",
        "-" if gap is None else f"{gap:,.1f}",
        row["parts"],
        f"{found['seconds']:.2f}",
        f"{found['output_width']:.5g}",
        f"{found['disagreement']:.1e}{'' if found['disagreement'] <= AGREEMENT else ' NO AGREEMENT'}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _parts(domain: Domain, count: int, device: str) -> Box:
    """Return `count` (a power of two) equal parts of the domain's box, halved along the latents of largest reach."""
    boxes = [domain.box]
    while len(boxes) < count:
        axis = int(np.argmax(replace(domain, box=boxes[0]).reach))
        boxes = [half.box for box in boxes for half in replace(domain, box=box).split(axis)]
    lower, upper = (np.stack([getattr(box, end) for box in boxes]) for end in ("lower", "upper"))
    return Box(torch.as_tensor(lower, device=device), torch.as_tensor(upper, device=device))


def _warm_up(layers: Sequence[Layer], domain: Domain, device: str) -> None:
    """Have the device load its kernels before anything is timed."""
    moved = [copy.deepcopy(layer).to(device) for layer in layers]
    with torch.no_grad():
        alpha_boxes(moved, layer_boxes(moved, _parts(domain, 1, device)), 1)
    _now(device)


def _now(device: str) -> float:
    """Return the clock when everything asked of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxies", default="case57-raw,case118-raw,case300-raw")
    parser.add_argument("--u", type=int, default=20)
    parser.add_argument("--parts", type=int, default=256)
    parser.add_argument("--starts", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.proxies, chosen.parts, chosen.starts, chosen.rounds, chosen.steps = "case57-raw", 4, 32, 1, 2
    machine: dict[str, Any] = {"processor": platform.processor() or platform.machine(), "threads": 1, "cuda": None}
    torch.set_num_threads(1)
    if torch.cuda.is_available():
        machine["cuda"] = torch.cuda.get_device_name()
    else:
        print("no CUDA device: only the processor's part is run")
    rows = []
    for name in chosen.proxies.split(","):
        rows += measure(name, chosen)
        print(*map(_line, rows[-len(devices()) :]), sep="\n", flush=True)
    print(show(rows))
    if chosen.json:
        command = {key: value for key, value in vars(chosen).items() if key != "json"}
        facts = {"command": command, "machine": machine, "versions": versions(), "rows": rows}
        chosen.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
