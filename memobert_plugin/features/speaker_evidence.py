"""What speaks for a face being the one that is heard: how its mouth moves, and whether with the sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from .faces import FaceTrack
from .intervals import Interval, within_intervals

Level = Callable[[np.ndarray, float], np.ndarray]
"""How much voice there is around moments ``(T,)``, within a width in seconds: ``(T,)`` on any linear scale."""

_OPENING_CHANGE: Final = 0.04
_MOUTH_MOTION: Final = 0.08
_CLOSED: Final = 0.02
_SYLLABLE: Final = 0.2
_PICTURE: Final = 0.1
_BEGAN_EARLIER: Final = 0.02
"""What a moment shows began up to one picture of the film before it: half of that, in seconds, at 24 to 30 a second."""
_SHRUNK_BY: Final = 10


@dataclass(frozen=True, slots=True)
class SpeakerSettings:
    """Thresholds of the choice, for 10 pictures per second, and what they were looked at with.

    That is 16 clips with 17 talking faces: ten of GRID (one sentence between two pauses), four of HDTF (speeches), an
    interview whose two faces talk over each other, and a man in a noisy restaurant.
    """

    least_share: float = 0.2
    """A clip whose most frequent face covers a smaller share of its pictures is dropped (the reference's rule)."""
    least_activity: float = 0.25
    """Mouth activity while there is voice, below which a face does not speak; see :func:`mouth_activity`. The speakers
    have 0.7 to 2.6, the interview's left man -0.1 to 0 while he listens for four seconds, a still picture 0."""
    least_pictures: int = 5
    """Pictures with voice in which the mouth's activity must be known."""
    least_agreement: float = -0.25
    """A face whose mouth is that much more active without voice than with it does not speak; see
    :attr:`TrackEvidence.agreement`. The speakers have 0.2 to 0.9."""
    pictures_without_voice: int = 10
    """So many are needed to compare with."""
    window_seconds: float = 4.0
    """Of :func:`.active_speaker.speaker_over_time`: shorter ones hold too few syllables for a correlation."""
    turn_cost: float = 0.5
    """By so much the score of another face must be higher in all, before speech goes over to it without a pause."""

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
    """Sum of four correlations with the sound's level, in [-4, 4]; see :func:`synchrony`."""
    score: float
    """What candidates are compared by."""
    reason: str
    """Why the face is no candidate; empty for one that is."""


def mouth_activity(track: FaceTrack) -> np.ndarray:
    """How much the mouth moved since the picture before, on a scale where a speaking mouth has about 1.

    Mean of what is known of two measures: the change of the opening over 0.04 (of the face's scale) and the motion of
    the grey levels over 0.08 (of the crop's contrast); the means of the speakers named in :class:`SpeakerSettings` are
    0.03 to 0.07 and 0.04 to 0.29. Landmarks catch what grey levels confuse with a passing hand; grey levels go on where
    landmarks are missing. A still picture has 0. With added noise of 2 grey levels its landmarks tremble: 0.05 and less
    in nine of twelve faces, up to 0.22 in two, 0.53 in one whose mouth a hand hides.

    Returns:
        ``(T,)``; may be negative for a still mouth in a turning head; NaN after a gap or a cut.
    """
    motion = track.mouth_motion / _MOUTH_MOTION
    opening = np.abs(np.diff(track.mouth_opening, prepend=np.nan)) / _OPENING_CHANGE
    return np.where(np.isnan(opening), motion, (opening + motion) / 2)


def synchrony(track: FaceTrack, activity: np.ndarray, level: Level) -> float:
    """Sum of four correlations between a mouth and the sound, each in [-1, 1].

    Loud vowels open the mouth: (1) opening and level, (2) the change of the opening's logarithm and that of the level.
    Syllables move it: (3) activity and level, (4) activity and the size of the level's change. (1) and (3) take the
    level over 0.2 s, (2) and (4) over 0.1 s; each is shrunk by n / (n + 10) for the n pictures behind it.

    Of a face and the sound of its clip against another talking face, 3 s each, the sum finds the right one 90 of 100
    times in GRID (where all talk at the same moments) and 69 of 100 times in HDTF and the restaurant (both talk without
    pause); the single correlations about 70 to 93 and 60 to 70, and none is good at both and at the interview.

    Args:
        track: what is seen.
        activity: ``(T,)``, see :func:`mouth_activity`.
        level: how loud it is.
    """
    opening = np.log(np.maximum(track.mouth_opening, 0.0) + _CLOSED)
    times = track.times - _BEGAN_EARLIER
    change = np.diff(level(times, _PICTURE), prepend=np.nan)
    return (
        _correlation(track.mouth_opening, level(times, _SYLLABLE))
        + _correlation(np.diff(opening, prepend=np.nan), change)
        + _correlation(activity, level(times - _PICTURE / 2, _SYLLABLE))
        + _correlation(activity, np.abs(change))
    )


def track_evidence(
    track: FaceTrack,
    voiced: Sequence[Interval],
    settings: SpeakerSettings,
    *,
    level: Level,
    pictures: int | None = None,
    stretch: Interval | None = None,
) -> TrackEvidence:
    """Look at one track in one stretch of time.

    Args:
        track: its times are on the same clock as all others here.
        voiced: begin and end in seconds.
        settings: thresholds.
        level: how loud it is.
        pictures: how many the stretch has (None: as many as show this face).
        stretch: begin and end in seconds (None: all of the track).
    """
    activity = mouth_activity(track)
    if stretch is not None:
        seen = (stretch[0] <= track.times) & (track.times < stretch[1])
        track, activity = track.chosen(seen), activity[seen]
    voice, known = within_intervals(track.times, voiced), ~np.isnan(activity)
    inside, outside = activity[voice & known], activity[~voice & known]
    mean = float(inside.mean()) if len(inside) else float("nan")
    agreement = _agreement(mean, outside) if len(outside) >= settings.pictures_without_voice else 0.0
    together = synchrony(track, activity, level)
    reason = ""
    if len(inside) < settings.least_pictures:
        reason = f"its mouth is seen in {len(inside)} pictures with voice"
    elif mean < settings.least_activity:
        reason = f"its mouth hardly moves while there is voice (activity {mean:.2f})"
    elif agreement < settings.least_agreement:
        reason = f"its mouth moves more without voice than with it (agreement {agreement:.2f})"
    return TrackEvidence(
        track=track.number,
        share=len(track.times) / pictures if pictures else 1.0,
        activity=mean,
        agreement=agreement,
        synchrony=together,
        score=float("-inf") if reason else together + agreement + min(mean, 1.0),
        reason=reason,
    )


def _agreement(inside: float, outside: np.ndarray) -> float:
    if np.isnan(inside):
        return 0.0
    with_voice, without = max(inside, 0.0), max(float(outside.mean()), 0.0)
    return (with_voice - without) / (with_voice + without) if with_voice + without > 0 else 0.0


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    known = ~(np.isnan(one) | np.isnan(other))
    count = int(known.sum())
    if count < 3:
        return 0.0
    first, second = one[known] - one[known].mean(), other[known] - other[known].mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale * count / (count + _SHRUNK_BY) if scale > 1e-9 else 0.0
