"""80 log-mel filter banks, the speech encoder that needs no weights."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from ...core.names import SAMPLE_RATE
from .base import ENCODERS, SpeechEncoder

if TYPE_CHECKING:
    import numpy as np

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


@dataclass(frozen=True)
class LogMelOptions:
    """Nothing to choose: constants keep frames of several corpora comparable."""


@ENCODERS.register("logmel")
class LogMel(SpeechEncoder):
    """Kaldi's log-mel filter banks (25 ms windows every 10 ms, no dither), shifted and scaled by fixed constants."""

    name = "logmel"
    summary = "80 log-mel filter banks"
    Options = LogMelOptions
    dim = FILTERS
    frame_rate = 1000.0 / FRAME_SHIFT_MS
    shortest = round(SAMPLE_RATE * FRAME_LENGTH_MS / 1000.0)

    def __init__(self) -> None:
        self.version = f"kaldi-native-fbank {metadata.version('kaldi-native-fbank')}"

    @classmethod
    def from_options(cls, options: LogMelOptions, device: str = "cpu") -> LogMel:
        """Build the encoder; it always runs on the CPU."""
        return cls()

    @property
    def options(self) -> dict[str, Any]:
        """Return the constants on which the frames depend."""
        return {
            "filters": FILTERS,
            "frame_length_ms": FRAME_LENGTH_MS,
            "frame_shift_ms": FRAME_SHIFT_MS,
            "mean": LOG_MEL_MEAN,
            "deviation": LOG_MEL_DEVIATION,
        }

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """Compute filter banks of clips of equal length.

        Args:
            waveforms: float32 ``(B, N)`` at 16 kHz in [-1, 1], N >= :attr:`shortest`.

        Returns:
            float32 ``(B, T, 80)``, ``T = 1 + (N - 400) // 160``.
        """
        import numpy as np

        return np.stack([_filter_banks(waveform) for waveform in waveforms])


def _filter_banks(waveform: np.ndarray) -> np.ndarray:
    import kaldi_native_fbank
    import numpy as np

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
