"""Quadratic program layer: optima against optimality conditions and linear programs, gradients against differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from proxies.layers import qp_batched
from proxies.layers.qp import ActiveSetCache, QPError, QPLayer, QPOptions, QPSolution, Status, qp_solve, qp_vjp
from proxies.layers.qp_kkt import Prepared
from proxies.layers.qp_search import Found, active_set_search

METHODS = [QPOptions(method="per_problem", workers=1), QPOptions(method="batched")]
both = pytest.mark.parametrize("options", METHODS, ids=lambda options: options.method)
Parameters = dict[str, Tensor]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Problems this small only wait for each other in several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def double(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_qps(batch: int, n: int, p: int, m: int, seed: int = 0, shared: str = "") -> Parameters:
    """Feasible, strictly convex problems with about half of their inequalities active; `shared` names the parameters
    that have no batch dimension."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    half, A, G = (normal(batch, rows, n) for rows in (n, p, m))
    A, G = (part[:1].expand_as(part) if name in shared else part for name, part in (("A", A), ("G", G)))
    z0 = normal(1 if "b" in shared or "h" in shared else batch, n)
    slack = torch.rand(batch, m, generator=draw, dtype=torch.float64)
    parameters = {
        "Q": half @ half.mT / n + 0.1 * torch.eye(n, dtype=torch.float64),
        "q": normal(batch, n),
        "A": A,
        "b": (A @ z0[..., None])[..., 0],
        "G": G,
        "h": (G @ z0[..., None])[..., 0] + 0.5 * slack,
    }
    return {name: value[0] if name in shared else value.contiguous() for name, value in parameters.items()}


def without(parameters: Parameters, *names: str) -> Parameters:
    return {name: value for name, value in parameters.items() if name not in names}


def assert_optimal(parameters: Parameters, solution: QPSolution, tolerance: float = 1e-10) -> None:
    """Check the optimality conditions of every solved problem, written out once more."""
    for k in solution.solved.nonzero()[:, 0].tolist():
        Q, q, A, b, G, h = (parameters[name][k].detach().numpy() for name in ("Q", "q", "A", "b", "G", "h"))
        z, nu, lam = (part[k].detach().numpy() for part in (solution.z, solution.nu, solution.lam))
        assert np.abs(Q @ z + q + A.T @ nu + G.T @ lam).max() < tolerance
        assert np.abs(A @ z - b).max(initial=0.0) < tolerance
        slack = h - G @ z
        assert slack.min() > -tolerance
        assert lam.min() > -tolerance
        assert np.abs(slack * lam).max() < tolerance
        np.testing.assert_allclose(solution.slack[k].detach().numpy(), slack, atol=1e-12)


@both
@pytest.mark.parametrize(("n", "p", "m"), [(1, 0, 1), (6, 2, 9), (20, 5, 30), (12, 0, 40)])
def test_optima_meet_their_conditions(options: QPOptions, n: int, p: int, m: int) -> None:
    parameters = random_qps(16, n, p, m)
    solution = qp_solve(**parameters, options=options)
    assert solution.solved.all()
    assert solution.polished.all()
    assert_optimal(parameters, solution)


@pytest.mark.parametrize("shared", ["", "QqAbGh", "QAG", "AbGh"])
def test_gradients_of_all_parameters_and_outputs(shared: str) -> None:
    parameters = random_qps(2, 3, 1, 4, seed=3, shared=shared)
    inputs = [value.clone().requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradcheck(outputs(parameters, METHODS[0]), inputs, eps=1e-6, atol=1e-6)
    assert torch.autograd.gradcheck(outputs(parameters, METHODS[1]), inputs, eps=1e-6, atol=1e-6, fast_mode=True)


def outputs(parameters: Parameters, options: QPOptions) -> Callable[..., tuple[Tensor, ...]]:
    """Return the layer's floating outputs as a function of the parameters' values."""

    def answer(*values: Tensor) -> tuple[Tensor, ...]:
        solution = qp_solve(**dict(zip(parameters, values)), options=options)
        assert solution.solved.all()
        return solution.z, solution.nu, solution.lam, solution.slack

    return answer


def test_second_derivatives() -> None:
    parameters = random_qps(2, 3, 1, 3, seed=5, shared="Q")
    inputs = [value.clone().requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradgradcheck(outputs(parameters, METHODS[0]), inputs, atol=1e-5)


def test_a_shared_parameter_gets_the_sum_of_its_problems_gradients() -> None:
    parameters = random_qps(8, 5, 2, 7, shared="QAG")
    weight = torch.randn(8, 5, dtype=torch.float64)
    shared = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    (qp_solve(**shared).z * weight).sum().backward()
    for name in ("Q", "A", "G"):
        total = torch.zeros_like(parameters[name])
        for k in range(8):
            own = {other: value if other in "QAG" else value[k] for other, value in parameters.items()}
            own[name] = own[name].clone().requires_grad_()
            (qp_solve(**own).z * weight[k]).sum().backward()
            total += own[name].grad
        torch.testing.assert_close(shared[name].grad, total, rtol=1e-10, atol=1e-10)


def test_shared_and_repeated_parameters_have_the_same_optima() -> None:
    shared = random_qps(6, 5, 2, 7, shared="QAG")
    repeated = shared | {name: shared[name].expand(6, -1, -1) for name in ("Q", "A", "G")}
    torch.testing.assert_close(qp_solve(**shared).z, qp_solve(**repeated).z, rtol=0, atol=1e-11)


@both
@pytest.mark.parametrize(
    ("names", "factor"), [("Qq", 1e-7), ("Qq", 1e7), ("AbGh", 1e-7), ("Gh", 1e7), ("qbh", 1e-3), ("qbh", 1e7)]
)
def test_units_do_not_matter(options: QPOptions, names: str, factor: float) -> None:
    """In other units of cost, rows or variables: the same point and, up to the units, the same gradient."""
    parameters = random_qps(16, 6, 2, 9, seed=4)
    plain, slopes = qp_vjp(parameters, torch.ones(16, 6, dtype=torch.float64), options)
    changed = {name: value * factor if name in names else value for name, value in parameters.items()}
    solution, others = qp_vjp(changed, torch.ones(16, 6, dtype=torch.float64), options)
    assert solution.polished.all()
    unit = factor if names == "qbh" else 1.0
    torch.testing.assert_close(solution.z / unit, plain.z, rtol=1e-9, atol=1e-9)
    for name, slope in slopes.items():
        wanted = slope * unit / (factor if name in names else 1.0)
        torch.testing.assert_close(others[name], wanted, rtol=1e-7, atol=1e-9 * float(wanted.abs().max()))


def infeasible_in_the_middle() -> Parameters:
    parameters = random_qps(3, 2, 0, 4, seed=1)
    parameters["G"][1] = double([[1, 0], [-1, 0], [0, 1], [0, -1]])
    parameters["h"][1] = double([0, -1, 1, 1])  # z0 <= 0 and z0 >= 1.
    return without(parameters, "A", "b")


@both
def test_an_infeasible_problem_never_looks_like_a_solution(options: QPOptions) -> None:
    parameters = {name: value.requires_grad_() for name, value in infeasible_in_the_middle().items()}
    solution = qp_solve(**parameters, options=options)
    assert solution.status.tolist() == [Status.SOLVED, Status.INFEASIBLE, Status.SOLVED]
    for part in (solution.z, solution.lam, solution.slack):
        assert part[1].isnan().all()
        assert part[[0, 2]].isfinite().all()
    # A loss that leaves the problem out has clean gradients, and none from it; one that uses it has NaN there.
    solution.z[solution.solved].sum().backward(retain_graph=True)
    assert all(value.grad.isfinite().all() and not value.grad[1].any() for value in parameters.values())
    solution.z.sum().backward()
    assert all(value.grad[1].isnan().any() and value.grad[0].isfinite().all() for value in parameters.values())


def test_an_unsolved_problem_leaves_its_neighbours_gradients_alone() -> None:
    """Also where a singular Q makes the solves iterate: NaN in one row must not end the others' refinement."""
    parameters = infeasible_in_the_middle() | {"Q": torch.zeros(2, 2).double()}
    parameters["G"] = parameters["G"][1].repeat(3, 1, 1)
    parameters["h"] = torch.stack([double([1, 2, 1, 1]), parameters["h"][1], double([3, 1, 2, 1])])
    together = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    solution = qp_solve(**together)
    assert solution.status.tolist() == [Status.SOLVED, Status.INFEASIBLE, Status.SOLVED]
    solution.z.sum().backward()
    for k in (0, 2):
        alone = {
            name: (value if name == "Q" else value[k]).clone().requires_grad_() for name, value in parameters.items()
        }
        qp_solve(**alone).z.sum().backward()
        for name in ("q", "G", "h"):
            torch.testing.assert_close(together[name].grad[k], alone[name].grad, rtol=1e-12, atol=1e-12)


@both
def test_an_infeasible_problem_raises_when_asked(options: QPOptions) -> None:
    strict = QPOptions(method=options.method, failures="raise")
    with pytest.raises(QPError, match="problem 1 of the batch is infeasible"):
        qp_solve(**infeasible_in_the_middle(), options=strict)


@both
@pytest.mark.parametrize("curvature", [0.0, 1.0])
def test_an_unbounded_problem_never_looks_like_a_solution(options: QPOptions, curvature: float) -> None:
    Q = double([[0, 0], [0, curvature]])
    solution = qp_solve(Q, double([[-1, 1], [1, 1]]), G=-torch.eye(2).double(), h=double([0, 0]), options=options)
    assert solution.status.tolist() == [Status.UNBOUNDED, Status.SOLVED]
    assert solution.z[0].isnan().all()
    torch.testing.assert_close(solution.z[1], double([0, 0]))


@both
def test_too_few_iterations_are_told(options: QPOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxies.layers.qp_search.SWITCHES", 0)
    parameters = random_qps(4, 8, 2, 12)
    solution = qp_solve(**parameters, options=QPOptions(method=options.method, max_iterations=2))
    assert set(solution.status.tolist()) <= {Status.SOLVED, Status.MAX_ITERATIONS}
    assert solution.status[0] == Status.MAX_ITERATIONS
    assert solution.z[~solution.solved].isnan().all()


def test_every_problem_stops_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hard problem in the batch neither changes its neighbours' points nor keeps them iterating."""
    parameters = without(random_qps(8, 6, 0, 8), "A", "b")
    parameters["h"][7] *= 1e5
    parameters["q"][7] *= 1e5
    parameters["G"][7] *= double([1e4] + [1e-3] * 7)[:, None]
    running: list[int] = []
    step = qp_batched._Point.step
    monkeypatch.setattr(
        qp_batched._Point, "step", lambda self, rows: (running.append(int(rows.sum())), step(self, rows))[1]
    )
    together = qp_solve(**parameters, options=METHODS[1])
    assert running[0] == 8
    assert running[-1] < 8
    assert sorted(running, reverse=True) == running
    for k in range(8):
        alone = qp_solve(**{name: value[k] for name, value in parameters.items()}, options=METHODS[1])
        assert together.status[k] == alone.status[0]
        torch.testing.assert_close(together.z[k], alone.z[0], rtol=1e-10, atol=1e-10, equal_nan=True)


@both
def test_linear_programs_against_scipy(options: QPOptions) -> None:
    rng = np.random.default_rng(0)
    batch, n, m = 20, 5, 9
    rows, z0, q = rng.normal(size=(batch, m, n)), rng.normal(size=(batch, n, 1)), rng.normal(size=(batch, n))
    box = np.broadcast_to(np.vstack([np.eye(n), -np.eye(n)]), (batch, 2 * n, n))
    A, G = rng.normal(size=(batch, 1, n)), np.concatenate([rows, box], 1)
    h = np.concatenate([(rows @ z0)[..., 0] + rng.random((batch, m)), np.full((batch, 2 * n), 5.0)], 1)
    given = {"Q": np.zeros((n, n)), "q": q, "A": A, "b": (A @ z0)[..., 0], "G": G, "h": h}
    solution = qp_solve(**{name: torch.as_tensor(value) for name, value in given.items()}, options=options)
    for k in range(batch):
        exact = linprog(q[k], G[k], h[k], A[k], given["b"][k], bounds=(None, None))
        np.testing.assert_allclose(solution.z[k].numpy(), exact.x, atol=1e-9)


def exact_status(parameters: Parameters) -> Status:
    """Decide by two linear programs: is there a feasible point, and a direction along which the objective falls without
    end? (Quadratic solvers cannot be asked: HiGHS 1.15 takes unbounded ones for optimal, and the other way round.)"""
    Q, q, A, b, G, h = (parameters[name].numpy() for name in ("Q", "q", "A", "b", "G", "h"))
    n = len(q)
    if linprog(np.zeros(n), G, h, A, b, bounds=(None, None)).status != 0:
        return Status.INFEASIBLE
    flat = np.vstack([Q, A])
    falls = linprog(q, G, np.zeros(len(h)), flat, np.zeros(len(flat)), bounds=(-1, 1))
    return Status.UNBOUNDED if falls.fun < -1e-9 else Status.SOLVED


@both
def test_degenerate_problems(options: QPOptions) -> None:
    """Small whole numbers: repeated and redundant rows, ties, flat directions, infeasible and unbounded problems."""
    rng = np.random.default_rng(7)
    seen = set()
    for _ in range(12):
        n, p, m = rng.integers(1, 5), rng.integers(0, 3), rng.integers(1, 8)
        half = rng.integers(-1, 2, (16, n, rng.integers(0, n + 1)))
        given = {
            "Q": half @ half.transpose(0, 2, 1),
            "q": rng.integers(-2, 3, (16, n)),
            "A": rng.integers(-1, 2, (16, p, n)),
            "b": rng.integers(-1, 2, (16, p)),
            "G": rng.integers(-2, 3, (16, m, n)),
            "h": rng.integers(-1, 4, (16, m)),
        }
        parameters = {name: torch.as_tensor(value).double() for name, value in given.items()}
        solution = qp_solve(**parameters, options=options)
        for k in range(16):
            problem = {name: value[k] for name, value in parameters.items()}
            status = exact_status(problem)
            seen.add(status)
            assert int(solution.status[k]) == status
        assert_optimal(parameters, solution, tolerance=1e-7)
    assert seen == {Status.SOLVED, Status.INFEASIBLE, Status.UNBOUNDED}


@both
def test_a_weakly_active_row_is_left_out_of_the_derivative(options: QPOptions) -> None:
    """min (z - q)^2 / 2 with z <= 0 at q = 0: dual and slack are zero. Left out, dz/dq = 1, as for every q < 0."""
    q = double([[0.0]]).requires_grad_()
    h = double([[0.0]]).requires_grad_()
    solution = qp_solve(double([[1]]), -q, G=double([[1]]), h=h, options=options)
    assert solution.polished.all()
    assert not solution.active.any()
    solution.z.sum().backward()
    assert (q.grad.item(), h.grad.item()) == (1.0, 0.0)


@both
def test_gradients_near_a_change_of_the_active_set(options: QPOptions) -> None:
    """On either side of a kink, however near, the derivative is that side's."""
    for distance in (1e-3, 1e-5, 1e-7):
        for side, slope in ((-1, 1.0), (1, 0.0)):
            q = double([[side * distance]]).requires_grad_()
            qp_solve(double([[1]]), -q, G=double([[1]]), h=double([0]), options=options).z.sum().backward()
            assert q.grad.item() == pytest.approx(slope, abs=1e-9)


@both
def test_repeated_active_rows(options: QPOptions) -> None:
    """A limit stated twice has many multipliers, but one optimum, whose derivative in q is that of the limit once."""
    parameters = random_qps(1, 4, 0, 3, seed=2)
    once = qp_solve(**without(parameters, "A", "b"), options=options)
    active = once.active[0].nonzero()[:, 0]
    assert len(active)
    twice = {
        "Q": parameters["Q"],
        "q": parameters["q"].clone().requires_grad_(),
        "G": torch.cat([parameters["G"], parameters["G"][:, active]], 1),
        "h": torch.cat([parameters["h"], parameters["h"][:, active]], 1),
    }
    solution = qp_solve(**twice, options=options)
    torch.testing.assert_close(solution.z, once.z, atol=1e-9, rtol=0)
    simple = without(parameters, "A", "b") | {"q": parameters["q"].clone().requires_grad_()}
    qp_solve(**simple, options=options).z[0, 0].backward()
    solution.z[0, 0].backward()
    torch.testing.assert_close(twice["q"].grad, simple["q"].grad, atol=1e-7, rtol=0)


@both
def test_single_precision(options: QPOptions) -> None:
    parameters = random_qps(4, 5, 1, 6)
    single = {name: value.float().requires_grad_() for name, value in parameters.items()}
    solution = qp_solve(**single, options=options)
    assert solution.z.dtype == torch.float32
    torch.testing.assert_close(solution.z.double(), qp_solve(**parameters).z, atol=1e-4, rtol=1e-4)
    solution.z.sum().backward()
    assert single["G"].grad.dtype == torch.float32


@both
def test_an_empty_batch(options: QPOptions) -> None:
    parameters = {name: value[:0].requires_grad_() for name, value in random_qps(1, 4, 1, 5).items()}
    parameters["G"] = random_qps(1, 4, 1, 5)["G"][0].requires_grad_()
    solution = qp_solve(**parameters, options=options)
    assert solution.z.shape == (0, 4)
    assert solution.lam.shape == (0, 5)
    solution.z.sum().backward()
    assert not parameters["G"].grad.any()


@both
def test_problems_without_inequalities_or_constraints(options: QPOptions) -> None:
    parameters = random_qps(3, 4, 2, 1)
    free = qp_solve(parameters["Q"], parameters["q"], options=options)
    torch.testing.assert_close(free.z, -torch.linalg.solve(parameters["Q"], parameters["q"]))
    held = qp_solve(**without(parameters, "G", "h"), options=options)
    torch.testing.assert_close((parameters["A"] @ held.z[..., None])[..., 0], parameters["b"])
    assert held.lam.shape == (3, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p | {"q": p["q"][:, :3]}, "shapes"),
        (lambda p: p | {"h": p["h"][:1]}, "different batch sizes"),
        (lambda p: p | {"h": p["h"][0, :2]}, "shapes"),
        (lambda p: p | {"Q": p["Q"][0, 0]}, "dimensions"),
        (lambda p: p | {"q": p["q"].float()}, "one floating type"),
        (lambda p: without(p, "b"), "A with b"),
        (lambda p: p | {"G": p["G"] * torch.nan}, "G of a quadratic program holds a number that is not finite"),
        (lambda p: p | {"h": p["h"] / 0}, "h of a quadratic program holds"),
        (lambda p: p | {"Q": p["Q"] - 5 * torch.eye(4)}, "not positive semidefinite"),
        (lambda p: p | {"Q": p["Q"][0] - 5 * torch.eye(4)}, "not positive semidefinite"),
    ],
)
@both
def test_unusable_parameters_are_refused(
    options: QPOptions, change: Callable[[Parameters], Parameters], said: str
) -> None:
    with pytest.raises(QPError, match=said):
        qp_solve(**change(random_qps(2, 4, 1, 5)), options=options)


def test_a_guess_is_used_where_it_is_right_and_mended_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = random_qps(8, 6, 2, 9)
    first = qp_solve(**parameters)
    wrong = first.active.clone()
    wrong[:, 0] ^= True
    for guess in (wrong, torch.zeros_like(wrong), torch.ones_like(wrong)):
        torch.testing.assert_close(qp_solve(**parameters, guess=guess).z, first.z)
    monkeypatch.setattr("proxies.layers.qp_optimum.active_set_search", lambda *_, **__: pytest.fail("searched"))
    torch.testing.assert_close(qp_solve(**parameters, guess=first.active).z, first.z)
    with pytest.raises(QPError, match="guess"):
        qp_solve(**parameters, guess=first.active[:, :3])


def test_the_layer_learns_and_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer with a learnt limit inside a network: the loss falls, and later epochs start from the cache."""
    torch.manual_seed(0)
    cache = ActiveSetCache(32, 3)
    layer = QPLayer(cache=cache, Q=torch.eye(3), G=-torch.eye(3), h=nn.Parameter(torch.full((3,), 2.0)))
    network = nn.Linear(4, 3)
    x = torch.randn(32, 4)
    target = torch.relu(x[:, :3])
    assert [name for name, _ in layer.named_parameters()] == ["h"]
    assert {"Q", "G", "h"} == set(layer.state_dict())
    optimiser = torch.optim.Adam([*network.parameters(), *layer.parameters()], lr=0.05)
    losses, searched = [], []

    def search(part: Prepared, workers: int) -> Found:
        searched.append(part.problems.batch)
        return active_set_search(part, workers)

    monkeypatch.setattr("proxies.layers.qp_optimum.active_set_search", search)
    for _ in range(60):
        order = torch.randperm(32)
        loss = ((layer(sample=order, q=-network(x[order])) - target[order]) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert searched[0] == 32
    assert sum(searched) < 0.2 * 32 * 60


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"method": "simplex"}, "solved by"), ({"failures": "no"}, "gives"), ({"tolerance": 0}, "positive")],
)
def test_unknown_options_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(QPError, match=said):
        QPOptions(**wrong)


def test_the_layer_names_what_it_lacks() -> None:
    with pytest.raises(QPError, match="no parameter 'P'"):
        QPLayer(P=torch.eye(2))
    with pytest.raises(QPError, match="needs q"):
        QPLayer(Q=torch.eye(2))()


def test_the_layer_under_compile() -> None:
    layer = QPLayer(Q=torch.eye(3).double(), G=-torch.eye(3).double(), h=nn.Parameter(torch.zeros(3).double()))
    network = nn.Sequential(nn.Linear(2, 3), nn.Tanh()).double()

    def model(x: Tensor) -> Tensor:
        return 2 * layer(q=-network(x))

    x = torch.randn(5, 2, dtype=torch.float64)
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(x), 2 * torch.relu(network(x)))
    compiled(x).sum().backward()
    assert network[0].weight.grad.any()


def test_the_pulled_back_gradient_is_the_layers() -> None:
    parameters = random_qps(4, 5, 1, 6) | {"h": random_qps(1, 5, 1, 6)["h"][0] + 40}
    weight = torch.randn(4, 5, dtype=torch.float64)
    solution, grads = qp_vjp(parameters, weight)
    own = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    (qp_solve(**own).z * weight).sum().backward()
    assert not solution.z.requires_grad
    for name, value in own.items():
        torch.testing.assert_close(grads[name], value.grad)
    _, grads = qp_vjp(infeasible_in_the_middle(), torch.ones(3, 2, dtype=torch.float64))
    assert all(grad.isfinite().all() and not grad[1].any() for grad in grads.values())
    with pytest.raises(QPError, match="grad_z"):
        qp_vjp(parameters, weight[:2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_cuda_device() -> None:
    parameters = random_qps(16, 10, 2, 15)
    weight = torch.randn(16, 10, dtype=torch.float64)
    here, grads = qp_vjp(parameters, weight)
    there, others = qp_vjp({name: value.cuda() for name, value in parameters.items()}, weight.cuda())
    torch.testing.assert_close(there.z.cpu(), here.z, rtol=1e-9, atol=1e-9)
    for name, grad in grads.items():
        torch.testing.assert_close(others[name].cpu(), grad, rtol=1e-7, atol=1e-7)
