"""Frames that a caller has already, checked and brought to a data-bin's precision."""

from __future__ import annotations

import numpy as np

from ..data.frames import ExtractorInfo, to_float16
from ..errors import UserError


def checked_frames(name: str, frames: np.ndarray, dim: int) -> np.ndarray:
    """Frames (T, D) as float16, as a data-bin stores them.

    Args:
        name: of the argument, for messages.
        frames: the caller's.
        dim: numbers that the model reads of a frame; 0 where it reads none.

    Raises:
        UserError: not floats of that shape, NaN or infinite values, or beyond float16.
    """
    if not dim:
        raise UserError(f"{name}: this model reads no {name} frames; leave them out")
    frames = np.asarray(frames)
    if frames.ndim != 2 or frames.dtype.kind != "f" or frames.shape[1] != dim:
        raise UserError(f"{name}: {frames.dtype} {frames.shape}; this model reads floats of shape (frames, {dim})")
    if not np.isfinite(frames).all():
        raise UserError(f"{name}: NaN or infinite values")
    return to_float16("the frames given", name, frames)


def frame_times(count: int, extractor: ExtractorInfo | None, default_rate: float) -> np.ndarray:
    """When frames of a steady rate begin: (count,) seconds."""
    rate = extractor.frame_rate if extractor is not None and extractor.frame_rate else default_rate
    return np.arange(count) / rate
