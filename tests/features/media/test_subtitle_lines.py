"""Which lines become utterances."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from memobert_plugin.features.media.subtitles import Line, LineRules, usable_lines


def decide(*lines: Line, duration: float | None = None, rules: LineRules | None = None) -> tuple[list[Line], list[str]]:
    numbered = [Line(line.start, line.end, line.text, number) for number, line in enumerate(lines, start=1)]
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


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=30))
def test_used_lines_never_overlap_and_last_long_enough(times: list[tuple[int, int]]) -> None:
    lines = sorted((start / 10, (start + lasts) / 10) for start, lasts in times)
    used, _ = decide(*(Line(start, end, f"word {number}") for number, (start, end) in enumerate(lines)), duration=25.0)
    assert all(one.end <= other.start for one, other in pairwise(used))
    assert all(line.end - line.start >= 1.0 - 1e-6 and line.end <= 25.0 for line in used)
