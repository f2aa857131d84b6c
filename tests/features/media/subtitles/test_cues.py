# ruff: noqa: E501 (files of subtitles in one row each)
"""WebVTT and SubRip: cues, markup, times inside cues, speakers, and captions that roll up the screen."""

from __future__ import annotations

import pytest

from memobert_plugin.features.media.subtitles.cues import (
    Cue,
    from_subviewer,
    lines_of,
    parse_subrip,
    parse_webvtt,
    split_turns,
)
from memobert_plugin.features.media.subtitles.lines import Line, Word

Told = tuple[float, float, str]


def webvtt(text: str) -> list[Told]:
    return [(line.start, line.end, line.text) for line in lines_of(parse_webvtt(text).cues)]


def subrip(text: str) -> list[Told]:
    return [(line.start, line.end, line.text) for line in lines_of(parse_subrip(text).cues)]


def text_of(payload: str) -> str:
    (line,) = lines_of([Cue(1.0, 3.0, payload)])
    return line.text


def test_blocks_that_are_no_cues_are_left_out() -> None:
    text = """WEBVTT - a title
Kind: captions

STYLE
::cue { color: red }

REGION
id:low
width:40%

NOTE checked
twice

opening words
00:01.000 --> 00:02.500 region:low align:left
One.

7f0e/12-0
00:00:03.000 --> 00:00:04.500
Two.
NOTE is spoken here.

NOTE
last
"""
    assert webvtt(text) == [(1.0, 2.5, "One."), (3.0, 4.5, "Two.\nNOTE is spoken here.")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("WEBVTT\n00:01.000 --> 00:02.000\nNo empty row", [(1.0, 2.0, "No empty row")]),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nLast", [(1.0, 2.0, "Last")]),
        ("WEBVTT\r\r00:01.000 --> 00:02.000\rOne\r\r00:03.000 --> 00:04.000\rTwo", [(1, 2, "One"), (3, 4, "Two")]),
        ("WEBVTT\r\n\r\n00:01.000 --> 00:02.000\r\nOne\r\nrow\r\n", [(1.0, 2.0, "One\nrow")]),
        ("WEBVTT\n\n100:00:01.000 --> 100:00:02.000\nHours", [(360001.0, 360002.0, "Hours")]),
        ("WEBVTT\n\n\t00:01.000\t-->\t00:02.000\tline:0\nTabs", [(1.0, 2.0, "Tabs")]),
        ("WEBVTT\n\n00:01.000-->00:02.000\nNo blanks", [(1.0, 2.0, "No blanks")]),
        ("WEBVTT\n\n00:01,000 --> 00:02\nCommas", [(1.0, 2.0, "Commas")]),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nOne\n00:03.000 --> 00:04.000\nTwo", [(1, 2, "One"), (3, 4, "Two")]),
        ("WEBVTT\n\nNOTE a --> b\nspoken by nobody\n\n00:01.000 --> 00:02.000\nOne", [(1, 2, "One")]),
        ("WEBVTT\n\nid\nsecond row\n00:01.000 --> 00:02.000\nOne", [(1.0, 2.0, "One")]),
        ("WEBVTT\n\n00:03.000 --> 00:04.000\nTwo\n\n00:01.000 --> 00:03.500\nOne", [(1, 3.5, "One"), (3, 4, "Two")]),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nO\0ne", [(1.0, 2.0, "O\ufffdne")]),
        ("WEBVTT", []),
    ],
)
def test_webvtt_is_read_as_the_recommendation_says(text: str, told: list[Told]) -> None:
    assert webvtt(text) == told


def test_cues_with_unreadable_times_are_counted() -> None:
    found = parse_webvtt("WEBVTT\n\n00:01.xxx --> 00:02.000\nLost\n\n00:03.000 --> 00:04.000\nKept")
    assert ([cue.payload for cue in found.cues], found.unreadable) == (["Kept"], 1)
    found = parse_subrip("1\n00:00:01,000 --> 00:00:0x,000\nLost\n\n2\n00:00:03,000 --> 00:00:04,000\nKept\n")
    assert ([cue.payload for cue in found.cues], found.unreadable) == (["Kept"], 1)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ("Bread &amp; butter,&nbsp;please.", "Bread & butter, please."),
        ("Two &lt; three &gt; one. &#x27;Yes&#39;", "Two < three > one. 'Yes'"),
        ("Is it &quot;late&quot;?&lrm;", 'Is it "late"?\u200e'),
        ("AT&T &amp;lt;", "AT&T &lt;"),
        ("<i>a</i> <b.loud>b</b> <u>c</u> <c.yellow.bg_blue>d</c> <lang en-GB>e</lang>", "a b c d e"),
        ("<ruby>base<rt>how</rt>two<rt>toned</rt></ruby> end", "basetwo end"),
        ("<ruby>base<rt>how</ruby> end", "base end"),
        ("ket<i>tle</i>", "kettle"),
        ("<font color='red'>red</font> {\\an8}top", "red top"),
        ("I <3 you, 1 < 2 and 3 > 2", "I <3 you, 1 < 2 and 3 > 2"),
        ("<unknown>one</unknown>", "one"),
    ],
)
def test_markup_and_character_references(payload: str, text: str) -> None:
    assert text_of(payload) == text


def test_a_voice_is_the_lines_speaker() -> None:
    (line,) = lines_of([Cue(1.0, 2.0, "<v.loud Mira &amp; Tom>Yes.</v>")])
    assert (line.text, line.speaker, line.words) == ("Yes.", "Mira & Tom", ())
    (line,) = lines_of([Cue(1.0, 2.0, "<v Mira>Yes,\nof course.")])
    assert (line.text, line.speaker) == ("Yes,\nof course.", "Mira")


def test_two_voices_in_a_cue_are_kept_apart() -> None:
    (line,) = lines_of([Cue(1.0, 2.0, "<v Mira>Yes.</v>\n<v Tom>No.</v>")])
    assert (line.speaker, [word.speaker for word in line.words]) == ("", ["Mira", "Tom"])
    first, second = lines_of([Cue(1.0, 4.0, "<v Mira>Yes. <00:02.500><v Tom>No. <00:03.000>Never.")])
    assert (first.start, first.end, first.text, first.speaker) == (1.0, 2.5, "Yes.", "Mira")
    assert (second.start, second.end, second.text, second.speaker) == (2.5, 4.0, "No. Never.", "Tom")


def test_times_inside_a_cue_are_its_words() -> None:
    (line,) = lines_of(
        [Cue(1.0, 2.5, "the<00:00:01.400><c> kettle</c><00:00:01.900><c> is</c><00:00:02.100><c> on</c>")]
    )
    assert (line.start, line.end, line.text) == (1.0, 2.5, "the kettle is on")
    assert [(word.text, word.start, word.end) for word in line.words] == [
        ("the", None, None),
        ("kettle", 1.4, 1.9),
        ("is", 1.9, 2.1),
        ("on", 2.1, 2.5),
    ]
    (line,) = lines_of([Cue(3.0, 5.0, "<00:00:03.600>told <00:00:09.000>him")])
    assert (line.start, line.text, line.words[1].start) == (3.6, "told him", None)


def test_times_inside_a_cue_may_count_from_its_beginning() -> None:
    (line,) = lines_of([Cue(100.0, 102.0, "nobody <00:00:00.600>told <00:00:01.000>him")])
    assert [word.start for word in line.words] == [None, 100.6, 101.0]


ROLLING = """WEBVTT
Kind: captions
Language: en

00:00:01.000 --> 00:00:02.990 align:start position:0%
 
the<00:00:01.400><c> lamp</c><00:00:01.900><c> is</c><00:00:02.300><c> lit</c>

00:00:02.990 --> 00:00:03.000 align:start position:0%
the lamp is lit
 

00:00:03.000 --> 00:00:05.490 align:start position:0%
the lamp is lit
and<00:00:03.500><c> the</c><00:00:04.600><c> door</c>

00:00:05.490 --> 00:00:05.500 align:start position:0%
and the door
 

00:00:05.500 --> 00:00:07.500 align:start position:0%
and the door
<00:00:06.000><c>is</c><00:00:06.500><c> shut</c>
"""


def test_rolling_captions_give_each_word_once_at_its_time() -> None:
    assert webvtt(ROLLING) == [(1.0, 2.99, "the lamp is lit"), (3.0, 5.49, "and the door"), (6.0, 7.5, "is shut")]


def test_rolling_captions_without_times_of_words() -> None:
    rows = ["so it begins", "with a lamp", "and a door", "and a door that is shut", "for good"]
    shown = [(1, 2, rows[:1]), (2, 4, rows[:2]), (4, 6, rows[1:3]), (6, 8, [rows[1], rows[3]]), (8, 9, rows[3:])]
    text = "".join(
        f"{n}\n00:00:0{a},000 --> 00:00:0{b},000\n" + "\n".join(r) + "\n\n" for n, (a, b, r) in enumerate(shown, 1)
    )
    assert subrip(text) == [
        (1.0, 2.0, "so it begins"),
        (2.0, 4.0, "with a lamp"),
        (4.0, 6.0, "and a door"),
        (6.0, 8.0, "that is shut"),
        (8.0, 9.0, "for good"),
    ]


def test_words_that_are_said_twice_stay() -> None:
    text = "".join(f"WEBVTT\n\n0{n}:00.000 --> 0{n + 1}:00.000\nNo.\n\n"[0 if n == 1 else 8 :] for n in (1, 2, 3))
    assert [told[2] for told in webvtt(text)] == ["No.", "No.", "No."]
    text = "WEBVTT\n\n" + "".join(f"00:{n:02d}.000 --> 00:{n + 1:02d}.000\nOne {n}\n\n" for n in range(6))
    assert len(webvtt(text.replace("One 3", "One 2\nagain"))) == 6


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1\n00:00:01 --> 00:00:02\nOne\n\n2\n00:00:03 --> 00:00:05\nTwo", [(1, 2, "One"), (3, 5, "Two")]),
        ("1\n00:00:01,5 --> 00:00:02.25\nOne\n\n2\n00:00:03 --> 00:00:05,000\nTwo", [(1.5, 2.25, "One"), (3, 5, "Two")]),
        ("1\r00:00:01,000 --> 00:00:02,500\rOne\r\r2\r00:00:03,000 --> 00:00:04,000\rTwo", [(1, 2.5, "One"), (3, 4, "Two")]),
        ("1\n00:00:01,000 --> 00:00:02,000\nOne\n2\n00:00:03,000 --> 00:00:04,000\nTwo", [(1, 2, "One"), (3, 4, "Two")]),
        ("00:00:01,000 --> 00:00:02,000\nOne\n00:00:03,000 --> 00:00:04,000\nTwo", [(1, 2, "One"), (3, 4, "Two")]),
        ("1\n00:00:01,000 --> 00:00:02,000\nCount:\n42\n\n2\n00:00:03,000 --> 00:00:04,000\n7", [(1, 2, "Count:\n42"), (3, 4, "7")]),
        ("1\n0:00:01.000 --> 0:00:02.000 X1:40 X2:600\nOne", [(1.0, 2.0, "One")]),
        ("1\n00:00:01,000 --> 00:00:02,000\nOne\n\nmore\n\n2\n00:00:03,000 --> 00:00:04,000\nTwo", [(1, 2, "One\nmore"), (3, 4, "Two")]),
        ("1\n00: 00: 01, 000 -> 00: 00: 02, 000\nOne", [(1.0, 2.0, "One")]),
        ("1\n01:02 --> 01:03,5\nMinutes", [(62.0, 63.5, "Minutes")]),
        ("1\n00:00:01,000 --> 00:00:02,000\nGo --> there\n", [(1.0, 2.0, "Go --> there")]),
    ],
)  # fmt: skip
def test_subrip_of_many_tools(text: str, told: list[Told]) -> None:
    assert subrip(text) == told


def test_subviewer_and_sbv_become_subrip() -> None:
    subviewer = "[INFORMATION]\n[TITLE]x\n[END INFORMATION]\n[SUBTITLE]\n00:00:01.00,00:00:02.50\nOne[br]row\n\n00:00:03.00,00:00:04.00\nTwo\n"
    assert subrip(from_subviewer(subviewer) or "") == [(1.0, 2.5, "One\nrow"), (3.0, 4.0, "Two")]
    assert subrip(from_subviewer("0:00:01.000,0:00:02.500\nOne\n\n0:00:03.000,0:00:04.000\nTwo") or "") == [
        (1.0, 2.5, "One"),
        (3.0, 4.0, "Two"),
    ]
    assert from_subviewer("just words, and more") is None


def test_a_line_is_divided_where_its_speaker_changes_and_times_say_when() -> None:
    words = (
        Word("Yes,", 1.0, 1.4, "A"),
        Word("I", 1.5, 1.6),
        Word("do.", 1.7, 2.0, "A"),
        Word("No.", 2.5, 3.0, "B"),
    )
    first, second = split_turns(Line(0.5, 3.5, "Yes, I do. No.", words=words))
    assert (first.start, first.end, first.text, first.speaker) == (0.5, 2.0, "Yes, I do.", "A")
    assert (second.start, second.end, second.text, second.speaker) == (2.5, 3.5, "No.", "B")
    (undivided,) = split_turns(
        Line(0.5, 3.5, "Yes. No.", words=(Word("Yes.", 1.0, 1.4, "A"), Word("No.", None, None, "B")))
    )
    assert undivided.text == "Yes. No."


def test_broadcast_marks_divide_a_line_with_times() -> None:
    first, second = lines_of(
        [Cue(1.0, 4.0, "good<00:01.500><c> night</c><00:02.500><c> &gt;&gt;</c><00:02.600><c> thanks</c>")]
    )
    assert (first.text, first.end) == ("good night", 2.5)
    assert (second.text, second.start) == (">> thanks", 2.5)
