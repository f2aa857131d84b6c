"""Voice detectors by name, from this package and from others."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.speakers.voice_detectors import VOICE_DETECTORS, listens_alone, load_voice_detector
from memobert_plugin.features.speakers.voice_detectors.energy import EnergyVoice
from memobert_plugin.features.speakers.voice_detectors.intervals import IntervalsFile, IntervalsOptions


def test_detectors_are_built_by_name_and_options(tmp_path: Path) -> None:
    assert set(VOICE_DETECTORS.names()) >= {"energy", "intervals", "silero"}
    assert isinstance(load_voice_detector("energy"), EnergyVoice)
    detector = load_voice_detector("intervals", IntervalsOptions(tmp_path, "Ann"))
    assert isinstance(detector, IntervalsFile)
    assert detector.options == {"speaker": "Ann"}
    with pytest.raises(UserError, match=r"unknown voice detector 'webrtc': choose from .*energy, .*silero"):
        load_voice_detector("webrtc")


def test_a_detector_that_needs_a_file_does_not_listen_alone() -> None:
    assert [listens_alone(name) for name in ("energy", "intervals", "silero")] == [True, False, True]
