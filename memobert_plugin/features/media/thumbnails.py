"""Make small pictures of clips for pages, and embed pictures in pages."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

_QUANTIZER: Final = 5


def jpeg_address(picture: np.ndarray) -> str:
    """Return the ``data:`` address of a picture, uint8 ``(H, W, 3)`` or grey ``(H, W)``, as a JPEG."""
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
"""Width of a small picture in pixels: at least this, less than twice as much."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture of a clip."""

    time: float
    """Seconds from the clip's beginning."""
    rgb: np.ndarray
    """uint8 (height, width, 3)."""
    scale: float
    """Pixels of ``rgb`` per pixel of the film's shown picture."""


def thumbnail_places(pictures: int, count: int) -> frozenset[int]:
    """Return the numbers of the pictures that are kept: ``count`` of a clip's, evenly spread."""
    return frozenset(int((place + 0.5) * pictures / count) for place in range(count))


def thumbnail(time: float, rgb: np.ndarray) -> Thumbnail:
    """Shrink a picture by averaging blocks of pixels."""
    step = max(1, rgb.shape[1] // WIDTH)
    height, width = (length // step for length in rgb.shape[:2])
    blocks = rgb[: height * step, : width * step]
    rows = blocks[::step].astype(np.uint32)
    for row in range(1, step):
        rows += blocks[row::step]
    total = rows[:, ::step].copy()
    for column in range(1, step):
        total += rows[:, column::step]
    return Thumbnail(time, (total / step**2).round().astype(np.uint8), 1.0 / step)
