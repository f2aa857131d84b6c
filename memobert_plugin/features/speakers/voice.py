"""Measure the sound's level and compute with intervals of voice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ..media.sound import SAMPLE_RATE

QUIETEST_DECIBELS: Final = -60.0
"""Relative to full scale. Quieter sound counts as this."""

_SPEECH_BAND: Final = (300.0, 3000.0)
_FILTER_ORDER: Final = 4
_FILTER_RINGS: Final = 4096
"""Samples after which the filter's response to an impulse is below 1e-12."""


class SoundLevel:
    """The level of a stretch of sound around any moment.

    Args:
        samples: float32 ``(N,)`` at 16 kHz.
        start: time of the first sample, in seconds.
        speech_band: measure 300 to 3000 Hz only: vowels, without hum and hiss.
    """

    def __init__(self, samples: np.ndarray, start: float = 0.0, *, speech_band: bool = False) -> None:
        if speech_band and len(samples):
            samples = _in_speech_band(samples)
        self._power = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
        self._start = start

    def __call__(self, times: np.ndarray, width: float) -> np.ndarray:
        """Return the level around each of the moments ``times``.

        Args:
            times: ``(T,)`` seconds. Outside the samples there is silence.
            width: seconds around each moment to measure.

        Returns:
            ``(T,)`` root mean square in decibels relative to full scale, at least :data:`QUIETEST_DECIBELS`.
        """
        last = len(self._power) - 1
        begins, ends = (
            np.clip(np.rint((times - self._start + side * width / 2) * SAMPLE_RATE), 0, last).astype(np.int64)
            for side in (-1, 1)
        )
        mean = (self._power[ends] - self._power[begins]) / (width * SAMPLE_RATE)
        return 10 * np.log10(np.maximum(mean, 10 ** (QUIETEST_DECIBELS / 10)))


def _in_speech_band(samples: np.ndarray) -> np.ndarray:
    """Filter samples with a Butterworth band pass, through the spectrum.

    The response is that of ``scipy.signal.butter(4, (300, 3000), "bandpass", fs=16000)``, made by the bilinear
    transform; importing ``scipy.signal`` alone would take a quarter of the time to the first answer.
    """
    length = -(-(len(samples) + _FILTER_RINGS) // _FILTER_RINGS) * _FILTER_RINGS
    # The analogue frequency of each digital one; half the sampling rate is infinity there.
    frequencies = np.tan(np.pi * np.arange(1, length // 2) / length)
    low, high = (np.tan(np.pi * edge / SAMPLE_RATE) for edge in _SPEECH_BAND)
    low_pass = 1j * (frequencies**2 - low * high) / (frequencies * (high - low))
    response = np.zeros(length // 2 + 1, np.complex128)
    poles = np.exp(0.5j * np.pi * (1 + (2 * np.arange(_FILTER_ORDER) + 1) / _FILTER_ORDER))
    response[1:-1] = 1 / np.prod(low_pass[:, None] - poles, axis=1)
    spectrum = np.fft.rfft(samples.astype(np.float64), length)  # numpy 2 would keep single precision
    return np.fft.irfft(spectrum * response, length)[: len(samples)]


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
    """Return the share ``(T,)`` of ``width`` seconds around each moment that lies in the intervals.

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
    """Return bool ``(T,)``: which of the moments ``times`` ``(T,)`` are in one of the intervals."""
    inside = np.zeros(len(times), dtype=bool)
    for begin, end in intervals:
        inside |= (begin <= times) & (times < end)
    return inside


_PAUSE: Final = 0.2
_PAUSE_DECIBELS: Final = 15.0


def nearest_pause(samples: np.ndarray, moment: float, reach: float) -> float:
    """Return the time nearest to ``moment`` at which the voice pauses, or ``moment`` if there is none within ``reach``.

    A pause is 0.2 s that are 15 decibels quieter, in the speech band, than the loudest tenth of the samples.

    Args:
        samples: float32 ``(N,)`` at 16 kHz, some seconds around the moment.
        moment: seconds from the first sample.
        reach: seconds.
    """
    level = SoundLevel(samples, speech_band=True)
    loud = np.percentile(level(np.arange(0.0, len(samples) / SAMPLE_RATE, 0.05), _PAUSE), 90) if len(samples) else 0.0
    steps = np.arange(round(reach * 100) + 1) / 100
    near = moment + np.stack([steps, -steps], axis=1).ravel()
    quiet = near[(level(near, _PAUSE) < loud - _PAUSE_DECIBELS) & (near > 0) & (near < len(samples) / SAMPLE_RATE)]
    return float(quiet[0]) if len(quiet) else moment
