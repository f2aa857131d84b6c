"""Cuts between shots, and what is none."""

from __future__ import annotations

import numpy as np
import pytest

from memobert_plugin.features.speakers.tracks import CutFinder, thumbnail
from tests.features.speakers.drawings import drawn_face, picture


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
