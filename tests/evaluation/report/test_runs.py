"""Run folders: what is found, and what a broken run.json is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.evaluation.report.runs import EmotionRun, find_runs, read_run
from tests.evaluation.sweeps import write_pretraining, write_run


def test_runs_are_found_once_however_often_their_folder_is_given(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_pretraining(tmp_path)
    imported = tmp_path / "import" / "bert"
    imported.mkdir(parents=True)
    (imported / "run.json").write_text(json.dumps({"format": 1, "name": "import/bert", "kind": "import"}))
    emotion, pretraining = find_runs([tmp_path, tmp_path / "emotion"])
    assert len(emotion) == 1
    assert [run.name for run in pretraining] == ["pretraining/full/seed1"]


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run.json there or below"):
        find_runs([tmp_path])


def test_the_same_run_in_two_folders_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    with pytest.raises(UserError, match="the same setting, fold and seed twice"):
        find_runs([tmp_path])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", None, '"seed" is null; it must be of type int'),
        ("seed", True, '"seed" is true; it must be of type int'),
        ("corpus", {"name": "toy"}, '"corpus.sha256" is missing; it must be of type str'),
        ("labels", ["sad"], '"labels" must be two or more different names'),
        ("train_fraction", 2, '"train_fraction" must be a number above 0 and at most 1'),
        ("train_modalities", "x", "'x' is no modality case"),
        ("predictions", {"lva": "../other/predictions.jsonl"}, "it must be a file inside the run's folder"),
        ("predictions", {"lva": "/etc/passwd"}, "it must be a file inside the run's folder"),
        ("format", 2, "format 2 is not 1"),
    ],
)
def test_a_wrong_entry_is_named_by_file_and_key(tmp_path: Path, key: str, value: Any, message: str) -> None:
    folder = write_run(tmp_path)
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError) as raised:
        read_run(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    path = write_run(tmp_path) / "run.json"
    path.write_text('{"format": 1')
    with pytest.raises(UserError, match=r"run\.json: cannot be read as JSON"):
        read_run(path)


def test_only_finished_and_evaluated_runs_have_predictions(tmp_path: Path) -> None:
    def missing(folder: Path, case: str = "lva") -> str | None:
        run = read_run(folder / "run.json")
        assert isinstance(run, EmotionRun)
        return run.missing(case)

    assert missing(write_run(tmp_path, fold=1, status="running")) == "running"
    assert missing(write_run(tmp_path, fold=2), "v") == "not evaluated on v"
    made_by_hand = write_run(tmp_path, fold=3, status=None)
    assert missing(made_by_hand) is None
    (made_by_hand / "predictions" / "test-lva.jsonl").unlink()
    assert "test-lva.jsonl is missing" in str(missing(made_by_hand))
