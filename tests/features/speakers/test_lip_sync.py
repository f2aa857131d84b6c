"""Mouths against the sound they make, sound of others, and sound that is not in time."""

from __future__ import annotations

import numpy as np
import pytest

from memobert_plugin.features.media.sound import SAMPLE_RATE
from memobert_plugin.features.speakers.active_speaker import SpeakerSettings, choose_speaker, mouth_activity
from memobert_plugin.features.speakers.lip_sync import LipSync, lip_sync, mel_bands, predicted_opening, shipped_map
from tests.features.speakers.test_active_speaker import COUNT, PAUSED, RATE, SECONDS, THROUGHOUT, face_track, moving
from tests.features.speakers.test_active_speaker import speech as noise_of


def compared(mouth: int, voice: int, late: float = 0.0) -> LipSync:
    """Compare the mouth of one seed with the sound of another, which may be late."""
    track = face_track(moving(mouth, THROUGHOUT))
    samples = np.roll(noise_of(voice, THROUGHOUT), round(late * SAMPLE_RATE))
    found = lip_sync(track.times, track.mouth_opening, mouth_activity(track), samples, THROUGHOUT)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_mouth_fits_its_own_sound_better_than_other_times_of_it(seed: int) -> None:
    assert compared(seed, seed).exact <= 0.05


@pytest.mark.parametrize("late", [-0.15, 0.15])
def test_sound_that_is_a_little_late_still_fits(late: float) -> None:
    assert all(compared(seed, seed, late).near <= 0.05 for seed in range(5))


def test_a_mouth_fits_other_sound_no_better_than_by_chance() -> None:
    shares = [compared(seed, seed + 50).exact for seed in range(20)]
    assert 0.3 < np.mean(shares) < 0.7


def test_a_talking_face_under_another_voice_is_mostly_not_taken() -> None:
    def taken(mouth: int, voice: int, settings: SpeakerSettings | None = None) -> bool:
        track = face_track(moving(mouth, PAUSED))
        samples = noise_of(voice, PAUSED)
        choice = choose_speaker([track], PAUSED, clip_seconds=SECONDS, frames=COUNT, samples=samples, settings=settings)
        assert choice.track is not None or "its mouth moves as well with the sound of" in choice.reason
        return choice.track is not None

    assert all(taken(seed, seed) for seed in range(10))
    assert all(taken(seed, seed + 50, SpeakerSettings(most_shifted=1.0)) for seed in range(10))
    assert sum(taken(seed, seed + 50) for seed in range(10)) <= 5


def test_of_several_faces_the_best_needs_less_evidence() -> None:
    settings = SpeakerSettings(most_shifted=0.25, most_shifted_among=0.6, most_shifted_near=0.05)
    assert not settings.fits(LipSync(exact=0.4, near=0.3), faces=1)
    assert settings.fits(LipSync(exact=0.4, near=0.3), faces=2)
    assert settings.fits(LipSync(exact=0.9, near=0.01), faces=1)
    assert settings.fits(None)


def test_too_little_to_compare_gives_nothing() -> None:
    track = face_track(moving(0, THROUGHOUT))
    activity, samples = mouth_activity(track), noise_of(0, THROUGHOUT)
    known = (track.times, track.mouth_opening, activity)
    assert lip_sync(*known, samples[: 2 * SAMPLE_RATE], [(0.0, 2.0)]) is None
    assert lip_sync(*known, samples, [(0.0, 1.0)]) is None
    assert lip_sync(track.times, np.full(COUNT, np.nan), activity, samples, THROUGHOUT) is None


def test_bands_are_centred_on_the_voice_and_silence_is_not_amplified() -> None:
    samples = np.concatenate([noise_of(0, THROUGHOUT), np.zeros(SAMPLE_RATE, np.float32)])
    bands = mel_bands(samples, [(0.0, SECONDS)], 20)
    assert bands.shape == (round((SECONDS + 1) * 100) + 1, 20)
    np.testing.assert_allclose(bands[: round(SECONDS * 100)].mean(axis=0), 0.0, atol=1e-9)
    assert np.abs(mel_bands(np.zeros(SAMPLE_RATE, np.float32), [], 20)).max() < 1e-6


def test_loud_vowels_open_the_predicted_mouth() -> None:
    """A vowel's harmonics, twice a second."""
    times = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    loud = 0.5 - 0.5 * np.cos(2 * np.pi * 2 * times)
    vowel = sum(np.sin(2 * np.pi * 140 * number * times) / number for number in range(1, 12))
    predicted = predicted_opening((0.1 * loud * vowel).astype(np.float32), [(0.0, 4.0)], shipped_map())
    moments = np.arange(0.3, 3.7, 1 / RATE)
    level = 0.5 - 0.5 * np.cos(2 * np.pi * 2 * moments)
    assert np.corrcoef(predicted[np.rint(moments * 100).astype(int)], level)[0, 1] > 0.5
