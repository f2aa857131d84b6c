"""How loud it is at a moment."""

from __future__ import annotations

from typing import Final

import numpy as np

from .audio import SAMPLE_RATE

QUIETEST_DECIBELS: Final = -60.0
"""Relative to full scale; whatever is quieter counts as this."""

_SPEECH_BAND: Final = (300.0, 3000.0)
_FILTER_ORDER: Final = 4


class SoundLevel:
    """Loudness of a stretch of sound around any moment.

    Args:
        samples: float32 ``(N,)`` at 16 kHz.
        start: time of the first sample, in seconds.
        speech_band: only what lies between 300 and 3000 Hz counts: vowels, without hum and hiss.
    """

    def __init__(self, samples: np.ndarray, start: float = 0.0, *, speech_band: bool = False) -> None:
        if speech_band and len(samples):
            from scipy.signal import butter, sosfilt

            band = butter(_FILTER_ORDER, _SPEECH_BAND, "bandpass", fs=SAMPLE_RATE, output="sos")
            samples = sosfilt(band, samples.astype(np.float64))
        self._power = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
        self._start = start

    def __call__(self, times: np.ndarray, width: float) -> np.ndarray:
        """Return the level around each of the moments ``times``.

        Args:
            times: ``(T,)`` seconds; outside the samples there is silence.
            width: seconds around each moment that count.

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
