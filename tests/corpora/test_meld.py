"""MELD's tables become manifest rows."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.corpora.__main__ import main
from memobert_plugin.corpora.meld import PARTS, read_meld
from memobert_plugin.data.manifest import read_manifest

HEADER = (
    "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode",
    "StartTime", "EndTime",
)  # fmt: skip


def line(utterance: str = "What?", emotion: str = "surprise", dialogue: str = "0", number: str = "0") -> list[str]:
    """One row of a table as published."""
    return ["1", utterance, "Monica", emotion, "negative", dialogue, number, "4", "7", "00:21:01,927", "00:21:03,261"]


def write_table(
    folder: Path, part: str, lines: list[list[str]], encoding: str = "utf-8", header: tuple[str, ...] = HEADER
) -> Path:
    """A table of MELD in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{part}_sent_emo.csv", "w", encoding=encoding, newline="") as stream:
        csv.writer(stream).writerows([header, *lines])
    return folder


def test_a_row_becomes_an_utterance(tmp_path: Path) -> None:
    write_table(tmp_path, "train", [line('Oh, "my" God, what?', "Anger", "12", "3")])
    [row] = read_meld(tmp_path).rows
    assert row.id == "train_dia12_utt3"
    assert (row.speaker, row.session, row.split) == ("Monica", "train_dia12", "train")
    assert (row.text, row.emotion) == ('Oh, "my" God, what?', "anger")
    assert (row.video, row.audio, row.start, row.end) == ("", "", None, None)


def test_dev_is_the_validation_split_and_the_parts_stay_apart(tmp_path: Path) -> None:
    for part in PARTS:
        write_table(tmp_path, part.name, [line(), line(number="1")])
    rows = read_meld(tmp_path).rows
    assert Counter(row.split for row in rows) == {"train": 2, "valid": 2, "test": 2}
    assert [row.id for row in rows if row.split == "valid"] == ["dev_dia0_utt0", "dev_dia0_utt1"]
    assert len({row.session for row in rows}) == 3


@pytest.mark.parametrize(
    ("written", "encoding", "read"),
    [
        ("It\x92s late\x85 caf\xe9", "utf-8", "It’s late… café"),
        ("It’s late… café", "cp1252", "It’s late… café"),
        ("It’s late… café", "utf-8", "It’s late… café"),
        ("It’s late… café", "utf-8-sig", "It’s late… café"),
        ("two\nlines,\tone\u2028text ", "utf-8", "two lines, one text"),
        ("\x81 no cp1252", "utf-8", "no cp1252"),
    ],
)
def test_left_over_bytes_and_line_breaks_are_one_line(tmp_path: Path, written: str, encoding: str, read: str) -> None:
    write_table(tmp_path, "dev", [line(written)], encoding)
    reading = read_meld(tmp_path)
    assert [row.text for row in reading.rows] == [read]
    reading.write(tmp_path / "manifest.tsv")
    assert [row.text for row in read_manifest(tmp_path / "manifest.tsv")] == [read]


def test_a_defective_row_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    lines = [line(), line(dialogue="x"), line(emotion="bored"), line(" ", number="2"), line(), line(number="3")[:3]]
    write_table(tmp_path, "train", lines)
    reading = read_meld(tmp_path)
    assert [row.id for row in reading.rows] == ["train_dia0_utt0"]
    reasons = ["Dialogue_ID 'x'", "emotion 'bored'", "the utterance is empty", "occurs twice", "Dialogue_ID ''"]
    for number, (defect, reason) in enumerate(zip(reading.defects, reasons, strict=True), start=3):
        assert defect.place == f"{tmp_path / 'train_sent_emo.csv'}, row {number}"
        assert reason in defect.reason


def test_other_counts_than_stated_are_remarked(tmp_path: Path) -> None:
    write_table(tmp_path, "dev", [line()])
    assert read_meld(tmp_path).remarks == ["dev_sent_emo.csv: 1 utterance; MELD states 1109"]


@pytest.mark.parametrize("below", ["", "train"])
def test_clips_are_found_where_the_archives_put_them(tmp_path: Path, below: str) -> None:
    write_table(tmp_path, "train", [line(), line(number="1")])
    clips = tmp_path / "MELD.Raw" / below / "train_splits"
    clips.mkdir(parents=True)
    (clips / "dia0_utt1.mp4").touch()
    reading = read_meld(tmp_path, tmp_path / "MELD.Raw")
    assert [row.video for row in reading.rows] == ["", str(clips / "dia0_utt1.mp4")]
    assert any("1 utterance without a clip" in remark for remark in reading.remarks)


def test_wrong_folders_and_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none of train_sent_emo\.csv"):
        read_meld(tmp_path)
    write_table(tmp_path, "train", [line()])
    with pytest.raises(UserError, match="no folder train_splits"):
        read_meld(tmp_path, tmp_path)
    write_table(tmp_path, "train", [line()[:3]], header=HEADER[:3])
    with pytest.raises(UserError, match=r"train_sent_emo\.csv, row 1: no column Emotion, Dialogue_ID, Utterance_ID"):
        read_meld(tmp_path)


def test_the_command_writes_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path, "train", [line("Great!", "joy"), line("No.", "sadness", number="1")])
    manifest = tmp_path / "manifest.tsv"
    assert main(["meld", str(tmp_path), "--output", str(manifest), "--rename-emotions", "joy=happy,sadness=sad"]) == 0
    assert [row.emotion for row in read_manifest(manifest)] == ["happy", "sad"]
    out = capsys.readouterr().out
    assert "2 utterances of 1 speaker; emotions: happy 1, sad 1; splits: train 2" in out
    assert "MELD states 9989" in out


def test_the_real_tables(real_data: Path) -> None:
    folder = real_data / "text" / "meld"
    if not folder.is_dir():
        pytest.skip("no folder text/meld in the real data")
    reading = read_meld(folder)
    assert not reading.defects
    assert not reading.remarks
    assert Counter(row.split for row in reading.rows) == {"train": 9989, "valid": 1109}
