"""Small pictures for a page: of a clip, and as files inside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..features.audio import DefectiveClip

WIDTH = 240
"""Pixels, about, of a clip's small pictures."""
LONGEST = 60.0
"""Seconds of a clip that are looked at."""


def stills(path: Path, start: float | None, seconds: float | None, count: int) -> tuple[tuple[float, np.ndarray], ...]:
    """Some pictures of a film at equal distances: time from the clip's beginning, and uint8 (H, W, 3).

    None where the film has no pictures, or none that can be decoded.

    Raises:
        UserError: PyAV is missing.
    """
    from ..features.video import pictures

    lasts = min(seconds or LONGEST, LONGEST)
    begin = (start or 0.0) + lasts / count / 2
    try:
        found = pictures(path, count / lasts, begin, (start or 0.0) + lasts)
        return tuple((picture.time - (start or 0.0), shrunk(picture.rgb)) for picture in found)
    except DefectiveClip:
        return ()


def shrunk(rgb: np.ndarray) -> np.ndarray:
    """A picture uint8 (H, W, 3) of about :data:`WIDTH` pixels, averaged over blocks."""
    step = max(1, rgb.shape[1] // WIDTH)
    height, width = (length // step for length in rgb.shape[:2])
    blocks = rgb[: height * step, : width * step].reshape(height, step, width, step, 3)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)


def jpeg(rgb: np.ndarray) -> bytes:
    """A picture uint8 (H, W, 3) as a JPEG file.

    Raises:
        UserError: PyAV is missing.
    """
    from fractions import Fraction

    from ..features.media import import_av

    import_av()
    import av

    # The format halves the colours' resolution: odd lengths are completed by repeating the edge.
    height, width = rgb.shape[:2]
    even = np.pad(rgb, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
    encoder = av.VideoCodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = even.shape[1], even.shape[0], "yuvj420p"
    encoder.time_base = Fraction(1, 1)
    encoder.options = {"qmin": "3", "qmax": "5"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def face_strip(faces: np.ndarray) -> np.ndarray:
    """Faces uint8 (T, S, S) grey side by side: uint8 (S, T * S, 3)."""
    row = np.concatenate(list(faces), axis=1)
    return np.repeat(row[:, :, None], 3, axis=2)
