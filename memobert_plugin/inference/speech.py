"""Read sound as the speech frames that a model was trained on, and as words where none are given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import DefectiveClip, UserError
from ..core.names import SAMPLE_RATE
from ..data.frames import ExtractorInfo
from ..data.manifest import TRANSCRIBED
from ..features.encoders.base import ENCODERS, MAX_SECONDS, PooledEncoder
from ..features.media.container import FILM_SUFFIXES, MediaFacts, media_facts
from ..features.media.sound import read_clip, resample
from ..features.media.soundtrack import RATES
from ..features.media.streams import StreamChoice
from .utterance import Utterance

if TYPE_CHECKING:
    from ..features.extraction.transcription import TranscribeOptions, Transcriber

SILENCE = 1e-4
"""A sound whose samples are all smaller counts as silent (-80 dB)."""
MOST_TRANSCRIBED = 60.0
"""Seconds of an utterance whose words are recognised; a model reads the first 60 word pieces, about 20 s."""


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
        """Convert a caller's samples as :func:`resampled`, cut to :attr:`max_seconds`."""
        return resampled(waveform, rate, self.max_seconds)

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


def resampled(waveform: np.ndarray, rate: int, max_seconds: float) -> np.ndarray:
    """Convert a caller's samples to float32 (N,) at 16 kHz, cut to ``max_seconds``.

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
        samples = resample(samples[: int((max_seconds + 1) * rate)], rate)
    return np.ascontiguousarray(samples[: max(1, round(max_seconds * SAMPLE_RATE))], dtype=np.float32)


class WordReader:
    """A reader of the words of utterances that have no text.

    Args:
        options: the recogniser.
    """

    def __init__(self, options: TranscribeOptions) -> None:
        self._options = options

    @cached_property
    def transcriber(self) -> Transcriber:
        """Return the recogniser with its voice detector, loaded when the first words are needed."""
        from ..features.extraction.transcription import build_transcriber

        return build_transcriber(self._options)

    def transcribed(self, utterance: Utterance, streams: StreamChoice) -> tuple[Utterance, str]:
        """Return the utterance with its words, at most those of :data:`MOST_TRANSCRIBED` seconds, else the reason.

        Raises:
            UserError: the recogniser cannot be loaded.
        """
        from ..features.extraction.transcription import Samples, joined

        file = utterance.sound or utterance.clip
        try:
            if utterance.waveform is not None:
                samples, mark = resampled(utterance.waveform, utterance.sampling_rate, MOST_TRANSCRIBED), ""
            else:
                assert file is not None
                first, last = utterance.start, utterance.end
                samples = read_clip(file, max_seconds=MOST_TRANSCRIBED, start=first, end=last, streams=streams)
                mark = marked_language(file, streams)
            lines = self.transcriber.lines(Samples(samples), None, 0.0, len(samples) / SAMPLE_RATE, mark)
        except DefectiveClip as defect:
            return utterance, str(defect).removeprefix(f"{file}: ")
        text, transcript = joined(lines)
        if not text:
            return utterance, "no words were recognised in the sound"
        return replace(utterance, text=text, text_source=TRANSCRIBED, transcript=transcript), ""


def transcribe_options(folder: Path, streams: StreamChoice, device: str, voice: str | None) -> TranscribeOptions:
    """Return the settings of transcription, checked.

    Raises:
        UserError: no Whisper in the folder, a missing package, or a language that the model does not know.
    """
    import torch

    from ..features.extraction.transcription import TranscribeOptions

    found = TranscribeOptions(folder, streams.language, voice, device=device, threads=torch.get_num_threads())
    found.check()
    return found


def marked_language(file: Path, streams: StreamChoice) -> str:
    """Return the language that a film states of the sound that is read; empty where it does not."""
    if file.suffix.lower() not in FILM_SUFFIXES:
        return ""
    audio = file_facts(file, streams).audio
    return audio.language if audio is not None else ""


@lru_cache(maxsize=8)
def file_facts(film: Path, streams: StreamChoice) -> MediaFacts:
    """Return the facts about a film; the last films' are kept."""
    return media_facts(film, streams)
