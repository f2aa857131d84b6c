"""Which of the faces in a picture is the one that is heard: agreement of mouth motion and voice activity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np

from .faces import FaceTrack
from .intervals import Interval, voiced_share
from .sound_level import SoundLevel
from .speaker_evidence import Level, SpeakerSettings, TrackEvidence, mouth_activity, track_evidence


@dataclass(frozen=True, slots=True, eq=False)
class SpeakerChoice:
    """The active speaker of a clip, or why there is none."""

    track: FaceTrack | None
    evidence: list[TrackEvidence]
    """One per track, in the tracks' order."""
    reason: str
    """Why no face was chosen; empty if one was."""


@dataclass(frozen=True, slots=True)
class SpeakerSpan:
    """Who speaks in one stretch of a clip."""

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
        count = "its only face" if len(tracks) == 1 else f"any of its {len(tracks)} faces"
        return SpeakerChoice(None, evidence, f"no evidence that {count} speaks: {_nearest_miss(evidence)}")
    return SpeakerChoice(tracks[best], evidence, "")


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
    """The column of every row with the highest sum of scores minus the cost of changes; None for rows without any.

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
    """Why the clip has too little of any face to choose one; empty where it has enough."""
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
    """The reason of the face that is there most of the time."""
    return max(evidence, key=lambda item: item.share).reason
