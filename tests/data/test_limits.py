"""Limits in frames and in seconds, and the share of the frames beyond them."""

from __future__ import annotations

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.frames import ExtractorInfo
from memobert_plugin.data.limits import describe_beyond, limit_in_frames, share_beyond


@pytest.mark.parametrize(
    ("rate", "seconds", "frames"), [(100 / 6, 3.84, 64), (100 / 3, 3.84, 128), (10.0, 3.6, 36), (10.0, 0.01, 1)]
)
def test_seconds_become_frames_by_the_frame_rate(rate: float, seconds: float, frames: int) -> None:
    assert limit_in_frames("acoustic", 64, seconds, ExtractorInfo(frame_rate=rate)) == frames


def test_frames_count_without_seconds_and_where_there_are_no_such_frames() -> None:
    assert limit_in_frames("acoustic", 64, None, ExtractorInfo(frame_rate=10.0)) == 64
    assert limit_in_frames("acoustic", 64, 3.0, None) == 64


def test_seconds_without_a_rate_and_impossible_seconds_are_refused() -> None:
    with pytest.raises(UserError, match=r"--max-visual-seconds: the data-bin does not say .* --max-visual-frames"):
        limit_in_frames("visual", 36, 3.6, ExtractorInfo())
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"--max-visual-seconds .*give a number of seconds above 0"):
            limit_in_frames("visual", 36, seconds, ExtractorInfo(frame_rate=10.0))


def test_the_share_beyond_counts_frames_not_utterances() -> None:
    lengths = np.array([128, 64, 0, 32], dtype=np.int32)
    assert share_beyond(lengths, 64) == pytest.approx(64 / 224)
    assert share_beyond(np.zeros(3, np.int32), 64) == 0.0
    told = describe_beyond("acoustic", share_beyond(lengths, 64), 64, ExtractorInfo(frame_rate=100 / 3))
    assert told == "28.6 % of the acoustic frames lie beyond the first 64 (1.92 s)"
    assert describe_beyond("text", 64 / 224, 64, None) == "28.6 % of the text pieces lie beyond the first 64"
