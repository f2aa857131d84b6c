"""Frames of another encoder, layer or rate are told apart, and those of other media are not."""

from __future__ import annotations

from memobert_plugin.data.frame_making import made_otherwise
from memobert_plugin.data.frames import ExtractorInfo


def test_frames_of_another_making_are_told_from_those_of_other_media() -> None:
    made = ExtractorInfo("whisper", {"layer": None, "pool": 8, "max_seconds": 10}, "a", 6.25, 384)
    same = ExtractorInfo("whisper", {"layer": None, "pool": 4, "max_seconds": 60, "faces": {"name": "x"}}, "a", 6.25)
    assert made_otherwise(made, same) == made_otherwise(None, made) == made_otherwise(made, None) == ""
    assert made_otherwise(made, ExtractorInfo()) == made_otherwise(ExtractorInfo(), made) == ""
    third = ExtractorInfo("whisper", {"layer": 3}, "b", 12.5, 384)
    assert made_otherwise(third, made) == "weights_sha256 b, not a; frame_rate 12.5, not 6.25; layer 3, not None"
    assert made_otherwise(ExtractorInfo("logmel", {"layer": 1}), made) == "name logmel, not whisper"
