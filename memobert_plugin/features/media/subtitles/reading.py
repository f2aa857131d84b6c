"""Read subtitle files of any encoding and format, transcripts, and streams inside films, to lines in seconds."""

from __future__ import annotations

import codecs
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from ....core.errors import DefectiveClip, UserError, pip_install
from ....core.files import regular
from ..container import media_facts, opened, time_origin
from ..streams import ANY_STREAMS, StreamChoice, StreamFacts, agreement, listed, numbered, purpose, wanted_language
from .cues import Cue, Cues, from_subviewer, has_subrip_times, lines_of, parse_subrip, parse_webvtt
from .lines import TOOL_MARK, Line
from .sami import is_sami, parse_sami
from .transcripts import is_json, is_table, looks_like_transcript, parse_json, parse_table
from .ttml import is_ttml, plain_ttml

SUBTITLE_SUFFIXES: Final = (
    ".srt", ".ass", ".ssa", ".vtt", ".sub", ".sbv", ".ttml", ".dfxp", ".smi", ".sami", ".json", ".tsv",
)  # fmt: skip
"""By which a film's subtitle files are found; the first one that is there counts."""

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FALLBACK: Final = "cp1252"
_LARGEST_BYTES: Final = 64 << 20
_MARKUP_CODECS: Final = frozenset({"subrip", "srt", "webvtt", "mov_text", "text"})
"""Codecs whose packets hold the text itself."""
_TEXT_CODECS: Final = _MARKUP_CODECS | {"ass", "ssa"}
_MICRODVD: Final = re.compile(r"\s*\{\d+\}\{\d*\}")
_LYRICS: Final = re.compile(r"\s*(?:\[[a-z]+:[^\]]*\]\s*)*\[\d+:\d\d(?:[.:]\d+)?\]", re.IGNORECASE)
_PICTURES: Final = ((b"\0\0\1\xba", "VobSub"), (b"PG", "PGS"))
"""First bytes of formats that hold pictures of text."""
_RUN_ON_SHARE: Final = 0.6
_NAMED: Final = re.compile(r"^\s*([^\W\d_][^:\n<>\[\]]{0,38}[^\s:]):\s+(?=\S)")
_NAMED_SHARE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Subtitles:
    """A film's lines in order of time, and where they come from."""

    lines: list[Line]
    origin: str
    """The file, or the film and its stream."""
    remark: str = ""
    """Guesses and choices, for the user."""
    language: str = ""
    """As the film marks the stream; empty for files."""


def read_subtitles(
    path: Path, encoding: str | None = None, picture_rate: float | None = None, language: str | None = None
) -> Subtitles:
    """Read a subtitle file or a transcript; the content decides which format it is.

    SubRip, WebVTT, SubViewer, .sbv, SAMI and transcripts (whisper and others) are read here; ASS, MicroDVD, MPL2,
    TMPlayer and TTML by pysubs2. Without ``encoding`` a byte-order mark decides, then UTF-8 is tried, then UTF-16 where
    every second byte is zero; other files are taken for Windows-1252, and the remark says so. Comments and drawings are
    left out.

    Args:
        path: the file.
        encoding: its encoding (None: found out).
        picture_rate: the film's pictures per second, for MicroDVD files that do not say theirs.
        language: of SAMI files, which can hold several (None: English, else the first).

    Raises:
        DefectiveClip: the file cannot be read, is not in that encoding, or holds no line.
        UserError: pysubs2 is missing, or there is no such encoding.
    """
    try:
        if regular(path).stat().st_size > _LARGEST_BYTES:
            raise DefectiveClip(f"{path}: larger than {_LARGEST_BYTES >> 20} MiB, no subtitles")
        raw = path.read_bytes()
    except OSError as error:
        raise DefectiveClip(f"{path}: cannot be read ({error.strerror})") from None
    for start, name in _PICTURES:
        if raw.startswith(start):
            raise DefectiveClip(f"{path}: {name} holds pictures of text; give subtitles as text, such as .srt")
    text, remark = _decoded(path, raw, encoding)
    try:
        lines, guessed = _parsed(path, text.removeprefix("\ufeff"), picture_rate, language)
    except (ValueError, OverflowError, LookupError) as error:  # the last: pysubs2 on an empty colour
        if isinstance(error, DefectiveClip):
            raise
        raise DefectiveClip(f"{path}: not readable as subtitles ({' '.join(str(error).split())})") from None
    if not lines:
        raise DefectiveClip(f"{path}: no line of subtitles")
    return Subtitles(lines, str(path), "; ".join(filter(None, (remark, guessed and f"{path}: {guessed}"))))


def is_subtitle_file(path: Path) -> bool:
    """Return True if a file beside a film holds subtitles; ``.sub``, ``.json`` and ``.tsv`` may hold something else."""
    suffix = path.suffix.lower()
    if not path.is_file():
        return False
    if suffix not in (".sub", ".json", ".tsv"):
        return True
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_BYTES if suffix == ".json" else 4096)
    except OSError:
        return False
    if suffix == ".sub":
        return not raw.startswith(_PICTURES[0][0])
    return looks_like_transcript(raw.decode("utf-8-sig", "replace"))


def embedded_subtitles(film: Path, streams: StreamChoice = ANY_STREAMS, beside: Sequence[str] = ()) -> Subtitles:
    """Read a film's subtitle stream: dialogue before captions, signs and commentary; default first, then the longest.

    Args:
        film: the film.
        streams: with a language only streams marked so, with a number that stream.
        beside: subtitle files of the film in other languages, for the message.

    Raises:
        DefectiveClip: the film cannot be read, or has no such stream of text; the message lists what there is.
        UserError: pysubs2 or PyAV is missing.
    """
    there = media_facts(film).subtitles
    candidates = [stream for stream in there if stream.codec in _TEXT_CODECS]
    wanted, agreeing = "", dict.fromkeys(candidates, 1)
    if streams.subtitle_stream is not None:
        stream = numbered(film, there, "subtitle", streams.subtitle_stream)
        if stream not in candidates:
            raise DefectiveClip(f"{film}: --subtitle-stream {stream}: holds no text that can be read")
        candidates = [stream]
    elif streams.language is not None:
        wanted, asked = f" in language {streams.language}", wanted_language(streams.language)
        agreeing = {stream: score for stream in candidates if (score := agreement(asked, stream.language))}
        candidates = list(agreeing)
    if not candidates:
        found = [*beside, *(["stream " + listed(there)] if there else [])]
        listing = f"; there are: {', '.join(found)}" if found else ""
        raise DefectiveClip(f"{film}: no subtitles{wanted} beside it, and no stream of text inside{wanted}{listing}")
    lines = _stream_lines(film, candidates)
    filled = [stream for stream in candidates if lines[stream.index]]
    if not filled:
        raise DefectiveClip(f"{film}: the streams of subtitles inside{wanted} are empty")
    filled.sort(
        key=lambda stream: (
            purpose(stream.flags, stream.title),
            -agreeing[stream],
            "default" not in stream.flags,
            -sum(len(line.text) for line in lines[stream.index]),
            stream.index,
        )
    )
    taken, *others = filled
    name = f"{film}, stream {taken.index}{f' ({taken.language})' if taken.language else ''}"
    remark = f"{film.name}: subtitles: stream {taken} taken, not {listed(others)}" if others else ""
    return Subtitles(lines[taken.index], name, remark, taken.language)


def _stream_lines(film: Path, streams: Sequence[StreamFacts]) -> dict[int, list[Line]]:
    import av

    codecs_by_index = {stream.index: stream.codec for stream in streams}
    cues: dict[int, list[Cue]] = {index: [] for index in codecs_by_index}
    with opened(film) as container:
        origin = time_origin(container)
        try:
            for packet in container.demux([container.streams[index] for index in codecs_by_index]):
                if packet.pts is None or packet.time_base is None:
                    continue
                start = round(float(packet.pts * packet.time_base) - origin, 6)
                end = round(start + float((packet.duration or 0) * packet.time_base), 6)
                index = packet.stream.index
                payloads = _payloads(packet, codecs_by_index[index])
                cues[index] += [Cue(start, end, payload) for payload in payloads if payload.strip()]
        except av.FFmpegError as error:
            raise DefectiveClip(f"{film}: its subtitles cannot be read ({error.strerror})") from None
    return {
        index: _finished(lines_of(found) if codecs_by_index[index] in _MARKUP_CODECS else _event_lines(found))[0]
        for index, found in cues.items()
    }


def _payloads(packet: object, codec: str) -> list[str]:
    """Return what a packet shows; the text itself where its codec has it, for times and speakers that FFmpeg drops."""
    if codec in _MARKUP_CODECS:
        raw = bytes(packet)  # type: ignore[call-overload]
        if codec == "mov_text":  # 3GPP timed text: two bytes say how long the text is, styles follow
            raw = raw[2 : 2 + int.from_bytes(raw[:2], "big")]
        marked = raw.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE))
        return ["\n".join(raw.decode("utf-16" if marked else "utf-8-sig", "replace").splitlines())]
    subtitles = packet.decode()  # type: ignore[attr-defined]
    return [getattr(subtitle, "dialogue", b"").decode("utf-8", "replace") for subtitle in subtitles]


def _event_lines(cues: Iterable[Cue]) -> list[Line]:
    """Return the lines of an ASS stream."""
    from pysubs2 import SSAEvent

    return _plain_lines(SSAEvent(round(1000 * cue.start), round(1000 * cue.end), cue.payload) for cue in cues)


def _plain_lines(events: Iterable[object]) -> list[Line]:
    """Return lines of pysubs2's events, without comments and drawings."""
    return [
        Line(event.start / 1000, event.end / 1000, event.plaintext)  # type: ignore[attr-defined]
        for event in events
        if event.is_text  # type: ignore[attr-defined]
    ]


def _parsed(path: Path, text: str, picture_rate: float | None, language: str | None) -> tuple[list[Line], str]:
    """Return lines and what had to be guessed; ``ValueError`` where it is no known format."""
    if is_json(text) and '"styles"' not in text[:4096]:  # pysubs2's own JSON begins with them
        return _finished(parse_json(text))
    if is_table(text):
        return _finished(parse_table(text))
    if "[Events]" in text and not text.startswith("WEBVTT"):
        return _with_pysubs2(path, text, None if "[V4 Styles]" in text else "ass", picture_rate)
    cues: Cues | None = None
    remark = ""
    if re.match(r"WEBVTT(?:[ \t\r\n]|$)", text):
        cues = parse_webvtt(text)
    elif has_subrip_times(text):
        cues = parse_subrip(text)
    elif (converted := from_subviewer(text)) is not None:
        cues = parse_subrip(converted)
    elif is_sami(text):
        cues, remark = parse_sami(path, text, language)
    if cues is None:
        return _with_pysubs2(path, plain_ttml(text) if is_ttml(text) else text, None, picture_rate)
    lines, guessed = _finished(lines_of(cues.cues))
    unreadable = f"{cues.unreadable} cues left out, whose times cannot be read" if cues.unreadable else ""
    return lines, "; ".join(filter(None, (remark, guessed, unreadable)))


def _with_pysubs2(path: Path, text: str, format_: str | None, picture_rate: float | None) -> tuple[list[Line], str]:
    pysubs2 = _import_pysubs2()
    try:
        # pysubs2 warns of fields that it cannot read, such as a margin, and takes their defaults.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found, guessed = _parsed_by_pysubs2(path, text, format_, picture_rate)
    # The reader of TTML raises SyntaxError for broken XML and NotImplementedError for times that it does not know.
    except (pysubs2.exceptions.Pysubs2Error, SyntaxError, RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(str(error)) from None
    events = _plain_lines(found.events)
    lines, run_on = _finished(events, rolling=found.format not in ("ass", "ssa"))
    return lines, "; ".join(filter(None, (guessed, run_on)))


def _parsed_by_pysubs2(path: Path, text: str, format_: str | None, picture_rate: float | None) -> tuple[Any, str]:
    """Return pysubs2's file, and what had to be guessed."""
    pysubs2 = _import_pysubs2()
    if _LYRICS.match(text):
        raise ValueError("lyrics (.lrc) do not say when lines end; give .srt or .vtt")
    if not _MICRODVD.match(text):
        return pysubs2.SSAFile.from_string("\n".join(text.splitlines()), format_), ""
    try:
        return pysubs2.SSAFile.from_string(text, "microdvd"), ""
    except pysubs2.exceptions.UnknownFPSError:
        if picture_rate is None:
            raise DefectiveClip(
                f"{path}: MicroDVD counts pictures, and neither it nor a film says how many a second; put "
                "{1}{1} and the rate into its first line, such as {1}{1}25"
            ) from None
    found = pysubs2.SSAFile.from_string(text, "microdvd", fps=picture_rate)
    return found, f"MicroDVD without a rate: the film's {picture_rate:.6g} pictures per second were taken"


def _finished(lines: Iterable[Line], rolling: bool = True) -> tuple[list[Line], str]:
    """Return numbered lines in order of time, and a remark.

    Recognisers of live speech give every line the time for which it stays on the screen, so that nearly each runs into
    the next one; it is then said until the next one begins.
    """
    ordered = sorted(lines, key=lambda line: (line.start, line.end))
    remark = ""
    running = sum(one.start < other.start < one.end - 0.5 for one, other in pairwise(ordered))
    if rolling and running >= 3 and running >= _RUN_ON_SHARE * (len(ordered) - 1):
        ordered = [
            replace(one, end=min(one.end, other.start)) if one.start < other.start else one
            for one, other in pairwise([*ordered, ordered[-1]])
        ]
        remark = "nearly every line runs into the next one, and ends where that begins"
    return [replace(line, number=number) for number, line in enumerate(_with_speakers(ordered), start=1)], remark


def _with_speakers(lines: list[Line]) -> list[Line]:
    """Note who speaks: by whisperX's marks, and where nearly every line begins with a name, as meeting tools write."""
    marks = [None if line.speaker else TOOL_MARK.match(line.text) for line in lines]
    lines = [
        replace(line, speaker=mark[1].strip("[]: ")) if mark else line for line, mark in zip(lines, marks, strict=True)
    ]
    found = [_NAMED.match(line.text) for line in lines]
    names = {match[1] for match in found if match}
    count = sum(match is not None for match in found)
    if count < 3 or count < _NAMED_SHARE * len(lines) or len(names) > max(2, count // 2):
        return lines
    return [
        replace(line, speaker=line.speaker or match[1], text=line.text[match.end() :], words=()) if match else line
        for line, match in zip(lines, found, strict=True)
    ]


def _decoded(path: Path, raw: bytes, encoding: str | None) -> tuple[str, str]:
    """Return the text, and a remark if its encoding was guessed."""
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
        raise UserError(f"subtitles need pysubs2: {pip_install('video')}") from None
    return pysubs2
