"""Read sound as the speech frames that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..core.errors import DefectiveClip, UserError
from ..core.names import SAMPLE_RATE
from ..data.frames import ExtractorInfo
from ..features.encoders.base import ENCODERS, MAX_SECONDS, PooledEncoder
from ..features.media.sound import resample
from ..features.media.soundtrack import RATES

SILENCE = 1e-4
"""A sound whose samples are all smaller counts as silent (-80 dB)."""


@dataclass(frozen=True)
class Sound:
    """A clip's sound and its frames.

    Attributes:
        samples: float32 (N,) at 16 kHz, as far as they were read.
        frames: float32 (A, D), or None if there are none.
        reason: why there are none.
    """

    samples: np.ndarray
    frames: np.ndarray | None
    reason: str = ""


class SpeechReader:
    """A reader of sound with the encoder and the settings of a model's training.

    Args:
        extractor: the model's description of its speech frames; None for a model without speech.
        weights: the encoder's, such as wav2vec 2.0, for a model that was trained on its frames.
        device: runs the encoder.
    """

    def __init__(self, extractor: ExtractorInfo | None, weights: Path | None = None, device: str = "cpu") -> None:
        self.extractor = extractor
        self._weights = weights
        self._device = device

    @property
    def obstacle(self) -> str:
        """Return the reason why this model can read no sound at all; empty if it can."""
        if self.extractor is None:
            return "this model does not read sound"
        if self.extractor.name not in ENCODERS.names():
            return (
                f"this model's speech frames were made by {self.extractor.name!r}, which is not installed; "
                f"this package has {', '.join(ENCODERS.names())}"
            )
        return ""

    @property
    def max_seconds(self) -> float:
        """Return the seconds of a clip's sound that are read."""
        value = self.extractor.options.get("max_seconds", MAX_SECONDS) if self.extractor is not None else MAX_SECONDS
        if not isinstance(value, (int, float)) or not 0 < value <= 3600:
            raise UserError(f"the model's speech frames have max_seconds {value!r}; export the model again")
        return float(value)

    @cached_property
    def encoder(self) -> PooledEncoder:
        """Return the encoder that made the frames of training.

        Raises:
            UserError: weights that are missing or not the model's, or settings that this version cannot repeat.
        """
        assert self.extractor is not None
        return PooledEncoder.from_info(self.extractor, self._weights, self._device)

    def resampled(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        """Convert a caller's samples to float32 (N,) at 16 kHz, cut to :attr:`max_seconds`.

        Raises:
            DefectiveClip: not one channel of finite floats, or an impossible rate.
        """
        if waveform.ndim != 1 or waveform.dtype.kind != "f" or not len(waveform):
            raise DefectiveClip(f"waveform: {waveform.dtype} {waveform.shape}; give floats of shape (samples,)")
        if not np.isfinite(waveform).all():
            raise DefectiveClip("waveform: NaN or infinite samples")
        if not RATES[0] <= rate <= RATES[1]:
            raise DefectiveClip(f"waveform: a sampling rate of {rate} Hz")
        samples = waveform.astype(np.float32, copy=False)
        if rate != SAMPLE_RATE:
            samples = resample(samples[: int((self.max_seconds + 1) * rate)], rate)
        return np.ascontiguousarray(samples[: max(1, round(self.max_seconds * SAMPLE_RATE))], dtype=np.float32)

    def encode(self, samples: np.ndarray) -> Sound:
        """Encode float32 samples (N,) at 16 kHz.

        Raises:
            UserError: see :attr:`encoder`.
        """
        if self.obstacle:
            return Sound(samples, None, self.obstacle)
        if np.abs(samples).max() < SILENCE:
            return Sound(samples, None, "the sound is silent")
        try:
            return Sound(samples, self.encoder.encode(samples))
        except DefectiveClip as defect:
            return Sound(samples, None, str(defect))
