"""Comparing two crops: whether they show one face, and how its mouth moved."""

from __future__ import annotations

from typing import Final

import numpy as np

_EVEN: Final = 8.0

_MOUTH: Final = (slice(42, 60), slice(17, 47))
_UPPER_FACE: Final = (slice(12, 36), slice(12, 52))
_FARTHEST_SHIFT: Final = 2


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of the grey levels of two crops, in [-1, 1]; an even crop is like nothing (0)."""
    first, second = (crop.astype(np.float64) - crop.mean() for crop in (one, other))
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale > 0 else 0.0


def mouth_motion(before: np.ndarray, now: np.ndarray) -> float:
    """How much more the mouth's region changed than the upper face, from one crop to the next.

    The crops are first shifted against each other by up to 2 pixels so that the upper face (brows to nose) agrees best:
    what is left there is noise, light and the head's turning, which the mouth's region has as well. Both changes are
    mean absolute differences as a share of the earlier crop's contrast, which makes light and dark pictures and skins
    comparable.

    Args:
        before: uint8 ``(64, 64)``.
        now: uint8 ``(64, 64)``.

    Returns:
        Mouth minus upper face; around 0 and below for a still mouth.
    """
    first, second = before.astype(np.float32), now.astype(np.float32)
    contrast = max(float(first.std()), _EVEN)
    steps = range(-_FARTHEST_SHIFT, _FARTHEST_SHIFT + 1)
    shifts = [(down, across) for down in steps for across in steps]
    changes = [_change(first, second, _UPPER_FACE, shift) for shift in shifts]
    best = int(np.argmin(changes))
    return (_change(first, second, _MOUTH, shifts[best]) - changes[best]) / contrast


def _change(before: np.ndarray, now: np.ndarray, region: tuple[slice, slice], shift: tuple[int, int]) -> float:
    rows, columns = region
    moved = now[rows.start + shift[0] : rows.stop + shift[0], columns.start + shift[1] : columns.stop + shift[1]]
    return float(np.abs(moved - before[region]).mean())
