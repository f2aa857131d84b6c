"""Voice by energy, on made-up sound."""

from __future__ import annotations

import numpy as np
import pytest

from memobert_plugin.features.media.sound import SAMPLE_RATE
from memobert_plugin.features.speakers.voice import Interval, within_intervals
from memobert_plugin.features.speakers.voice_detectors.energy import EnergyVoice


def bursts(seconds: float, intervals: list[Interval], *, hum: float = 0.0, amplitude: float = 0.3) -> np.ndarray:
    """Made-up syllables in the intervals, and a steady hum everywhere."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    syllables = np.sin(2 * np.pi * 300 * times) * (0.6 + 0.4 * np.sin(2 * np.pi * 5 * times))
    noise = np.random.default_rng(0).normal(0, 1, len(times))
    return (amplitude * syllables * within_intervals(times, intervals) + hum * noise).astype(np.float32)


def assert_close(found: list[Interval], expected: list[Interval], tolerance: float = 0.04) -> None:
    assert len(found) == len(expected), found
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("hum", [0.0, 0.002, 0.02])
@pytest.mark.parametrize("amplitude", [0.05, 0.5])
def test_energy_finds_what_stands_out(hum: float, amplitude: float) -> None:
    expected = [(0.5, 1.4), (2.0, 3.0)]
    assert_close(EnergyVoice().intervals(bursts(4.0, expected, hum=hum * amplitude, amplitude=amplitude)), expected)


def test_energy_closes_short_pauses_and_drops_clicks() -> None:
    sound = bursts(4.0, [(0.5, 1.0), (1.1, 1.5), (2.5, 2.53)])
    assert_close(EnergyVoice().intervals(sound), [(0.5, 1.5)])


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(100), np.zeros(SAMPLE_RATE), np.full(SAMPLE_RATE, 1e-4)])
def test_energy_hears_nothing_in_silence(samples: np.ndarray) -> None:
    assert EnergyVoice().intervals(samples.astype(np.float32)) == []


def test_energy_takes_a_steady_tone_for_speech_all_the_time() -> None:
    tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE)
    assert_close(EnergyVoice().intervals(tone.astype(np.float32)), [(0.0, 2.0)])
