"""Arithmetic of stretches of time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Interval = tuple[float, float]
"""Begin and end in seconds."""


def joined_intervals(intervals: Sequence[Interval], gap: float) -> list[Interval]:
    """Join intervals, sorted by their begin, that overlap or are at most ``gap`` seconds apart."""
    joined: list[Interval] = []
    for begin, end in intervals:
        if joined and begin - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def voiced_share(times: np.ndarray, width: float, intervals: Sequence[Interval]) -> np.ndarray:
    """Share of the ``width`` seconds around each of the moments ``times`` ``(T,)`` that lie in the intervals.

    Args:
        times: ``(T,)`` seconds.
        width: seconds.
        intervals: without overlaps.
    """
    inside = np.zeros(len(times))
    for begin, end in intervals:
        inside += np.maximum(np.minimum(times + width / 2, end) - np.maximum(times - width / 2, begin), 0.0)
    return inside / width


def within_intervals(times: np.ndarray, intervals: Sequence[Interval]) -> np.ndarray:
    """Bool ``(T,)``: which of the moments ``times`` ``(T,)`` lie in one of the intervals."""
    inside = np.zeros(len(times), dtype=bool)
    for begin, end in intervals:
        inside |= (begin <= times) & (times < end)
    return inside
