"""Loudness: the level and its standard deviation in windows, the smallest speech encoder there can be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from memobert_plugin.core.errors import UserError
from memobert_plugin.core.names import SAMPLE_RATE
from memobert_plugin.features.encoders.base import ENCODERS, SpeechEncoder

if TYPE_CHECKING:
    import numpy as np

_QUIETEST = 1e-5


@dataclass(frozen=True)
class LoudnessOptions:
    """The flags of this encoder; each field becomes one, and its value goes into ``extractor.json``."""

    window_ms: float = field(default=20.0, metadata={"help": "length of a window in milliseconds"})


@ENCODERS.register("loudness")
class Loudness(SpeechEncoder):
    """Root mean square in decibels and the peak's distance from it, per window."""

    name = "loudness"
    summary = "level and crest factor of each window"
    Options = LoudnessOptions
    dim = 2
    version = "1"

    def __init__(self, window_ms: float) -> None:
        self.window_ms = window_ms
        self.shortest = round(SAMPLE_RATE * window_ms / 1000)
        if self.shortest < 1:
            raise UserError(f"--window-ms {window_ms:g}: shorter than a sample; give a larger number")
        self.frame_rate = SAMPLE_RATE / self.shortest

    @classmethod
    def from_options(cls, options: LoudnessOptions, device: str = "cpu") -> Loudness:
        """Build the encoder; it always runs on the CPU."""
        return cls(options.window_ms)

    @property
    def options(self) -> dict[str, Any]:
        """Return what the frames depend on."""
        return {"window_ms": self.window_ms}

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """Encode ``(B, N)`` samples to ``(B, N // window, 2)`` frames; a last, shorter window is left out."""
        import numpy as np

        batch, samples = waveforms.shape
        count = samples // self.shortest
        windows = waveforms[:, : count * self.shortest].reshape(batch, count, self.shortest)
        level = np.sqrt((windows.astype(np.float64) ** 2).mean(axis=2))
        peak = np.abs(windows).max(axis=2)
        decibels = 20 * np.log10(np.maximum(level, _QUIETEST))
        crest = 20 * np.log10(np.maximum(peak, _QUIETEST)) - decibels
        return (np.stack([decibels, crest], axis=2) / 20).astype(np.float32)
