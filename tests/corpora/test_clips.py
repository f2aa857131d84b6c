"""A folder of clips becomes a manifest: media by name, words beside them, columns in the paths."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import soundfile

from memobert_plugin.cli.manifest import main
from memobert_plugin.core.errors import UserError
from memobert_plugin.corpora.clips import ClipsOptions, name_pattern, read_clips
from memobert_plugin.data.manifest import ManifestRow, media_path, read_manifest
from tests.films import Cue, Track, tone, write_srt, write_tracks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sound with words, with subtitles and alone, and two files that are one clip."""
    clips = tmp_path / "clips"
    (clips / "alice").mkdir(parents=True)
    (clips / "bob").mkdir()
    for name, seconds in (("alice/happy_1.wav", 1.0), ("alice/sad_2.wav", 6.0), ("bob/sad_1.flac", 1.0)):
        soundfile.write(clips / name, tone(seconds), 16_000)
    (clips / "bob" / "sad_1.mp4").touch()
    (clips / "alice" / "happy_1.txt").write_text("so  it\nis", encoding="utf-8")
    cues = [Cue(0.5, 2.0, "<i>Stop it.</i>"), Cue(2.1, 2.3, "Uh."), Cue(3.0, 5.0, "We love it.")]
    write_srt(clips / "alice" / "sad_2.srt", cues)
    return clips


def rows_of(folder: Path, **options: Any) -> dict[str, ManifestRow]:
    return {row.id: row for row in read_clips(folder, ClipsOptions(**options)).rows}


def test_words_and_lines_beside_clips_become_rows(folder: Path) -> None:
    rows = rows_of(folder)
    assert list(rows) == ["alice/happy_1", "alice/sad_2_00001", "alice/sad_2_00003", "bob/sad_1"]
    assert rows["alice/happy_1"].text == "so it is" and rows["alice/happy_1"].start is None
    line = rows["alice/sad_2_00001"]
    assert (line.text, line.start, line.end) == ("Stop it.", 0.5, 2.0)
    both = rows["bob/sad_1"]
    assert both.video.endswith("bob/sad_1.mp4") and both.audio.endswith("bob/sad_1.flac") and both.text == ""


def test_whole_clips_keep_all_words_in_one_row(folder: Path) -> None:
    row = rows_of(folder, whole=True)["alice/sad_2"]
    assert row.text == "Stop it. We love it." and row.start is None


def test_what_is_left_out_or_lacking_is_said(folder: Path) -> None:
    remarks = read_clips(folder, ClipsOptions()).remarks
    assert remarks == [
        f"{folder / 'alice' / 'sad_2.srt'}: 1 of 3 lines left out (the first at 2.1 s: shorter than 1 s)",
        "1 of 4 utterances without words",
    ]


def test_names_tell_columns_from_the_right(folder: Path) -> None:
    rows = rows_of(folder.parent, names=name_pattern("{speaker}/{emotion}_{}"))
    assert {(row.speaker, row.emotion) for row in rows.values()} == {
        ("alice", "happy"),
        ("alice", "sad"),
        ("bob", "sad"),
    }
    soundfile.write(folder / "odd.wav", tone(1.0), 16_000)
    reading = read_clips(folder, ClipsOptions(names=name_pattern("{speaker}/{emotion}_{}")))
    assert [str(defect) for defect in reading.defects] == [f"{folder / 'odd.wav'}: its path does not fit --names"]


@pytest.mark.parametrize("pattern", ["{}_{}", "{spaker}", "{speaker}_{speaker}", "speaker"])
def test_patterns_without_a_known_column_are_refused(pattern: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="once at most"):
        name_pattern(pattern)


@pytest.mark.parametrize(("embedded", "texts"), [(True, ["Go home."]), (False, [""])])
def test_subtitles_inside_a_film_are_read_on_request(tmp_path: Path, embedded: bool, texts: list[str]) -> None:
    pytest.importorskip("av")
    write_tracks(tmp_path / "film.mkv", [Track("eng", tone=300.0), Track("eng", cues=[Cue(0.2, 1.6, "Go home.")])])
    assert [row.text for row in rows_of(tmp_path, embedded=embedded).values()] == texts


def test_defective_files_are_left_out_by_name(folder: Path) -> None:
    (folder / "bob" / "sad_1.srt").write_text("no subtitles")
    (folder / "alice" / "happy_1.flac").touch()
    defects = [str(defect) for defect in read_clips(folder, ClipsOptions()).defects]
    assert len(defects) == 2
    assert "happy_1.wav: happy_1.flac is another of that name; rename one" in defects[0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nowhere", {}, "nowhere: no such folder"),
        (".", {}, "no film and no sound file below it"),
        (".", {"shortest": -1.0}, "--shortest -1: give seconds"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_clips(tmp_path / name, ClipsOptions(**options))


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl"])
def test_the_command_writes_each_format_with_paths_that_move_along(
    folder: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = folder / f"m.{suffix}"
    assert main([str(folder), "--output", str(manifest), "--names", "{speaker}/{emotion}_{}"]) == 0
    assert f"{manifest}: 4 utterances of 2 speakers; emotions: happy 1, sad 3" in capsys.readouterr().out
    first = next(iter(read_manifest(manifest)))
    assert first.audio == "alice/happy_1.wav" and media_path(manifest, first.audio).is_file()
