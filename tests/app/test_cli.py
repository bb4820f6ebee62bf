"""The command line as a user meets it: outputs, exit codes, and one clear sentence for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from app.cli.main import run
from problems.knapsack_instances import random_knapsack, write_knapsack
from proxies.files import save_network
from proxies.knapsack import knapsack_manifest
from proxies.layers import Affine
from proxies.load import load_proxy
from proxies.onnx_io import write_onnx
from tests.shipped import FOLDER, shipped

RAW = str(FOLDER / "dcopf-case57-raw.safetensors")


def test_verify_writes_a_certificate_that_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", RAW, "-u", "1%", "-o", str(tmp_path), "--samples", "50", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {"lower", "upper", "unit", "relative", "verdict", "termination", "seconds", "witness"} <= set(answer)
    assert answer["verdict"] == "certified"
    assert answer["witness"]["unit"] == "MW"
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    assert certificate["schema"] == "certigap.certificate/1"
    assert certificate["claim"]["upper"] == answer["upper"]
    assert "<html" in (tmp_path / "report.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["certificate.json", "report.html"]
    capsys.readouterr()
    quick = ["--samples", "50", "--attack-seconds", "1"]
    assert run(["check", answer["certificate"], RAW, *quick]) == 0
    told = capsys.readouterr().out
    assert "consistent: nothing was found against it; the upper bound was not derived again" in told
    assert run(["check", answer["certificate"], RAW, *quick, "--seed", "5", "--time-limit", "20", "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert (checked["outcome"], checked["seed"]) == ("consistent", 5)
    certificate["claim"]["lower"] *= 1.01
    (tmp_path / "forged.json").write_text(json.dumps(certificate))
    assert run(["check", str(tmp_path / "forged.json"), RAW, *quick]) == 1
    assert "refuted: a claim is false" in capsys.readouterr().out
    certificate["claim"].update(lower=0.0, upper=1e-3)
    (tmp_path / "forged.json").write_text(json.dumps(certificate))
    assert run(["check", str(tmp_path / "forged.json"), RAW, *quick]) == 1


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b'{"schema": NaN}']
)
def test_a_file_that_is_no_certificate_is_named_as_such(
    text: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "certificate.json").write_bytes(text)
    assert run(["check", str(tmp_path / "certificate.json"), RAW]) == 65
    error = capsys.readouterr().err
    assert "not a certigap.certificate/1 file" in error
    assert error.count("\n") == 1


def test_stored_tangents_are_written_read_again_and_refused_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts = tmp_path / "new" / "phi.npz"
    common = ["--samples", "10", "-o", str(tmp_path), "--cuts", str(cuts)]
    assert run(["verify", RAW, "-u", "1%", *common]) == 0
    first = cuts.read_bytes()
    # The same problem and map with another box: the tangents are kept, and maybe more are added.
    assert run(["verify", RAW, "-u", "2%", "--attack-style", "paper", "--attack-seconds", "2", *common]) == 0
    assert len(cuts.read_bytes()) >= len(first)
    second = cuts.read_bytes()
    capsys.readouterr()
    other = str(FOLDER / "dcopf-case118-raw.safetensors")
    assert run(["verify", other, "-u", "1%", *common]) == 65
    error = capsys.readouterr().err
    assert "another problem" in error
    assert error.count("\n") == 1
    assert cuts.read_bytes() == second
    (tmp_path / "no.npz").write_text("nonsense")
    assert run(["verify", RAW, "-u", "1%", "-o", str(tmp_path), "--cuts", str(tmp_path / "no.npz")]) == 65
    assert "--cuts" in capsys.readouterr().err


def test_exit_codes_tell_the_verdict(tmp_path: Path) -> None:
    common = ["-o", str(tmp_path), "--samples", "10"]
    assert run(["verify", RAW, "-u", "0.01", "--threshold", "1", *common]) == 1
    hard = str(FOLDER / "dcopf-case57-centred.safetensors")
    assert run(["verify", hard, "-u", "20%", "--time-limit", "3", *common]) == 2


def test_an_onnx_file_without_manifest_needs_only_the_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    loaded = shipped("dcopf-case57-raw")
    graph = onnx.load_from_string(write_onnx(loaded.proxy.network, loaded.proxy.manifest))
    del graph.metadata_props[:]
    model = tmp_path / "foreign.onnx"
    onnx.save(graph, model)
    assert run(["verify", str(model), "-o", str(tmp_path)]) == 65
    assert "--case" in capsys.readouterr().err
    units = ["--input-unit", "pu", "--output-unit", "fraction"]
    case = ["--case", "pglib_opf_case57_ieee", "-u", "1%", "--samples", "10"]
    assert run(["verify", str(model), "-o", str(tmp_path), "--json", *case, *units]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "certified"
    assert any("no manifest" in note for note in answer["notes"])
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    assert certificate["witness"]["onnxruntime_gap"] == pytest.approx(answer["lower"], rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["verify", "nowhere.onnx"], "no file"),
        (["verify", RAW, "-u", "5"], "5%"),
        (["verify", RAW, "-u", "many"], "5%"),
        (["verify", RAW, "--time-limit", "0"], "at least one second"),
        (["verify", RAW, "--solver", "cplex"], "highs"),
        (["verify", RAW, "--case", "pglib_opf_case118_ieee"], "check the case"),
        (["verify", RAW, "--case", "pglib_opf_case58_ieee"], "did you mean"),
        (["verify", RAW, "--threshold", "3%"], "--relative"),
        (["verify", RAW, "--style", "best"], "sign"),
        (["check", RAW, RAW], "not a certigap.certificate/1 file"),
        (["check", "nowhere.json", RAW], "nowhere.json"),
        (["train", "dcopf", "--case", "pglib_opf_case5_pjm", "--hidden", "64;64"], "64,64"),
        (["train"], "command"),
        (["train", "knapsack"], "--items"),
        (["train", "knapsack", "--items", "3", "--instance", "a.json"], "one instance"),
        (["train", "knapsack", "--instance", "nowhere.json"], "nowhere.json"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_a_mistake_gets_one_clear_sentence(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) >= 64
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_train_makes_a_proxy_that_verify_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(tmp_path / "five.safetensors")
    train = ["train", "dcopf", "--case", "pglib_opf_case5_pjm", "--hidden", "8", "--steps", "50", "--samples", "5"]
    assert run([*train, "-o", model]) == 0
    assert "written" in capsys.readouterr().out
    assert run(["verify", model, "-u", "5%", "-o", str(tmp_path), "--samples", "10"]) == 0


def test_train_makes_a_knapsack_proxy_of_an_instance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem, model = random_knapsack(6, 4), tmp_path / "six.safetensors"
    write_knapsack(problem, tmp_path / "six.json")
    train = ["train", "knapsack", "--hidden", "6", "--steps", "100", "--samples", "5", "-o", str(model)]
    assert run([*train, "--instance", str(tmp_path / "six.json")]) == 0
    assert "random inputs: mean" in capsys.readouterr().out
    assert load_proxy(model).problem.fingerprint() == problem.fingerprint()
    assert run([*train, "--items", "6", "--seed", "4"]) == 0
    assert load_proxy(model).problem.fingerprint() == problem.fingerprint()


def test_doctor_lists_the_solvers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    names = {solver["name"] for solver in json.loads(capsys.readouterr().out)["solvers"]}
    assert {"highs", "gurobi", "scip"} <= names


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--threshold", "-5"], "never negative"),
        (["--threshold", "inf"], "asks nothing"),
        (["--seed", "-1"], "negative"),
        (["-o", RAW], "no folder"),
        (["--cuts", f"{RAW}/phi.npz"], "no folder"),
    ],
)
def test_senseless_questions_are_refused(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", RAW, *arguments]) >= 64
    assert says in capsys.readouterr().err


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the file of a proxy of seven items whose scores are value/weight, somewhat wrong."""
    problem = random_knapsack(7, 2)
    draw = torch.Generator().manual_seed(0)
    weight = torch.zeros(7, 8, dtype=torch.float64)
    weight[:, :7] = torch.diag(1 / torch.as_tensor(problem.weights)) * (0.7 + torch.rand(7, generator=draw)[:, None])
    path = tmp_path_factory.mktemp("seven") / "seven.safetensors"
    save_network(path, [Affine(weight, torch.zeros(7).double())], knapsack_manifest(problem))
    return str(path)


def test_a_knapsack_proxy_is_verified_and_its_certificate_checks(
    seven: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["verify", seven, "-u", "20%", "-o", str(tmp_path), "--samples", "50", "--workers", "1"]
    assert run([*common, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["unit"] == "value"
    assert answer["upper"] >= answer["lower"] > 0
    assert len(answer["witness"]["input"]) == 8
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    assert not {"input", "output"} & set(certificate["proxy"])
    assert certificate["problem"]["weights"] == random_knapsack(7, 2).weights.tolist()
    assert run(["check", answer["certificate"], seven, "--samples", "50", "--attack-seconds", "1"]) == 0
    assert run([*common, "--relative"]) == 0
    told = capsys.readouterr().out
    assert "the proxy's choice is worth" in told
    assert "% less" in told
    assert run(["check", answer["certificate"], seven, "--samples", "50", "--attack-seconds", "1"]) == 0
    share = json.loads((tmp_path / "certificate.json").read_text())["claim"]["lower"]
    assert run([*common, "--relative", "--threshold", f"{90 * share:.3f}%"]) == 1
    assert run([*common, "--threshold", f"{1.1 * answer['upper']}"]) == 0
    assert run([*common, "--style", "paper", "--json"]) == 0
    capsys.readouterr()


def test_a_knapsack_proxy_in_onnx_is_replayed_by_onnxruntime(
    seven: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded, model = load_proxy(seven), tmp_path / "seven.onnx"
    model.write_bytes(write_onnx(loaded.proxy.network, loaded.proxy.manifest))
    options = ["-u", "20%", "-o", str(tmp_path), "--samples", "10", "--workers", "1", "--json"]
    assert run(["verify", str(model), *options]) == 0
    answer = json.loads(capsys.readouterr().out)
    witness = json.loads((tmp_path / "certificate.json").read_text())["witness"]
    assert witness["onnxruntime_gap"] == pytest.approx(answer["lower"], rel=1e-6)


def test_a_certificate_of_another_instance_needs_that_instance(seven: str, tmp_path: Path) -> None:
    other, certificate = tmp_path / "other.json", str(tmp_path / "certificate.json")
    write_knapsack(random_knapsack(7, 3), other)
    options = ["-u", "5%", "--case", str(other), "-o", str(tmp_path), "--samples", "10", "--workers", "1"]
    assert run(["verify", seven, *options]) == 0
    assert run(["check", certificate, seven, "--samples", "10", "--attack-seconds", "0"]) == 1
    assert run(["check", certificate, seven, "--case", str(other), "--samples", "10", "--attack-seconds", "0"]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cuts", "phi.npz"], "not convex"),
        (["--formulation", "bilevel"], "use the compact one"),
        (["--input-unit", "MW"], "no unit"),
    ],
)
def test_what_a_knapsack_proxy_has_not_is_refused_in_one_sentence(
    arguments: list[str],
    says: str,
    seven: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["verify", seven, *arguments]) >= 64
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
