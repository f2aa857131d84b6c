"""Open films and other media files, and say what is in them before anything is decoded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from ...core.errors import DefectiveClip, UserError, pip_install
from .streams import ANY_STREAMS, Kind, StreamChoice, StreamFacts, choose_audio, choose_video

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

_PLAYLISTS: Final = frozenset({"hls", "concat", "dash", "imf"})
_PER_SECOND: Final = 1_000_000
_LONGEST_PRIMING: Final = 0.15
"""Seconds by which the silence of a sound's encoder may come before the pictures (2048 samples at 16 kHz: 0.128)."""


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """Facts that a media file states, and the streams that are read."""

    duration: float | None
    """Seconds; None where the file does not say."""
    streams: tuple[StreamFacts, ...]
    """Those that can be decoded, and all subtitles."""
    video: StreamFacts | None
    """The stream of pictures that is read; None without one."""
    audio: StreamFacts | None
    """The stream of sound that is read; None without one."""
    video_remark: str = ""
    """Names the stream of pictures taken of several; empty where there was no choice."""
    audio_remark: str = ""
    """Names the stream of sound taken of several, likewise."""
    picture_rate: float | None = None
    """Pictures per second on average; None where the file does not say."""

    @property
    def remark(self) -> str:
        """Return the names of the streams taken of several."""
        return "; ".join(filter(None, (self.video_remark, self.audio_remark)))

    @property
    def has_video(self) -> bool:
        """Return True if there are pictures."""
        return self.video is not None

    @property
    def has_audio(self) -> bool:
        """Return True if there is sound."""
        return self.audio is not None

    @property
    def subtitles(self) -> tuple[StreamFacts, ...]:
        """Return the subtitle streams."""
        return tuple(stream for stream in self.streams if stream.kind == "subtitle")


def import_av() -> None:
    """Check that PyAV is installed.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        raise UserError(f"films need PyAV: {pip_install('video')}") from None


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
        raise DefectiveClip(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        container = av.open(f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DefectiveClip(f"{path}: cannot be opened as a media file ({_reason(error)})") from None
    with container:
        refuse_playlist(path, container)
        yield container


def refuse_playlist(source: str | os.PathLike[str], container: InputContainer) -> None:
    """Raise :class:`DefectiveClip` for a list of other files: reading it would open what it names."""
    if _PLAYLISTS & set(container.format.name.split(",")):
        raise DefectiveClip(f"{os.fspath(source)}: a playlist of other files, not a media file")


def media_facts(path: Path, choice: StreamChoice = ANY_STREAMS) -> MediaFacts:
    """Look into a media file without decoding anything.

    Raises:
        DefectiveClip: see :func:`opened`, or it lacks a stream that the user asked for.
        UserError: PyAV is missing.
    """
    with opened(path) as container:
        streams = stream_facts(container)
        video = choose_video(path, streams, choice, _best(container, "video"))
        audio = choose_audio(path, streams, choice, _best(container, "audio"))
        return MediaFacts(
            duration=_duration(container),
            streams=streams,
            video=video and video.stream,
            audio=audio and audio.stream,
            video_remark=video.remark if video else "",
            audio_remark=audio.remark if audio else "",
            picture_rate=_picture_rate(container, video.stream.index) if video else None,
        )


def stream_facts(container: InputContainer) -> tuple[StreamFacts, ...]:
    """Describe the streams of pictures and sound that can be decoded, and all streams of subtitles."""
    from av.stream import Disposition

    found = []
    for stream in (*container.streams.video, *container.streams.audio, *container.streams.subtitles):
        kind: Kind = stream.type  # type: ignore[assignment]
        context = stream.codec_context
        if context is None and kind != "subtitle":
            continue
        title = stream.metadata.get("title") or stream.metadata.get("handler_name", "")
        found.append(
            StreamFacts(
                index=stream.index,
                kind=kind,
                codec=context.name if context is not None else "unknown",
                language=(stream.language or "").strip("\0 ").removeprefix("und"),
                title="" if title.endswith("Handler") else " ".join(title.split()),
                flags=frozenset(flag.name for flag in Disposition if flag.name and stream.disposition & flag),
            )
        )
    return tuple(sorted(found, key=lambda facts: facts.index))


def video_stream(container: InputContainer, choice: StreamChoice = ANY_STREAMS) -> av.VideoStream | None:
    """Return the stream of pictures that is read; cover pictures are none.

    Raises:
        DefectiveClip: no stream has the number that the user asked for.
    """
    import av

    found = choose_video(_path(container), stream_facts(container), choice, _best(container, "video"))
    stream = container.streams[found.stream.index] if found else None
    return stream if isinstance(stream, av.VideoStream) else None


def audio_stream(container: InputContainer, choice: StreamChoice = ANY_STREAMS) -> av.AudioStream | None:
    """Return the stream of sound that is read.

    Raises:
        DefectiveClip: no stream has the number or the language that the user asked for.
    """
    import av

    found = choose_audio(_path(container), stream_facts(container), choice, _best(container, "audio"))
    stream = container.streams[found.stream.index] if found else None
    return stream if isinstance(stream, av.AudioStream) else None


def _picture_rate(container: InputContainer, index: int) -> float | None:
    rate = getattr(container.streams[index], "average_rate", None)
    return float(rate) if rate else None


def _path(container: InputContainer) -> Path:
    return Path(container.name.removeprefix("file:"))


def _best(container: InputContainer, kind: Literal["video", "audio"]) -> int | None:
    """Return the number of the stream that players take."""
    best = container.streams.best(kind)
    return None if best is None else best.index


def time_origin(container: InputContainer) -> float:
    """Return where the file's time begins, in seconds; subtitles, sound and pictures count from it.

    Encoders put some silence before the sound (AAC one or two frames), which lies before zero or, where a container
    takes no times below zero, moves the pictures back: sound that begins a little earlier than the pictures does not
    begin the file.
    """
    from av.stream import Disposition

    origin = (container.start_time or 0) / _PER_SECOND
    pictures = [
        float(stream.start_time * stream.time_base)
        for stream in container.streams.video
        if stream.start_time is not None and stream.time_base and not stream.disposition & Disposition.attached_pic
    ]
    if pictures and origin < min(pictures) <= origin + _LONGEST_PRIMING:
        origin = min(pictures)
    return max(0.0, origin)


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
    ".mts", ".vob", ".dv", ".mxf", ".asf", ".f4v", ".gif",
)  # fmt: skip
"""Suffixes by which a folder's films are found."""
