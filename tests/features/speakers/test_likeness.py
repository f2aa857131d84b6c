"""Likeness of crops and mouth motion."""

from __future__ import annotations

import numpy as np
import pytest

from memobert_plugin.features.speakers.crop import aligned_crop
from memobert_plugin.features.speakers.face import Face
from memobert_plugin.features.speakers.tracks import likeness, mouth_motion
from tests.features.speakers.drawings import SKIN, WALL, drawn_face, picture


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
