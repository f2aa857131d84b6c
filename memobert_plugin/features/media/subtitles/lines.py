"""Clean lines of subtitles and choose those that become utterances."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Word:
    """A word with the times and the speaker that a file states."""

    text: str
    start: float | None
    """Seconds; None where the file does not say."""
    end: float | None
    speaker: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of subtitles."""

    start: float
    """Seconds from the film's beginning."""
    end: float
    text: str
    """Rows separated by line breaks."""
    number: int = 0
    """Its place in order of time, from 1."""
    speaker: str = ""
    """As the file names them; empty where it does not."""
    words: tuple[Word, ...] = ()
    """Empty unless the file has times or speakers of words."""


CLEANINGS: Final = ("english", "markup")
Cleaning = Literal["english", "markup"]

_TAG: Final = re.compile(r"</?\s*(?:i|b|u|s|em|strong|font|c|v|span|lang|ruby|rt)\b[^<>]*>", re.IGNORECASE)
_UNPRINTABLE: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060\ufeff]")
_DESCRIPTION: Final = re.compile(r"\[[^\]]*\]|\([^)]*\)|\{[^}]*\}|\*[^*]*\*", re.DOTALL)
_MUSIC: Final = re.compile(r"[♪♫♬]|^\s*#.*#\s*$|^\s*#\s")
_ADVERTISEMENT: Final = re.compile(r"https?://|www\.|opensubtitles", re.IGNORECASE)
_NAME: Final = r"[A-Z][A-Z0-9 .'#&_-]*[A-Z0-9.]\s*:(?=\s|$)"
_SPEAKER: Final = re.compile(rf"^(\W*){_NAME}")
_DASH: Final = re.compile(r"^\s*[-\u2010-\u2015]+\s*")
_TOOL: Final = r"\[[^\[\]\n]{1,40}\]\s*:|(?:SPEAKER|Speaker)[ _]?\w{1,4}\s*:"
"""Marks of speakers by tools, such as whisperX's ``[SPEAKER_00]:``."""
TOOL_MARK: Final = re.compile(rf"\s*({_TOOL})")
_LABEL: Final = re.compile(rf"^\s*(?:{_TOOL}|>{{2,}}(?!.*<<))\s*")
"""With broadcasters' marks: ``>>`` is another speaker, ``>>>`` another subject; ``>>so<<`` are quotes."""
_TURN: Final = re.compile(rf">>+|^\s*(?:{_TOOL}|{_NAME})", re.MULTILINE)
_QUOTES: Final = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u00b4`", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
}
_LETTERS: Final = {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
_ASCII: Final = str.maketrans({**_QUOTES, **_LETTERS, **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015", "-")})


def clean_text(text: str, cleaning: Cleaning = "english") -> str:
    """Return what is said in a line, as one row; empty where nothing is.

    ``markup`` takes out tags, character references, invisible characters, line breaks and marks of speakers that are no
    words (``[SPEAKER_00]:``, ``>>``), whatever the language. ``english`` also takes out sound descriptions
    (``[sighs]``, ``(sighs)``, ``*sighs*``), songs (``♪``), advertisements with an address, speakers' names (``JOHN:``)
    and dashes before a speaker's words, and leaves ASCII alone: accents are dropped, typographic characters replaced by
    the plain ones, anything else removed.
    """
    rows = [_without_labels(row) for row in _plain(text).split("\n")]
    text = "\n".join(rows)
    if cleaning == "english":
        rows = _DESCRIPTION.sub(" ", text).split("\n")
        rows = [_spoken(row) for row in rows if not _MUSIC.search(row) and not _ADVERTISEMENT.search(row)]
        text = "\n".join(rows)
    text = " ".join(text.split())
    return text if any(character.isalnum() for character in text) else ""


def several_speakers(text: str) -> bool:
    """Return True for a line with the words of two people: one face can have said only one's.

    Two rows begin with a dash, or words stand before a mark of another speaker (``>>``, ``[SPEAKER_01]:``, ``NAME:``).
    """
    text = _plain(text)
    rows = _DESCRIPTION.sub(" ", text).split("\n")
    if sum(bool(_DASH.match(row)) and _has_words(row) for row in rows) > 1:
        return True
    said = [clean_text(part) for part in _TURN.split(text)]
    return "<<" not in text and sum(map(bool, said)) > 1


def _plain(text: str) -> str:
    """Remove tags and invisible characters."""
    text = _TAG.sub("", text)
    return _UNPRINTABLE.sub(" ", html.unescape(text) if "&" in text else text)


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _without_labels(row: str) -> str:
    """Remove marks of speakers at a row's beginning, also after a dash."""
    dash = _DASH.match(row)
    first = dash.end() if dash else 0
    rest = row[first:]
    while match := _LABEL.match(rest):
        rest = rest[match.end() :]
    return row if len(rest) == len(row) - first else rest


def _spoken(row: str) -> str:
    row = unicodedata.normalize("NFKD", row.translate(_ASCII)).encode("ascii", "ignore").decode()
    row = _DASH.sub("", row.strip()).removeprefix(":")  # (MIRA): …, of which the brackets are gone
    return _DASH.sub("", _SPEAKER.sub(r"\1", row))


@dataclass(frozen=True, slots=True)
class LineRules:
    """Rules for a usable line."""

    cleaning: Cleaning = "english"
    shortest: float = 1.0
    """Seconds; the paper's."""
    longest: float = 60.0
    """Seconds; longer ones are mistakes of the file."""
    largest_overlap: float = 0.5
    """Seconds by which a line may run into the next one; it is then cut there."""


@dataclass(frozen=True, slots=True)
class DroppedLine:
    """A line that is not used."""

    line: Line
    reason: str


def usable_lines(
    lines: Sequence[Line], duration: float | None, rules: LineRules | None = None
) -> tuple[list[Line], list[DroppedLine]]:
    """Clean lines and leave out those that cannot be an utterance.

    Lines that overlap by little are separated where the later one begins; of lines that overlap by more, or lie inside
    each other, none is used, since nobody can tell whose voice is heard. Lines are cut at the film's end. Where a file
    has times of words, lines are read with these; here a line whose words have several speakers is left out.

    Args:
        lines: in order of time.
        duration: the film's, in seconds; None where it is unknown.
        rules: for usable lines (None: the defaults).

    Returns:
        Lines with cleaned texts that do not overlap, in order of time, and the others in order of their numbers.
    """
    rules = rules or LineRules()
    dropped: list[DroppedLine] = []
    candidates: list[Line] = []
    seen: set[tuple[float, float, str]] = set()
    for line in lines:
        text = clean_text(line.text, rules.cleaning)
        key = (line.start, line.end, text)
        reason = _objection(line, text, duration, rules)
        line = replace(line, words=())
        if not reason and key in seen:
            reason = "the same line twice"
        seen.add(key)
        if reason:
            dropped.append(DroppedLine(line, reason))
        else:
            candidates.append(replace(line, text=text))
    used = []
    for line, reason in _separated(candidates, rules.largest_overlap):
        if duration is not None and line.end > duration:
            line = replace(line, end=duration)
        if not reason and _shorter(line, rules.shortest):
            reason = f"shorter than {rules.shortest:g} s"
        if reason:
            dropped.append(DroppedLine(line, reason))
        else:
            used.append(line)
    return used, sorted(dropped, key=lambda each: each.line.number)


def _objection(line: Line, text: str, duration: float | None, rules: LineRules) -> str:
    if not text:
        return "no spoken text"
    if line.end <= line.start:
        return "ends when it begins"
    if duration is not None and line.start >= duration:
        return "beyond the film's end"
    if line.end - line.start > rules.longest:
        return f"longer than {rules.longest:g} s"
    voices = {word.speaker for word in line.words if word.speaker}
    if len(voices) > 1 or (rules.cleaning == "english" and several_speakers(line.text)):
        return "words of two speakers"
    return ""


def _separated(lines: Sequence[Line], largest_overlap: float) -> list[tuple[Line, str]]:
    """Lines that overlap with no other, and a reason for those that cannot be separated."""
    reasons = [""] * len(lines)
    ends = [line.end for line in lines]
    open_lines: list[int] = []
    for index, line in enumerate(lines):
        open_lines = [earlier for earlier in open_lines if lines[earlier].end > line.start]
        for earlier in open_lines:
            overlap = min(lines[earlier].end, line.end) - line.start
            if overlap > largest_overlap or lines[earlier].end > line.end:
                reasons[earlier] = reasons[index] = "at the same time as another line"
            else:
                ends[earlier] = min(ends[earlier], line.start)
        open_lines.append(index)
    return [(replace(line, end=end), reason) for line, end, reason in zip(lines, ends, reasons, strict=True)]


def _shorter(line: Line, shortest: float) -> bool:
    return line.end - line.start < shortest - 1e-6
