"""Stored tangents come back bit for bit, are nowhere above Phi, and are refused where they do not belong."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from problems.dcopf import DcOpf
from problems.grid import Grid
from proxies.proxy import Proxy
from verifier.cut_store import CutStore, CutStoreError
from verifier.options import VerifyOptions
from verifier.result import Verdict
from verifier.value_function import ValueCut, ValueFunction
from verifier.verify import verify

ROUNDING = 1e-12


def stored(problem: DcOpf, u: float, count: int = 40) -> CutStore:
    domain = problem.domain(u)
    store = CutStore(problem, domain)
    points = np.concatenate([domain.sample(count, 0), domain.corners(count, 0)])
    store.add(cut for cut in ValueFunction(problem, domain).cuts(points) if cut is not None)
    return store


@pytest.mark.parametrize("thermal", ["soft", "hard"])
def test_saved_tangents_read_back_bit_for_bit_and_hold_in_every_box(congested: Grid, thermal: str) -> None:
    problem = DcOpf(replace(congested, rating=congested.rating * 0.9), thermal)
    store = stored(problem, 0.05)
    assert len(store) > 0
    wide = problem.domain(0.3)
    read = CutStore.from_npz(store.to_npz(), problem, wide)
    assert read.key == store.key
    for ours, theirs in zip(store.affine(), read.affine()):
        assert ours.tobytes() == theirs.tobytes()
    assert read.to_npz() == store.to_npz()
    for domain in (problem.domain(0.05), wide):
        function = ValueFunction(problem, domain)
        latent = np.concatenate([domain.sample(50, 7), domain.corners(50, 7)])
        values = np.array([function.value(w) for w in latent])
        finite = np.isfinite(values)
        assert finite.any()
        assert (read(latent[finite]) <= values[finite] * (1 + 1e-8)).all()


def test_each_slope_is_stored_once(congested: Grid) -> None:
    problem = DcOpf(congested)
    domain = problem.domain(0.2)
    cuts = [cut for cut in ValueFunction(problem, domain).cuts(domain.sample(60, 3)) if cut is not None]
    once, twice = CutStore(problem, domain), CutStore(problem, domain)
    once.add(cuts)
    twice.add([*cuts, *(replace(cut, slope=cut.slope * (1 + 1e-12)) for cut in cuts)])
    assert 1 < len(once) == len(twice) < len(cuts)
    grown = once.copy()
    grown.add([replace(cuts[0], slope=cuts[0].slope + 1.0)])
    assert len(grown) == len(once) + 1
    # What was left out is told by what is there.
    latent = domain.sample(50, 4)
    np.testing.assert_allclose(once(latent), np.max([cut(latent) for cut in cuts], axis=0), rtol=1e-8)
    assert CutStore(problem, domain)(latent).max() == -np.inf


def test_tangents_of_another_problem_or_map_are_refused(congested: Grid, case5: Grid) -> None:
    problem = DcOpf(congested)
    data, domain = stored(problem, 0.05).to_npz(), problem.domain(0.05)
    for other in (DcOpf(congested, price=20.0), DcOpf(congested, noise=0.0), DcOpf(case5)):
        with pytest.raises(CutStoreError, match="another problem"):
            CutStore.from_npz(data, other, other.domain(0.05))
    for moved in (replace(domain, shift=domain.shift + 0.1), replace(domain, matrix=domain.matrix * 2)):
        with pytest.raises(CutStoreError, match="another"):
            CutStore.from_npz(data, problem, moved)


def test_damaged_files_are_refused(congested: Grid) -> None:
    problem = DcOpf(congested)
    data, domain = stored(problem, 0.05).to_npz(), problem.domain(0.05)
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for wrong in (b"", b"PK\x03\x04", b"no file of ours", data[: len(data) // 2], array.getvalue()):
        with pytest.raises(CutStoreError, match="not a file of stored tangents"):
            CutStore.from_npz(wrong, problem, domain)
    with np.load(io.BytesIO(data)) as file:
        parts = dict(file)
    for name, value, says in (
        ("slope", np.full_like(parts["slope"], np.nan), "damaged"),
        ("value", parts["value"][:-1], "damaged"),
        ("format", np.array("certigap.cuts/9"), "format"),
    ):
        changed = io.BytesIO()
        np.savez(changed, **(parts | {name: value}))
        with pytest.raises(CutStoreError, match=says):
            CutStore.from_npz(changed.getvalue(), problem, domain)


def test_nothing_is_proven_with_tangents_from_outside(case5: Grid, make_proxy: Callable[..., Proxy]) -> None:
    problem = DcOpf(case5)
    domain, proxy = problem.domain(0.1), make_proxy(problem, 1, hidden=(6, 4))
    liar = CutStore(problem, domain)
    liar.add([ValueCut(domain.centre, 1e9, np.ones(domain.size))])
    options = VerifyOptions(time_limit=60.0)
    honest, deceived = verify(proxy, problem, domain, options), verify(proxy, problem, domain, options, cuts=liar)
    assert honest.lower > 0
    # Two witnesses of one worst case, replayed: equal but for rounding.
    assert deceived.upper >= honest.lower * (1 - ROUNDING)
    assert deceived.lower <= honest.upper * (1 + ROUNDING)
    assert deceived.verdict is Verdict.CERTIFIED
