"""Join faces to tracks, find cuts between shots, and measure how alike two crops are."""

from __future__ import annotations

import numpy as np
import pytest

from memobert_plugin.features.speakers.crop import aligned_crop
from memobert_plugin.features.speakers.face import Face
from memobert_plugin.features.speakers.tracks import (
    CutFinder,
    FaceTrack,
    TrackBuilder,
    likeness,
    mouth_motion,
    thumbnail,
)
from tests.features.speakers.drawings import SKIN, WALL, drawn_face, picture

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


def cuts(pictures: list[np.ndarray]) -> list[int]:
    """Numbers of the pictures with which a shot begins."""
    finder = CutFinder()
    return [index for index, rgb in enumerate(pictures) if finder.add(rgb)]


@pytest.mark.parametrize("size", [(18, 32), (19, 45), (240, 320), (723, 1281)])
def test_a_thumbnail_averages_over_the_picture(size: tuple[int, int]) -> None:
    rgb = np.zeros((*size, 3), dtype=np.uint8)
    rgb[:, size[1] // 2 :] = (10, 100, 200)
    small = thumbnail(rgb)
    assert small.shape == (18, 32, 3)
    np.testing.assert_array_equal(small[:, :15], 0)
    np.testing.assert_allclose(small[:, 17:], np.broadcast_to((10, 100, 200), (18, 15, 3)))


def test_a_tiny_picture_has_a_thumbnail_too() -> None:
    np.testing.assert_array_equal(thumbnail(np.full((8, 9, 3), 7, dtype=np.uint8)), np.full((18, 32, 3), 7.0))


def test_another_shot_is_a_cut_at_once() -> None:
    here, there = picture([drawn_face(100, 90, 40)]), picture([drawn_face(230, 120, 30)], wall=30)
    assert cuts([here, there, there, here]) == [1, 3]


def test_a_moving_head_and_a_brighter_wall_are_none() -> None:
    assert cuts([picture([drawn_face(100 + 8 * step, 90 + 4 * step, 40 + step)]) for step in range(10)]) == []
    assert cuts([picture([], wall=50), picture([], wall=52)]) == []


def test_another_person_on_the_same_seat_is_a_cut_after_still_pictures_only() -> None:
    one, other = (picture([drawn_face(160, 110, size)], skin=skin) for size, skin in ((40, 200), (36, 150)))
    assert cuts([one] * 5 + [other] * 5) == [5]
    assert cuts([one] * 2 + [other] * 5) == []
    swaying = [picture([drawn_face(160 + 14 * (-1) ** step, 110, 40)]) for step in range(6)]
    assert cuts([*swaying, other]) == []


def crop_of(face: Face, skin: int = SKIN, wall: int = WALL) -> np.ndarray:
    return aligned_crop(picture([face], skin=skin, wall=wall), face)


def noisy(crop: np.ndarray, seed: int, deviation: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, deviation, crop.shape)
    return np.clip(crop + noise, 0, 255).astype(np.uint8)


def test_likeness_is_correlation() -> None:
    crop = crop_of(drawn_face(160, 100, 40))
    assert likeness(crop, crop) == pytest.approx(1.0)
    assert likeness(crop, 255 - crop) == pytest.approx(-1.0)
    assert likeness(crop, (crop // 2 + 30).astype(np.uint8)) > 0.99
    assert likeness(crop, np.full_like(crop, 9)) == 0.0


def test_a_still_mouth_does_not_move() -> None:
    crop = crop_of(drawn_face(160, 100, 40))
    assert mouth_motion(crop, crop) == 0.0
    assert abs(mouth_motion(noisy(crop, 1), noisy(crop, 2))) < 0.02


def test_an_opening_mouth_moves_whatever_the_skin_and_light() -> None:
    for drawing in ({"skin": 200}, {"skin": 130, "wall": 110}):
        closed, opened = (crop_of(drawn_face(160, 100, 40, opening=opening), **drawing) for opening in (0.02, 0.4))
        assert mouth_motion(closed, opened) > 0.1


def test_a_box_that_jumps_by_two_pixels_is_no_motion() -> None:
    crop = crop_of(drawn_face(160, 100, 40))
    jumped = np.roll(crop, (2, -1), axis=(0, 1))
    assert abs(mouth_motion(crop, jumped)) < 0.02
    assert abs(mouth_motion(crop, np.roll(crop, 6, axis=1))) > 0.05
