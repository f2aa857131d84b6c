"""Subtitle files as they are found in the wild."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.features.media.streams import StreamChoice
from memobert_plugin.features.media.subtitles import Line, embedded_subtitles, read_subtitles
from tests.films import Cue, write_film, write_srt

pytest.importorskip("pysubs2")
CUES = [Cue(1.5, 2.75, "Déjà vu – “yes”"), Cue(0.0, 1.0, "<i>Señor</i>\nGarcía")]
LINES = [Line(0.0, 1.0, "Señor\nGarcía", 1), Line(1.5, 2.75, "Déjà vu – “yes”", 2)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_lines_come_in_order_of_time_whatever_the_encoding(tmp_path: Path, encoding: str) -> None:
    found = read_subtitles(write_srt(tmp_path / "f.srt", CUES, encoding))
    assert found.lines == LINES
    assert found.remark == ""


def test_windows_1252_is_guessed_and_said(tmp_path: Path) -> None:
    path = write_srt(tmp_path / "f.srt", CUES, "cp1252")
    found = read_subtitles(path)
    assert found.lines == LINES
    assert found.remark == f"{path}: not UTF-8, taken for Windows-1252 (--encoding names another)"


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    path = write_srt(tmp_path / "f.srt", [Cue(0, 2, "Привет")], "cp1251")
    assert read_subtitles(path, "cp1251").lines[0].text == "Привет"
    with pytest.raises(UserError, match="--encoding klingon: Python knows no such encoding"):
        read_subtitles(path, "klingon")
    with pytest.raises(DefectiveClip, match="not in utf-8"):
        read_subtitles(path, "utf-8")


def test_ass_events_without_comments_drawings_and_tags(tmp_path: Path) -> None:
    path = tmp_path / "f.ass"
    path.write_text(
        "[Script Info]\nScriptType: v4.00+\n\n[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:02.00,0:00:03.50,Default,,0,0,0,,{\\an8\\i1}Two{\\i0}\\Nrows, one comma\n"
        "Comment: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,not shown\n"
        "Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0{\\p0}\n"
        "Dialogue: 0,0:00:00.50,0:00:01.50,Default,,0,0,0,,One\n"
    )
    assert read_subtitles(path).lines == [Line(0.5, 1.5, "One", 1), Line(2.0, 3.5, "Two\nrows, one comma", 2)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not readable as subtitles"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x81" * 9, "not readable as subtitles"),
        (b"just words", "not readable as subtitles"),
        (codecs.BOM_UTF16_LE + b"a", "not in utf-16"),
        (b"[V4+ Styles]\nStyle: a,b,20,,,,\n[Events]\n", "not readable as subtitles"),
    ],
)
def test_what_is_no_subtitle_file_is_a_defect(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "f.srt").write_bytes(content)
    with pytest.raises(DefectiveClip, match=f"f.srt: {reason}"):
        read_subtitles(tmp_path / "f.srt")
    with pytest.raises(DefectiveClip, match="cannot be read"):
        read_subtitles(tmp_path / "none.srt")


def test_the_stream_with_the_most_text_inside_a_film(tmp_path: Path) -> None:
    pytest.importorskip("av")
    film = write_film(tmp_path / "f.mkv", cues=[Cue(0.5, 1.5, "{\\i1}Hello{\\i0}\\Nthere"), Cue(1.5, 2.5, "Bye, now")])
    found = embedded_subtitles(film)
    assert found.lines == [Line(0.5, 1.5, "Hello\nthere", 1), Line(1.5, 2.5, "Bye, now", 2)]
    assert found.origin == f"{film}, stream 2"
    with pytest.raises(DefectiveClip, match="no stream of text inside in language fre"):
        embedded_subtitles(film, StreamChoice("fre"))
    with pytest.raises(DefectiveClip, match="no subtitles beside it, and no stream of text inside"):
        embedded_subtitles(write_film(tmp_path / "bare.mkv", seconds=0.5))
