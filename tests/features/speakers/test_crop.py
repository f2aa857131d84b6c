"""Crops: FER+'s framing at any size, tilt and place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.features.speakers.crop import CROP_SIZE, _block_means, aligned_crop
from memobert_plugin.features.speakers.face import Face
from tests.features.speakers.drawings import EYE, LIPS, drawn_face, picture


def dark_spots(crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (x, y) of the dark pixels left and right in the crop's upper half, as shares of its side."""
    rows, columns = np.nonzero(crop[: CROP_SIZE // 2] < (EYE + LIPS) / 2)
    left = columns < CROP_SIZE / 2
    places = (np.stack([columns, rows], axis=1) + 0.5) / CROP_SIZE
    return places[left].mean(axis=0), places[~left].mean(axis=0)


@pytest.mark.parametrize("distance", [20.0, 45.0, 140.0])
@pytest.mark.parametrize("angle", [0.0, 0.3, -0.6])
def test_eyes_lie_where_ferplus_has_them(distance: float, angle: float) -> None:
    face = drawn_face(400, 300, distance, angle=angle)
    crop = aligned_crop(picture([face], size=(700, 800)), face)
    assert crop.shape == (CROP_SIZE, CROP_SIZE)
    assert crop.dtype == np.uint8
    left, right = dark_spots(crop)
    np.testing.assert_allclose(left, (0.317, 0.398), atol=0.025)
    np.testing.assert_allclose(right, (0.683, 0.395), atol=0.025)


def test_without_a_mouth_the_eyes_do_and_without_eyes_the_box() -> None:
    face = drawn_face(160, 110, 40)
    rgb = picture([face])
    by_eyes = aligned_crop(rgb, Face(box=face.box, eyes=face.eyes))
    by_box = aligned_crop(rgb, Face(box=face.box))
    for crop, tolerance in ((by_eyes, 0.02), (by_box, 0.06)):
        left, right = dark_spots(crop)
        np.testing.assert_allclose(left, (0.317, 0.398), atol=tolerance)
        np.testing.assert_allclose(right, (0.683, 0.395), atol=tolerance)


def test_beyond_the_pictures_edge_the_edge_goes_on() -> None:
    face = drawn_face(2, 100, 40)
    rgb = picture([face])
    rgb[:, 0] = 77
    crop = aligned_crop(rgb, face)
    assert (crop[:, :10] == 77).all()


@pytest.mark.parametrize("box", [(-50.0, -60.0, -10.0, -20.0), (400.0, 300.0, 480.0, 390.0), (5.0, 5.0, 5.0, 5.0)])
def test_a_box_outside_the_picture_or_without_area_still_gives_a_crop(box: tuple[float, float, float, float]) -> None:
    assert aligned_crop(picture([]), Face(box=box)).shape == (CROP_SIZE, CROP_SIZE)


def test_fine_stripes_do_not_alias() -> None:
    rgb = np.zeros((640, 640, 3), dtype=np.uint8)
    rgb[:, ::2] = 255
    crop = aligned_crop(rgb, Face(box=(0.0, 0.0, 640.0, 640.0)))
    assert np.abs(crop.astype(int) - 128).max() <= 1


def test_colours_become_luma() -> None:
    rgb = np.zeros((80, 80, 3), dtype=np.uint8)
    rgb[...] = (255, 0, 0)
    assert (aligned_crop(rgb, Face(box=(0.0, 0.0, 80.0, 80.0))) == 76).all()


@pytest.mark.slow
def test_ferplus_pictures_are_cut_out_of_a_larger_picture_as_they_are(real_data: Path) -> None:
    """The framing's numbers: the median picture, put into a larger one, comes back in its own size and place."""
    from memobert_plugin.features.speakers.face_sources import load_face_source

    pictures = np.load(real_data / "ferplus_train_valid.npz", allow_pickle=False)["images"][::240]
    source = load_face_source("litert")
    framings = []
    for grey in pictures:
        large = np.pad(np.kron(grey, np.ones((5, 5), dtype=np.uint8)), 60, mode="edge")
        found = source.faces(0.0, np.repeat(large[..., None], 3, axis=2))
        if len(found) == 1 and found[0].eyes is not None and found[0].mouth is not None:
            middle = (found[0].eyes.mean(axis=0) + found[0].mouth[:2].mean(axis=0)) / 2
            across = np.linalg.norm(found[0].eyes[1] - found[0].eyes[0])
            down = np.linalg.norm(found[0].mouth[:2].mean(axis=0) - found[0].eyes.mean(axis=0))
            framings.append([*(middle - 60) / 240, np.hypot(across, down) / 240])
    assert len(framings) > 0.8 * len(pictures)
    np.testing.assert_allclose(np.median(framings, axis=0), (0.503, 0.584, 0.529), atol=0.02)


@pytest.mark.parametrize("factor", range(1, 11))
def test_blocks_are_averaged_to_the_last_bit_of_numpys_mean(factor: int) -> None:
    rng = np.random.default_rng(factor)
    for rows, columns in ((1, 1), (1, 7), (5, 1), (23, 31), (64, 64)):
        grey = rng.uniform(0, 255, (rows * factor, columns * factor)).astype(np.float32)
        plain = grey.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
        means = _block_means(grey, factor)
        assert means.dtype == np.float32
        np.testing.assert_array_equal(means, plain)
