"""Parse WebVTT and SubRip: cues, times inside them, speakers, and captions that roll up the screen.

WebVTT is read as the parser of the W3C's recommendation reads it, with times that a few tools write otherwise (a comma,
no milliseconds). webvtt-py 0.6.0 finds the same cues, but leaves character references in their text, drops the times
inside a cue and all voices but the first, and rounds cues' times to seconds. pysubs2 1.8.1 takes identifiers and notes
for text, needs milliseconds in SubRip, and takes a last row that is a number for an index.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple

from .lines import Line, Word

_TIME: Final = r"(?:(\d{1,4})\s*:\s*)?(\d{1,3})\s*:\s*(\d{1,3})(?:\s*[.,:]\s*(\d{1,9}))?"
_TIMES: Final = re.compile(rf"^\s*{_TIME}\s*-{{1,2}}>\s*{_TIME}(?:\s.*)?$")
_BROKEN_TIMES: Final = re.compile(r"^\s*\d+\s*[:.]\s*\d.{0,20}-->|^.{0,30}-->\s*\d+:\d\d:\d\d\S*\s*$")
_PAIR: Final = re.compile(rf"^\s*{_TIME},{_TIME}\s*$", re.MULTILINE)
_TOKEN: Final = re.compile(r"<(/?[A-Za-z][^<>]*|/|[\d:.,]+)>|\{\\[^{}]*\}")
_MARK_TIME: Final = re.compile(_TIME)
_ROW_END: Final = re.compile(r"\r\n|\n|\r")
_CONTIGUOUS: Final = 0.25
"""Seconds between two cues of which the second still shows rows of the first."""


class Cue(NamedTuple):
    """Text that is shown from ``start`` to ``end`` (seconds), with its markup."""

    start: float
    end: float
    payload: str


class Cues(NamedTuple):
    """A file's cues, and how many had times that cannot be read."""

    cues: list[Cue]
    unreadable: int


def rows_of(text: str) -> list[str]:
    """Split at LF, CRLF, and CR alone."""
    return _ROW_END.split(text.replace("\0", "\ufffd"))


def parse_webvtt(text: str) -> Cues:
    """Find the cues of a WebVTT file, without header text, identifiers, NOTE, STYLE and REGION blocks, and settings."""
    rows = rows_of(text)
    cues: list[Cue] = []
    unreadable = 0
    place = 1  # the row that begins with WEBVTT
    while place < len(rows) and rows[place] and "-->" not in rows[place]:
        place += 1  # header text
    while place < len(rows):
        block = [rows[place]]
        place += 1
        # An identifier and times are a block's first rows; it ends at an empty row, and where other times begin a cue.
        while place < len(rows) and rows[place]:
            if "-->" in rows[place] and (len(block) > 1 or "-->" in block[0]):
                break
            block.append(rows[place])
            place += 1
        timed = next((index for index, row in enumerate(block[:2]) if "-->" in row), None)
        if timed is None:
            continue
        times = _times(block[timed])
        if times is None:
            unreadable += _BROKEN_TIMES.match(block[timed]) is not None
        else:
            cues.append(Cue(*times, "\n".join(block[timed + 1 :])))
    return Cues(cues, unreadable)


def parse_subrip(text: str) -> Cues:
    """Find the cues of a SubRip file, by the rows that hold times: empty rows and indices may be missing."""
    rows = rows_of(text)
    timed = (place for place, row in enumerate(rows) if "->" in row)
    places = [place for place in timed if _TIMES.match(rows[place]) or _BROKEN_TIMES.match(rows[place])]
    numbered = bool(places) and any(row.strip().isdecimal() for row in rows[max(0, places[0] - 2) : places[0]])
    cues: list[Cue] = []
    unreadable = 0
    for count, (place, following) in enumerate(zip(places, [*places[1:], len(rows)], strict=True), start=1):
        shown = rows[place + 1 : following]
        while shown and not shown[-1].strip():
            shown.pop()
        if numbered and following < len(rows) and shown and shown[-1].strip().isdecimal():
            alone = len(shown) == 1 or not shown[-2].strip()
            if alone or int(shown[-1].strip()[:9]) == count + 1:
                shown.pop()  # the next cue's index
        times = _times(rows[place])
        if times is None:
            unreadable += 1
        else:
            cues.append(Cue(*times, "\n".join(shown).strip()))
    return Cues(cues, unreadable)


def has_subrip_times(text: str) -> bool:
    """Return True if any row holds times as SubRip writes them."""
    return any(_TIMES.match(row) for row in rows_of(text) if "->" in row)


def from_subviewer(text: str) -> str | None:
    """Turn SubViewer (``00:00:01.00,00:00:02.50``, ``[br]``) and YouTube's .sbv into SubRip; None for other formats."""
    text = "\n".join(rows_of(text))
    if _PAIR.search(text) is None:
        return None
    rows = [row for row in text.split("\n") if not re.match(r"\s*\[(?!br\])\w[^\]]*\]", row, re.IGNORECASE)]
    shown = [row.replace(",", " --> ", 1) if _PAIR.match(row) else re.sub(r"(?i)\[br\]", "\n", row) for row in rows]
    return "\n".join(shown)


def _times(row: str) -> tuple[float, float] | None:
    match = _TIMES.match(row)
    if match is None:
        return None
    return _seconds(*match.groups()[:4]), _seconds(*match.groups()[4:8])


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    """Return seconds; digits after the point or comma are a decimal fraction."""
    whole = 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)
    return round(whole + (int(fraction) / 10 ** len(fraction) if fraction else 0.0), 6)


# --- from cues to lines ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shown:
    """A cue without markup."""

    start: float
    end: float
    rows: tuple[tuple[Word, ...], ...]
    timed: bool
    """True if times inside the cue say when its words are said."""

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for row in self.rows for word in row)


def lines_of(cues: Iterable[Cue]) -> list[Line]:
    """Turn cues into lines in order of time: markup removed, speakers and times of words kept, each word once.

    Captions that roll up the screen repeat the rows that are still shown; a cue then gives only its new words, from the
    time of the first of them on. A cue with several speakers and times becomes a line for each.
    """
    shown = sorted((_shown(cue) for cue in cues), key=lambda cue: (cue.start, cue.end))
    return [turn for cue in _unrolled(shown) for turn in split_turns(_line(cue))]


def _shown(cue: Cue) -> _Shown:
    """Read a cue's markup (WebVTT 6.4; SubRip's tags are a part of it, ``{\\an8}`` is ASS)."""
    rows: list[tuple[Word, ...]] = []
    voice, in_ruby, timed = "", False, False
    for row in cue.payload.split("\n"):
        text, times, voices = "", [], [(0, voice)]
        last = 0
        for token in _TOKEN.finditer(row):
            if not in_ruby:
                text += html.unescape(row[last : token.start()])
            last = token.end()
            tag = token[1] or ""
            name = re.split(r"[\s./]", tag.lower().lstrip("/"), maxsplit=1)[0]
            if name == "rt":
                in_ruby = not tag.startswith("/")  # how the base is pronounced: the base is what is said
            elif name == "v" and not tag.startswith("/"):
                voice = " ".join(html.unescape(tag).split()[1:])
                voices.append((len(text), voice))
            elif name == "v":
                voice = ""
                voices.append((len(text), voice))
            elif name == "ruby" and tag.startswith("/"):
                in_ruby = False
            elif tag[:1].isdecimal() and (time := _inside(cue, tag)) is not None:
                times.append((len(text), time))
                timed = True
        if not in_ruby:
            text += html.unescape(row[last:])
        rows.append(_words(text, times, voices))
    return _Shown(cue.start, cue.end, _ended(tuple(filter(None, rows)), cue, timed), timed)


def _inside(cue: Cue, mark: str) -> float | None:
    """Return a time inside a cue, None for others. Streams in Matroska may count from the cue's beginning."""
    match = _MARK_TIME.fullmatch(mark)
    if match is None:
        return None
    time = _seconds(*match.groups())
    for place in (time, cue.start + time):
        if cue.start <= place <= cue.end:
            return place
    return None


def _words(text: str, times: Sequence[tuple[int, float]], voices: Sequence[tuple[int, str]]) -> tuple[Word, ...]:
    """Split a row into words; ``times`` and ``voices`` begin at places of the row."""
    found: list[Word] = []
    previous = 0
    for match in re.finditer(r"\S+", text):
        start = next((time for place, time in reversed(times) if previous <= place <= match.start()), None)
        voice = next(voice for place, voice in reversed(voices) if place <= match.start())
        found.append(Word(match[0], start, None, voice))
        previous = match.end()
    return tuple(found)


def _ended(rows: tuple[tuple[Word, ...], ...], cue: Cue, timed: bool) -> tuple[tuple[Word, ...], ...]:
    """Let words end where the next timed one begins; words before the first time begin with the cue."""
    if not timed:
        return rows
    end, done = cue.end, []
    for row in reversed(rows):
        finished = []
        for word in reversed(row):
            finished.append(replace(word, end=end) if word.start is not None else word)
            end = word.start if word.start is not None else end
        done.append(tuple(reversed(finished)))
    return tuple(reversed(done))


def _unrolled(cues: Sequence[_Shown]) -> list[_Shown]:
    """Take out of rolling captions the words that an earlier cue has shown."""
    repeated = [0, *(_repeated(before, after) for before, after in pairwise(cues))][: len(cues)]
    count = sum(bool(words) for words in repeated)
    grown = any(0 < words < len(cue.words) for words, cue in zip(repeated, cues, strict=True))
    timed = any(cue.timed for cue in cues)
    if not grown or (count < (1 if timed else 2)) or 2 * count < len(cues) - 1:
        return list(cues)
    return [_without_first(cue, words) for cue, words in zip(cues, repeated, strict=True) if words < len(cue.words)]


def _repeated(before: _Shown, after: _Shown) -> int:
    """Return how many words at the beginning of a cue are whole last rows of the cue before."""
    if not before.rows or not after.start - _CONTIGUOUS <= before.end:
        return 0
    words = [word.text for word in after.words]
    for first in range(len(before.rows)):
        shown = [word.text for row in before.rows[first:] for word in row]
        if words[: len(shown)] == shown and all(word.start is None for word in after.words[: len(shown)]):
            return len(shown)
    return 0


def _without_first(cue: _Shown, count: int) -> _Shown:
    rows = []
    for row in cue.rows:
        rows.append(row[min(count, len(row)) :])
        count = max(0, count - len(row))
    return replace(cue, rows=tuple(filter(None, rows)))


def _line(cue: _Shown) -> Line:
    voices = {word.speaker for word in cue.words}
    speaker = next(iter(voices)) if len(voices) == 1 else ""
    words = cue.words if cue.timed or len(voices) > 1 else ()
    start = next((word.start for word in words[:1] if word.start is not None), cue.start)
    return Line(start, cue.end, "\n".join(" ".join(word.text for word in row) for row in cue.rows), 0, speaker, words)


def split_turns(line: Line, gap: str = " ") -> list[Line]:
    """Divide a line whose words have times where its speaker changes (also ``>>`` of broadcasts); else return it alone.

    Args:
        line: with its words.
        gap: what stands between words.
    """
    groups: list[list[Word]] = []
    for word in line.words:
        speaker = groups[-1][-1].speaker if groups else ""
        changed = bool(groups) and bool(word.speaker) and word.speaker != speaker
        if not groups or changed or word.text.startswith(">>"):
            groups.append([word])
        else:
            groups[-1].append(replace(word, speaker=word.speaker or speaker))
    begins = [next((word.start for word in group if word.start is not None), None) for group in groups]
    if len(groups) < 2 or None in begins[1:]:
        return [line]
    turns = []
    for group, begin, following in zip(groups, [line.start, *begins[1:]], [*begins[1:], None], strict=True):
        ends = [word.end for word in group if word.end is not None]
        end = line.end if following is None else min(max(ends, default=following), following)
        text = gap.join(word.text for word in group)
        turns.append(Line(begin or 0.0, end, text, 0, group[0].speaker, tuple(group)))
    return turns
