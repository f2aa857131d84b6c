"""What a line says."""

from __future__ import annotations

import pytest

from memobert_plugin.features.media.subtitles import clean_text, several_speakers


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
