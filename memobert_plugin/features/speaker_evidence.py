"""What speaks for a face being the one that is heard: how its mouth moves, and whether with the sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from .faces import FaceTrack
from .voice_activity import Interval, sound_levels, within_intervals

_OPENING_CHANGE: Final = 0.04
_MOUTH_MOTION: Final = 0.08
_PICTURES_FOR_CORRELATION: Final = 10


@dataclass(frozen=True, slots=True)
class SpeakerSettings:
    """Thresholds of the choice, for 10 pictures per second, and what they were looked at with.

    The clips are those of 17 talking faces: ten of GRID (one sentence between two pauses), four of HDTF (speeches), an
    interview with two faces that talk over each other, and a man in a noisy restaurant.
    """

    least_share: float = 0.2
    """A clip whose most frequent face covers a smaller share of its pictures is dropped (the reference's rule)."""
    least_activity: float = 0.25
    """Mouth activity while there is voice, below which a face does not speak; see :func:`mouth_activity`. The speakers
    of the 16 clips have 0.7 to 3, the man who listens with his mouth closed for four seconds -0.1 to 0.1, a still
    picture 0."""
    least_pictures: int = 5
    """Pictures with voice in which the mouth's activity must be known."""
    least_agreement: float = -0.25
    """A face whose mouth is that much more active without voice than with it does not speak; see
    :attr:`TrackEvidence.agreement`. The speakers have 0.08 to 1."""
    pictures_without_voice: int = 10
    """So many are needed to compare with."""
    window_seconds: float = 3.0
    """Of :func:`.active_speaker.speaker_over_time`: shorter ones hold too few syllables for a correlation."""

    def options(self) -> dict[str, Any]:
        """What a choice depends on, for ``extractor.json``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TrackEvidence:
    """What was found about one face in one stretch of time."""

    track: int
    """The track's number."""
    share: float
    """Of the pictures in which its face was seen."""
    activity: float
    """Mean mouth activity while there is voice; NaN: unknown."""
    agreement: float
    """(a - b) / (a + b) of the activities a with and b without voice, in [-1, 1]; 0 with too few pictures without."""
    synchrony: float
    """Sum of three correlations with the sound's level, in [-3, 3]; see :func:`synchrony`."""
    score: float
    """What candidates are compared by."""
    reason: str
    """Why the face is no candidate; empty for one that is."""


def mouth_activity(track: FaceTrack) -> np.ndarray:
    """How much the mouth moved since the picture before, on a scale where a speaking mouth has about 1.

    Mean of what is known of two measures: the change of the opening over 0.04 (of the face's scale) and the motion of
    the grey levels over 0.08 (of the crop's contrast). These are about the means over the voiced stretches of the
    talking faces that :class:`SpeakerSettings` names (0.029 to 0.074 and 0.038 to 0.29). Landmarks catch what grey
    levels confuse with a passing hand; grey levels go on where landmarks are missing.

    Returns:
        ``(T,)``; may be negative for a still mouth in a turning head; NaN where unknown.
    """
    opening = np.abs(np.diff(track.mouth_opening, prepend=np.nan)) / _OPENING_CHANGE
    opening[np.isnan(track.mouth_motion)] = np.nan
    return _mean_of_known(opening, track.mouth_motion / _MOUTH_MOTION)


def synchrony(opening: np.ndarray, activity: np.ndarray, levels: np.ndarray) -> float:
    """Sum of three correlations: of opening and level, of activity and level, of their changes from picture to picture.

    Loud vowels open the mouth, and syllables move it. Between the speaker and another talking face of the same kind,
    who in the 16 clips is heard elsewhere, the sum decides rightly 89 of 100 times on GRID's 3 s (where both talk at
    the same moments of the clip) and 65 of 100 on 4 s of HDTF and the restaurant; each correlation alone does worse on
    one of them. Each is shrunk by n / (n + 10) for the n pictures behind it.

    Args:
        opening: ``(T,)`` NaN where unknown.
        activity: ``(T,)`` since the picture before, NaN where unknown.
        levels: ``(T,)`` decibels.
    """
    around = _mean_of_known(activity, np.append(activity[1:], np.nan))
    changes = (np.diff(values, prepend=np.nan) for values in (opening, levels))
    return _correlation(opening, levels) + _correlation(around, levels) + _correlation(*changes)


def track_evidence(
    track: FaceTrack,
    voiced: Sequence[Interval],
    pictures: int,
    settings: SpeakerSettings,
    *,
    stretch: Interval | None = None,
    samples: np.ndarray | None = None,
    samples_start: float = 0.0,
) -> TrackEvidence:
    """Look at one track in one stretch of time (None: all of it).

    Args:
        track: its times are on the same clock as all others here.
        voiced: begin and end in seconds.
        pictures: how many the stretch has.
        settings: thresholds.
        stretch: begin and end in seconds.
        samples: the sound, float32 16 kHz; without it voice or none takes the level's place.
        samples_start: time of the first sample.
    """
    begin, end = stretch or (-np.inf, np.inf)
    seen = (begin <= track.times) & (track.times < end)
    times, activity = track.times[seen], mouth_activity(track)[seen]
    voice = within_intervals(times, voiced)
    levels = voice.astype(np.float64) if samples is None else sound_levels(samples, times - samples_start)
    known = ~np.isnan(activity)
    inside, outside = activity[voice & known], activity[~voice & known]
    mean_inside = float(inside.mean()) if len(inside) else float("nan")
    agreement = _agreement(inside, outside) if len(outside) >= settings.pictures_without_voice else 0.0
    together = synchrony(track.mouth_opening[seen], activity, levels) if len(times) else 0.0
    reason = ""
    if len(inside) < settings.least_pictures:
        reason = f"its mouth is seen in {len(inside)} pictures with voice"
    elif mean_inside < settings.least_activity:
        reason = f"its mouth hardly moves while there is voice (activity {mean_inside:.2f})"
    elif agreement < settings.least_agreement:
        reason = f"its mouth moves more without voice than with it (agreement {agreement:.2f})"
    return TrackEvidence(
        track=track.number,
        share=len(times) / pictures if pictures else 0.0,
        activity=mean_inside,
        agreement=agreement,
        synchrony=together,
        score=float("-inf") if reason else together + agreement + min(mean_inside, 1.0),
        reason=reason,
    )


def _agreement(inside: np.ndarray, outside: np.ndarray) -> float:
    if not len(inside):
        return 0.0
    with_voice, without = max(float(inside.mean()), 0.0), max(float(outside.mean()), 0.0)
    return (with_voice - without) / (with_voice + without) if with_voice + without > 0 else 0.0


def _mean_of_known(*measures: np.ndarray) -> np.ndarray:
    """Mean over the measures that are not NaN, element by element; NaN where all are."""
    stacked = np.stack(measures)
    counts = (~np.isnan(stacked)).sum(axis=0)
    return np.where(counts > 0, np.nansum(stacked, axis=0) / np.maximum(counts, 1), np.nan)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    known = ~(np.isnan(one) | np.isnan(other))
    first, second = one[known] - np.mean(one[known]) if known.any() else one[known], other[known]
    if len(first) < 3:
        return 0.0
    second = second - second.mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    if scale < 1e-9:
        return 0.0
    return float((first * second).sum()) / scale * len(first) / (len(first) + _PICTURES_FOR_CORRELATION)
