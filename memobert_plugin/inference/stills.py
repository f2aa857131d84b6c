"""Small pictures of a clip for a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..core.errors import DefectiveClip
from ..features.media.streams import ANY_STREAMS, StreamChoice

WIDTH = 240
"""Pixels, about, of a clip's small pictures."""
LONGEST_SHOWN = 12.0
"""Seconds of a clip that a page shows where the model reads less."""


def stills(
    path: Path, start: float | None, seconds: float | None, count: int, streams: StreamChoice = ANY_STREAMS
) -> tuple[tuple[float, np.ndarray], ...]:
    """Some pictures of a film at equal distances: time from the clip's beginning, and uint8 (H, W, 3).

    None where the film has no pictures, or none that can be decoded.

    Raises:
        UserError: PyAV is missing.
    """
    from ..features.media.pictures import pictures

    lasts = min(seconds or LONGEST_SHOWN, LONGEST_SHOWN)
    begin = (start or 0.0) + lasts / count / 2
    try:
        found = pictures(path, count / lasts, begin, (start or 0.0) + lasts, streams)
        return tuple((picture.time - (start or 0.0), shrunk(picture.rgb)) for picture in found)
    except DefectiveClip:
        return ()


def shrunk(rgb: np.ndarray) -> np.ndarray:
    """A picture uint8 (H, W, 3) of about :data:`WIDTH` pixels, averaged over blocks."""
    step = max(1, rgb.shape[1] // WIDTH)
    height, width = (length // step for length in rgb.shape[:2])
    blocks = rgb[: height * step, : width * step].reshape(height, step, width, step, 3)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)
