"""One utterance's sound: 16 kHz, mono, cut out of a file without reading the rest of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ..corpora.movies import FILM_SUFFIXES

if TYPE_CHECKING:
    import soundfile

SAMPLE_RATE: Final = 16_000
"""Samples per second of every waveform that an encoder sees."""

RATES: Final = (1_000, 768_000)
"""Sampling rates that are taken for real."""
FILTER_MARGIN_SECONDS: Final = 0.1
"""Read beyond a clip, so that the resampling filter does not see its edge."""


class DefectiveClip(ValueError):
    """One utterance's media cannot be used; the message is the reason, in one line. The rest of the corpus goes on."""


def read_clip(path: Path, *, max_seconds: float, start: float | None = None, end: float | None = None) -> np.ndarray:
    """Read one clip of a wav, flac or ogg file, or of a film's sound (see :mod:`.soundtrack`).

    Channels are averaged. Other sampling rates go through ``scipy.signal.resample_poly``: a linear-phase polyphase
    filter that gives the same samples on every run, from a library that is already required.

    Args:
        path: the sound file.
        max_seconds: longer clips are cut here.
        start: where the clip begins in the file, in seconds (None: at its beginning).
        end: where the clip ends in the file, in seconds (None, or beyond the file's end: at its end).

    Returns:
        float32 ``(N,)`` in [-1, 1] at :data:`SAMPLE_RATE`, N > 0.

    Raises:
        DefectiveClip: the file is missing or unreadable, the clip has no samples, or some are NaN or infinite.
        UserError: a film, and PyAV is missing.
    """
    import soundfile

    if not path.is_file():
        raise DefectiveClip(f"{path}: no such file")
    if path.suffix.lower() in FILM_SUFFIXES:
        from .soundtrack import sound

        return sound(path, start, end, max_seconds)
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            if not RATES[0] <= rate <= RATES[1]:
                raise DefectiveClip(f"{path}: a sampling rate of {rate} Hz")
            samples = _read_stretch(file, start or 0.0, end, max_seconds + FILTER_MARGIN_SECONDS)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise DefectiveClip(f"{path}: cannot be read as sound ({error})") from None
    waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(waveform).all():
        raise DefectiveClip(f"{path}: NaN or infinite samples")
    if rate != SAMPLE_RATE:
        waveform = resample(waveform, rate)
    return np.ascontiguousarray(waveform[: max(1, round(max_seconds * SAMPLE_RATE))], dtype=np.float32)


def _read_stretch(file: soundfile.SoundFile, start: float, end: float | None, max_seconds: float) -> np.ndarray:
    """Samples float32 (N, channels) from ``start`` on, at most up to ``end``."""
    first = round(start * file.samplerate)
    last = file.frames if end is None else min(file.frames, round(end * file.samplerate))
    if file.frames and first >= file.frames:
        raise DefectiveClip(
            f"{file.name}: the clip starts at {start:g} s, the file ends at {file.frames / file.samplerate:g} s"
        )
    if last <= first:
        raise DefectiveClip(f"{file.name}: no samples")
    if first:
        file.seek(first)
    samples = file.read(min(last - first, math.ceil(max_seconds * file.samplerate)), dtype="float32", always_2d=True)
    if not len(samples):
        raise DefectiveClip(f"{file.name}: no samples, the file is cut short")
    return samples


def resample(waveform: np.ndarray, rate: int) -> np.ndarray:
    """``(N,)`` samples at ``rate`` per second to :data:`SAMPLE_RATE`."""
    from scipy.signal import resample_poly

    divisor = math.gcd(rate, SAMPLE_RATE)
    return resample_poly(waveform, SAMPLE_RATE // divisor, rate // divisor)
