"""The measures behind the choice of the speaker, one by one."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from memobert_plugin.features.speakers.active_speaker import SpeakerSettings, mouth_activity, synchrony, track_evidence
from memobert_plugin.features.speakers.tracks import FaceTrack
from memobert_plugin.features.speakers.voice import voiced_share

NAN = float("nan")


def track_of(opening: list[float], motion: list[float]) -> FaceTrack:
    count = len(opening)
    return FaceTrack(
        number=0,
        times=np.arange(count) / 10,
        boxes=np.zeros((count, 4)),
        crops=np.zeros((count, 64, 64), dtype=np.uint8),
        mouth_opening=np.array(opening),
        mouth_motion=np.array(motion),
    )


def test_activity_is_the_mean_of_what_is_known_about_the_mouth() -> None:
    both = track_of([0.1, 0.14, 0.14, 0.06], [NAN, 0.08, 0.0, NAN])
    np.testing.assert_allclose(mouth_activity(both), [NAN, 1.0, 0.0, NAN])
    boxes_only = track_of([NAN, NAN, NAN], [NAN, 0.08, -0.04])
    np.testing.assert_allclose(mouth_activity(boxes_only), [NAN, 1.0, -0.5])


def test_synchrony_rises_and_falls_with_the_sound() -> None:
    loud = np.sin(np.arange(60) * 1.3) + np.sin(np.arange(60) * 0.37)
    times = np.arange(60) / 10

    def level(moments: np.ndarray, width: float) -> np.ndarray:
        return 10 * np.interp(moments, times, loud)

    opening = 0.1 + 0.03 * loud
    motion = 0.05 + 2 * np.abs(np.diff(opening, prepend=NAN))
    with_sound, against, still = (
        track_of(list(values), list(moved))
        for values, moved in ((opening, motion), (0.2 - opening, motion), (np.full(60, 0.1), np.full(60, NAN)))
    )
    together = synchrony(with_sound, mouth_activity(with_sound), level)
    assert 1.5 < together < 4.0
    assert synchrony(against, mouth_activity(against), level) < together - 1.0
    assert synchrony(still, mouth_activity(still), level) == 0.0
    few = with_sound.chosen(np.arange(60) < 2)
    assert synchrony(few, mouth_activity(few), level) == 0.0


def test_agreement_compares_voice_with_none_where_there_is_enough_of_both() -> None:
    voiced = [(0.0, 2.0)]
    level = partial(voiced_share, intervals=voiced)
    motion = [0.08] * 20 + [0.02] * 20
    full = track_of([NAN] * 40, motion)
    evidence = track_evidence(full, voiced, SpeakerSettings(), level=level, pictures=80)
    assert evidence.agreement == pytest.approx((1.0 - 0.25) / (1.0 + 0.25))
    assert evidence.activity == pytest.approx(1.0)
    assert evidence.share == 0.5
    assert evidence.reason == ""
    early = track_evidence(full, voiced, SpeakerSettings(), level=level, stretch=(0.0, 2.9))
    assert early.agreement == 0.0
    late = track_evidence(full, voiced, SpeakerSettings(), level=level, stretch=(2.0, 4.0))
    assert np.isnan(late.activity)
    assert late.score == -np.inf


def test_options_say_every_threshold() -> None:
    assert SpeakerSettings(turn_cost=2.0).options()["turn_cost"] == 2.0
    assert SpeakerSettings().options()["least_share"] == 0.2
