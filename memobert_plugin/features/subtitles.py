"""Subtitle files of any encoding, and streams inside films, to lines with times in seconds."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from ..errors import UserError
from ..regular_file import regular
from .audio import DefectiveClip
from .media import media_facts, opened

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
