"""Streams of films that have several, chosen by language, purpose and number."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.core.flags import add_flags, options_from
from memobert_plugin.features.media.container import media_facts
from memobert_plugin.features.media.pictures import pictures
from memobert_plugin.features.media.sound import read_clip
from memobert_plugin.features.media.streams import (
    CAPTIONS,
    COMMENTARY,
    DIALOGUE,
    PARTIAL,
    StreamChoice,
    StreamFacts,
    agreement,
    choose_audio,
    choose_video,
    parse_language,
    purpose,
    wanted_language,
)
from tests.films import Track, write_tracks

pytest.importorskip("iso639")
FILM = Path("f.mkv")


@pytest.mark.parametrize(
    "names",
    [
        ("en", "eng", "english", "English", "ENG", "en_US", "English (US)"),
        ("de", "ger", "deu", "german", "de-AT"),
        ("fr", "fre", "fra", "french", "fr-CA"),
        ("pt-BR", "por", "pob", "Portuguese", "Brazilian Portuguese", "Portuguese (Brazil)"),
        ("zh-Hans", "chi", "zho", "Chinese", "cmn", "chs", "Chinese (Simplified)", "zh-Hans-CN"),
        ("no", "nob", "nor", "nb", "Norwegian"),
        ("el", "gre", "ell", "Greek"),
        ("he", "iw", "heb", "Hebrew"),
        ("fa", "per", "fas", "Farsi", "Persian"),
        ("nl", "dut", "nld", "Dutch", "Flemish"),
        ("es-419", "spa", "Spanish", "Latin American Spanish"),
    ],
)
def test_codes_and_names_of_one_language_agree(names: tuple[str, ...]) -> None:
    for name in names:
        assert all(agreement(wanted_language(name), other) for other in names), name


def test_another_package_over_the_codes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    parse_language.cache_clear()
    monkeypatch.setitem(sys.modules, "iso639", ModuleType("iso639"))  # as python-iso639 is for iso639-lang's users
    with pytest.raises(UserError, match=r"python-iso639 lies over iso639-lang.*--force-reinstall iso639-lang"):
        parse_language("English")
    monkeypatch.setitem(sys.modules, "iso639", None)
    with pytest.raises(UserError, match="--language needs iso639-lang"):
        parse_language("English")


@pytest.mark.parametrize(
    ("wanted", "other"),
    [
        ("en", "de"),
        ("pt-BR", "pt-PT"),
        ("zh-Hans", "zh-Hant"),
        ("nb", "nn"),
        ("en", "und"),
        ("en", ""),
        ("en", "forced"),
    ],
)
def test_other_languages_do_not_agree(wanted: str, other: str) -> None:
    assert not agreement(wanted_language(wanted), other)


def test_the_nearer_of_two_agreeing_marks_scores_more() -> None:
    assert agreement(wanted_language("pt-BR"), "pt-br") > agreement(wanted_language("pt-BR"), "por")
    assert agreement(wanted_language("pt"), "por") > agreement(wanted_language("pt"), "pt-BR")


def test_a_language_that_does_not_exist_is_refused() -> None:
    assert parse_language("und") is None
    with pytest.raises(UserError, match="--language klingonish: not a language; give a code or a name"):
        wanted_language("klingonish")


@pytest.mark.parametrize(
    ("flags", "words", "expected"),
    [
        ((), "", DIALOGUE),
        (("default",), "English", DIALOGUE),
        (("comment",), "", COMMENTARY),
        ((), "Director's Commentary", COMMENTARY),
        ((), "Kommentar des Regisseurs", COMMENTARY),
        (("visual_impaired",), "", COMMENTARY),
        ((), "English Audio Description", COMMENTARY),
        (("default", "forced"), "", PARTIAL),
        ((), "Signs & Songs", PARTIAL),
        ((), "English [Forced]", PARTIAL),
        ((), "Full + signs", DIALOGUE),
        (("hearing_impaired",), "", CAPTIONS),
        ((), "English SDH", CAPTIONS),
        ((), "English (CC)", CAPTIONS),
        ((), "Hindi", DIALOGUE),
    ],
)
def test_purposes_follow_from_dispositions_and_titles(flags: tuple[str, ...], words: str, expected: int) -> None:
    assert purpose(flags, words) == expected


def facts(index: int, language: str = "", title: str = "", *flags: str, kind: str = "audio") -> StreamFacts:
    return StreamFacts(index, kind, "aac", language, title, frozenset(flags))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "streams", "taken"),
    [
        (None, [facts(1, "ger", "", "default"), facts(2, "eng")], 1),
        ("en", [facts(1, "ger", "", "default"), facts(2, "eng")], 2),
        ("English", [facts(1, "ger", "", "default"), facts(2, "eng", "", "comment"), facts(3, "eng")], 3),
        (None, [facts(1, "eng", "Commentary"), facts(2, "eng")], 2),
        (None, [facts(1, "eng"), facts(2, "eng", "", "default")], 2),
        ("pt-BR", [facts(1, "pt-PT"), facts(2, "por"), facts(3, "pt-BR")], 3),
        ("eng", [facts(1, "ger"), facts(2)], 2),
        ("eng", [facts(1, "jpn")], 1),
    ],
)
def test_sound_is_chosen_by_language_then_purpose_then_default(
    asked: str | None, streams: list[StreamFacts], taken: int
) -> None:
    found = choose_audio(FILM, streams, StreamChoice(asked), best=1)
    assert found is not None
    assert found.stream.index == taken
    assert found.remark


def test_what_is_not_there_is_refused_with_what_there_is() -> None:
    streams = [facts(1, "ger", "", "default"), facts(2, "eng", "Dub"), facts(0, kind="video")]
    there = r'1 \(ger, default, aac\), 2 \(eng, "Dub", aac\)'
    with pytest.raises(DefectiveClip, match=rf"f\.mkv: no sound in language fr; there are: {there}"):
        choose_audio(FILM, streams, StreamChoice("fr"), 1)
    with pytest.raises(DefectiveClip, match=rf"f\.mkv: --audio-stream 5: no such audio stream; there are: {there}"):
        choose_audio(FILM, streams, StreamChoice(audio_stream=5), 1)
    with pytest.raises(DefectiveClip, match=r"--video-stream 1: no such video stream; there are: 0 \(no language"):
        choose_video(FILM, streams, StreamChoice(video_stream=1), 0)


def test_covers_are_no_pictures() -> None:
    cover, film = facts(0, "", "", "default", "attached_pic", kind="video"), facts(1, kind="video")
    found = choose_video(FILM, [cover, film], StreamChoice(), best=0)
    assert found is not None
    assert (found.stream.index, found.remark) == (1, "")
    assert choose_video(FILM, [cover], StreamChoice(), best=0) is None
    with pytest.raises(DefectiveClip, match="--video-stream 0: no such video stream; there are: 1"):
        choose_video(FILM, [cover, film], StreamChoice(video_stream=0), best=0)


def loudest(samples: np.ndarray) -> float:
    """Hertz."""
    return float(np.abs(np.fft.rfft(samples[4000:20000])).argmax())


def test_readers_open_the_streams_that_were_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("av")
    tracks = [Track("ger", flags="default", tone=300.0), Track("eng", tone=2000.0)]
    film = write_tracks(tmp_path / "f.mkv", tracks, pictures=(64, 80))
    assert loudest(read_clip(film)) == pytest.approx(300, abs=10)
    assert loudest(read_clip(film, streams=StreamChoice("english"))) == pytest.approx(2000, abs=10)
    assert loudest(read_clip(film, streams=StreamChoice(audio_stream=3))) == pytest.approx(2000, abs=10)
    assert next(pictures(film)).rgb.shape[1] == 64
    assert next(pictures(film, streams=StreamChoice(video_stream=1))).rgb.shape[1] == 80
    remark = media_facts(film, StreamChoice("en")).remark
    assert remark.startswith("2 pictures: stream 0 (no language, h264) taken, not 1 (no language, h264); ")
    assert remark.endswith("2 sounds: stream 3 (eng, aac) taken, not 2 (ger, default, aac)")
    with pytest.raises(DefectiveClip, match=r"f\.mkv: no sound in language fra; there are: 2 \(ger"):
        read_clip(film, streams=StreamChoice("fra"))


def test_every_field_is_a_flag() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, [("", StreamChoice)])
    given = parser.parse_args(["--language", "eng", "--audio-stream", "2"])
    assert options_from(given, StreamChoice, "") == StreamChoice("eng", audio_stream=2)
    with pytest.raises(SystemExit):
        parser.parse_args(["--video-stream", "-1"])
