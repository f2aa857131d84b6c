"""Which of the faces in a picture is the one that is heard: agreement of mouth motion and voice activity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .faces import FaceTrack
from .speaker_evidence import SpeakerSettings, TrackEvidence, mouth_activity, track_evidence
from .voice_activity import Interval


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
        samples: the clip's sound, float32 ``(N,)`` at 16 kHz; without it synchrony is with voice or none.
        samples_start: time of the first sample on that clock.
        settings: thresholds (None: the usual ones).
    """
    settings = settings or SpeakerSettings()
    evidence = [
        track_evidence(track, voiced, frames, settings, samples=samples, samples_start=samples_start)
        for track in tracks
    ]
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
    evidence = [track_evidence(track, [], frames, settings) for track in tracks]
    missing = _too_few_faces(evidence, settings)
    if missing:
        return SpeakerChoice(None, evidence, missing)
    return SpeakerChoice(max(tracks, key=lambda track: (len(track.times), -track.number)), evidence, "")


def speaker_over_time(
    tracks: Sequence[FaceTrack],
    voiced: Sequence[Interval],
    *,
    clip_seconds: float,
    step: float = 1.0,
    samples: np.ndarray | None = None,
    samples_start: float = 0.0,
    settings: SpeakerSettings | None = None,
) -> list[SpeakerSpan]:
    """Say who speaks from ``step`` to ``step``, for clips in which speakers take turns.

    A candidate moves its mouth within the step itself; candidates are then compared as in :func:`choose_speaker` over
    a window of ``settings.window_seconds`` around it, plus each one's activity there relative to its own mean over the
    clip, so that somebody who moves all the time does not drown somebody who begins to talk.

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
    usual = [_usual_activity(track) for track in tracks]
    spans: list[SpeakerSpan] = []
    for begin in np.arange(0.0, clip_seconds - 1e-6, step).tolist():
        end = min(begin + step, clip_seconds)
        middle, half = (begin + end) / 2, settings.window_seconds / 2
        best, best_score = None, float("-inf")
        for track, own in zip(tracks, usual, strict=True):
            here, around = (
                track_evidence(
                    track, voiced, 0, settings, stretch=stretch, samples=samples, samples_start=samples_start
                )
                for stretch in ((begin, end), (middle - half, middle + half))
            )
            if here.activity >= settings.least_activity and not around.reason:
                score = around.score + around.activity / own
                if score > best_score:
                    best, best_score = track.number, score
        spans.append(SpeakerSpan(begin, end, best))
    return spans


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
