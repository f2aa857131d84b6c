"""Silero VAD: threads, missing package, real speech."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.media.sound import SAMPLE_RATE, read_clip
from memobert_plugin.features.speakers.voice import within_intervals
from memobert_plugin.features.speakers.voice_detectors import load_voice_detector
from memobert_plugin.features.speakers.voice_detectors.energy import EnergyVoice
from memobert_plugin.features.speakers.voice_detectors.silero import SileroVoice


def test_without_silero_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(UserError, match=r'pip install "\.\[faces\]"'):
        load_voice_detector("silero")


def test_silero_leaves_the_number_of_threads_and_hears_no_tones(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("silero_vad")
    import torch

    for name in [name for name in sys.modules if name.startswith("silero_vad")]:
        monkeypatch.delitem(sys.modules, name)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        voice = SileroVoice()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert voice.intervals(np.zeros(2 * SAMPLE_RATE, dtype=np.float32)) == []
    assert voice.intervals(np.zeros(0, dtype=np.float32)) == []
    assert voice.options["version"]


def test_both_find_the_words_of_a_real_clip(real_data: Path) -> None:
    """A recorded sentence between two pauses of silence; each call begins anew."""
    pytest.importorskip("silero_vad")
    sentence = read_clip(sorted((real_data / "ravdess_speech" / "Actor_01").glob("*.flac"))[0], max_seconds=10.0)
    silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
    sound = np.concatenate([silence, sentence, silence])
    moments = np.arange(0.0, len(sound) / SAMPLE_RATE, 0.01)
    silero, energy = SileroVoice(), EnergyVoice()
    found = silero.intervals(sound)
    assert found == silero.intervals(sound)
    heard = within_intervals(moments, found)
    assert 0.5 < heard.mean() * len(moments) * 0.01 < len(sentence) / SAMPLE_RATE
    assert not heard[:95].any()
    assert (heard == within_intervals(moments, energy.intervals(sound))).mean() > 0.8
