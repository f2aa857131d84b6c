"""Log-mel filter banks: shape, place of a tone, loudness, range."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.features.encoders.logmel import FILTERS, LOG_MEL_DEVIATION, LogMel
from memobert_plugin.features.media.sound import read_clip


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(round(16_000 * seconds)) / 16_000)).astype(np.float32)


def mel(hertz: float) -> float:
    return 1127.0 * np.log1p(hertz / 700.0)


@pytest.mark.parametrize("samples", [400, 559, 560, 16_000])
def test_a_frame_every_10_ms_while_25_ms_are_left(samples: int) -> None:
    frames = LogMel().encode(np.random.default_rng(0).normal(size=(2, samples)).astype(np.float32))
    assert frames.shape == (2, 1 + (samples - 400) // 160, FILTERS)
    assert frames.dtype == np.float32


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 3000.0, 7000.0])
def test_a_tone_is_loudest_in_its_filter(hertz: float) -> None:
    centres = np.linspace(mel(20.0), mel(8000.0), FILTERS + 2)[1:-1]
    nearest = int(np.abs(centres - mel(hertz)).argmin())
    assert abs(int(LogMel().encode(tone(hertz)[None])[0].mean(axis=0).argmax()) - nearest) <= 1


def test_loudness_is_kept() -> None:
    sound = np.random.default_rng(0).normal(scale=0.05, size=(1, 16_000)).astype(np.float32)
    difference = LogMel().encode(2 * sound) - LogMel().encode(sound)
    np.testing.assert_allclose(difference, np.log(4.0) / LOG_MEL_DEVIATION, atol=1e-3)


def test_no_dither_so_silence_is_constant_and_in_range() -> None:
    frames = LogMel().encode(np.zeros((1, 16_000), dtype=np.float32))
    assert np.ptp(frames) == 0.0
    assert -2.8 < frames[0, 0, 0] < -2.6


def test_a_clip_does_not_depend_on_the_others() -> None:
    clips = np.random.default_rng(0).normal(size=(3, 8_000)).astype(np.float32)
    np.testing.assert_array_equal(LogMel().encode(clips)[1], LogMel().encode(clips[1:2])[0])


def test_torch_is_not_imported() -> None:
    code = (
        "import sys, numpy, memobert_plugin.features.extraction.acoustic\n"
        "from memobert_plugin.features.encoders.base import SpeechOptions, build_speech\n"
        "build_speech(SpeechOptions('logmel')).encode(numpy.zeros(800, 'float32'))\n"
        "print('torch' in sys.modules or 'fairseq' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_real_speech_is_centred(real_data: Path) -> None:
    clips = sorted((real_data / "ravdess_speech").glob("Actor_*/*.flac"))[::24]
    values = np.concatenate([LogMel().encode(read_clip(clip, max_seconds=10.0)[None])[0] for clip in clips])
    assert abs(values.mean()) < 0.2
    assert 0.8 < values.std() < 1.2
    assert np.abs(values).max() < 4.0
