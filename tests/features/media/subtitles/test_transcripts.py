"""Transcripts of speech recognisers: .json and .tsv of whisper and others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memobert_plugin.features.media.subtitles.transcripts import (
    is_json,
    is_table,
    looks_like_transcript,
    parse_json,
    parse_table,
)

Told = tuple[float, float, str, str]


def told(content: Any) -> list[Told]:
    return [(line.start, line.end, line.text, line.speaker) for line in parse_json(json.dumps(content))]


def test_whispers_segments() -> None:
    segments = [{"id": 0, "start": 1.0, "end": 2.5, "text": " The kettle is on.", "tokens": [1, 2]}]
    assert told({"text": " The kettle is on.", "segments": segments, "language": "en"}) == [
        (1.0, 2.5, "The kettle is on.", "")
    ]
    assert told(segments) == [(1.0, 2.5, "The kettle is on.", "")]


def test_times_of_words_are_the_lines() -> None:
    words = [{"word": " Yes,", "start": 1.6, "end": 1.9}, {"word": " I", "start": 2.0, "end": 2.1}]
    assert told({"segments": [{"start": 0.0, "end": 4.0, "text": " Yes, I", "words": words}]}) == [
        (1.6, 2.1, "Yes, I", "")
    ]


def test_words_that_whisperx_cannot_align_keep_the_segments_times() -> None:
    words = [{"word": "Platform", "start": 1.6, "end": 1.9, "score": 0.9}, {"word": "9"}]
    assert told({"segments": [{"start": 1.5, "end": 4.0, "text": "Platform 9", "words": words}]}) == [
        (1.6, 4.0, "Platform 9", "")
    ]


def test_a_segment_of_two_speakers_becomes_two_lines() -> None:
    words = [
        {"word": "Yes.", "start": 1.0, "end": 1.4, "speaker": "SPEAKER_00"},
        {"word": "No,", "start": 2.0, "end": 2.3, "speaker": "SPEAKER_01"},
        {"word": "never.", "start": 2.4, "end": 2.9, "speaker": "SPEAKER_01"},
    ]
    segment = {"start": 1.0, "end": 3.0, "text": " Yes. No, never.", "speaker": "SPEAKER_01", "words": words}
    assert told({"segments": [segment], "word_segments": words}) == [
        (1.0, 1.4, "Yes.", "SPEAKER_00"),
        (2.0, 2.9, "No, never.", "SPEAKER_01"),
    ]


def test_text_without_blanks_stays_so() -> None:
    words = [
        {"word": "是", "start": 1.0, "end": 1.4, "speaker": "A"},
        {"word": "的", "start": 1.4, "end": 1.8, "speaker": "A"},
        {"word": "不", "start": 2.0, "end": 2.4, "speaker": "B"},
    ]
    assert [each[2] for each in told([{"start": 1.0, "end": 2.4, "text": "是的不", "words": words}])] == ["是的", "不"]


def test_other_tools() -> None:
    cpp = {"transcription": [{"timestamps": {}, "offsets": {"from": 1000, "to": 2500}, "text": " One."}]}
    assert told(cpp) == [(1.0, 2.5, "One.", "")]
    chunks = [{"timestamp": [1.0, 2.5], "text": " One."}, {"timestamp": [3.0, None], "text": " Two."}]
    assert told({"text": "", "chunks": chunks}) == [(1.0, 2.5, "One.", ""), (3.0, 3.0, "Two.", "")]
    segments = [{"utf8": "so"}, {"utf8": " come", "tOffsetMs": 500}]
    events = [
        {"tStartMs": 0, "id": 1},
        {"tStartMs": 1000, "dDurationMs": 1500, "segs": segments},
        {"segs": [{"utf8": "\n"}]},
    ]
    assert told({"wireMagic": "pb3", "events": events}) == [(1.0, 2.5, "so come", "")]


@pytest.mark.parametrize(
    "content",
    [
        {"a": 1},
        {"segments": [{"start": 1.0, "text": "x"}]},
        {"segments": [3]},
        {"segments": [{"start": "soon", "end": 2, "text": "x"}]},
        {"segments": [{"start": float("nan"), "end": 2, "text": "x"}]},
        {"segments": [{"start": True, "end": 2, "text": "x"}]},
        {"chunks": [{"timestamp": None, "text": "x"}]},
        {"transcription": [{"offsets": {"from": None, "to": 2}, "text": "x"}]},
    ],
)
def test_damaged_transcripts_are_refused(content: Any) -> None:
    with pytest.raises(ValueError, match=r"damaged segment|no time|without segments|could not convert"):
        parse_json(json.dumps(content))


def test_tables() -> None:
    rows = parse_table('start\tend\ttext\n1000\t2500\t"Yes," he said.\n3000\t4500\tNo.\n')
    assert [(row.start, row.end, row.text) for row in rows] == [(1.0, 2.5, '"Yes," he said.'), (3.0, 4.5, "No.")]
    rows = parse_table('start,end,speaker,text\n1.0,2.5,A,"Yes, he said."\n')
    assert [(row.start, row.end, row.text, row.speaker) for row in rows] == [(1.0, 2.5, "Yes, he said.", "A")]
    with pytest.raises(ValueError, match="could not convert"):
        parse_table("start\tend\ttext\nsoon\t2500\tYes.\n")


def test_other_files_of_these_names_are_no_transcripts() -> None:
    assert looks_like_transcript('{"segments": []}') and looks_like_transcript("start\tend\ttext\n")
    assert not looks_like_transcript('{"id": "x", "title": "a video"}')
    assert not looks_like_transcript("begin\tend\n0.5\t1.0\n")
    assert is_json('{\n "a": 1}') and not is_json("{10}{25}One") and not is_json("[10][25]One")
    assert is_table('"start","end","text"') and not is_table("id\tspeaker\ttext")
