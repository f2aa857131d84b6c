"""What a face says of itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from memobert_plugin.features.speakers.face import Face
from tests.features.speakers.drawings import drawn_face


@pytest.mark.parametrize("distance", [12.0, 90.0])
@pytest.mark.parametrize("angle", [0.0, 0.5, -1.0])
def test_the_mouths_opening_knows_no_size_and_no_tilt(distance: float, angle: float) -> None:
    face = drawn_face(100, 80, distance, angle=angle, opening=0.3)
    assert face.mouth_opening == pytest.approx(0.3 / math.hypot(1.0, 1.08))


def test_without_eyes_the_box_gives_the_scale() -> None:
    whole = drawn_face(100, 80, 40, opening=0.3)
    boxed = Face(box=whole.box, mouth=whole.mouth)
    assert boxed.mouth_opening == pytest.approx(whole.mouth_opening, rel=0.05)


def test_an_unknown_mouth_has_an_unknown_opening() -> None:
    assert math.isnan(Face(box=(0, 0, 10, 10)).mouth_opening)
    assert math.isnan(Face(box=(5, 5, 5, 5), mouth=np.zeros((4, 2))).mouth_opening)


def test_centre_and_size() -> None:
    face = Face(box=(10.0, 20.0, 30.0, 65.0))
    assert face.centre == (20.0, 42.5)
    assert face.size == pytest.approx(30.0)
    assert Face(box=(10, 20, 5, 65)).size == 0.0
