"""Whose face a clip's answer is about."""

from __future__ import annotations

from pathlib import Path

from memobert_plugin.data.frames import ExtractorInfo
from memobert_plugin.features.denseface.encoder import DenseFace
from memobert_plugin.inference.faces import FaceOptions, FaceReader


def test_the_speaker_is_looked_for_whichever_face_the_corpus_was_read_by(tmp_path: Path) -> None:
    """A corpus of one face per clip may be read by its most frequent face; a clip from anywhere may show several."""
    shipped = DenseFace.from_shipped().info(choice="most_frequent", max_seconds=7.0)
    trained = ExtractorInfo(**{**shipped.to_dict(), "frame_rate": 5.0})
    reader = FaceReader(trained, FaceOptions(tracker=tmp_path, voice="energy"))
    settings = reader.front_end.settings
    assert (settings.choice, settings.picture_rate, settings.max_seconds) == ("speaker", 5.0, 7.0)
