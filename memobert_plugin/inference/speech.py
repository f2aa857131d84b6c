"""A clip's sound as the frames that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..core.errors import DefectiveClip, UserError
from ..data.frames import ExtractorInfo
from ..features.encoders.base import ENCODERS, AcousticEncoder, Normalize, load_encoder
from ..features.extraction.acoustic import AcousticSettings, pool_frames
from ..features.media.sound import RATES, SAMPLE_RATE, resample

SILENCE = 1e-4
"""Samples that are all below this are no recording of anything (-80 dB)."""


@dataclass(frozen=True)
class Sound:
    """A clip's sound and its frames.

    Attributes:
        samples: float32 (N,) at 16 kHz, as far as they were read.
        frames: float32 (A, D), or None where they could not be made.
        reason: why not.
    """

    samples: np.ndarray
    frames: np.ndarray | None
    reason: str = ""


class SpeechReader:
    """Reads sound with the encoder and the settings of a model's training.

    Args:
        extractor: what the model's description says of its speech frames; None for a model without speech.
        weights: of wav2vec 2.0, where the model was trained on it.
        device: where wav2vec 2.0 runs.
    """

    def __init__(self, extractor: ExtractorInfo | None, weights: Path | None = None, device: str = "cpu") -> None:
        self.extractor = extractor
        self._weights = weights
        self._device = device

    @property
    def obstacle(self) -> str:
        """Why sound cannot be read at all; empty where it can."""
        if self.extractor is None:
            return "this model does not read sound"
        if self.extractor.name not in ENCODERS:
            return f"this model's speech frames were made by {self.extractor.name!r}, which is not part of this package"
        return ""

    @property
    def max_seconds(self) -> float:
        """Sound beyond this is not read."""
        return float(self._option("max_seconds", 10.0))

    @cached_property
    def settings(self) -> AcousticSettings:
        """How frames are averaged and clips are cut."""
        return AcousticSettings(pool=int(self._option("pool", 3)), max_seconds=self.max_seconds)

    @cached_property
    def encoder(self) -> AcousticEncoder:
        """The encoder.

        Raises:
            UserError: wav2vec 2.0 without its weights, other weights than the model's, or another version's settings.
        """
        assert self.extractor is not None
        normalize: Normalize | None = None
        if self.extractor.name == "wav2vec2":
            if self._weights is None:
                raise UserError(
                    "this model was trained on wav2vec 2.0 frames; name its weights, a fairseq .pt file or a Hugging "
                    "Face folder (--weights, weights=), or leave sound out (--modalities lv)"
                )
            normalize = "always" if self._option("normalized", True) else "never"
        elif self._weights is not None:
            raise UserError(f"--weights: this model was trained on {self.extractor.name} frames; leave the flag out")
        encoder = load_encoder(self.extractor.name, weights=self._weights, normalize=normalize, device=self._device)
        self._refuse_other(self.settings.info(encoder))
        return encoder

    def resampled(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        """A caller's samples as float32 (N,) at 16 kHz, cut to what is read.

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
        """Frames of float32 samples (N,) at 16 kHz.

        Raises:
            UserError: see :attr:`encoder`.
        """
        if self.obstacle:
            return Sound(samples, None, self.obstacle)
        if np.abs(samples).max() < SILENCE:
            return Sound(samples, None, "the sound is silent")
        if len(samples) < self.encoder.shortest:
            lasts, needed = (f"{1000 * count / SAMPLE_RATE:.4g} ms" for count in (len(samples), self.encoder.shortest))
            return Sound(samples, None, f"the sound lasts {lasts}, shorter than one frame ({needed})")
        frames = self.encoder.encode(samples[None])[0]
        if not np.isfinite(frames).all():
            return Sound(samples, None, "the encoder gave NaN or infinite frames")
        return Sound(samples, pool_frames(frames, self.settings.pool))

    def _option(self, name: str, default: float) -> float:
        value = self.extractor.options.get(name, default) if self.extractor is not None else default
        if not isinstance(value, (int, float)) or not 0 <= value <= 3600:
            raise UserError(f"the model's speech frames have {name} {value!r}; export the model again")
        return value

    def _refuse_other(self, own: ExtractorInfo) -> None:
        """Frames made otherwise than in training would give answers that mean nothing."""
        assert self.extractor is not None
        if self.extractor.weights_sha256 != own.weights_sha256:
            raise UserError(f"{self._weights}: not the weights this model was trained with (another sha256)")
        known = self.extractor.options
        other = [name for name in {**known, **own.options} if known.get(name) != own.options.get(name)]
        if other:
            name = other[0]
            raise UserError(
                f"the model's {own.name} frames were made with {name} {known.get(name)!r}, this version makes them "
                f"with {own.options.get(name)!r}; install the version that trained the model"
            )
