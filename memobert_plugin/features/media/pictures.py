"""A film's pictures at a steady rate, upright, in one pass that never holds more than a picture."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np

from ...core.errors import DefectiveClip
from .container import opened, time_origin, video_stream
from .streams import ANY_STREAMS, StreamChoice

if TYPE_CHECKING:
    import av
PICTURE_RATE: Final = 10.0
"""Pictures per second, as in the paper."""

_FURTHER_AHEAD_IS_SOUGHT: Final = 10.0
_TIME_TOLERANCE: Final = 1e-3
"""Some containers round times to milliseconds."""
_SEEK_EARLIER: Final = (0.0, 2.0, 10.0, 60.0)
"""Some containers are sought inexactly and end up behind the wanted time."""
_MOST_FAULTS: Final = 10_000
"""Packets in one film; a file that is nothing but faults ends here."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a film."""

    time: float
    """Seconds from the film's beginning."""
    rgb: np.ndarray
    """uint8 (height, width, 3), upright."""


@dataclass(frozen=True, slots=True)
class _Shown:
    begin: float
    end: float
    """Where its own duration ends; a variable frame rate may show it for longer."""
    frame: av.VideoFrame


def pictures(
    path: Path,
    rate: float = PICTURE_RATE,
    start: float | None = None,
    end: float | None = None,
    streams: StreamChoice = ANY_STREAMS,
) -> Iterator[Picture]:
    """Yield what a film shows at ``start``, ``start + 1 / rate`` … up to, but not at, ``end``.

    Raises:
        DefectiveClip: see :class:`PictureReader`.
    """
    with PictureReader(path, rate, streams) as reader:
        yield from reader.between(start or 0.0, end)


class PictureReader:
    """A film that is open for stretches of it, best asked for in order of time: then every picture is decoded once.

    The picture of a moment is the last one that began before it, so that a variable frame rate and dropped pictures
    leave times as they are. Rotation that a camera noted is undone.

    Args:
        path: the film.
        rate: pictures per second.
        streams: those that the user asked for.

    Raises:
        DefectiveClip: no media file, or one without pictures.
        UserError: PyAV is missing.
    """

    def __init__(self, path: Path, rate: float = PICTURE_RATE, streams: StreamChoice = ANY_STREAMS) -> None:
        self._path, self._rate = path, rate
        self._opened = opened(path)
        self._container = self._opened.__enter__()
        try:
            stream = video_stream(self._container, streams)
            if stream is None:
                raise DefectiveClip(f"{path}: no video stream")
        except DefectiveClip:
            self.close()
            raise
        self._stream = stream
        stream.thread_type = "AUTO"
        self._origin = time_origin(self._container)
        self._decoded = self._decode()
        self._current: _Shown | None = None
        self._next: _Shown | None = None
        self._faults = 0

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the film."""
        self._opened.__exit__(None, None, None)

    def between(self, start: float, end: float | None) -> Iterator[Picture]:
        """Yield the pictures shown at ``start + k / rate`` before ``end`` (None: to the film's end).

        Raises:
            DefectiveClip: pictures of this stretch cannot be decoded.
        """
        self._go_to(start)
        self._at(start - 1.0 / self._rate)
        faults = self._faults
        count = 0
        while end is None or start + count / self._rate < end - _TIME_TOLERANCE:
            time = start + count / self._rate
            shown = self._at(time)
            if self._faults > faults:
                raise DefectiveClip(f"{self._path}: the pictures near {time:.2f} s cannot be decoded")
            if shown is None and self._next is None:
                return
            if shown is not None:
                yield Picture(time, self._upright(shown))
            count += 1

    def _at(self, time: float) -> _Shown | None:
        """What is shown at a time not before the current picture; None before the first and after the last."""
        while self._next is None or self._next.begin <= time + _TIME_TOLERANCE:
            following = next(self._decoded, None)
            if following is None:
                if self._next is not None:
                    self._current, self._next = self._next, None
                break
            if self._next is not None:
                self._current = self._next
            self._next = following
        current = self._current
        if current is None or current.begin > time + _TIME_TOLERANCE:
            return None
        return current if self._next is not None or time < current.end else None

    def _go_to(self, time: float) -> None:
        known = self._current or self._next
        reached = 0.0 if known is None else known.begin
        if reached - _TIME_TOLERANCE <= time <= reached + _FURTHER_AHEAD_IS_SOUGHT:
            return
        for earlier in _SEEK_EARLIER:
            if time - earlier <= 0.0:
                break
            self._seek(time - earlier)
            if self._next is not None and self._next.begin <= time + _TIME_TOLERANCE:
                return
        self._seek(None)

    def _seek(self, time: float | None) -> None:
        """Continue with the last key picture before a time, or with the first picture of all."""
        import av

        if time is None:
            offset = self._stream.start_time or 0
        else:
            assert self._stream.time_base is not None
            offset = int((time + self._origin) / self._stream.time_base)
        try:
            self._container.seek(offset, stream=self._stream, backward=True)
        except av.FFmpegError as error:
            raise DefectiveClip(f"{self._path}: cannot be sought ({error.strerror})") from None
        self._decoded = self._decode(from_key_picture=time is not None)
        self._current, self._next = None, next(self._decoded, None)

    def _decode(self, from_key_picture: bool = False) -> Iterator[_Shown]:
        """Every picture from here on; packets that cannot be decoded are counted as faults."""
        import av

        usual = float(1 / self._stream.average_rate) if self._stream.average_rate else 1.0 / self._rate
        latest = -float("inf")
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
            except StopIteration:
                return
            except av.EOFError:
                return
            except av.FFmpegError:
                self._faults += 1
                if self._faults > _MOST_FAULTS:
                    return
                continue
            for frame in frames:
                if not isinstance(frame, av.VideoFrame) or frame.is_corrupt:
                    continue
                if from_key_picture and not frame.key_frame:
                    continue
                from_key_picture = False
                if frame.time is None or frame.time - self._origin <= latest:
                    continue
                latest = frame.time - self._origin
                lasts = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else usual
                yield _Shown(latest, latest + lasts, frame)

    def _upright(self, shown: _Shown) -> np.ndarray:
        try:
            rgb = shown.frame.to_ndarray(format="rgb24")
        except (OSError, ValueError) as error:
            raise DefectiveClip(f"{self._path}: a picture near {shown.begin:.2f} s is no colours ({error})") from None
        quarters = round(shown.frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(rgb, quarters)) if quarters else rgb


_QUANTIZER: Final = 5


def jpeg_address(picture: np.ndarray) -> str:
    """A picture, uint8 ``(H, W, 3)`` or grey ``(H, W)``, as the ``data:`` address of a JPEG."""
    import av

    rgb = np.ascontiguousarray(picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2))
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = rgb.shape[:2]
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 1)
    encoder.qmin = encoder.qmax = _QUANTIZER
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuvj420p")
    frame.pts = 0
    content = b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


WIDTH: Final = 240
"""Pixels, at least; less than twice as many."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture of a clip."""

    time: float
    """Seconds from the clip's beginning."""
    rgb: np.ndarray
    """uint8 (height, width, 3)."""
    scale: float
    """Its pixels per pixel of the film."""


def thumbnail_places(pictures: int, count: int) -> frozenset[int]:
    """Which of a clip's pictures are kept: ``count`` of them, evenly spread."""
    return frozenset(int((place + 0.5) * pictures / count) for place in range(count))


def thumbnail(time: float, rgb: np.ndarray) -> Thumbnail:
    """Make a picture small, by averaging blocks of pixels."""
    step = max(1, rgb.shape[1] // WIDTH)
    height, width = (length // step for length in rgb.shape[:2])
    blocks = rgb[: height * step, : width * step].reshape(height, step, width, step, 3)
    return Thumbnail(time, blocks.mean(axis=(1, 3)).round().astype(np.uint8), 1.0 / step)
