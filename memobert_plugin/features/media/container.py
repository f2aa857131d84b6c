"""Opening films and other media files, and what can be said of them before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...core.errors import DefectiveClip, UserError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

_PLAYLISTS: Final = frozenset({"hls", "concat", "dash", "imf"})
_PER_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class SubtitleStream:
    """A subtitle stream inside a film."""

    index: int
    codec: str
    language: str
    """Such as ``eng``; empty where the film does not say."""


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What a media file says of itself."""

    duration: float | None
    """Seconds; None where the file does not say."""
    has_video: bool
    has_audio: bool
    subtitles: tuple[SubtitleStream, ...] = ()


def import_av() -> None:
    """Make sure that PyAV is there.

    Raises:
        UserError: it is not.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        raise UserError("films need PyAV: pip install 'memobert-plugin[video]'") from None


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading; a name is never taken for an address, and nothing but local files is read.

    Raises:
        DefectiveClip: no such file, or nothing that FFmpeg takes for a media file of its own.
        UserError: PyAV is missing.
    """
    import_av()
    import av

    if not path.is_file():
        raise DefectiveClip(f"{path}: no such file")
    try:
        container = av.open(f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DefectiveClip(f"{path}: cannot be opened as a media file ({_reason(error)})") from None
    with container:
        if _PLAYLISTS & set(container.format.name.split(",")):
            raise DefectiveClip(f"{path}: a playlist of other files, not a media file")
        yield container


def media_facts(path: Path) -> MediaFacts:
    """Look into a media file without decoding anything.

    Raises:
        DefectiveClip: see :func:`opened`.
    """
    with opened(path) as container:
        return MediaFacts(
            duration=_duration(container),
            has_video=video_stream(container) is not None,
            has_audio=audio_stream(container) is not None,
            subtitles=tuple(
                SubtitleStream(stream.index, stream.codec_context.name, stream.language or "")
                for stream in container.streams.subtitles
                if stream.codec_context is not None
            ),
        )


def video_stream(container: InputContainer) -> av.VideoStream | None:
    """The stream that players show; a cover picture is none."""
    import av
    from av.stream import Disposition

    best = container.streams.best("video")
    if not isinstance(best, av.VideoStream) or best.codec_context is None:
        return None
    return None if best.disposition & Disposition.attached_pic else best


def audio_stream(container: InputContainer) -> av.AudioStream | None:
    """The stream that players play."""
    import av

    best = container.streams.best("audio")
    return best if isinstance(best, av.AudioStream) and best.codec_context is not None else None


def time_origin(container: InputContainer) -> float:
    """Where the file's time begins, in seconds; subtitles and everything here count from it."""
    return (container.start_time or 0) / _PER_SECOND


def _duration(container: InputContainer) -> float | None:
    if container.duration:
        return container.duration / _PER_SECOND
    ends = [
        float((stream.start_time or 0) + stream.duration) * float(stream.time_base) - time_origin(container)
        for stream in (video_stream(container), audio_stream(container))
        if stream is not None and stream.duration and stream.time_base
    ]
    return max(ends, default=None)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())


FILM_SUFFIXES: Final = (
    ".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".wmv", ".flv", ".ogv", ".3gp",
)  # fmt: skip
"""By which a folder's films are found."""

SUBTITLE_SUFFIXES: Final = (".srt", ".ass", ".ssa", ".vtt")
"""The first one that is there counts."""
