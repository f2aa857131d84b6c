"""Choose the active speaker among the faces of a clip, by mouth motion, voice activity and sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from typing import Any, Final

import numpy as np

from ...core.names import counted
from .lip_sync import LipSync, correlation, lip_sync
from .tracks import FaceTrack
from .voice import Interval, SoundLevel, voiced_share, within_intervals

Level = Callable[[np.ndarray, float], np.ndarray]
"""Level of the voice around moments ``(T,)``, within a width in seconds: ``(T,)`` on any linear scale."""

_OPENING_CHANGE: Final = 0.04
_MOUTH_MOTION: Final = 0.08
_CLOSED: Final = 0.02
_SYLLABLE: Final = 0.2
_PICTURE: Final = 0.1
_BEGAN_EARLIER: Final = 0.02
"""A mouth moves up to one picture of the film before it is shown: half of that, in seconds, at 24 to 30 a second."""
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

    most_shifted: float = 0.2
    """The only face does not speak if more shifted times than this share fit its mouth as well as the sound's own time
    does; see :class:`memobert_plugin.features.speakers.lip_sync.LipSync`. 1: no test. docs/film.md says how often
    it is wrong."""
    most_shifted_near: float = 0.05
    """It still speaks if this share or less fits as well as the best of the times within 0.2 s."""
    most_shifted_among: float = 0.6
    """Used instead of ``most_shifted`` for the best of several faces, which the comparison with the others supports.
    The interview's right man has 0.56 in one of his utterances."""

    def options(self) -> dict[str, Any]:
        """Return all thresholds, for ``extractor.json``."""
        return asdict(self)

    def fits(self, sync: LipSync | None, faces: int = 1) -> bool:
        """Return whether a mouth, the best of so many faces, may belong to the sound; True if too little is known."""
        most = self.most_shifted if faces == 1 else self.most_shifted_among
        return sync is None or sync.exact <= most or sync.near <= self.most_shifted_near


@dataclass(frozen=True, slots=True)
class TrackEvidence:
    """Evidence about one face in one stretch of time."""

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
    """Score by which candidates are compared."""
    reason: str
    """The reason that the face is no candidate; empty for a candidate."""


def mouth_activity(track: FaceTrack) -> np.ndarray:
    """Return the mouth's motion since the picture before, on a scale where a speaking mouth has about 1.

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
    """Return the sum of four correlations between a mouth and the sound, each in [-1, 1].

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
        _shrunk_correlation(track.mouth_opening, level(times, _SYLLABLE))
        + _shrunk_correlation(np.diff(opening, prepend=np.nan), change)
        + _shrunk_correlation(activity, level(times - _PICTURE / 2, _SYLLABLE))
        + _shrunk_correlation(activity, np.abs(change))
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
        reason = f"its mouth is seen in {counted(len(inside), 'picture')} with voice"
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


def _shrunk_correlation(one: np.ndarray, other: np.ndarray) -> float:
    known = ~(np.isnan(one) | np.isnan(other))
    count = int(known.sum())
    if count < 3:
        return 0.0
    return correlation(one[known], other[known]) * count / (count + _SHRUNK_BY)


@dataclass(frozen=True, slots=True, eq=False)
class SpeakerChoice:
    """The active speaker of a clip, or why there is none."""

    track: FaceTrack | None
    evidence: list[TrackEvidence]
    """One per track, in the tracks' order."""
    reason: str
    """The reason that no face was chosen; empty if one was."""


@dataclass(frozen=True, slots=True)
class SpeakerSpan:
    """The speaker of one stretch of a clip."""

    begin: float
    end: float
    """Seconds."""
    track: int | None
    """The track's number; None: no voice, or no face that speaks."""


def choose_speaker(
    tracks: Sequence[FaceTrack],
    voiced: Sequence[Interval],
    *,
    clip_seconds: float,
    frames: int,
    samples: np.ndarray | None = None,
    samples_start: float = 0.0,
    settings: SpeakerSettings | None = None,
) -> SpeakerChoice:
    """Choose the face track whose mouth agrees best with the voice.

    Candidates move their mouth while there is voice, and not more without it (thresholds and what they were looked at:
    :class:`.speaker_evidence.SpeakerSettings`). The one with the highest sum of three kinds of evidence is chosen:
    synchrony with the sound's level, agreement with voice activity, and mouth activity up to that of usual speech;
    further motion does not help, since a listener may laugh.

    Args:
        tracks: faces of the clip; times on one clock with ``voiced``.
        voiced: begin and end of voiced stretches, seconds.
        clip_seconds: the clip's length, for the message.
        frames: how many pictures the clip has.
        samples: the clip's sound, float32 ``(N,)`` at 16 kHz; without it voice or none takes the level's place.
        samples_start: time of the first sample on that clock.
        settings: thresholds (None: the usual ones).
    """
    settings = settings or SpeakerSettings()
    level = _level(voiced, samples, samples_start)
    evidence = [track_evidence(track, voiced, settings, level=level, pictures=frames) for track in tracks]
    missing = _too_few_faces(evidence, settings)
    if missing:
        return SpeakerChoice(None, evidence, missing)
    if not voiced:
        return SpeakerChoice(None, evidence, f"no voice in {clip_seconds:.1f} s")
    best = max(range(len(tracks)), key=lambda index: (evidence[index].score, -index))
    if evidence[best].reason:
        return _nobody(evidence, _nearest_miss(evidence))
    if samples is not None:
        moved = [(begin - samples_start, end - samples_start) for begin, end in voiced]
        track, activity = tracks[best], mouth_activity(tracks[best])
        sync = lip_sync(track.times - samples_start, track.mouth_opening, activity, samples, moved)
        if sync is not None and not settings.fits(sync, len(tracks)):
            return _nobody(evidence, f"its mouth moves as well with the sound of {sync.exact:.0%} of other times")
    return SpeakerChoice(tracks[best], evidence, "")


def _nobody(evidence: list[TrackEvidence], reason: str) -> SpeakerChoice:
    count = "its only face" if len(evidence) == 1 else f"any of its {len(evidence)} faces"
    return SpeakerChoice(None, evidence, f"no evidence that {count} speaks: {reason}")


def choose_most_frequent(
    tracks: Sequence[FaceTrack], *, frames: int, settings: SpeakerSettings | None = None
) -> SpeakerChoice:
    """Choose the face that is seen most often, whoever speaks: for recordings of one known person.

    Args:
        tracks: faces of the clip.
        frames: how many pictures the clip has.
        settings: of these only ``least_share`` counts.
    """
    settings = settings or SpeakerSettings()
    level = _level([], None, 0.0)
    evidence = [track_evidence(track, [], settings, level=level, pictures=frames) for track in tracks]
    missing = _too_few_faces(evidence, settings)
    if missing:
        return SpeakerChoice(None, evidence, missing)
    return SpeakerChoice(max(tracks, key=lambda track: (len(track.times), -track.number)), evidence, "")


def speaker_over_time(
    tracks: Sequence[FaceTrack],
    voiced: Sequence[Interval],
    *,
    clip_seconds: float,
    step: float = 0.5,
    samples: np.ndarray | None = None,
    samples_start: float = 0.0,
    settings: SpeakerSettings | None = None,
) -> list[SpeakerSpan]:
    """Say who speaks from ``step`` to ``step``, for clips in which speakers take turns.

    A step with voice in half of it is spoken by a face whose mouth moves within half a second around it. Such faces are
    compared as in :func:`choose_speaker`, over ``settings.window_seconds``, plus each one's activity there relative to
    its own mean over the clip, so that somebody who moves all the time does not drown somebody who begins to talk. The
    sequence with the highest sum is taken, where a change of the face costs ``settings.turn_cost`` unless there is a
    step without a speaker in between.

    In the interview (17.6 s; 10 pictures per second from five different first moments) it gives the left face for the
    first 9.5 s, the right one up to the 15th second, and the left one, who then breaks in, to the end of the voice.

    Args:
        tracks: see :func:`choose_speaker`.
        voiced: see there.
        clip_seconds: where the last step ends.
        step: seconds.
        samples: see there.
        samples_start: see there.
        settings: see there.
    """
    settings = settings or SpeakerSettings()
    level = _level(voiced, samples, samples_start)
    steps = [(begin, min(begin + step, clip_seconds)) for begin in np.arange(0.0, clip_seconds - 1e-6, step).tolist()]
    scores = np.full((len(steps), len(tracks)), -np.inf)
    for column, track in enumerate(tracks):
        usual = _usual_activity(track)
        for row, (begin, end) in enumerate(steps):
            middle = (begin + end) / 2
            if voiced_share(np.array([middle]), end - begin, voiced)[0] < 0.5:
                continue
            near, around = (
                track_evidence(track, voiced, settings, level=level, stretch=(middle - half, middle + half))
                for half in (step, settings.window_seconds / 2)
            )
            if near.activity >= settings.least_activity and not around.reason:
                scores[row, column] = around.score + around.activity / usual
    path = _best_path(scores, settings.turn_cost)
    return [
        SpeakerSpan(begin, end, None if column is None else tracks[column].number)
        for (begin, end), column in zip(steps, path, strict=True)
    ]


def _best_path(scores: np.ndarray, turn_cost: float) -> list[int | None]:
    """Return for each row the column of the path with the highest score minus the cost of changes; None without score.

    Rows on either side of one without any are independent of each other.
    """
    path: list[int | None] = []
    for spoken, rows in groupby(scores, key=lambda row: bool(np.isfinite(row).any())):
        stretch = np.stack(list(rows))
        path += _viterbi(stretch, turn_cost) if spoken else [None] * len(stretch)
    return path


def _viterbi(scores: np.ndarray, turn_cost: float) -> list[int]:
    total, came_from = scores[0], []
    for row in scores[1:]:
        best = int(np.argmax(total))
        stays = total >= total[best] - turn_cost
        came_from.append(np.where(stays, np.arange(len(row)), best))
        total = row + np.where(stays, total, total[best] - turn_cost)
    column = int(np.argmax(total))
    path = [column]
    for origins in reversed(came_from):
        column = int(origins[column])
        path.append(column)
    return path[::-1]


def _level(voiced: Sequence[Interval], samples: np.ndarray | None, start: float) -> Level:
    if samples is None:
        return partial(voiced_share, intervals=voiced)
    return SoundLevel(samples, start, speech_band=True)


def _too_few_faces(evidence: Sequence[TrackEvidence], settings: SpeakerSettings) -> str:
    """Return the reason that the clip shows too little of any face; empty if it shows enough."""
    if not evidence:
        return "no face"
    most = max(item.share for item in evidence)
    if most < settings.least_share:
        return f"the most frequent face is in {most:.0%} of the pictures, less than {settings.least_share:.0%}"
    return ""


def _usual_activity(track: FaceTrack) -> float:
    activity = mouth_activity(track)
    known = np.clip(activity[~np.isnan(activity)], 0.0, None)
    return max(float(known.mean()), 1e-6) if len(known) else 1.0


def _nearest_miss(evidence: Sequence[TrackEvidence]) -> str:
    """Return the reason of the face that is seen most."""
    return max(evidence, key=lambda item: item.share).reason
