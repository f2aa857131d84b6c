"""SAMI: lines end where an empty one takes them off the screen, and of several languages one is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin.core.errors import DefectiveClip
from memobert_plugin.features.media.subtitles import read_subtitles

STYLE = """<SAMI><HEAD><TITLE>a film</TITLE><STYLE TYPE="text/css"><!--
P { font-family: Arial; }
.KRCC { Name: Korean; lang: ko-KR; SAMIType: CC; }
.ENCC { Name: English; lang: en-US; SAMIType: CC; }
--></STYLE></HEAD><BODY>
"""
TWO_LANGUAGES = (
    STYLE
    + """<SYNC Start=1000><P Class=KRCC>안녕
<SYNC Start=1000><P Class=ENCC>Oh, no.<br>They are
here.
<SYNC Start=6500><P Class=KRCC>&nbsp;
<SYNC Start=7000><P Class=ENCC>&nbsp;
<SYNC Start=8000><P Class=ENCC>Who <i>is</i> &lt;here&gt;?
<SYNC Start=12000><P Class=KRCC>누구<P Class=ENCC>&nbsp;
</BODY></SAMI>
"""
)


def lines_of(path: Path, content: str, language: str | None = None) -> tuple[list[tuple[float, float, str]], str]:
    path.write_text(content, encoding="utf-8")
    found = read_subtitles(path, language=language)
    return [(line.start, line.end, line.text) for line in found.lines], found.remark


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        (None, [(1.0, 7.0, "Oh, no.\nThey are here."), (8.0, 12.0, "Who is <here>?")]),
        ("en", [(1.0, 7.0, "Oh, no.\nThey are here."), (8.0, 12.0, "Who is <here>?")]),
        ("ko", [(1.0, 6.5, "안녕"), (12.0, 12.634, "누구")]),
    ],
)
def test_one_language_is_read_and_its_lines_end_where_they_leave_the_screen(
    tmp_path: Path, language: str | None, lines: list[tuple[float, float, str]]
) -> None:
    path = tmp_path / "film.smi"
    found, remark = lines_of(path, TWO_LANGUAGES, language)
    assert found == lines
    taken = "KRCC (Korean, ko-KR)" if language == "ko" else "ENCC (English, en-US)"
    other = "ENCC (English, en-US)" if language == "ko" else "KRCC (Korean, ko-KR)"
    assert f"{path}: of several languages {taken} is read; there is also {other}" in remark


def test_a_language_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "film.smi").write_text(TWO_LANGUAGES, encoding="utf-8")
    with pytest.raises(
        DefectiveClip, match=r"film\.smi: no lines in language fr; there are: KRCC \(Korean, ko-KR\), ENCC"
    ):
        read_subtitles(tmp_path / "film.smi", language="fr")


def test_classes_without_style_are_told_apart_and_the_first_is_read(tmp_path: Path) -> None:
    content = TWO_LANGUAGES.replace(STYLE, "<SAMI><BODY>")
    found, remark = lines_of(tmp_path / "film.smi", content)
    assert [text for *_, text in found] == ["안녕", "누구"] and "KRCC is read; there is also ENCC" in remark


@pytest.mark.parametrize("mark", ["<P Class=ENCC>", "<p class='ENCC'>", "<P>", ""])
def test_a_single_language_needs_no_remark(tmp_path: Path, mark: str) -> None:
    content = f"<SAMI><BODY><SYNC Start=1000>{mark}Oh.<SYNC Start=5000>{mark}&nbsp;</BODY></SAMI>"
    assert lines_of(tmp_path / "film.smi", content) == ([(1.0, 5.0, "Oh.")], "")


def test_lines_that_nothing_takes_off_the_screen_end_with_their_reading_time(tmp_path: Path) -> None:
    content = "<SAMI><BODY>" + "".join(
        f"<SYNC Start={start}><P Class=ENCC>{text}"
        for start, text in ((1000, "One."), (1500, "Two."), (60000, "Three."))
    )
    found, remark = lines_of(tmp_path / "film.smi", content)
    assert found == [(1.0, 1.5, "One."), (1.5, 2.268, "Two."), (60.0, 60.902, "Three.")]
    assert "no line is taken off the screen: lines end after the time that reading takes" in remark


def test_names_beside_the_text_and_times_that_are_none_are_left_out(tmp_path: Path) -> None:
    content = (
        "<SAMI><BODY><SYNC Start=1000><P Class=ENCC ID=Source>Mira<P Class=ENCC>Oh.<SYNC Start=soon><P Class=ENCC>No."
        "<SYNC Start=3000><P Class=ENCC>&nbsp;</BODY></SAMI>"
    )
    found, remark = lines_of(tmp_path / "film.smi", content)
    assert found == [(1.0, 3.0, "Oh.")] and "1 cues left out, whose times cannot be read" in remark
