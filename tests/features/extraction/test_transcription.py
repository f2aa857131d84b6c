"""From voice to chunks, from words to lines, and in which language."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.features.extraction.recognition import HeardWord, Recognized
from memobert_plugin.features.extraction.transcription import (
    LONGEST_CHUNK,
    LONGEST_LINE,
    HeardLine,
    Samples,
    Transcriber,
    groups,
    joined,
    sentences,
    within_voice,
)
from tests.whisper_folders import FakeRecognizer, FakeVoice, heard


def sound(seconds: float) -> Samples:
    return Samples(np.zeros(round(seconds * 16_000), np.float32))


def transcriber(
    recognized: Recognized, *voiced: tuple[float, float], language: str | None = None, **languages: float
) -> Transcriber:
    return Transcriber(FakeRecognizer(lambda samples: recognized, languages or None), FakeVoice(*voiced), language)


def texts(words: list[HeardWord]) -> list[str]:
    return [" ".join("".join(word.text for word in line).split()) for line in sentences(words)]


def test_a_line_begins_and_ends_with_its_voice() -> None:
    lines = transcriber(heard("so it is.", 0.1, 1.9), (1.0, 2.5)).lines(sound(4.0), None)
    assert [(line.start, line.end, line.text) for line in lines] == [(1.0, 2.5, "so it is.")]


def test_no_voice_has_no_words() -> None:
    fake = FakeRecognizer(lambda samples: heard("thank you"))
    assert Transcriber(fake, FakeVoice()).lines(sound(4.0), None) == []
    assert fake.asked == []


@pytest.mark.parametrize(
    ("recognized", "count"),
    [
        (heard("thank you.", log_probability=-1.5, no_speech=0.9), 0),
        (heard("thank you.", log_probability=-1.5, no_speech=0.1), 1),
        (heard("thank you.", log_probability=-0.3, no_speech=0.9), 1),
        (heard("…"), 0),
        (Recognized((), 0.2), 0),
    ],
)
def test_unsure_words_without_speech_are_left_out(recognized: Recognized, count: int) -> None:
    assert len(transcriber(recognized, (0.0, 2.0)).lines(sound(2.0), None)) == count


@pytest.mark.parametrize(
    ("recognized", "said"),
    [
        (heard("well", log_probability=-1.2), "average log-probability -1.20"),
        (heard("well", no_speech=0.7), "there is no speech with probability 0.70"),
        (heard("well"), ""),
    ],
)
def test_a_transcript_says_why_it_is_unsure(recognized: Recognized, said: str) -> None:
    (line,) = transcriber(recognized, (0.0, 2.0)).lines(sound(2.0), None)
    assert line.transcript.unsure == said


def test_sentences_and_pauses_end_lines_but_abbreviations_do_not() -> None:
    words = [*heard("Dr. No is here. He came at 3 p.m. by train.", 0.0, 10.0).words]
    assert texts(words) == ["Dr. No is here.", "He came at 3 p.m. by train."]
    assert texts([*heard("wait a minute", 0.0, 2.0).words, *heard("for me", 2.8, 4.0).words]) == [
        "wait a minute",
        "for me",
    ]
    assert texts([*heard('He said: "Go!" And then', 0.0, 6.0).words]) == ['He said: "Go!"', "And then"]


def test_a_short_sentence_stays_with_its_neighbour_unless_there_is_a_pause() -> None:
    first, second = heard("Go ahead.", 0.0, 0.6).words, heard("I am waiting on you.", 0.6, 2.6).words
    assert texts([*first, *second]) == ["Go ahead. I am waiting on you."]
    later = heard("I am waiting on you.", 0.8, 2.8).words
    assert texts([*first, *later]) == ["Go ahead.", "I am waiting on you."]


def test_a_long_sentence_is_cut_in_a_pause_else_after_a_comma() -> None:
    one, other = heard("a b c d e f g", 0.0, 7.0).words, heard("h i j", 7.3, 13.0).words
    assert texts([*one, *other]) == ["a b c d e f g", "h i j"]
    assert texts([*heard("a b c, d e f g", 0.0, 14.0).words]) == ["a b c,", "d e f g"]
    lines = sentences([*heard(" ".join("abcdefghijklmnop"), 0.0, 40.0).words])
    assert all(line[-1].end - line[0].start <= LONGEST_LINE for line in lines)


def test_words_across_a_pause_are_limited_to_the_voice() -> None:
    words = [HeardWord(" orientation.", 3.9, 5.4, -0.1, 1), HeardWord(" In", 5.4, 5.5, -0.1, 1)]
    limited = within_voice(words, [(1.3, 4.8), (5.2, 8.0)])
    assert [(word.start, word.end) for word in limited] == [(3.9, 4.8), (5.4, 5.5)]
    outside = within_voice([HeardWord(" you", 9.0, 9.5, -0.1, 1)], [(1.0, 2.0)])
    assert (outside[0].start, outside[0].end) == (2.0, 2.0)


def test_lines_never_overlap() -> None:
    words = (HeardWord(" a", 0.0, 2.0, -0.1, 1), HeardWord(" b", 1.0, 1.5, -0.1, 1), HeardWord(" c", 1.2, 3.0, -0.1, 1))
    limited = within_voice(words, [(0.0, 3.0)])
    assert all(one.end <= other.start for one, other in pairwise(limited))


def test_voice_is_recognised_in_chunks_that_end_in_the_longest_pause() -> None:
    voiced = [(0.0, 9.0), (9.5, 18.0), (18.2, 27.0), (27.2, 31.0), (40.0, 42.0)]
    assert groups(voiced, np.zeros(16_000 * 42, np.float32)) == [voiced[:1], voiced[1:4], voiced[4:]]


def test_speech_without_any_pause_is_cut() -> None:
    found = groups([(0.0, 100.0)], np.ones(16_000 * 100, np.float32))
    flat = [interval for group in found for interval in group]
    assert flat[0][0] == 0.0 and flat[-1][1] == 100.0
    assert all(one[1] == other[0] for one, other in pairwise(flat))
    assert all(group[-1][1] - group[0][0] <= LONGEST_CHUNK for group in found)


def test_long_sound_is_read_in_stretches_and_nothing_twice() -> None:
    voiced = [(float(begin), float(begin) + 3.0) for begin in range(0, 700, 7)]
    fake = FakeRecognizer(lambda samples: heard("one two three", 0.2, len(samples) / 16_000 - 0.2))
    lines = Transcriber(fake, FakeVoice(*voiced)).lines(sound(703.0), None)
    assert [round(line.start) for line in lines] == [round(begin) for begin, _ in voiced]
    assert [round(line.end) for line in lines] == [round(end) for _, end in voiced]


def test_the_language_asked_for_comes_before_the_mark_and_the_mark_before_what_is_heard() -> None:
    shares = {"en": 0.3, "de": 0.7}
    for asked, mark, language in ((None, "", "de"), (None, "eng", "en"), ("deu", "eng", "de"), (None, "und", "de")):
        (line,) = transcriber(heard("so"), (0.0, 2.0), language=asked, **shares).lines(sound(2.0), None, mark=mark)
        assert line.transcript.language == language
        assert line.transcript.language_probability == (0.7 if not asked and mark in ("", "und") else None)


def test_an_uncertain_language_is_said() -> None:
    (line,) = transcriber(heard("so"), (0.0, 2.0), en=0.4, de=0.3).lines(sound(2.0), None)
    assert line.transcript.unsure == "the language, en, has probability 0.40; name a --language"


def test_another_language_than_the_models_is_refused() -> None:
    with pytest.raises(UserError, match=r"--language de: fake holds an English-only Whisper"):
        transcriber(heard("so"), (0.0, 2.0), language="de").lines(sound(2.0), None)
    with pytest.raises(DefectiveClip, match=r"its sound is marked ger; fake holds an English-only .*names another"):
        transcriber(heard("so"), (0.0, 2.0)).lines(sound(2.0), None, mark="ger")


def test_the_voice_detector_learns_which_film_it_is() -> None:
    voice = FakeVoice((0.0, 1.0))
    Transcriber(FakeRecognizer(lambda samples: heard("so")), voice).lines(sound(2.0), Path("film.mp4"))
    assert voice.path == Path("film.mp4")


def test_lines_are_joined_with_the_average_of_their_probabilities() -> None:
    one = transcriber(heard("so it is.", log_probability=-0.5), (0.0, 2.0)).lines(sound(2.0), None)
    other = transcriber(heard("well yes.", log_probability=-1.5, no_speech=0.5), (0.0, 2.0)).lines(sound(2.0), None)
    text, transcript = joined([*one, *other])
    assert text == "so it is. well yes."
    assert transcript is not None and transcript.log_probability == pytest.approx(-1.0) and transcript.no_speech == 0.5
    assert joined(list[HeardLine]()) == ("", None)
