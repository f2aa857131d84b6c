"""Compare how a mouth opens with how the sound says it should, against the same sound at other times.

A linear map predicts from a spectrogram how far the speaker's mouth is open. If the face belongs to the voice, the
prediction fits the measured opening better than predictions from the same sound shifted by half a second and more do.
The map was fitted by ``scripts/reliability/who_speaks.py --fit`` to the ten GRID and four HDTF clips named there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ..media.sound import SAMPLE_RATE
from .voice import Interval, SoundLevel, within_intervals

RATE: Final = 100
"""Predictions per second."""
MAP_FILE: Final = Path(__file__).with_suffix(".json")

_WINDOW: Final = 400
_TRANSFORM: Final = 512
_LOWEST_HERTZ: Final = 80.0
_HIGHEST_HERTZ: Final = 7600.0
_FLOOR: Final = 1e-3
"""Added to each band's power, as a share of its mean: silence between words is not infinitely quiet."""
_LEAST_DEVIATION: Final = 0.3
_CLOSED: Final = 0.02
_SYLLABLE: Final = 0.2
_ACTIVITY_EARLIER: Final = 0.07
"""Activity is motion since the picture before: its middle is half a picture, 0.05 s, and the exposure earlier."""
_SHARE_OF_LEVEL: Final = 0.5
_STEP: Final = 0.05
_NEAR: Final = 0.2
_FAR: Final = 0.5
_FEWEST_PICTURES: Final = 12
_SHORTEST_SECONDS: Final = 2.5


class OpeningMap(NamedTuple):
    """A linear map from log-mel bands around a moment to the mouth's log opening."""

    lags: np.ndarray
    """(L,) seconds after the moment."""
    weights: np.ndarray
    """(L, B) for B bands."""


@cache
def shipped_map() -> OpeningMap:
    """Return the map that comes with the package."""
    content = json.loads(MAP_FILE.read_text(encoding="utf-8"))
    return OpeningMap(np.array(content["lags"]), np.array(content["weights"]))


@dataclass(frozen=True, slots=True)
class LipSync:
    """Shares of shifted times at which the sound fits the mouth as well as, or better than, at its own time.

    For a mouth that has nothing to do with the sound both are uniform in [0, 1]; for the speaker's they are near 0.
    """

    exact: float
    """Of the fit at the sound's own time."""
    near: float
    """Of the best fit within 0.2 s of it, for films whose sound is not quite in time."""


def log_opening(opening: np.ndarray) -> np.ndarray:
    """Return the logarithm ``(T,)`` of the mouth's opening; vowels differ by ratios. Unknown stays NaN."""
    return np.log(np.maximum(opening, 0.0) + _CLOSED)


def mel_bands(samples: np.ndarray, voiced: list[Interval], count: int) -> np.ndarray:
    """Compute log-mel bands, each with mean 0 and deviation 1 over the voiced stretches.

    Args:
        samples: float32 ``(N,)`` at 16 kHz.
        voiced: seconds from the first sample.
        count: B.

    Returns:
        ``(N // 160 + 1, B)``, 100 per second, the first around the first sample.
    """
    padded = np.pad(samples.astype(np.float64), (_WINDOW // 2, _WINDOW // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[:: SAMPLE_RATE // RATE]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW + 1)[:-1], _TRANSFORM)) ** 2 / (_WINDOW / 2) ** 2
    bands = power @ _triangles(count).T
    voice = within_intervals(np.arange(len(bands)) / RATE, voiced)
    if not voice.any():
        voice[:] = True
    levels = np.log(bands + _FLOOR * bands[voice].mean(axis=0) + 1e-12)
    return (levels - levels[voice].mean(axis=0)) / np.maximum(levels[voice].std(axis=0), _LEAST_DEVIATION)


def predicted_opening(samples: np.ndarray, voiced: list[Interval], opening_map: OpeningMap) -> np.ndarray:
    """Predict the log opening of the mouth that makes a sound: ``(N // 160 + 1,)``, 100 per second, in any unit."""
    bands = mel_bands(samples, voiced, opening_map.weights.shape[1])
    moments = np.arange(len(bands))
    places = [np.clip(moments + round(lag * RATE), 0, len(bands) - 1) for lag in opening_map.lags]
    return sum(
        (bands[place] @ weights for place, weights in zip(places, opening_map.weights, strict=True)), 0.0 * moments
    )


def lip_sync(
    times: np.ndarray,
    opening: np.ndarray,
    activity: np.ndarray,
    samples: np.ndarray,
    voiced: list[Interval],
    opening_map: OpeningMap | None = None,
) -> LipSync | None:
    """Compare a mouth with a sound.

    The fit is the correlation of predicted and measured opening, plus that of their changes from picture to picture,
    plus half of that of the mouth's activity and the sound's level, in voiced pictures. It is computed for the sound as
    it is and for the sound shifted in steps of 0.05 s. What is shifted out at one end comes in at the other.

    Args:
        times: ``(T,)`` seconds from the first sample.
        opening: ``(T,)`` of the mouth, NaN where unknown.
        activity: ``(T,)`` of the mouth since the picture before, NaN where unknown.
        samples: float32 ``(N,)`` at 16 kHz.
        voiced: seconds from the first sample.
        opening_map: None: the shipped one.

    Returns:
        None if there is too little to compare: under 2.5 s of sound or 12 voiced pictures with a known mouth.
    """
    measured, changes = log_opening(opening), np.diff(log_opening(opening), prepend=np.nan)
    known = within_intervals(times, voiced) & ~np.isnan(measured)
    changed = known & np.roll(known, 1) & ~np.isnan(changes)
    seconds = len(samples) / SAMPLE_RATE
    if seconds < _SHORTEST_SECONDS or known.sum() < _FEWEST_PICTURES:
        return None
    predicted = predicted_opening(samples, voiced, opening_map or shipped_map())
    moments = np.arange(len(predicted)) / RATE
    level = SoundLevel(samples, speech_band=True)(moments - _ACTIVITY_EARLIER, _SYLLABLE)
    active = known & ~np.isnan(activity)
    count = int(seconds / _STEP)
    fits = np.empty(count)
    for shift in range(count):
        places = np.rint((times + shift * _STEP) * RATE).astype(int) % len(predicted)
        moved, change = predicted[places], np.diff(predicted[places], prepend=np.nan)
        fits[shift] = (
            correlation(moved[known], measured[known])
            + correlation(change[changed], changes[changed])
            + _SHARE_OF_LEVEL * correlation(level[places][active], activity[active])
        )
    reach = round(_NEAR / _STEP)
    best = np.max([np.roll(fits, shift) for shift in range(-reach, reach + 1)], axis=0)
    far = slice(round(_FAR / _STEP), count - round(_FAR / _STEP) + 1)
    return LipSync(float(np.mean(fits[far] >= fits[0])), float(np.mean(best[far] >= best[0])))


def _triangles(count: int) -> np.ndarray:
    """Return ``(count, 257)`` overlapping triangles, equally spaced on the mel scale."""
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (_LOWEST_HERTZ, _HIGHEST_HERTZ))
    mels = np.linspace(lowest, highest, count + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(_TRANSFORM // 2 + 1) * SAMPLE_RATE / _TRANSFORM
    return np.maximum(0.0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two series without NaN; 0 for empty or constant ones."""
    if not len(one):
        return 0.0
    first, second = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale > 1e-9 else 0.0
