"""Levels of made-up sound, and arithmetic of intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from memobert_plugin.features.media.sound import SAMPLE_RATE
from memobert_plugin.features.speakers.voice import (
    QUIETEST_DECIBELS,
    SoundLevel,
    _in_speech_band,
    joined_intervals,
    nearest_pause,
    voiced_share,
    within_intervals,
)


def tone(seconds: float, hertz: float, amplitude: float) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(
        np.float32
    )


def test_a_tones_level_is_that_of_its_amplitude() -> None:
    level = SoundLevel(np.concatenate([tone(1.0, 1000, 1.0), tone(1.0, 1000, 0.01)]), start=5.0)
    np.testing.assert_allclose(level(np.array([5.5, 6.5]), 0.1), [-3.01, -43.01], atol=0.01)


def test_silence_and_what_lies_outside_are_the_quietest() -> None:
    level = SoundLevel(np.zeros(SAMPLE_RATE, dtype=np.float32))
    np.testing.assert_array_equal(level(np.array([-3.0, 0.0, 0.5, 1.0, 9.0]), 0.1), QUIETEST_DECIBELS)
    assert level(np.zeros(0), 0.1).shape == (0,)
    assert SoundLevel(np.zeros(0, dtype=np.float32), speech_band=True)(np.array([0.0]), 0.1) == QUIETEST_DECIBELS


@pytest.mark.parametrize(("hertz", "passes"), [(50.0, False), (700.0, True), (2000.0, True), (7000.0, False)])
def test_only_the_speech_band_counts_where_asked_for(hertz: float, passes: bool) -> None:
    sound = tone(1.0, hertz, 0.5)
    loud, in_band = (SoundLevel(sound, speech_band=band)(np.array([0.5]), 0.2)[0] for band in (False, True))
    assert (in_band > loud - 1.0) == passes
    assert passes or in_band < loud - 25.0


@pytest.mark.parametrize("samples", [1, 4096, 16_001])
def test_the_speech_bands_filter_is_scipys(samples: int) -> None:
    noise = np.random.default_rng(samples).normal(size=samples).astype(np.float32)
    band = butter(4, (300.0, 3000.0), "bandpass", fs=16_000, output="sos")
    np.testing.assert_allclose(_in_speech_band(noise), sosfilt(band, noise.astype(np.float64)), atol=1e-12)


def test_arithmetic_of_intervals() -> None:
    assert joined_intervals([(0.0, 1.0), (0.5, 0.7), (1.1, 2.0), (3.0, 4.0)], 0.2) == [(0.0, 2.0), (3.0, 4.0)]
    assert within_intervals(np.array([0.0, 0.5, 1.0]), [(0.5, 1.0)]).tolist() == [False, True, False]
    shares = voiced_share(np.array([0.0, 0.5, 1.0, 2.0]), 1.0, [(0.25, 0.75), (1.0, 2.0)])
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.75, 0.5])


def test_the_nearest_pause_of_the_voice_is_found_within_reach() -> None:
    talk = tone(4.0, 700, 0.3)
    assert nearest_pause(talk, 2.0, 0.5) == 2.0
    talk[round(2.2 * SAMPLE_RATE) : round(2.6 * SAMPLE_RATE)] = 0.0
    assert nearest_pause(talk, 2.0, 0.5) == pytest.approx(2.3, abs=0.03)
    assert nearest_pause(talk, 2.4, 0.5) == 2.4
    assert nearest_pause(talk, 1.0, 0.5) == 1.0
    assert nearest_pause(np.zeros(SAMPLE_RATE, np.float32), 0.5, 0.5) == 0.5
    assert nearest_pause(np.zeros(0, np.float32), 0.5, 0.5) == 0.5
