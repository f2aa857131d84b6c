"""An extraction that has not finished is told of, and what it has given up is not."""

from __future__ import annotations

from pathlib import Path

from memobert_plugin.data.extraction_lists import DROPPED, FAILED, SOURCES, listed, unfinished_extraction
from memobert_plugin.data.frames import frame_file
from memobert_plugin.data.manifest import ManifestRow

ROWS = [ManifestRow(0, name) for name in "abcde"]


def test_utterances_that_were_neither_written_nor_given_up_are_counted(tmp_path: Path) -> None:
    assert not list(unfinished_extraction(tmp_path, ROWS))  # frames of another tool
    sources = "".join(f"{row.id}\t{row.id}.wav\t\t\t\n" for row in ROWS)
    (tmp_path / SOURCES).write_text(f"id\tfile\tstart\tend\tregion\n{sources}z\tz.wav\t\t\t\n")
    (tmp_path / DROPPED).write_text("id\treason\nb\tno face\n")
    (tmp_path / FAILED).write_text("id\treason\nc\tno such file\n")
    frame_file(tmp_path, "a").touch()
    [note] = unfinished_extraction(tmp_path, ROWS)
    assert note.startswith(f"{tmp_path}: 2 utterances without the frames") and "start it again" in note
    for name in "de":
        frame_file(tmp_path, name).touch()
    assert not list(unfinished_extraction(tmp_path, ROWS))


def test_a_list_that_a_kill_cut_off_is_read_up_to_its_last_line(tmp_path: Path) -> None:
    (tmp_path / DROPPED).write_text("b\tno face\nc\tno fa")
    assert listed(tmp_path / DROPPED) == {"b": "no face"}
    assert listed(tmp_path / FAILED) == {}
