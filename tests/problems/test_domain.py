"""Domains: parts, samples and projection stay inside; the fingerprint sees every number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from problems.domain import Cut, Domain
from problems.errors import DomainError
from problems.interval import Interval

# What `verifier.replay` allows a witness.
ROUNDING = 4 * np.finfo(np.float64).eps


def vectors(size: int, low: float, high: float) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, size, elements=st.floats(low, high, allow_subnormal=False))


@st.composite
def domains(draw: st.DrawFn, with_cut: bool = True) -> Domain:
    """A box of up to six latents, some fixed, with a cut that leaves part of it."""
    n = draw(st.integers(1, 6))
    lower = draw(vectors(n, -3, 3))
    box = Interval(lower, lower + draw(vectors(n, 0, 2)))
    matrix = sparse.csr_array(draw(vectors(3 * n, -2, 2)).reshape(3, n))
    cuts: tuple[Cut, ...] = ()
    if with_cut:
        a = draw(vectors(n, -2, 2))
        ends = np.stack([a * box.lower, a * box.upper])
        low, high = ends.min(0).sum(), ends.max(0).sum()
        first, second = sorted(draw(st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95))))
        cuts = (Cut(a, low + first * (high - low) - 1e-3, low + second * (high - low) + 1e-3, "drawn"),)
    return Domain(box, matrix, draw(vectors(3, -1, 1)), cuts)


@given(domains(), st.integers(0, 1000))
@settings(max_examples=200, deadline=None)
def test_samples_corners_and_centre_lie_in_the_domain(domain: Domain, seed: int) -> None:
    for w in [*domain.sample(10, seed), *domain.corners(10, seed), domain.centre]:
        assert domain.contains(w, ROUNDING)


@given(domains(), st.data())
@settings(max_examples=200, deadline=None)
def test_projection_reaches_the_domain_and_keeps_what_is_inside(domain: Domain, data: st.DataObject) -> None:
    w = data.draw(vectors(domain.size, -10, 10))
    inside = domain.project(w)
    assert domain.contains(inside, ROUNDING)
    if domain.contains(w):
        np.testing.assert_array_equal(inside, w)
    # A point as a solver leaves it, a hair outside a cut, comes back inside too.
    for cut in domain.cuts:
        off = inside + 1e-9 * np.sign(cut.coefficients)
        assert domain.contains(domain.project(off), ROUNDING)
        assert np.abs(domain.project(off) - inside).max() <= 1e-4
    np.testing.assert_array_equal(domain.project(np.stack([w, w]))[1], domain.project(np.stack([w, w]))[0])


@given(domains(with_cut=False), st.data())
@settings(max_examples=100, deadline=None)
def test_without_cuts_projection_is_the_nearest_point(domain: Domain, data: st.DataObject) -> None:
    w = data.draw(vectors(domain.size, -10, 10))
    np.testing.assert_array_equal(domain.project(w), np.clip(w, domain.box.lower, domain.box.upper))


@given(domains(), st.data())
@settings(max_examples=100, deadline=None)
def test_the_two_parts_of_a_split_are_the_domain(domain: Domain, data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, domain.size - 1))
    low, high = domain.box.lower[axis], domain.box.upper[axis]
    if not low < (low + high) / 2 < high:
        with pytest.raises(DomainError):
            domain.split(axis)
        return
    below, above = domain.split(axis)
    assert below.cuts == above.cuts == domain.cuts
    assert below.box.upper[axis] == above.box.lower[axis]
    for w in domain.sample(20, 0):
        assert below.contains(w, ROUNDING) or above.contains(w, ROUNDING)
    for part in (below, above):
        assert all(domain.box.contains(w) for w in [part.box.lower, part.box.upper])
        assert part.fingerprint() != domain.fingerprint()


@pytest.mark.parametrize("at", [0.0, 1.0, -0.1, 1.1, float("nan")])
def test_a_split_outside_the_box_is_refused(at: float) -> None:
    domain = Domain(Interval(np.zeros(2), np.ones(2)), sparse.csr_array(np.eye(2)), np.zeros(2))
    with pytest.raises(DomainError, match="cannot be split"):
        domain.split(1, at)


def test_points_outside_the_box_or_a_cut_are_not_contained() -> None:
    cut = Cut(np.array([1.0, -1.0]), -0.25, 0.25, "near the diagonal")
    domain = Domain(Interval(np.zeros(2), np.ones(2)), sparse.csr_array(np.eye(2)), np.zeros(2), (cut,))
    assert domain.contains(np.array([0.5, 0.5]))
    assert domain.contains(np.array([0.5, 0.25]))
    assert not domain.contains(np.array([0.5, 0.2]))
    assert not domain.contains(np.array([0.2, 0.5]))
    assert not domain.contains(np.array([1.0 + 1e-12, 1.0]))
    assert not domain.contains(np.array([np.nan, 1.0]))


@given(domains())
@settings(max_examples=50, deadline=None)
def test_the_fingerprint_changes_with_any_number(domain: Domain) -> None:
    def nudged(vector: np.ndarray, k: int) -> np.ndarray:
        moved = vector.copy()
        moved[k] = np.nextafter(moved[k], 9.0)
        return moved

    before = domain.fingerprint()
    assert replace(domain, names=("a",) * domain.size).fingerprint() == before
    variants = [replace(domain, cuts=())] if domain.cuts else []
    for k in range(domain.size):
        variants.append(replace(domain, box=Interval(nudged(domain.box.lower, k), domain.box.upper)))
        variants.append(replace(domain, box=Interval(domain.box.lower, nudged(domain.box.upper, k))))
        for cut in domain.cuts:
            variants.append(replace(domain, cuts=(replace(cut, coefficients=nudged(cut.coefficients, k)),)))
    for cut in domain.cuts:
        variants.append(replace(domain, cuts=(replace(cut, lower=np.nextafter(cut.lower, -9)),)))
        variants.append(replace(domain, cuts=(replace(cut, upper=np.nextafter(cut.upper, 9)),)))
    for k in range(3):
        variants.append(replace(domain, shift=nudged(domain.shift, k)))
    for k in range(domain.matrix.nnz):
        matrix = domain.matrix.copy()
        matrix.data[k] = np.nextafter(matrix.data[k], 9.0)
        variants.append(replace(domain, matrix=matrix))
    assert len({before, *(variant.fingerprint() for variant in variants)}) == len(variants) + 1


def test_inputs_are_the_affine_image() -> None:
    matrix = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 0.0]])
    domain = Domain(Interval(np.zeros(2), np.ones(2)), sparse.csr_array(matrix), np.array([1.0, 2.0, 3.0]))
    w = np.random.default_rng(0).random((5, 2))
    np.testing.assert_allclose(domain.to_input(w), w @ matrix.T + [1, 2, 3])
    np.testing.assert_allclose(domain.to_input(w[0]), domain.to_input(w)[0])
    np.testing.assert_array_equal(domain.free, [0, 1])
