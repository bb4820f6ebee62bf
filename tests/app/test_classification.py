"""`certigap verify` and `check` of a classifier, its report, and one clear sentence for every mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.cli.main import run
from app.report.page import render_report
from problems.classification import Classification
from problems.interval import Interval
from proxies.files import save_network
from proxies.proxy import Proxy
from tests.app.page import Page, assert_loads_nothing
from tests.proxies.classifiers import classifier, network, on_grid
from verifier.attack import AttackOptions
from verifier.options import VerifyOptions
from verifier.result import Result, Verdict
from verifier.sampling import sampled_gaps
from verifier.verify import verify

QUICK = VerifyOptions(attack=AttackOptions(starts=32, rounds=2), time_limit=60.0)
Files = tuple[str, str]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """An ONNX file without a manifest and a sample: class 1 leads in the box of 2 %, and not in that of 45 %."""
    import onnx

    proxy, problem = next(
        found for found in (classifier(network("mixed", 3, s), 1) for s in range(200)) if turns(*found)
    )
    save_network(tmp_path / "net.onnx", proxy.network, proxy.manifest)
    graph = onnx.load(tmp_path / "net.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "net.onnx")
    sample = {"centre": problem.centre.tolist(), "label": 1, "lower": -1, "upper": 1, "names": ["width", "height"]}
    (tmp_path / "sample.json").write_text(json.dumps(sample))
    return str(tmp_path / "net.onnx"), str(tmp_path / "sample.json")


def turns(proxy: Proxy, problem: Classification) -> bool:
    return on_grid(proxy, problem, 0.02, 41) < -0.1 and on_grid(proxy, problem, 0.45, 41) > 0.1


def test_a_robust_and_a_fooled_classifier(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, sample = files
    common = ["verify", model, "--case", sample, "--threshold", "0", "--samples", "20"]
    assert run([*common, "-u", "2%", "-o", str(tmp_path / "small")]) == 0
    told = capsys.readouterr().out
    assert "So every such input is classified as class 1" in told
    assert "dispatch" not in told
    assert run([*common, "-u", "45%", "-o", str(tmp_path / "large"), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["lower"] > 0
    assert answer["unit"] == "score"
    assert answer["relative"] is None
    for name in ("small", "large"):
        file = str(tmp_path / name / "certificate.json")
        # The certificate tells the sample; another one is another problem.
        assert run(["check", file, model, "--samples", "50"]) == 0
        other = json.loads(Path(sample).read_text()) | {"centre": [0.0, 0.0], "label": 0}
        (tmp_path / "other.json").write_text(json.dumps(other))
        assert run(["check", file, model, "--samples", "50", "--case", str(tmp_path / "other.json")]) == 1
        forged = json.loads(Path(file).read_text())
        forged["claim"]["lower"] += 0.5
        (tmp_path / "forged.json").write_text(json.dumps(forged))
        assert run(["check", str(tmp_path / "forged.json"), model, "--samples", "50"]) == 1
    replayed = json.loads((tmp_path / "large" / "certificate.json").read_text())["witness"]["onnxruntime_gap"]
    assert replayed == pytest.approx(answer["lower"], abs=1e-5)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--relative"], "no optimal value"),
        (["--formulation", "bilevel"], "compact"),
        (["--cuts", "phi.npz"], "not convex"),
        (["--input-unit", "pu"], "no unit to choose"),
        (["--case", "nowhere.json"], "nowhere.json"),
        (["-u", "100%"], "below 100 %"),
    ],
)
def test_a_mistake_gets_one_clear_sentence(
    files: Files, more: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, sample = files
    assert run(["verify", model, "--case", sample, "-o", str(tmp_path / "out"), *more]) >= 64
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_certificate_without_its_sample_is_damaged(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, sample = files
    assert run(["verify", model, "--case", sample, "-u", "2%", "-o", str(tmp_path), "--samples", "0"]) == 0
    told = json.loads((tmp_path / "certificate.json").read_text())
    del told["problem"]["centre"]
    (tmp_path / "certificate.json").write_text(json.dumps(told))
    capsys.readouterr()
    assert run(["check", str(tmp_path / "certificate.json"), model]) >= 64
    error = capsys.readouterr().err
    assert "damaged at problem (classification.centre" in error
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def asked() -> Callable[[float], tuple[Result, Proxy, Classification]]:
    found = next(found for found in (classifier(network("mixed", 3, s), 1) for s in range(200)) if turns(*found))
    known: dict[float, Result] = {}

    def of(u: float) -> tuple[Result, Proxy, Classification]:
        if u not in known:
            known[u] = verify(*found, found[1].domain(u), QUICK)
        return (known[u], *found)

    return of


def render(result: Result, proxy: Proxy, problem: Classification, u: float) -> str:
    gaps = sampled_gaps(proxy, problem, problem.domain(u), 100)
    page = Page(render_report(result, proxy, problem, problem.domain(u), {}, gaps))
    assert_loads_nothing(page)
    assert "inf" not in page.text.split()
    return page.text


def test_the_report_says_yes_and_no(asked: Callable[[float], tuple[Result, Proxy, Classification]]) -> None:
    text = render(*asked(0.02), 0.02)
    assert "Is sample classified as class 1 wherever each feature moves by up to ±2 % of its range?" in text
    assert "Yes: class 1 leads every other class by at least" in text
    assert "All of 100 random inputs are classified as class 1" in text
    assert "1 (the label)" in text
    assert "5 hidden ReLU units and 5 hidden sign units" in text
    assert "report it as a defect" not in text
    wide = render(*asked(0.45), 0.45)
    assert "No: at one input another class leads class 1 by" in wide
    assert "has a larger score than class 1" in wide
    for word in ("dispatch", "cost", "optimum", "relative", "Relative", "not a number"):
        assert word not in text + wide


def test_the_report_of_an_open_question(asked: Callable[[float], tuple[Result, Proxy, Classification]]) -> None:
    result, proxy, problem = asked(0.02)
    undecided = replace(result, upper=2.0, verdict=Verdict.BOUNDED)
    text = render(undecided, proxy, problem, 0.02)
    assert "Not decided" in text
    assert f"still {2.0 - result.lower:.3g}"[:9] in text
    assert "Yes: no other class has a larger score" in render(replace(result, upper=0.0), proxy, problem, 0.02)
    # Samples above a negative upper bound contradict it; no samples contradict nothing.
    page = render_report(replace(result, upper=-50.0), proxy, problem, problem.domain(0.02), {}, np.array([-1.0]))
    assert "report it as a defect" in page
    page = render_report(result, proxy, problem, problem.domain(0.02), {}, np.zeros(0))
    assert "report it as a defect" not in page
    assert "No random inputs were tried." in page


def test_a_sample_without_range_or_on_a_box_of_ones_own(
    asked: Callable[[float], tuple[Result, Proxy, Classification]],
) -> None:
    result, proxy, problem = asked(0.02)
    free = replace(problem, limits=None)
    assert "moves by up to ±0.02 in its own unit" in render(result, proxy, free, 0.02)
    domain = replace(problem.domain(0.02), box=Interval(problem.centre, problem.centre + np.array([0.04, 0.01])))
    page = Page(render_report(result, proxy, problem, domain, {}, np.zeros(0)))
    assert "every input of the given domain" in page.text
