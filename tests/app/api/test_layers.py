"""The optimization layers over HTTP: the same numbers as in Python, and bounded in size and time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from proxies.layers.ilp import ilp_solve, ilp_vjp
from proxies.layers.mip_value import MipOptions, mip_value_vjp
from proxies.layers.qp import qp_vjp
from tests.app.api.conftest import Api, serve

QP = {"Q": [[2, 0], [0, 2]], "q": [[-2, -5], [1, 1]], "G": [[1, 1]], "h": [1]}
ILP = {"c": [[-3, -5], [1, -1]], "A": [[2, 4]], "b": [5]}


def tensors(values: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def test_quadratic_programs(alice: Api) -> None:
    grad = [[1.0, 0.5], [0.0, -1.0]]
    solution, gradients = qp_vjp(tensors(QP), torch.tensor(grad, dtype=torch.float64))
    solved = alice.post("/v1/layers/qp:solve", json=QP).json()
    pulled = alice.post("/v1/layers/qp:vjp", json={**QP, "grad_z": grad}).json()
    assert solved["status"] == ["solved", "solved"]
    assert solved["z"] == solution.z.tolist() == pulled["z"]
    assert solved["lam"] == solution.lam.tolist()
    assert pulled["gradients"] == {name: value.tolist() for name, value in gradients.items()}


def test_infeasible_and_unbounded_are_results(alice: Api) -> None:
    infeasible = {"Q": [[1]], "q": [0], "G": [[1], [-1]], "h": [-1, -1]}
    unbounded = {"Q": [[0]], "q": [1]}
    for name, body in (("infeasible", infeasible), ("unbounded", unbounded)):
        answer = alice.post("/v1/layers/qp:solve", json=body)
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["z"]) == ([name], [[None]])
    nothing = alice.post("/v1/layers/ilp:solve", json={"c": [1], "A": [[-1]], "b": [-5]}).json()
    assert (nothing["feasible"], nothing["value"]) == ([False], [None])


def test_integer_programs(alice: Api) -> None:
    given = tensors(ILP)
    found = ilp_solve(**given, lower=0.0, upper=3.0)
    solved = alice.post("/v1/layers/ilp:solve", json={**ILP, "upper": 3}).json()
    assert solved["y"] == found.y.tolist()
    assert solved["value"] == found.value.tolist()
    dy = torch.tensor([[1.0, -1.0], [0.5, 0.25]], dtype=torch.float64)
    gradients = ilp_vjp(**given, lower=0.0, upper=3.0, y=found.y, dy=dy)
    body = {**ILP, "upper": [3, 3], "y": solved["y"], "dy": dy.tolist()}
    pulled = alice.post("/v1/layers/ilp:vjp", json=body).json()["gradients"]
    assert gradients.A is not None
    assert gradients.b is not None
    assert pulled == {"c": gradients.c.tolist(), "A": gradients.A.tolist(), "b": gradients.b.tolist()}


@pytest.mark.parametrize("gradient", [{"kind": "blackbox", "scale": 2}, {"kind": "perturbed", "spread": 0.5}])
def test_gradients_by_the_costs_alone(alice: Api, gradient: dict[str, Any]) -> None:
    body = {**ILP, "y": [[0, 1], [0, 1]], "dy": [[1, -1], [1, 1]], "gradient": gradient, "seed": 3}
    first, again = (alice.post("/v1/layers/ilp:vjp", json=body).json()["gradients"] for _ in range(2))
    assert first == again
    assert torch.tensor(first["c"]).shape == (2, 2)
    assert first["A"] is None


def test_a_hard_row_that_cannot_be_met_is_a_result(alice: Api) -> None:
    answer = alice.post("/v1/layers/mip-value:solve", json={"c": [1], "A": [[1]], "b": [5]})
    assert answer.status_code == 200
    assert (answer.json()["outcome"], answer.json()["value"]) == (["infeasible"], [None])


@pytest.mark.parametrize(
    ("path", "change", "pointer"),
    [
        ("qp:solve", {"Q": [[1, 0], [0, -1]], "q": [1, 1], "G": [[0, 1]], "h": [1]}, ""),
        ("qp:solve", {"q": [1, 2, 3]}, ""),
        ("qp:solve", {"h": None}, ""),
        ("qp:solve", {"Q": [[1, 2], [3]]}, ""),
        ("qp:solve", {"more": 1}, "/more"),
        ("qp:solve", {"q": ["1", 2]}, None),
        ("qp:vjp", {"grad_z": [[1, 2, 3]]}, ""),
        ("qp:vjp", {}, "/grad_z"),
        ("mip-value:solve", {"Q": None, "q": None, "G": None, "h": None, "c": [1], "A": [[1, 2]], "b": [1]}, ""),
        ("mip-value:vjp", {"Q": None, "q": None, "G": None, "h": None, "c": [1], "A": [[1]], "b": [1]}, "/grad_value"),
    ],
)
def test_what_is_no_convex_program_is_refused(
    alice: Api, path: str, change: dict[str, Any], pointer: str | None
) -> None:
    body = {name: value for name, value in {**QP, **change}.items() if value is not None}
    answer = alice.post(f"/v1/layers/{path}", json=body)
    assert answer.status_code == 422, answer.text
    assert pointer is None or answer.json()["errors"][0]["pointer"] == pointer


def test_numbers_must_be_finite(alice: Api) -> None:
    for number, status in (("NaN", 400), ("1e999", 422)):
        answer = alice.post(
            "/v1/layers/qp:solve",
            content=f'{{"Q": [[1]], "q": [{number}]}}'.encode(),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == status


def test_size_and_time_are_bounded(tmp_path: Path) -> None:
    with serve(tmp_path, largest_layer=1000, layer_seconds=0.5) as world:
        many = world.alice.post("/v1/layers/qp:solve", json={**QP, "q": [[1, 1]] * 600})
        assert (many.status_code, many.json()["code"]) == (413, "too_large")
        weights = torch.randint(10**6, 10**7, (30,), generator=torch.Generator().manual_seed(1)).tolist()
        hard = {
            "c": [-w for w in weights],
            "A": [weights, [2 * w + 1 for w in weights]],
            "b": [sum(weights) // 2 + 0.5] * 2,
        }
        hard["b"][1] *= 2
        slow = world.alice.post("/v1/layers/ilp:solve", json=hard)
        assert (slow.status_code, slow.json()["code"]) == (504, "timed_out"), slow.text


MIP: dict[str, Any] = {"c": [[3, 5], [1, 1]], "A": [[2, 4]], "b": [5]}


def test_mip_values(alice: Api) -> None:
    given = tensors(MIP)
    grad = torch.tensor([1.0, -2.0], dtype=torch.float64)
    fixed = {"lower": 0.0, "upper": 3.0, "integer": True, "penalty": 10.0, "options": MipOptions(pieces=2)}
    solution, gradients = mip_value_vjp(given, grad, **fixed)
    body = {**MIP, "upper": 3, "penalty": 10, "pieces": 2}
    solved = alice.post("/v1/layers/mip-value:solve", json=body).json()
    pulled = alice.post("/v1/layers/mip-value:vjp", json={**body, "grad_value": grad.tolist()}).json()
    assert solved["outcome"] == ["solved", "solved"]
    assert solved["value"] == solution.value.tolist() == pulled["value"]
    assert solved["x"] == solution.x.tolist()
    assert solved["tied"] == solution.tied.tolist()
    assert pulled["gradients"] == {name: value.tolist() for name, value in gradients.items()}


def test_hard_rows_of_a_mip_value_may_be_infeasible(alice: Api) -> None:
    rows = {"c": [1], "A": [[1], [-1]], "b": [1, 1], "upper": 3}
    hard = alice.post("/v1/layers/mip-value:solve", json=rows).json()
    assert (hard["outcome"], hard["value"]) == (["infeasible"], [None])
    soft = alice.post("/v1/layers/mip-value:solve", json={**rows, "penalty": [None, 2]}).json()
    assert (soft["outcome"], soft["value"]) == (["solved"], [1 + 2 * 2])
    wrong = alice.post("/v1/layers/mip-value:solve", json={**rows, "b": [1]})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "integer_program")


def test_what_waits_too_long_is_told_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.children.PATIENCE", 0.05)
    with serve(tmp_path, children=1, layer_seconds=1.0) as world:
        world.alice.get("/v1/solvers")
        assert world.state.children._turns.acquire(timeout=10)
        busy = world.alice.post("/v1/layers/qp:solve", json=QP)
        world.state.children._turns.release()
        assert (busy.status_code, busy.json()["code"]) == (503, "busy")
        assert "Retry-After" in busy.headers
        assert world.client.get("/healthz").status_code == 200
        assert world.alice.post("/v1/layers/qp:solve", json=QP).status_code == 200
