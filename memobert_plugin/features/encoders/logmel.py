"""80 log-mel filter banks, the acoustic encoder that needs no weights."""

from __future__ import annotations

from importlib import metadata
from typing import Final

import numpy as np

from ..media.sound import SAMPLE_RATE

FILTERS: Final = 80
FRAME_LENGTH_MS: Final = 25.0
FRAME_SHIFT_MS: Final = 10.0
SAMPLE_SCALE: Final = 32_768.0
"""Kaldi's filter banks expect the range of 16-bit integers."""
LOG_MEL_MEAN: Final = 6.9
"""Mean of all log-mel values of 480 clips of RAVDESS speech (8 actors, 178 552 frames): 6.895."""
LOG_MEL_DEVIATION: Final = 8.4
"""Their standard deviation: 8.362. Digital silence (-15.9) becomes -2.7 and the loudest value of those clips 2.6, well
inside float16; one constant for all clips and filters, so that loudness and the slope of the spectrum are kept."""


class LogMel:
    """Kaldi's log-mel filter banks (25 ms windows every 10 ms, no dither), shifted and scaled by fixed constants."""

    name: Final = "logmel"
    batched: Final = False
    dim: Final = FILTERS
    frame_rate: Final = 1000.0 / FRAME_SHIFT_MS
    shortest: Final = round(SAMPLE_RATE * FRAME_LENGTH_MS / 1000.0)
    weights_sha256: Final = None

    @property
    def version(self) -> str:
        """The library that computes the filter banks, and its version."""
        return f"kaldi-native-fbank {metadata.version('kaldi-native-fbank')}"

    @property
    def options(self) -> dict[str, object]:
        """What the frames depend on, for ``extractor.json``."""
        return {
            "filters": FILTERS,
            "frame_length_ms": FRAME_LENGTH_MS,
            "frame_shift_ms": FRAME_SHIFT_MS,
            "mean": LOG_MEL_MEAN,
            "deviation": LOG_MEL_DEVIATION,
        }

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """Filter banks of equally long clips.

        Args:
            waveforms: float32 ``(B, N)`` at 16 kHz in [-1, 1], N >= :attr:`shortest`.

        Returns:
            float32 ``(B, T, 80)``, ``T = 1 + (N - 400) // 160``.
        """
        return np.stack([self._encode_one(waveform) for waveform in waveforms])

    def _encode_one(self, waveform: np.ndarray) -> np.ndarray:
        import kaldi_native_fbank

        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.samp_freq = SAMPLE_RATE
        options.frame_opts.frame_length_ms = FRAME_LENGTH_MS
        options.frame_opts.frame_shift_ms = FRAME_SHIFT_MS
        options.frame_opts.dither = 0.0
        options.frame_opts.snip_edges = True
        options.mel_opts.num_bins = FILTERS
        banks = kaldi_native_fbank.OnlineFbank(options)
        banks.accept_waveform(SAMPLE_RATE, waveform * np.float32(SAMPLE_SCALE))
        banks.input_finished()
        log_mel = np.stack([banks.get_frame(index) for index in range(banks.num_frames_ready)])
        return ((log_mel - LOG_MEL_MEAN) / LOG_MEL_DEVIATION).astype(np.float32, copy=False)
