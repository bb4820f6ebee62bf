"""A sample to classify: its margin, its domain, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from problems.classification import Classification
from problems.errors import DomainError, InputError, InstanceError
from problems.interval import Interval

SAMPLE = Classification(
    "s", np.array([0.0, 5.0, 2.0]), 1, 3, Interval(np.array([0.0, 0.0, 2.0]), np.array([1.0, 10, 2]))
)


def test_the_objective_is_the_lead_of_the_best_other_class() -> None:
    scores = torch.tensor([[1.0, 4.0, 2.0], [5.0, 4.0, 9.0], [4.0, 4.0, 4.0]], dtype=torch.float64)
    assert SAMPLE.objective(scores, scores).tolist() == [-2.0, 5.0, 0.0]
    value, tie = SAMPLE.solve(SAMPLE.centre)
    assert value == 0.0
    assert float(SAMPLE.objective(scores[:1], torch.as_tensor(tie)[None])) == value
    scores[0, 0] = torch.inf
    assert SAMPLE.infeasibility(scores, scores).tolist() == [torch.inf, 0.0, 0.0]


def test_u_is_a_share_of_each_range_and_clipped_to_it() -> None:
    box = SAMPLE.domain(0.1).box
    assert box.lower.tolist() == pytest.approx([0.0, 4.0, 2.0])
    assert box.upper.tolist() == pytest.approx([0.1, 6.0, 2.0])
    assert SAMPLE.domain(0.0).box.width.tolist() == [0.0, 0.0, 0.0]
    free = replace(SAMPLE, limits=None).domain(0.1).box
    assert free.lower.tolist() == pytest.approx([-0.1, 4.9, 1.9])
    for u in (-0.1, 1.0):
        with pytest.raises(DomainError, match="5 % as"):
            SAMPLE.domain(u)


def test_what_the_bounds_say() -> None:
    assert "classified as class 1" in SAMPLE.reading(-2.0, 0.0)
    assert "not classified as class 1" in SAMPLE.reading(1e-9, 1.0)
    assert "open" in SAMPLE.reading(0.0, 1.0)
    assert "open" in SAMPLE.reading(-1.0, np.inf)


def test_the_fingerprint_knows_every_number() -> None:
    others = [
        replace(SAMPLE, centre=np.array([0.0, 5.0 + 1e-15, 2.0]) + np.array([1e-9, 0, 0])),
        replace(SAMPLE, label=2),
        replace(SAMPLE, classes=4),
        replace(SAMPLE, limits=None),
        replace(SAMPLE, names=("a", "b", "c")),
    ]
    assert len({problem.fingerprint() for problem in [SAMPLE, *others]}) == 6
    assert replace(SAMPLE).fingerprint() == SAMPLE.fingerprint()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"label": 3}, "count from 0 to 2"),
        ({"label": -1}, "count from 0 to 2"),
        ({"classes": 1}, "needs two"),
        ({"centre": np.array([0.0, np.nan, 2.0])}, "finite"),
        ({"centre": np.zeros(0)}, "one for each feature"),
        ({"centre": np.array([0.0, 10.5, 2.0])}, "feature 1 of the centre is 10.5"),
        ({"centre": np.array([0.0, 10.5, 2.0]), "names": ("a", "b", "c")}, "b of the centre"),
        ({"limits": Interval(np.zeros(2), np.ones(2))}, "one for each of the 3"),
        ({"limits": Interval(np.full(3, -np.inf), np.full(3, 9.0))}, "lower must be one finite number"),
        ({"limits": Interval(np.full(3, 9.0), np.full(3, -9.0))}, "limits 9 and -9; the lower one comes first"),
        ({"limits": Interval(np.full(3, np.nan), np.full(3, 9.0))}, "lower must be one finite number"),
        ({"limits": Interval(np.full(3, -1e308), np.full(3, 1e308))}, "lower is -1e.308; scale the features"),
        ({"limits": None, "centre": np.array([0.0, -1e308, 2.0])}, "feature 1 of the centre is -1e.308; scale"),
        ({"label": 0.5}, "whole numbers"),
        ({"label": np.nan}, "whole numbers"),
        ({"names": ("a",)}, "1 names for 3"),
    ],
)
def test_a_wrong_sample_gets_one_clear_sentence(change: dict, says: str) -> None:
    with pytest.raises(InstanceError, match=says):
        replace(SAMPLE, **change)


def test_odd_but_sound_samples_have_a_domain_around_them() -> None:
    """Widths of 0, of one ulp and of 2e100."""
    centre = np.array([0.0, 1.0, -1e100, 5e-324])
    limits = Interval(np.array([0.0, 1.0, -1e100, 0.0]), np.array([0.0, np.nextafter(1.0, 2.0), 1e100, 1e-310]))
    with np.errstate(over="raise", invalid="raise"):
        for problem in (Classification("s", centre, 0, 2, limits), Classification("s", centre, 0, 2)):
            domain = problem.domain(0.3)
            w = np.concatenate([domain.sample(20, 0), domain.corners(20, 0), domain.centre[None]])
            assert domain.contains(centre)
            np.testing.assert_array_equal(domain.to_input(w), w)
            if problem.limits is not None:
                assert problem.limits.contains(w).all()
    scores = torch.tensor([[1e308, -1e308]], dtype=torch.float64)
    assert float(problem.objective(scores, scores)[0]) == -np.inf


@pytest.mark.parametrize("x", [np.zeros(2), np.array([0.0, np.nan, 2.0])])
def test_a_wrong_input_is_refused(x: np.ndarray) -> None:
    with pytest.raises(InputError, match="3 finite features"):
        SAMPLE.solve(x)
