"""Small pictures of a clip, for a person to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

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
