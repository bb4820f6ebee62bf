"""The margin inside a model: exact at fixed inputs, also where rivals are left out."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoding.block import add_columns
from encoding.bounds import Bounds
from encoding.classification import LEAD
from encoding.compact import compact_model
from encoding.problem import encode_cost, linear_quantities, quantity_bounds
from problems.classification import Classification
from problems.interval import Interval
from proxies.proxy import latent_layers
from solvers.highs import HighsSession
from solvers.session import Status
from tests.encodings.test_layers import extremes
from tests.proxies.classifiers import KINDS, classifier, margin, network
from verifier.bounds.over_domain import Method, proxy_bounds


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_the_margin_is_exact_for_any_scores_in_their_box(classes: int, seed: int) -> None:
    """Both its least and its largest value in the model; some boxes are points, and some rivals never lead."""
    rng = np.random.default_rng(seed)
    problem = Classification("s", np.zeros(1), int(rng.integers(classes)), classes)
    low = np.round(rng.normal(size=classes) * 3, 1)
    box = Interval(low, low + np.round(rng.random(classes), 1) * (rng.random(classes) < 0.7))
    domain = problem.domain(0.0)
    model = pyo.ConcreteModel()
    model.scores, model.cost = pyo.Block(concrete=True), pyo.Block(concrete=True)
    scores = add_columns(model.scores, "s", box)
    bounds = Bounds(quantity_bounds(problem, domain, box))
    model.margin = pyo.Var()
    paid = encode_cost(problem, model.cost, domain, [0.0], scores, bounds)
    model.equal = pyo.Constraint(expr=model.margin == paid.cost)
    for share in (0.0, 1.0, *rng.random(2)):
        point = box.lower + share * box.width
        expected = margin(point[None], problem.label)[0]
        found = extremes(model, scores, point, [model.margin], np.ones((1, 1)))
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_the_model_at_a_fixed_input_is_the_forward_pass(kind: str, outputs: int) -> None:
    proxy, problem = classifier(network(kind, outputs, outputs))
    domain = problem.domain(0.4)
    layers = latent_layers(proxy, domain)
    model = compact_model(layers, problem, domain, proxy_bounds(layers, problem, domain))
    for w in domain.sample(6, 0):
        with torch.no_grad():
            expected = margin(proxy(torch.as_tensor(w)[None]).numpy(), problem.label)[0]
        with HighsSession(model.linear) as session:
            session.set_column_bounds(model.latent.columns, w, w)
            solution = session.solve(mip_gap=0.0)
        assert solution.status is Status.OPTIMAL
        assert model.gap_of(solution.objective) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("method", ["interval", "crown", "alpha"])
@pytest.mark.parametrize("kind", KINDS)
def test_leads_stay_within_their_bounds(kind: str, method: Method) -> None:
    proxy, problem = classifier(network(kind, 4, 7), 2)
    domain = problem.domain(0.3)
    found = proxy_bounds(latent_layers(proxy, domain), problem, domain, method)[LEAD]
    with torch.no_grad():
        scores = proxy(torch.as_tensor(np.concatenate([domain.sample(3000, 0), domain.corners(8, 0)]))).numpy()
    leads = scores[:, problem.rivals] - scores[:, [problem.label]]
    assert found.contains(leads).all()
    quantity = linear_quantities(problem, domain)[LEAD]
    assert np.allclose(scores @ quantity.of_decision.T, leads)
    if method == "crown":
        # The differences are bounded as such: no looser than the difference of the scores' own bounds.
        whole = proxy_bounds(latent_layers(proxy, domain), problem, domain, "interval")[LEAD]
        assert (found.width <= whole.width).all()
        assert found.width.sum() < 0.9 * whole.width.sum()


def test_a_classifier_that_nothing_moves_has_a_model_too() -> None:
    proxy, problem = classifier(network("sign", 3, 1))
    domain = problem.domain(0.0)
    layers = latent_layers(proxy, domain)
    model = compact_model(layers, problem, domain, proxy_bounds(layers, problem, domain))
    with HighsSession(model.linear) as session:
        solution = session.solve(mip_gap=0.0)
    with torch.no_grad():
        expected = margin(proxy(torch.as_tensor(problem.centre)[None]).numpy(), problem.label)[0]
    assert model.gap_of(solution.objective) == pytest.approx(expected, abs=1e-6)
