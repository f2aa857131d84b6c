"""Files of predictions: broken lines by file and row, and one list of utterances per fold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.evaluation.report.predictions import VOCABULARY, PredictionReader
from memobert_plugin.evaluation.report.runs import EmotionRun, read_run
from tests.evaluation.sweeps import prediction_lines, write_lines, write_run


def emotion_run(folder: Path) -> EmotionRun:
    run = read_run(folder / "run.json")
    assert isinstance(run, EmotionRun)
    return run


def lines_of(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "predictions" / "test-lva.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_counts_are_those_of_the_lines(tmp_path: Path) -> None:
    folder = write_run(tmp_path, vocabulary=True)
    lines = lines_of(folder)
    counts = PredictionReader().read(emotion_run(folder), "lva")
    assert counts.speakers == ("Ses01",)
    for decision, key in (("label words", "prediction"), (VOCABULARY, "vocabulary_prediction")):
        table = counts.counts[decision][0]
        assert table.sum() == len(lines)
        assert table[0, 0] == sum(line["label"] == line[key] == "anger" for line in lines)
        assert table[:, -1].sum() == sum(line[key] is None for line in lines)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "joy"}, 'label "joy" is unknown; the run has anger, happy, neutral, sad'),
        ({"prediction": 3}, '"prediction" is missing or no text'),
        ({"vocabulary_prediction": "dog"}, 'vocabulary_prediction "dog" is neither a label nor null'),
        ({"fold": 2}, "fold 2, but the run's is 1"),
        ({"speaker": "Ses09"}, "speaker Ses09, but the run's test speaker is Ses01"),
        ({"id": "Ses01_000"}, "utterance Ses01_000 again, after row 1"),
    ],
)
def test_a_wrong_line_is_named_by_file_and_row(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = write_run(tmp_path)
    lines = lines_of(folder)
    lines[4] |= changes
    path = folder / "predictions" / "test-lva.jsonl"
    write_lines(path, lines)
    with pytest.raises(UserError) as raised:
        PredictionReader().read(emotion_run(folder), "lva")
    assert str(raised.value).startswith(f"{path}:5: {message}")


@pytest.mark.parametrize(("text", "message"), [('{"id": "a', ":2: no JSON"), ("[1]", ":2: no JSON object")])
def test_a_torn_line_is_named_by_file_and_row(tmp_path: Path, text: str, message: str) -> None:
    folder = write_run(tmp_path)
    path = folder / "predictions" / "test-lva.jsonl"
    first = path.read_text(encoding="utf-8").splitlines()[0]
    path.write_text(f"{first}\n{text}\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        PredictionReader().read(emotion_run(folder), "lva")
    path.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="holds no prediction"):
        PredictionReader().read(emotion_run(folder), "lva")


def test_other_utterances_of_the_same_fold_are_refused_with_the_difference(tmp_path: Path) -> None:
    first, second = write_run(tmp_path, seed=1), write_run(tmp_path, seed=2)
    reader = PredictionReader()
    reader.read(emotion_run(first), "lva")
    path = second / "predictions" / "test-lva.jsonl"
    write_lines(path, prediction_lines("Ses01", 1, skill=0.5, key="x", count=26)[1:])
    with pytest.raises(UserError) as raised:
        reader.read(emotion_run(second), "lva")
    assert "only the first has 1 utterance such as Ses01_000" in str(raised.value)
    assert "only the second has 2 utterances such as Ses01_024" in str(raised.value)
    assert str(path) in str(raised.value)


def test_another_label_of_an_utterance_is_refused_with_both(tmp_path: Path) -> None:
    first, second = write_run(tmp_path, seed=1), write_run(tmp_path, seed=2)
    lines = lines_of(second)
    was = lines[3]["label"]
    lines[3]["label"] = "sad" if was != "sad" else "anger"
    write_lines(second / "predictions" / "test-lva.jsonl", lines)
    reader = PredictionReader()
    reader.read(emotion_run(first), "lva")
    with pytest.raises(UserError, match=rf"another speaker or label, such as Ses01_003: Ses01, {was} and Ses01"):
        reader.read(emotion_run(second), "lva")


def test_a_speaker_tested_in_two_folds_is_refused(tmp_path: Path) -> None:
    first, second = write_run(tmp_path), write_run(tmp_path, fold=2, test_speaker="Ses01")
    reader = PredictionReader()
    reader.read(emotion_run(first), "lva")
    with pytest.raises(UserError, match="speaker Ses01 is tested in fold 1 and in fold 2"):
        reader.read(emotion_run(second), "lva")
