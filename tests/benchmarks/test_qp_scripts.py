"""The QP layer's benchmark scripts: their quick forms, and a reference that agrees with finite differences."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from proxies.layers.qp import qp_solve


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """Import a benchmark script as it is run: with its own folder on the path, and its choice of threads undone."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "layers"))
        yield importlib.import_module
    torch.set_num_threads(threads)


def test_the_reference_agrees_with_differences(script: Any) -> None:
    peers = script("qp_peers")
    given = peers.random_qps(2, 6, 1)
    weight = torch.randn(2, 6, dtype=torch.float64)
    exact = peers.reference(given, weight)
    step = 1e-6
    for name in ("q", "h"):
        for j in range(6):
            moved = [given | {name: given[name].clone()} for _ in range(2)]
            moved[0][name][:, j] -= step
            moved[1][name][:, j] += step
            low, high = (peers.reference(problem, weight).z for problem in moved)
            slope = ((high - low) * weight.numpy()).sum(1) / (2 * step)
            np.testing.assert_allclose(exact.grads[name][:, j], slope, rtol=1e-4, atol=1e-4)


def test_peers_are_measured_and_the_missing_ones_named(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peers = script("qp_peers")

    def missing(_: Any) -> None:
        raise ImportError("no such package")

    kept = {name: peers.PEERS[name] for name in ("ours", "ours, batched", "PIQP loop")}
    monkeypatch.setattr(peers, "PEERS", kept | {"qpth": peers.Peer(missing, "qpth")})
    peers.main(["--quick"])
    said = capsys.readouterr().out
    assert "qpth is left out: no such package" in said
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if line.startswith("| 10 |")]
    assert [row[1] for row in rows] == list(kept)
    assert all(float(row[7]) < 1e-10 for row in rows[:2])


@pytest.mark.parametrize("package", ["qpth", "proxsuite", "cvxpylayers"])
def test_peers_solve_the_same_problem(script: Any, package: str) -> None:
    """Their points agree with ours; their gradients to the digits that they have."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    peers = script("qp_peers")
    given = peers.random_qps(4, 5, 3)
    own = {name: value.clone().requires_grad_() for name, value in given.items()}
    z = peers.PEERS[package].make(given)(own)
    torch.testing.assert_close(z, qp_solve(**given).z, atol=1e-3, rtol=1e-3)


def test_timing(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "timing.json"
    script("qp_timing").main(["--quick", "--json", str(file)])
    assert "Figure 2" in capsys.readouterr().out
    rows = json.loads(file.read_text())["rows"]
    assert {row["figure"] for row in rows} == {1, 2}
    assert all(row["qp_forward"] > 0 for row in rows if row["figure"] == 1)


def test_denoising_by_the_dual_is_the_program_with_absolute_values(script: Any) -> None:
    denoising = script("denoising")
    draw: dict[str, Any] = {"generator": torch.Generator().manual_seed(3), "dtype": torch.float64}
    n, rows = 6, 5
    a, D, s = 10 * torch.randn(4, n, **draw), torch.randn(rows, n, **draw), torch.randn(rows, **draw)
    w, K = 1 + torch.rand(4, rows, **draw), torch.eye(n, dtype=torch.float64) + 0.2 * torch.randn(n, n, **draw)
    # min 1/2 (z - a)'Q(z - a) + w't, D z - t <= s, -D z - t <= -s.
    Q = torch.zeros(n + rows, n + rows, dtype=torch.float64)
    Q[:n, :n] = (K @ K.mT).inverse()
    eye = torch.eye(rows, dtype=torch.float64)
    G = torch.cat([torch.cat([D, -eye], 1), torch.cat([-D, -eye], 1)])
    primal = qp_solve(Q, torch.cat([-a @ Q[:n, :n], w], 1), G=G, h=torch.cat([s, -s])).z[:, :n]
    torch.testing.assert_close(denoising.denoise(a, D, s, w, K), primal, atol=1e-7, rtol=1e-7)


def test_denoising_by_total_variation(script: Any) -> None:
    denoising = script("denoising")
    noisy, clean = denoising.signals(16, 30, 0)
    assert ((clean.diff(dim=-1) != 0).sum(-1) < 3).all()
    D = denoising.differences(30)
    # Without a weight the signal stays; with a huge one it is its mean.
    torch.testing.assert_close(denoising.total_variation(noisy, D, 0.0), noisy, atol=1e-4, rtol=0.0)
    flat = denoising.total_variation(noisy, D, 1e4)
    torch.testing.assert_close(flat, noisy.mean(-1, keepdim=True).expand_as(flat), atol=1e-6, rtol=1e-6)
    # No weight of a grid is better than the tuned one by more than the search's fineness explains.
    tuned = denoising.total_variation(noisy, D, denoising.tune_weight(noisy, clean))
    grid = [denoising.total_variation(noisy, D, float(weight)) for weight in range(1, 100, 2)]
    least = min(float(((z - clean) ** 2).mean()) for z in grid)
    assert float(((tuned - clean) ** 2).mean()) <= 1.01 * least


def test_denoising_is_learnt_from_total_variation(script: Any) -> None:
    denoising = script("denoising")
    noisy, clean = denoising.signals(64, 30, 0)
    D = denoising.differences(30)
    model = denoising.Denoiser(D, 20.0, denoising.whitening(noisy), everything=True)
    torch.testing.assert_close(model(noisy), denoising.total_variation(noisy, D, 20.0))
    # Training never ends worse on what it holds out than it began.
    before = denoising.error(model, noisy[:6], clean[:6])
    assert denoising.train(model, noisy, clean, 2, 1e-3, 0, mirrored=True) <= 2
    assert denoising.error(model, noisy[:6], clean[:6]) <= before


def test_mirrored_signals_keep_their_noise(script: Any) -> None:
    denoising = script("denoising")
    noisy, clean = denoising.signals(40, 30, 0)
    y, x = denoising.mirror(noisy, clean, torch.Generator().manual_seed(0))
    torch.testing.assert_close((y - x).abs().sort().values, (noisy - clean).abs().sort().values)
    assert (x >= denoising.LOWEST).all()
    assert (x < denoising.HIGHEST).all()
    assert 0 < int((x == clean).all(-1).sum()) < 40


def test_sudoku(script: Any) -> None:
    sudoku = script("sudoku")
    everything = sudoku.grids()
    assert len(everything) == 288
    x, answer = sudoku.puzzles(everything[:5], everything, 6, 0)
    for puzzle, solved in zip(x.numpy(), answer.numpy()):
        shown = puzzle.reshape(16, 4).any(1)
        grid = solved.reshape(16, 4).argmax(1)
        assert (everything[:, shown] == grid[shown]).all(1).sum() == 1
    # The exact rules solve puzzles: the layer can represent what it is asked to learn.
    rules = _independent(_rules())
    assert len(rules) == sudoku.ROWS
    model = sudoku.Rules(6)
    with torch.no_grad():
        model.A.copy_(torch.as_tensor(rules))
    assert sudoku.wrong(model, x, answer)[1] <= 0.5
    assert sudoku.Network(4)(x).shape == x.shape


def _rules() -> np.ndarray:
    """Every cell has one value; every value is once in every row, column and block."""
    one = np.zeros((4, 4, 4, 64))
    for i, j, k in np.ndindex(4, 4, 4):
        one[i, j, k, 16 * i + 4 * j + k] = 1
    blocks = one.reshape(2, 2, 2, 2, 4, 64).sum((1, 3))
    return np.concatenate([part.reshape(-1, 64) for part in (one.sum(2), one.sum(0), one.sum(1), blocks)])


def _independent(rows: np.ndarray) -> np.ndarray:
    kept: list[np.ndarray] = []
    for row in rows:
        if np.linalg.matrix_rank(np.array([*kept, row])) > len(kept):
            kept.append(row)
    return np.array(kept)


def test_projection(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    script("projection").main(["--quick", "--ratings", "0.5"])
    cells = capsys.readouterr().out.splitlines()[-1].split("|")
    assert cells[2].strip() == "QP projection"
    assert cells[7].strip() == "0.000"  # It overloads nothing.


def test_digits(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    script("digits").main(["--quick"])
    assert "with a QP layer" in capsys.readouterr().out
