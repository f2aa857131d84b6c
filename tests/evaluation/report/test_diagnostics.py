"""Scores by part of the corpus, selected beside tested scores, and what intervals and tests resample."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from memobert_plugin.evaluation.report.report import Choices, build_report
from memobert_plugin.evaluation.report.runs import find_runs
from tests.evaluation.sweeps import emotion_log, write_grid, write_run


def files_of(*folders: Path, **choices: Any) -> dict[str, str]:
    """A report's text files."""
    files = build_report(*find_runs(folders), Choices(**{"pictures": False, **choices})).files()
    return {name: content.decode("utf-8") for name, content in files.items()}


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def with_parts(root: Path) -> Path:
    """Runs in which every second utterance is scripted and always right."""
    write_grid(root, ("direct",), folds=(1, 2), seeds=(1, 2), skill=0.5)
    for path in root.rglob("test-lva.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for number, line in enumerate(lines):
            line["part"] = ("scripted", "improvised")[number % 2]
            line["prediction"] = line["label"] if number % 2 == 0 else line["prediction"]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def test_parts_have_scores_of_their_own_and_scripts_a_warning(tmp_path: Path) -> None:
    files = files_of(with_parts(tmp_path))
    scripted, improvised = sorted(records(files["parts.csv"]), key=lambda row: -float(row["wa"]))
    assert (scripted["part"], float(scripted["wa"]), float(scripted["uar"])) == ("scripted", 100, 100)
    assert (improvised["part"], improvised["utterances"]) == ("improvised", "24") and float(improvised["wa"]) < 100
    assert "Scripted turns repeat" in files["parts.md"]


def test_the_selected_score_stands_beside_the_tested_one(tmp_path: Path) -> None:
    write_grid(tmp_path, ("direct",), folds=(1, 2), seeds=(1,), log=emotion_log(4))
    files = files_of(tmp_path)
    [row] = records(files["selection_gap.csv"])
    tested = float(records(files["table2_settings.csv"])[0]["uar"])
    assert float(row["selected_uar"]) == pytest.approx(32) and float(row["gap"]) == pytest.approx(32 - tested)
    assert "parts.md" not in files


def test_folds_of_sessions_resample_sessions(tmp_path: Path) -> None:
    for setting in ("direct", "pretrain_prompt"):
        for fold in (1, 2, 3):
            folder = write_run(tmp_path, setting, fold, 1, held_out="session", test_speaker="")
            lines = [json.loads(line) for line in (folder / "predictions/test-lva.jsonl").read_text().splitlines()]
            for number, line in enumerate(lines):
                line["speaker"] = f"s{2 * fold + number % 2}"
            (folder / "predictions/test-lva.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = files_of(tmp_path)
    assert {row["speakers"] for row in records(files["table2_settings.csv"])} == {"3"}
    assert "bootstrap over the test sessions" in files["table2_settings.md"]
    [test] = records(files["table2_tests.csv"])
    assert (
        float(test["smallest_p"]) == pytest.approx(2 / 2**3)
        and "all predictions of a session" in files["table2_tests.md"]
    )


def test_a_single_test_speaker_allows_no_test(tmp_path: Path) -> None:
    write_grid(tmp_path, ("direct", "pretrain_prompt"), folds=(1,), seeds=(1, 2))
    files = files_of(tmp_path)
    [test] = records(files["table2_tests.csv"])
    assert test["p"] == test["p_holm"] == ""
    assert [cell.strip() for cell in files["table2_tests.md"].splitlines()[4].split("|")[3:6]] == ["–"] * 3
    assert "no test with a single test speaker" in files["table2_tests.md"]


def test_captions_name_the_share_of_the_training_data(tmp_path: Path) -> None:
    write_grid(tmp_path, folds=(1, 2), seeds=(1,), fraction=0.1)
    files = files_of(tmp_path)
    for name in ("table2_settings.md", "table2_tests.md", "confusion.md"):
        assert "10 % of the training data" in files[name].splitlines()[0], name
