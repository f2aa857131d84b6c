"""Intervals of voice from files: tables, Audacity's labels and RTTM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.features.media.sound import SAMPLE_RATE
from memobert_plugin.features.speakers.voice import Interval
from memobert_plugin.features.speakers.voice_detectors.intervals import IntervalsFile


def test_intervals_from_a_file_are_cut_to_the_clip(tmp_path: Path) -> None:
    path = tmp_path / "film.tsv"
    path.write_text("begin\tend\tspeaker\n10.0\t12.5\tA\n\n13\t14\tB\n11.0\t12.0\tB\n20.0\t21.0\tA\n")
    voice = IntervalsFile(path)
    voice.start(tmp_path / "film.mp4")
    assert voice.intervals(np.zeros(3 * SAMPLE_RATE), start=11.0) == [(0.0, 1.5), (2.0, 3.0)]
    assert voice.intervals(np.zeros(3 * SAMPLE_RATE)) == []


def test_a_folder_has_a_file_per_film(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("0.0\t1.0\n")
    (tmp_path / "b.tsv").write_text("0.5\t1.0\n")
    voice = IntervalsFile(tmp_path)
    for name, begin in (("a", 0.0), ("b", 0.5), ("a", 0.0)):
        voice.start(Path(f"films/{name}.mkv"))
        assert voice.intervals(np.zeros(SAMPLE_RATE)) == [(begin, 1.0)]
    with pytest.raises(DefectiveClip, match=r"c\.mkv"):
        voice.start(Path("films/c.mkv"))


@pytest.mark.parametrize("row", ["1.0", "2.0\t1.0", "1.0\tone", "1.0\tnan", "begin\tend", "1.0 2.0"])
def test_a_row_that_is_no_interval_is_named(tmp_path: Path, row: str) -> None:
    path = tmp_path / "film.tsv"
    path.write_text(f"0.0\t1.0\n{row}\n")
    with pytest.raises(DefectiveClip, match=r"film\.tsv, row 2: not begin and end in seconds"):
        IntervalsFile(path).start(tmp_path / "film.mp4")


def test_a_file_that_cannot_be_read_is_a_defect(tmp_path: Path) -> None:
    (tmp_path / "film.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DefectiveClip, match=r"film\.tsv: cannot be read"):
        IntervalsFile(tmp_path).start(tmp_path / "film.mp4")


def test_a_place_that_is_not_there_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        IntervalsFile(tmp_path / "nowhere")


def read(path: Path, content: str, film: str = "film", speaker: str | None = None) -> list[Interval]:
    path.write_text(content, encoding="utf-8")
    voice = IntervalsFile(path, speaker)
    voice.start(Path(f"{film}.mp4"))
    return voice.intervals(np.zeros(10 * SAMPLE_RATE))


PYANNOTE = """\
SPEAKER film 1 0.500 1.000 <NA> <NA> SPEAKER_00 <NA> <NA>
SPEAKER film 1 1.250 1.250 <NA> <NA> SPEAKER_01 <NA> <NA>
SPEAKER film 1 4.000 0.000 <NA> <NA> SPEAKER_01 <NA> <NA>
SPEAKER film 1 6.000 2.000 <NA> <NA> SPEAKER_00 <NA> <NA>
"""


@pytest.mark.parametrize("name", ["film.rttm", "film.tsv", "anything.txt"])
def test_rttm_is_recognised_by_its_content(tmp_path: Path, name: str) -> None:
    assert read(tmp_path / name, PYANNOTE) == [(0.5, 2.5), (6.0, 8.0)]


def test_one_speaker_can_be_chosen(tmp_path: Path) -> None:
    assert read(tmp_path / "film.rttm", PYANNOTE, speaker="SPEAKER_01") == [(1.25, 2.5)]
    assert read(tmp_path / "film.tsv", "0\t1\tAnn\n2\t3\tBob\n", speaker="Bob") == [(2.0, 3.0)]
    with pytest.raises(DefectiveClip, match=r"film\.rttm: has no speaker 'Ann'; it has 'SPEAKER_00', 'SPEAKER_01'$"):
        read(tmp_path / "film.rttm", PYANNOTE, speaker="Ann")
    with pytest.raises(DefectiveClip, match=r"film\.tsv: has no speaker 'Ann'; it has no names$"):
        read(tmp_path / "film.tsv", "0\t1\n", speaker="Ann")


@pytest.mark.parametrize("name", ["NA", "null", "None", "nan", "01"])
def test_a_speakers_name_is_text_whatever_it_says(tmp_path: Path, name: str) -> None:
    rttm = f"SPEAKER film 1 0.5 1.0 <NA> <NA> {name} <NA> <NA>\nSPEAKER film 1 3.0 1.0 <NA> <NA> BO <NA> <NA>\n"
    assert read(tmp_path / "film.rttm", rttm, speaker=name) == [(0.5, 1.5)]


def test_other_types_of_rttm_rows_and_comments_are_no_voice(tmp_path: Path) -> None:
    rows = [
        ";; made by hand",
        "SPKR-INFO film 1 <NA> <NA> <NA> unknown ann <NA> <NA>",
        "NON-SPEECH film 1 0.0 5.0 <NA> noise <NA> <NA> <NA>",
        "SPEAKER\tfilm\t1\t2.0\t1.0\t<NA>\t<NA>\tann\t0.9",
        "LEXEME film 1 2.1 0.2 hello lex ann 0.8",
    ]
    assert read(tmp_path / "film.rttm", "\r\n".join(rows)) == [(2.0, 3.0)]


def test_of_an_rttm_about_several_files_the_films_rows_are_taken(tmp_path: Path) -> None:
    rows = "".join(f"SPEAKER {name} 1 {begin} 1.0 <NA> <NA> x <NA> <NA>\n" for name, begin in (("a", 1), ("b", 5)))
    assert read(tmp_path / "all.rttm", rows, film="a") == [(1.0, 2.0)]
    assert read(tmp_path / "all.rttm", rows, film="b") == [(5.0, 6.0)]
    with pytest.raises(DefectiveClip, match=r"all\.rttm: has no rows about 'c'; it is about 'a', 'b'$"):
        read(tmp_path / "all.rttm", rows, film="c")
    one = "SPEAKER whatever 1 1.0 1.0 <NA> <NA> x <NA> <NA>\n"
    assert read(tmp_path / "film.rttm", one, film="c") == [(1.0, 2.0)]


@pytest.mark.parametrize(
    "row",
    [
        "SPEAKER film 1 0.5",
        "SPEAKER film 1 zero 1.0 <NA> <NA> x",
        "SPEAKER film 1 0.5 -1.0 <NA> <NA> x",
        "SPEAKER my film 1 0.5 1.0 <NA> <NA> x <NA> <NA>",
        "0.5\t1.5\tspeech",
    ],
)
def test_a_bad_row_of_rttm_is_named(tmp_path: Path, row: str) -> None:
    with pytest.raises(DefectiveClip, match=r"film\.rttm, row 2: not SPEAKER, file, channel, begin") as caught:
        read(tmp_path / "film.rttm", f"SPEAKER film 1 0.0 1.0 <NA> <NA> x <NA> <NA>\n{row}\n")
    assert "\n" not in str(caught.value)


def test_audacitys_labels_are_intervals_but_for_points_and_frequencies(tmp_path: Path) -> None:
    labels = "0.500000\t2.000000\tAnn: hello\n\\\t300.000000\t3000.000000\n3.0\t3.0\tclap\n4,25\t5,5\t\n"
    assert read(tmp_path / "Label Track.txt", labels) == [(0.5, 2.0), (4.25, 5.5)]


def test_a_folder_may_hold_any_of_the_formats(tmp_path: Path) -> None:
    (tmp_path / "a.rttm").write_text("SPEAKER a 1 0.5 1.0 <NA> <NA> x <NA> <NA>\n")
    (tmp_path / "b.txt").write_text("0.25\t1.0\tx\n")
    voice = IntervalsFile(tmp_path)
    for name, expected in (("a", (0.5, 1.0)), ("b", (0.25, 1.0))):
        voice.start(Path(f"films/{name}.mkv"))
        assert voice.intervals(np.zeros(SAMPLE_RATE)) == [expected]
    with pytest.raises(DefectiveClip, match=r"c\.mkv: .* has no c\.tsv or c\.rttm or c\.txt"):
        voice.start(Path("films/c.mkv"))
