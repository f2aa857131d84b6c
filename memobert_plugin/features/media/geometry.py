"""Turn the pixels that a film stores into the picture that players show."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

_MATRIX: Final = struct.Struct("9i")
_KIND: Final = re.compile(r"(\d+) is not a valid Type")
_MOST_UNKNOWN_KINDS: Final = 8
_MOST_STRETCH: Final = 8.0
"""Largest ratio of a pixel's sides that is believed."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The way from stored to shown pixels: stretched to square pixels, then turned and mirrored by the display matrix.

    A pixel's sides are made equal by enlarging the picture, so that nothing is lost. Places are in pixels from the
    picture's upper left corner; the middle of the first pixel is at (0.5, 0.5).
    """

    width: int
    """Of the stored picture."""
    height: int
    aspect: float = 1.0
    """Width of a stored pixel over its height."""
    transposed: bool = False
    """True if rows become columns; then comes the mirroring."""
    mirrored: bool = False
    """True if left and right of the shown picture are exchanged."""
    upside_down: bool = False
    """True if top and bottom of the shown picture are exchanged."""

    @property
    def stretched_size(self) -> tuple[int, int]:
        """Width and height with square pixels, before turning."""
        across, down = max(1.0, self.aspect), max(1.0, 1.0 / self.aspect)
        return round(self.width * across), round(self.height * down)

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of what players show."""
        width, height = self.stretched_size
        return (height, width) if self.transposed else (width, height)

    def shown(self, frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
        """Return a stored frame as players show it.

        Args:
            frame: as decoded.
            reformatter: of all frames of a film: it is set up once, where a frame's own is set up for every frame.

        Returns:
            uint8 ``(height, width, 3)``.

        Raises:
            OSError, ValueError: FFmpeg cannot convert the frame.
        """
        width, height = self.stretched_size
        return self.turned(reformatter.reformat(frame, width, height, "rgb24").to_ndarray())

    def turned(self, picture: np.ndarray) -> np.ndarray:
        """Turn and mirror an array of pixels ``(H, W)`` or ``(H, W, 3)``."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        rows, columns = (slice(None, None, -1 if reversed_ else 1) for reversed_ in (self.upside_down, self.mirrored))
        return np.ascontiguousarray(picture[rows, columns])

    def to_shown(self, places: np.ndarray) -> np.ndarray:
        """Move places ``(..., 2)``, each x and y in stored pixels, to those of the shown picture."""
        stretched = np.array(self.stretched_size) / (self.width, self.height)
        moved = np.asarray(places, np.float64) * stretched
        if self.transposed:
            moved = moved[..., ::-1]
        width, height = self.shown_size
        x, y = moved[..., 0], moved[..., 1]
        return np.stack([width - x if self.mirrored else x, height - y if self.upside_down else y], axis=-1)


def frame_geometry(frame: av.VideoFrame, stream: av.VideoStream) -> Geometry:
    """Return the geometry of a decoded frame: of its display matrix and of its stream's sample aspect ratio.

    The matrix is read by its signs: all eight turns and mirrorings by right angles are told apart, which an angle alone
    cannot do. One by another angle counts as the nearest of them.
    """
    aspect = float(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    if not 1 / _MOST_STRETCH <= aspect <= _MOST_STRETCH:
        aspect = 1.0
    content = _display_matrix(frame)
    if len(content) != _MATRIX.size:
        return Geometry(frame.width, frame.height, aspect)
    # ISO 14496-12, 8.3.2: column p and row q of the stored picture are shown at x = a p + c q + …, y = b p + d q + ….
    a, b, _, c, d, *_ = _MATRIX.unpack(content)
    transposed = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if transposed else (a, d)
    return Geometry(frame.width, frame.height, aspect, transposed, mirrored=across < 0, upside_down=down < 0)


def _display_matrix(frame: av.VideoFrame) -> bytes:
    """Return a frame's display matrix, empty without one."""
    for _ in range(_MOST_UNKNOWN_KINDS):
        try:
            side_data = cast("Mapping[str, Any]", frame.side_data)  # PyAV's own types miss most keys
            return bytes(side_data["DISPLAYMATRIX"]) if "DISPLAYMATRIX" in side_data else b""
        except ValueError as error:
            # PyAV 18.1 cannot list side data of kinds that it does not know, such as a photograph's EXIF (31); its
            # ``frame.rotation`` tells an angle without mirroring. FFmpeg's filter takes that kind away.
            unknown = _KIND.match(str(error))
            if unknown is None:
                break
            frame = _filtered(frame, "sidedata", f"mode=delete:type={unknown[1]}")[0]
    return b""


def field(frame: av.VideoFrame, second: bool) -> av.VideoFrame:
    """Return one of the two fields of an interlaced frame as a whole picture.

    FFmpeg's ``yadif`` interpolates the other field's rows, from this frame alone: the result does not depend on what
    was decoded before.

    Args:
        frame: an interlaced frame.
        second: the field that is shown later.
    """
    first, other = _filtered(frame, "yadif", "mode=send_field:deint=interlaced", count=2)
    return other if second else first


def _filtered(frame: av.VideoFrame, name: str, options: str, count: int = 1) -> list[av.VideoFrame]:
    """Return the first ``count`` frames that one of FFmpeg's filters makes of a frame."""
    from av.filter import Graph

    graph = Graph()
    size, pixels = f"{frame.width}x{frame.height}", frame.format.name
    source = graph.add("buffer", f"video_size={size}:pix_fmt={pixels}:time_base=1/1000:pixel_aspect=1/1")
    filter_, sink = graph.add(name, options), graph.add("buffersink")
    source.link_to(filter_)
    filter_.link_to(sink)
    graph.configure()
    source.push(frame)
    source.push(None)
    return [cast("av.VideoFrame", sink.pull()) for _ in range(count)]
