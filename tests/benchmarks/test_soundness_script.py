"""The benchmark of soundness: rows that can be taken up again, counts by family and option, and its exit code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from benchmarks.soundness import __main__ as script
from benchmarks.soundness import run


def test_rows_are_counted_and_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    asked: list[int] = []

    def here(seeds: Iterable[int], processes: int) -> Iterator[run.Row]:
        for seed in seeds:
            asked.append(seed)
            yield run.row_of(seed)

    monkeypatch.setattr(script, "rows", here)
    files = ["--rows", str(tmp_path / "rows.jsonl"), "--json", str(tmp_path / "soundness.json")]
    script.main(["--instances", "3", "--start", "5", *files])
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"seed": 8, "fam')  # An interruption cut this line off.
    script.main(["--instances", "5", "--start", "5", "--resume", *files])
    assert asked == [5, 6, 7, 8, 9]
    told = json.loads((tmp_path / "soundness.json").read_text())
    assert told["all"]["instances"] == 5
    assert sum(told["all"][outcome] for outcome in script.OUTCOMES) == 5
    assert sum(one["instances"] for one in told["families"].values()) == 5
    assert "| all | 5 |" in capsys.readouterr().out


def test_a_violation_is_in_the_summary_with_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"kind": "upper exceeded", "detail": "2 > 1", "excess": 0.5}
    rows = [
        {"seed": k, "family": "knapsack", "outcome": "certified", "violations": [wrong] * (k == 1)} for k in range(3)
    ]
    monkeypatch.setattr(script, "rows", lambda seeds, processes: iter(rows))
    file = tmp_path / "soundness.json"
    assert script.main(["--instances", "3", "--rows", str(tmp_path / "rows.jsonl"), "--json", str(file)]) == 1
    told = json.loads(file.read_text())
    assert told["violations"] == [{"seed": 1, **wrong, "instance": ""}]
    assert told["families"]["knapsack"]["violations"] == {"upper exceeded": 1}
    assert told["all"]["largest excess"] == 0.5
