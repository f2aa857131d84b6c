"""Cuts, likeness and mouth motion."""

from __future__ import annotations

import numpy as np
import pytest

from memobert_plugin.features.faces import Face, aligned_crop
from memobert_plugin.features.faces.likeness import is_cut, likeness, mouth_motion, thumbnail
from tests.features.faces.drawings import SKIN, WALL, drawn_face, picture


def crop_of(face: Face, skin: int = SKIN, wall: int = WALL) -> np.ndarray:
    return aligned_crop(picture([face], skin=skin, wall=wall), face)


def noisy(crop: np.ndarray, seed: int, deviation: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, deviation, crop.shape)
    return np.clip(crop + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(18, 32), (19, 45), (240, 320), (723, 1281)])
def test_a_thumbnail_averages_over_the_picture(size: tuple[int, int]) -> None:
    rgb = np.zeros((*size, 3), dtype=np.uint8)
    rgb[:, size[1] // 2 :] = (10, 100, 200)
    small = thumbnail(rgb)
    assert small.shape == (18, 32, 3)
    np.testing.assert_array_equal(small[:, :15], 0)
    np.testing.assert_allclose(small[:, 17:], np.broadcast_to((10, 100, 200), (18, 15, 3)))


def test_another_shot_is_a_cut_and_a_moving_head_is_none() -> None:
    here, there = drawn_face(100, 90, 40), drawn_face(108, 94, 42)
    first, moved = (thumbnail(picture([face])) for face in (here, there))
    other = thumbnail(picture([drawn_face(230, 120, 30)], wall=30))
    assert not is_cut(first, first)
    assert not is_cut(first, moved)
    assert is_cut(first, other)
    assert not is_cut(thumbnail(picture([], wall=50)), thumbnail(picture([], wall=52)))


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
