"""Subtitle files of any encoding, and streams inside films, to lines with times in seconds."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal

from ...core.errors import DefectiveClip, UserError
from ...core.files import regular
from .container import media_facts, opened

if TYPE_CHECKING:
    import pysubs2
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FALLBACK: Final = "cp1252"
_LARGEST_BYTES: Final = 64 << 20
_TEXT_CODECS: Final = frozenset({"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"})


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


@dataclass(frozen=True, slots=True)
class Subtitles:
    """A film's lines in order of time, and where they come from."""

    lines: list[Line]
    origin: str
    """The file, or the film and its stream."""
    remark: str = ""
    """What had to be guessed."""


def read_subtitles(path: Path, encoding: str | None = None) -> Subtitles:
    """Read a ``.srt``, ``.ass``, ``.ssa`` or ``.vtt`` file.

    Without ``encoding`` a byte-order mark decides, then UTF-8 is tried, then UTF-16 where every second byte is zero;
    what is none of them is taken for Windows-1252, and the remark says so. Comments and drawings are left out.

    Raises:
        DefectiveClip: the file cannot be read, is not in that encoding, or holds no line.
        UserError: pysubs2 is missing, or there is no such encoding.
    """
    pysubs2 = _import_pysubs2()
    try:
        if regular(path).stat().st_size > _LARGEST_BYTES:
            raise DefectiveClip(f"{path}: larger than {_LARGEST_BYTES >> 20} MiB, no subtitles")
        raw = path.read_bytes()
    except OSError as error:
        raise DefectiveClip(f"{path}: cannot be read ({error.strerror})") from None
    text, remark = _decoded(path, raw, encoding)
    try:
        format_ = "ass" if "[Events]" in text and "[V4 Styles]" not in text else None
        events = pysubs2.SSAFile.from_string(text, format_).events
    except (pysubs2.exceptions.Pysubs2Error, ValueError, OverflowError, LookupError) as error:  # last: an empty colour
        raise DefectiveClip(f"{path}: not readable as subtitles ({' '.join(str(error).split())})") from None
    lines = _in_order(events)
    if not lines:
        raise DefectiveClip(f"{path}: no line of subtitles")
    return Subtitles(lines, str(path), remark)


def embedded_subtitles(film: Path, language: str | None = None) -> Subtitles:
    """Read the subtitle stream with the most text from a film.

    Args:
        film: the film.
        language: only streams that are marked so, such as ``eng``.

    Raises:
        DefectiveClip: the film cannot be read, or has no such stream of text.
        UserError: pysubs2 or PyAV is missing.
    """
    _import_pysubs2()
    streams = [
        stream
        for stream in media_facts(film).subtitles
        if stream.codec in _TEXT_CODECS and language in (None, stream.language)
    ]
    wanted = f" in language {language}" if language else ""
    if not streams:
        raise DefectiveClip(f"{film}: no subtitles beside it, and no stream of text inside{wanted}")
    events = _stream_events(film, [stream.index for stream in streams])
    longest = max(streams, key=lambda stream: (sum(len(event.text) for event in events[stream.index]), -stream.index))
    lines = _in_order(events[longest.index])
    if not lines:
        raise DefectiveClip(f"{film}: the streams of subtitles inside{wanted} are empty")
    name = f"{film}, stream {longest.index}{f' ({longest.language})' if longest.language else ''}"
    return Subtitles(lines, name)


def _stream_events(film: Path, indices: list[int]) -> dict[int, list[pysubs2.SSAEvent]]:
    import av
    from pysubs2 import SSAEvent

    events: dict[int, list[SSAEvent]] = {index: [] for index in indices}
    with opened(film) as container:
        origin = round(1000 * (container.start_time or 0) / 1_000_000)
        packets = container.demux([container.streams[index] for index in indices])
        try:
            for packet in packets:
                if packet.pts is None or packet.time_base is None:
                    continue
                start = round(1000 * packet.pts * packet.time_base) - origin
                end = start + round(1000 * (packet.duration or 0) * packet.time_base)
                for subtitle in packet.decode():
                    text = getattr(subtitle, "dialogue", b"").decode("utf-8", "replace")
                    events[packet.stream.index].append(SSAEvent(start=start, end=end, text=text))
        except av.FFmpegError as error:
            raise DefectiveClip(f"{film}: its subtitles cannot be read ({error.strerror})") from None
    return events


def _in_order(events: Iterable[pysubs2.SSAEvent]) -> list[Line]:
    spoken = [event for event in events if event.is_text]
    spoken.sort(key=lambda event: (event.start, event.end))
    return [
        Line(event.start / 1000, event.end / 1000, event.plaintext, number)
        for number, event in enumerate(spoken, start=1)
    ]


def _decoded(path: Path, raw: bytes, encoding: str | None) -> tuple[str, str]:
    """The text, and a remark if its encoding was guessed."""
    if encoding is not None:
        try:
            return raw.decode(encoding), ""
        except LookupError:
            raise UserError(f"--encoding {encoding}: Python knows no such encoding; an example is cp1251") from None
        except ValueError as error:
            raise DefectiveClip(f"{path}: not in {encoding} ({error})") from None
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if raw.startswith(mark)), None)
    if marked is None and b"\0" in raw[:200]:
        marked = "utf-16-le" if raw[1:200:2].count(0) >= raw[0:200:2].count(0) else "utf-16-be"
    try:
        return raw.decode(marked or "utf-8"), ""
    except ValueError as error:
        if marked is not None:
            raise DefectiveClip(f"{path}: not in {marked}, as its first bytes say ({error})") from None
    remark = f"{path}: not UTF-8, taken for Windows-1252 (--encoding names another)"
    return raw.decode(_FALLBACK, "replace"), remark


def _import_pysubs2() -> ModuleType:
    try:
        import pysubs2
    except ImportError:
        raise UserError("subtitles need pysubs2: pip install 'memobert-plugin[video]'") from None
    return pysubs2


CLEANINGS: Final = ("english", "markup")
Cleaning = Literal["english", "markup"]

_TAG: Final = re.compile(r"</?\s*(?:i|b|u|s|em|strong|font|c|v|span|lang|ruby|rt)\b[^<>]*>", re.IGNORECASE)
_UNPRINTABLE: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060\ufeff]")
_DESCRIPTION: Final = re.compile(r"\[[^\]]*\]|\([^)]*\)|\{[^}]*\}|\*[^*]*\*", re.DOTALL)
_MUSIC: Final = re.compile(r"[♪♫♬]|^\s*#.*#\s*$|^\s*#\s")
_ADVERTISEMENT: Final = re.compile(r"https?://|www\.|opensubtitles", re.IGNORECASE)
_SPEAKER: Final = re.compile(r"^(\W*)[A-Z][A-Z0-9 .'#&-]*[A-Z0-9.]\s*:(?=\s|$)")
_DASH: Final = re.compile(r"^\s*[-\u2010-\u2015]+\s*")
_QUOTES: Final = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u00b4`", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
}
_LETTERS: Final = {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
_ASCII: Final = str.maketrans({**_QUOTES, **_LETTERS, **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015", "-")})


def clean_text(text: str, cleaning: Cleaning = "english") -> str:
    """What is said in a line, as one row; empty where nothing is.

    ``markup`` takes out tags, invisible characters and line breaks, whatever the language. ``english`` also takes out
    sound descriptions (``[sighs]``, ``(sighs)``, ``*sighs*``), songs (``♪``), advertisements with an address, speakers'
    names (``JOHN:``) and dashes before a speaker's words, and leaves ASCII alone: accents are dropped, typographic
    characters replaced by the plain ones, anything else removed.
    """
    text = _UNPRINTABLE.sub(" ", _TAG.sub("", text))
    if cleaning == "english":
        rows = _DESCRIPTION.sub(" ", text).split("\n")
        rows = [_spoken(row) for row in rows if not _MUSIC.search(row) and not _ADVERTISEMENT.search(row)]
        text = "\n".join(rows)
    text = " ".join(text.split())
    return text if any(character.isalnum() for character in text) else ""


def several_speakers(text: str) -> bool:
    """Whether two rows begin with a dash: the words of two people, of which one face can only have said one's."""
    rows = _DESCRIPTION.sub(" ", _TAG.sub("", text)).split("\n")
    return sum(bool(_DASH.match(row)) and any(character.isalnum() for character in row) for row in rows) > 1


def _spoken(row: str) -> str:
    row = unicodedata.normalize("NFKD", row.translate(_ASCII)).encode("ascii", "ignore").decode()
    return _DASH.sub("", _SPEAKER.sub(r"\1", _DASH.sub("", row.strip())))


@dataclass(frozen=True, slots=True)
class LineRules:
    """What a usable line is."""

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
    """Clean lines and leave out what cannot be an utterance.

    Lines that overlap by little are separated where the later one begins; of lines that overlap by more, or lie inside
    each other, none is used, since nobody can tell whose voice is heard. What reaches beyond the film is cut off.

    Args:
        lines: in order of time.
        duration: the film's, in seconds; None where it is unknown.
        rules: what a usable line is (None: the defaults).

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
    if rules.cleaning == "english" and several_speakers(line.text):
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
