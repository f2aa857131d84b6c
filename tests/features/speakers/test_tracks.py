"""Joining faces to tracks: movement, gaps, cuts, crossings and identities of the source."""

from __future__ import annotations

import numpy as np
import pytest

from memobert_plugin.features.speakers.face import Face
from memobert_plugin.features.speakers.tracks import FaceTrack, TrackBuilder
from tests.features.speakers.drawings import drawn_face, picture

RATE = 10.0


def tracks_of(pictures: list[list[Face]]) -> list[FaceTrack]:
    builder = TrackBuilder()
    for index, faces in enumerate(pictures):
        builder.add(index / RATE, picture(faces), faces)
    return builder.finish()


def test_two_faces_are_two_tracks_wherever_the_source_lists_them() -> None:
    pictures = [
        [drawn_face(90 + 2 * step, 100, 30), drawn_face(230 - step, 110, 30, opening=0.3)][:: 1 if step % 2 else -1]
        for step in range(12)
    ]
    first, second = tracks_of(pictures)
    assert (first.number, second.number) == (0, 1)
    right, left = (np.diff(track.boxes[:, 0]) for track in (first, second))
    np.testing.assert_allclose(right, -1.0)
    np.testing.assert_allclose(left, 2.0)
    np.testing.assert_allclose(first.times, np.arange(12) / RATE)
    assert first.crops.shape == (12, 64, 64)
    assert first.crops.dtype == np.uint8
    assert first.mouth_opening.mean() > 2 * second.mouth_opening.mean()


def test_motion_is_known_from_the_second_picture_on_and_not_across_a_gap() -> None:
    face = drawn_face(160, 100, 40)
    pictures = [[face]] * 4 + [[], []] + [[face]] * 3
    (track,) = tracks_of(pictures)
    np.testing.assert_allclose(track.times, np.array([0, 1, 2, 3, 6, 7, 8]) / RATE)
    assert np.isnan(track.mouth_motion).tolist() == [True, False, False, False, True, False, False]


def test_a_long_gap_ends_a_track() -> None:
    face = drawn_face(160, 100, 40)
    assert len(tracks_of([[face]] * 3 + [[]] * 5 + [[face]] * 3)) == 1
    assert len(tracks_of([[face]] * 3 + [[]] * 6 + [[face]] * 3)) == 2


def test_another_face_in_the_same_place_after_a_cut_is_another_track() -> None:
    builder = TrackBuilder()
    for index in range(10):
        face = drawn_face(160, 100, 40, opening=0.1 if index < 5 else 0.6)
        rgb = picture([face]) if index < 5 else 255 - picture([face], wall=20, skin=90)
        builder.add(index / RATE, rgb, [face])
    first, second = builder.finish()
    assert (len(first.times), len(second.times)) == (5, 5)
    assert np.isnan(second.mouth_motion[0])


def test_a_flash_is_no_cut_of_a_face() -> None:
    builder = TrackBuilder()
    face = drawn_face(160, 100, 40)
    for index in range(9):
        rgb = picture([face])
        builder.add(index / RATE, np.clip(rgb.astype(int) + (index == 4) * 50, 0, 255).astype(np.uint8), [face])
    assert len(builder.finish()) == 1


@pytest.mark.parametrize(("shift", "growth"), [(90.0, 1.0), (0.0, 2.5)])
def test_a_face_that_jumps_or_bursts_is_another_one(shift: float, growth: float) -> None:
    pictures = [[drawn_face(100, 100, 20)]] * 3 + [[drawn_face(100 + shift, 100, 20 * growth)]] * 3
    assert [len(track.times) for track in tracks_of(pictures)] == [3, 3]


def test_an_identity_of_the_source_is_kept_through_jumps_gaps_and_cuts() -> None:
    here, there = drawn_face(80, 100, 30, track=7), drawn_face(240, 100, 30, track=7)
    other = drawn_face(80, 100, 30, track=3)
    pictures = [[here]] * 3 + [[there, other]] * 3 + [[]] * 10 + [[there]] * 2
    kept, new = tracks_of(pictures)
    assert (len(kept.times), len(new.times)) == (8, 3)


def test_identities_never_join_faces_without_one() -> None:
    known, unknown = drawn_face(160, 100, 40, track=0), drawn_face(160, 100, 40)
    assert [len(track.times) for track in tracks_of([[known]] * 3 + [[unknown]] * 3)] == [3, 3]


def test_no_faces_are_no_tracks() -> None:
    assert tracks_of([[], [], []]) == []


def test_a_part_of_a_track() -> None:
    (track,) = tracks_of([[drawn_face(100 + step, 100, 30)] for step in range(6)])
    part = track.chosen(track.times >= 0.25)
    assert part.number == track.number
    np.testing.assert_array_equal(part.crops, track.crops[3:])
    np.testing.assert_array_equal(part.mouth_motion, track.mouth_motion[3:])
