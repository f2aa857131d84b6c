"""Parse what speech recognisers write: .json and .tsv of whisper, whisperX, whisper.cpp and transformers, and json3.

Times of words and speakers are kept where a file has them: a line begins with its first word and ends with its last,
and a segment of two speakers becomes two lines.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from .cues import split_turns
from .lines import Line, Word

_TABLE: Final = re.compile(r'\s*"?start"?\s*[\t,;]\s*"?end"?\s*[\t,;].*?\btext\b', re.IGNORECASE)
_JSON: Final = re.compile(r'\s*(?:\{\s*"|\[\s*\{)')
_KEYS: Final = ('"segments"', '"transcription"', '"chunks"', '"events"')


def is_json(text: str) -> bool:
    """Return True for JSON; MicroDVD and MPL2 begin with brackets too."""
    return _JSON.match(text) is not None


def is_table(text: str) -> bool:
    """Return True for a table of start, end and text."""
    return _TABLE.match(text.partition("\n")[0]) is not None


def looks_like_transcript(text: str) -> bool:
    """Return True if a .json or .tsv file beside a film may be its transcript; other tools use these suffixes too."""
    return is_table(text) or (is_json(text) and any(key in text for key in _KEYS))


def parse_table(text: str) -> list[Line]:
    """Parse whisper's .tsv (or a .csv): milliseconds, or seconds where any number has a point; speaker if there.

    Raises:
        ValueError: a row without numbers.
    """
    header, *_ = text.splitlines()
    delimiter = next(each for each in "\t;," if each in header)
    # Whisper writes its .tsv without quotes.
    rows = (
        [line.split(delimiter) for line in text.splitlines() if line]
        if delimiter == "\t"
        else [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    )
    names = [name.strip().strip('"').casefold() for name in rows[0]]
    columns = [names.index(name) for name in ("start", "end", "text")]
    told = [row for row in rows[1:] if len(row) > max(columns)]
    times = [(row[columns[0]], row[columns[1]]) for row in told]
    unit = 1.0 if any("." in number for pair in times for number in pair) else 1000.0
    speaker = names.index("speaker") if "speaker" in names else len(names)
    return [
        Line(
            _number(start) / unit, _number(end) / unit, row[columns[2]].strip(), 0, "".join(row[speaker : speaker + 1])
        )
        for row, (start, end) in zip(told, times, strict=True)
    ]


def parse_json(text: str) -> list[Line]:
    """Parse a transcript in JSON.

    Raises:
        ValueError: no JSON, or none of a known tool.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if isinstance(content, list):
        content = {"segments": content}
    try:
        if isinstance(content.get("segments"), list):
            return [line for segment in content["segments"] for line in _segment(segment)]
        if isinstance(content.get("transcription"), list):  # whisper.cpp
            return [_milliseconds(each["offsets"], each["text"]) for each in content["transcription"]]
        if isinstance(content.get("chunks"), list):  # transformers
            return list(_chunks(content["chunks"]))
        if isinstance(content.get("events"), list):  # YouTube's json3
            return [line for event in content["events"] for line in _event(event)]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"a transcript with a damaged segment ({type(error).__name__} {error})") from None
    raise ValueError("JSON without segments; whisper's, whisperX's, whisper.cpp's and YouTube's json3 are read")


def _segment(segment: dict[str, Any]) -> Iterator[Line]:
    speaker = str(segment.get("speaker") or "")
    words = tuple(_word(word, speaker) for word in segment.get("words") or ())
    start, end = _number(segment["start"]), _number(segment["end"])
    text = str(segment["text"]).strip()
    spaced = any(str(word.get("word", "")).startswith(" ") for word in segment.get("words") or ())
    gap = " " if spaced or " " in text else ""
    begins = [word.start for word in words if word.start is not None]
    ends = [word.end for word in words if word.end is not None]
    if begins and ends and min(begins) < max(ends):
        # Whisper's segments may begin in the silence before their first word. Words without times (whisperX: numbers
        # that it cannot align) at the edge keep the segment's.
        start = min(begins) if words[0].start is not None else start
        end = max(ends) if words[-1].end is not None else end
    voices = {word.speaker for word in words if word.speaker}
    if len(voices) == 1:
        speaker = voices.pop()
    yield from split_turns(Line(start, end, text, 0, speaker, tuple(word for word in words if word.text)), gap)


def _word(word: dict[str, Any], speaker: str) -> Word:
    start, end = (None if word.get(name) is None else _number(word[name]) for name in ("start", "end"))
    text = word["word"] if "word" in word else word["text"]
    return Word(str(text).strip(), start, end, str(word.get("speaker") or speaker))


def _milliseconds(offsets: dict[str, Any], text: Any) -> Line:
    return Line(_number(offsets["from"]) / 1000, _number(offsets["to"]) / 1000, str(text).strip())


def _chunks(chunks: Sequence[dict[str, Any]]) -> Iterator[Line]:
    """Yield lines; a last chunk without an end ends when it begins, and is left out later on with that reason."""
    for chunk in chunks:
        start, end = chunk["timestamp"]
        begin = _number(start)
        yield Line(
            begin,
            begin if end is None else _number(end),
            str(chunk["text"]).strip(),
            0,
            str(chunk.get("speaker") or ""),
        )


def _event(event: dict[str, Any]) -> Iterator[Line]:
    start, lasts = _number(event.get("tStartMs", 0)), _number(event.get("dDurationMs", 0))
    pieces = [
        ((start + _number(piece.get("tOffsetMs", 0))) / 1000, str(piece.get("utf8", "")).strip())
        for piece in event.get("segs") or ()
    ]
    pieces = [(time, text) for time, text in pieces if text]
    if pieces:
        words = tuple(Word(text, time, None) for time, text in pieces)
        end = (start + lasts) / 1000
        yield from split_turns(Line(pieces[0][0], end, " ".join(text for _, text in pieces), 0, "", words))


def _number(value: Any) -> float:
    """Return a finite number.

    Raises:
        ValueError: it is none.
    """
    number = float(value) if not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or abs(number) > 1e12:
        raise ValueError(f"{value!r} is no time")
    return number
