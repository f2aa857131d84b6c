"""Lines of subtitles: the words said in them, and the lines that become utterances."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memobert_plugin.features.media.subtitles import (
    Cleaning,
    Line,
    LineRules,
    Word,
    clean_text,
    several_speakers,
    usable_lines,
)


def decide(*lines: Line, duration: float | None = None, rules: LineRules | None = None) -> tuple[list[Line], list[str]]:
    numbered = [replace(line, number=number) for number, line in enumerate(lines, start=1)]
    used, dropped = usable_lines(numbered, duration, rules)
    assert sorted([line.number for line in used] + [each.line.number for each in dropped]) == [
        n.number for n in numbered
    ]
    return used, [each.reason for each in dropped]


def test_every_line_that_cannot_be_used_has_its_reason() -> None:
    used, reasons = decide(
        Line(0.0, 2.0, "<i>Kept</i>"),
        Line(2.0, 4.0, "[thunder]"),
        Line(4.0, 4.0, "Nothing"),
        Line(5.0, 4.5, "Backwards"),
        Line(6.0, 6.9, "Short"),
        Line(8.0, 9.0, "One second"),
        Line(8.0, 9.0, "One second"),
        Line(10.0, 80.0, "Too long"),
        Line(90.0, 92.0, "- Yes.\n- No."),
    )
    assert [(line.number, line.text) for line in used] == [(1, "Kept"), (6, "One second")]
    assert reasons == [
        "no spoken text",
        "ends when it begins",
        "ends when it begins",
        "shorter than 1 s",
        "the same line twice",
        "longer than 60 s",
        "words of two speakers",
    ]


def test_a_small_overlap_is_cut_where_the_next_line_begins() -> None:
    used, reasons = decide(Line(0, 2.2, "One"), Line(2.0, 4.0, "Two"), Line(3.6, 4.5, "Three"))
    assert [(line.start, line.end, line.text) for line in used] == [(0, 2.0, "One"), (2.0, 3.6, "Two")]
    assert reasons == ["shorter than 1 s"]


def test_of_lines_spoken_at_the_same_time_none_is_used() -> None:
    used, reasons = decide(
        Line(0, 4, "Long"), Line(1, 2.5, "Inside"), Line(5, 7, "A"), Line(6, 8, "B"), Line(9, 10.5, "Alone")
    )
    assert [line.text for line in used] == ["Alone"]
    assert reasons == ["at the same time as another line"] * 4


def test_descriptions_do_not_stand_in_the_way_of_speech() -> None:
    used, _ = decide(Line(0, 9, "♪ music ♪"), Line(1, 3, "Spoken"))
    assert [line.text for line in used] == ["Spoken"]


def test_lines_end_with_the_film() -> None:
    used, reasons = decide(
        Line(0, 2, "In"), Line(8.5, 12, "Partly"), Line(9.2, 9.3, ""), Line(10.0, 12, "Out"), duration=10.0
    )
    assert [(line.text, line.end) for line in used] == [("In", 2), ("Partly", 10.0)]
    assert reasons == ["no spoken text", "beyond the film's end"]
    assert decide(Line(9.5, 12, "Hardly"), duration=10.0)[1] == ["shorter than 1 s"]


def test_two_speakers_in_a_line_are_kept_apart_only_in_english() -> None:
    used, _ = decide(Line(0, 2, "- Да.\n- Нет."), rules=LineRules(cleaning="markup"))
    assert [line.text for line in used] == ["- Да. - Нет."]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=30))
def test_used_lines_never_overlap_and_last_long_enough(times: list[tuple[int, int]]) -> None:
    lines = sorted((start / 10, (start + lasts) / 10) for start, lasts in times)
    used, _ = decide(*(Line(start, end, f"word {number}") for number, (start, end) in enumerate(lines)), duration=25.0)
    assert all(one.end <= other.start for one, other in pairwise(used))
    assert all(line.end - line.start >= 1.0 - 1e-6 and line.end <= 25.0 for line in used)


def test_a_line_with_words_of_two_speakers_is_left_out_in_any_language() -> None:
    words = (Word("Да.", None, None, "A"), Word("Нет.", None, None, "B"))
    used, reasons = decide(Line(0, 2, "Да. Нет.", words=words), rules=LineRules(cleaning="markup"))
    assert (used, reasons) == ([], ["words of two speakers"])


def test_used_lines_keep_their_speaker_and_drop_their_words() -> None:
    (line,), _ = decide(Line(0, 2, "Yes, I do.", speaker="Mira", words=(Word("Yes,", 0.0, 1.0, "Mira"),)))
    assert (line.speaker, line.words) == ("Mira", ())


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("<i>Hello</i>\nthere", "Hello there"),
        ('<font color="#ff0000">Run!</font>', "Run!"),
        ("[door slams]", ""),
        ("(SIGHS\nDEEPLY) Well, okay.", "Well, okay."),
        ("*gasps* Oh", "Oh"),
        ("♪ la la la ♪", ""),
        ("# Happy birthday #", ""),
        ("♪ la la ♪\nStop singing!", "Stop singing!"),
        ("JOHN: It’s “fine”…", 'It\'s "fine"...'),
        ("- MR. T: I pity the fool", "I pity the fool"),
        ("He said: no", "He said: no"),
        ("It is 3:00 now", "It is 3:00 now"),
        ("–No.", "No."),
        ("Déjà vu, Łódź, Straße", "Deja vu, Lodz, Strasse"),
        ("Привет", ""),
        ("...", ""),
        ("Subtitles by www.example.org", ""),
        ("a\u200bb\u00a0c\u2028d\x07", "a b c d"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
    ],
)
def test_english_cleaning_leaves_what_is_said_in_ascii(text: str, english: str) -> None:
    assert clean_text(text) == english


def test_markup_cleaning_leaves_other_languages_alone() -> None:
    assert clean_text("<i>«Привет»</i>,\n[стук] мир…", "markup") == "«Привет», [стук] мир…"
    assert clean_text("<b> </b>", "markup") == ""


def test_rows_of_two_people_begin_with_dashes() -> None:
    assert several_speakers("- Hi.\n- Hello.")
    assert several_speakers("<i>-Hi.</i>\n–Hello.")
    assert not several_speakers("- Hi.\nHow are you?")
    assert not several_speakers("- Hi.\n- [waves]")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[SPEAKER_00]: The kettle is on.", "The kettle is on."),
        ("SPEAKER_01: Nobody told the baker.", "Nobody told the baker."),
        ("Speaker 2: We walk home now.", "We walk home now."),
        (">> We walk home now.", "We walk home now."),
        (">>> MIRA: Bring the ladder.", "Bring the ladder."),
        (">>MIRA: Bring it.\nNow.", "Bring it. Now."),
        ("- [SPEAKER_03]: Yes.", "Yes."),
        ("(MIRA): Yes.", "Yes."),
        ("[MIRA] Yes.", "Yes."),
        ("MIRA (softly): Yes.", "Yes."),
        ("&gt;&gt; Bread &amp; butter", "Bread & butter"),
        ("NBC_2: Good night.", "Good night."),
        (">>so<<", ">>so<<"),
        ("AT&T is at 3:00: go", "AT&T is at 3:00: go"),
    ],
)
def test_marks_of_speakers_are_no_words(text: str, words: str) -> None:
    assert clean_text(text) == words


@pytest.mark.parametrize(
    ("text", "words"), [(">> Да.", "Да."), ("[SPEAKER_00]: Нет.", "Нет."), ("МИРА: Да.", "МИРА: Да.")]
)
def test_marks_that_tools_write_are_no_words_in_any_language(text: str, words: str) -> None:
    cleaning: Cleaning = "markup"
    assert clean_text(text, cleaning) == words


@pytest.mark.parametrize(
    "text",
    ["Good night.\n>> And now the weather.", "Yes. >> No.", "MIRA: Yes.\nTOM: No.", "[SPEAKER_00]: a\n[SPEAKER_01]: b"],
)
def test_words_before_a_mark_of_another_speaker_make_two(text: str) -> None:
    assert several_speakers(text)


@pytest.mark.parametrize("text", [">> Yes.", ">>> MIRA: Yes.", "MIRA: Yes.\nOf course.", "[sighs]\n>> Yes.", ">>so<<"])
def test_one_speakers_mark_makes_one(text: str) -> None:
    assert not several_speakers(text)
