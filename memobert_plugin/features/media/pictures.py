"""Read a film's pictures at a steady rate, as players show them, holding only two pictures at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np

from ...core.errors import DefectiveClip
from ...core.names import PICTURE_RATE
from .film_frames import FilmFrames, Shown
from .geometry import Geometry, field, frame_geometry
from .streams import ANY_STREAMS, StreamChoice

if TYPE_CHECKING:
    import av

PICTURES_VERSION: Final = "pictures 2"
"""Rules of which picture is shown when and how, for ``extractor.json``; 1 took pictures as stored, AVI's as FFmpeg
guesses their times."""

_FURTHER_AHEAD_IS_SOUGHT: Final = 10.0
_TIME_TOLERANCE: Final = 1e-3
"""Some containers round times to milliseconds."""
_SEEK_EARLIER: Final = (0.0, 2.0, 10.0, 60.0)
"""Seconds: some containers are sought inexactly and end up after the wanted time."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a film."""

    time: float
    """Seconds from the film's beginning."""
    rgb: np.ndarray
    """uint8 (height, width, 3), as players show it."""


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


def film_geometry(path: Path, streams: StreamChoice = ANY_STREAMS) -> Geometry:
    """Return the geometry of a film's first picture.

    Raises:
        DefectiveClip: no media file, or no picture can be decoded.
        UserError: PyAV is missing.
    """
    frames = FilmFrames(path, streams)
    try:
        shown = frames.next()
        if shown is None:
            raise DefectiveClip(f"{path}: no picture can be decoded")
        return frame_geometry(shown.frame, frames.stream)
    finally:
        frames.close()


class PictureReader:
    """A film that is open for stretches of it; stretches in order of time decode every picture once.

    The picture of a moment is the last one that began before it, so a variable frame rate and dropped pictures leave
    times as they are. Pixels that are not square are stretched, and what the film's display matrix says is done:
    turning, mirroring. Of interlaced pictures the field of the moment is shown, its missing rows interpolated.

    Args:
        path: the film.
        rate: pictures per second.
        streams: those that the user asked for.
        frames: the film's pictures, where it is open already.

    Raises:
        DefectiveClip: no media file, or one without pictures.
        UserError: PyAV is missing.
    """

    def __init__(
        self,
        path: Path,
        rate: float = PICTURE_RATE,
        streams: StreamChoice = ANY_STREAMS,
        frames: FilmFrames | None = None,
    ) -> None:
        self._path, self._rate = path, rate
        self._frames = frames or FilmFrames(path, streams)
        from av.video.reformatter import VideoReformatter  # there, since the film is open

        self._current: Shown | None = None
        self._next: Shown | None = None
        self._geometries: dict[tuple[int, int, int], Geometry] = {}
        self._reformatter = VideoReformatter()

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the film."""
        self._current = self._next = None
        self._frames.close()

    def between(self, start: float, end: float | None) -> Iterator[Picture]:
        """Yield the pictures shown at ``start + k / rate`` before ``end`` (None: to the film's end).

        Raises:
            DefectiveClip: pictures of this stretch cannot be decoded.
        """
        self._go_to(start)
        self._at(start - 1.0 / self._rate)
        faults = self._frames.faults
        count = 0
        while end is None or start + count / self._rate < end - _TIME_TOLERANCE:
            time = start + count / self._rate
            shown = self._at(time)
            if self._frames.faults > faults:
                raise DefectiveClip(f"{self._path}: the pictures near {time:.2f} s cannot be decoded")
            if shown is None and self._next is None:
                return
            if shown is not None:
                yield Picture(time, self._as_shown(shown, time))
            count += 1

    def _at(self, time: float) -> Shown | None:
        """Return what is shown at a time not before the current picture; None before the first, after the last."""
        while self._next is None or self._next.begin <= time + _TIME_TOLERANCE:
            following = self._frames.next()
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
            latest = time - self._frames.unsettled_seconds
            if latest - earlier <= 0.0:
                break
            self._frames.seek(latest - earlier)
            self._current, self._next = None, self._frames.next()
            if self._next is not None and self._next.begin <= latest + _TIME_TOLERANCE:
                return
        self._frames.restart()
        self._current, self._next = None, self._frames.next()

    def _as_shown(self, shown: Shown, time: float) -> np.ndarray:
        frame = shown.frame
        try:
            if frame.interlaced_frame:
                frame = field(frame, second=time + _TIME_TOLERANCE >= (shown.begin + shown.end) / 2)
            return self._geometry(shown.frame).shown(frame, self._reformatter)
        except (OSError, ValueError) as error:
            raise DefectiveClip(f"{self._path}: a picture near {shown.begin:.2f} s is no colours ({error})") from None

    def _geometry(self, frame: av.VideoFrame) -> Geometry:
        """Return the geometry of a frame, read once for frames that FFmpeg turns by the same angle.

        With its side data PyAV 18 gives a frame a reference to itself: its pixels then stay until Python's collector
        runs, which counts objects, not bytes (findings/pyav_side_data_keeps_frames.sh).
        """
        key = frame.rotation, frame.width, frame.height
        if key not in self._geometries:
            self._geometries[key] = frame_geometry(frame, self._frames.stream)
        return self._geometries[key]
