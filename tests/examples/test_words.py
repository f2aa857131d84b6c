"""MELD's lines become one fold, and its training texts join others to pre-train on."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.manifest import read_manifest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "words" / "build.py"
spec = importlib.util.spec_from_file_location("words_build", SCRIPT)
assert spec is not None and spec.loader is not None
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
FIELDS = ("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")


def write_meld(folder: Path) -> Path:
    """Twenty dialogues of two lines to train on, one for development."""
    for name, dialogues in (("train", 20), ("dev", 1)):
        with open(folder / f"{name}_sent_emo.csv", "w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(FIELDS)
            for number in range(2 * dialogues):
                line = f"{name} line, {number}"
                writer.writerow((number, line, "Joey", "joy", "positive", number // 2, number % 2))
    return folder


def test_a_tenth_of_the_dialogues_is_the_validation_and_dev_the_test(tmp_path: Path) -> None:
    assert build.main(["--meld", str(write_meld(tmp_path)), "--output", str(tmp_path)]) == 0
    rows = list(read_manifest(tmp_path / "meld.tsv"))
    sessions = {part: {row.session for row in rows if row.split == part} for part in ("train", "valid", "test")}
    assert {part: len(names) for part, names in sessions.items()} == {"train": 18, "valid": 2, "test": 1}
    assert not sessions["train"] & sessions["valid"] and not any(row.speaker for row in rows)


def test_the_output_folder_is_made(tmp_path: Path) -> None:
    build.main(["--meld", str(write_meld(tmp_path)), "--output", str(tmp_path / "a" / "b")])
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"meld.tsv", "lines.tsv"}


@pytest.mark.parametrize("absent", ["train", "dev"])
def test_both_parts_of_meld_are_needed(tmp_path: Path, absent: str) -> None:
    (write_meld(tmp_path) / f"{absent}_sent_emo.csv").unlink()
    with pytest.raises(UserError, match=r"--meld: give train_sent_emo\.csv, of ten dialogues at least, and dev_sent"):
        build.main(["--meld", str(tmp_path), "--output", str(tmp_path)])


def test_pre_training_reads_the_training_part_and_the_other_tables_without_labels(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('Utterance,Emotion\n"Well,  hello.",Joyful\n', encoding="utf-8")
    (tmp_path / "b.tsv").write_text("text\tlabel\nIt\x92s mine.\t3\n\t4\n", encoding="utf-8")
    tables = [str(tmp_path / name) for name in ("a.csv", "b.tsv")]
    build.main(["--meld", str(write_meld(tmp_path)), "--output", str(tmp_path), "--lines", *tables])
    rows = list(read_manifest(tmp_path / "lines.tsv"))
    assert [row.text for row in rows[-2:]] == ["Well, hello.", "It's mine."]
    assert len(rows) == 36 + 2 and not any(row.emotion for row in rows)
    assert all(row.text.startswith("train line") for row in rows[:-2])


def test_a_table_without_texts_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("words\nhello\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"c\.csv, row 2: no column Utterance or text"):
        build.main(["--meld", str(write_meld(tmp_path)), "--output", str(tmp_path), "--lines", str(tmp_path / "c.csv")])
