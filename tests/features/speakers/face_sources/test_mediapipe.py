"""MediaPipe as a face source: quiet, without memory, near and far faces of real clips."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.features.media.pictures import pictures
from memobert_plugin.features.speakers.face import Face
from memobert_plugin.features.speakers.face_sources import FaceSource, load_face_source

pytest.importorskip("mediapipe")


@pytest.fixture(scope="module")
def source() -> FaceSource:
    return load_face_source("mediapipe")


@pytest.fixture(scope="module")
def interview(real_data: Path) -> list[np.ndarray]:
    path = real_data / "talking_heads" / "visualvoice" / "interview.mp4"
    return [picture.rgb for picture in pictures(path, 1.0, 0.0, 3.0)]


def values(faces: list[Face]) -> Iterator[np.ndarray]:
    for face in faces:
        assert face.eyes is not None
        assert face.mouth is not None
        yield np.concatenate([face.box, face.eyes.ravel(), face.mouth.ravel()])


def test_nothing_is_printed_and_no_logger_set_up(capfd: pytest.CaptureFixture[str]) -> None:
    handlers = list(logging.root.handlers)
    faces = load_face_source("mediapipe").faces(0.0, np.full((90, 160, 3), 128, dtype=np.uint8))
    assert faces == []
    assert capfd.readouterr() == ("", "")
    assert logging.root.handlers == handlers


def test_what_the_faces_depend_on_is_told(source: FaceSource) -> None:
    assert source.name == "mediapipe"
    assert source.version.startswith("mediapipe 0.10")
    assert source.options["min_confidence"] == 0.5


@pytest.mark.slow
def test_two_faces_side_by_side_with_eyes_and_mouths(source: FaceSource, interview: list[np.ndarray]) -> None:
    for rgb in interview:
        left, right = source.faces(0.0, rgb)
        for face, (first, last) in ((left, (200, 620)), (right, (640, 1100))):
            assert face.eyes is not None
            assert face.mouth is not None
            assert first < face.box[0] < face.eyes[0, 0] < face.eyes[1, 0] < face.box[2] < last
            assert face.box[1] < face.eyes[:, 1].max() < face.mouth[2, 1] <= face.mouth[3, 1] < face.box[3]
            assert face.confidence > 0.5


@pytest.mark.slow
def test_a_pictures_faces_do_not_depend_on_those_before(source: FaceSource, interview: list[np.ndarray]) -> None:
    forward = [source.faces(0.0, rgb) for rgb in interview]
    source.start(Path("film.mp4"))
    backward = [source.faces(0.0, rgb) for rgb in reversed(interview)]
    for one, other in zip(forward, reversed(backward), strict=True):
        np.testing.assert_array_equal(list(values(one)), list(values(other)))


@pytest.mark.slow
def test_small_faces_are_found_in_parts_of_the_picture(source: FaceSource, interview: list[np.ndarray]) -> None:
    """Two faces of 215 pixels, shrunk to 54 in a picture of 1280: a long shot of a film."""
    from memobert_plugin.features.speakers.face_sources.mediapipe import MediaPipeFaces

    rgb = interview[0]
    far_away = np.full_like(rgb, 90)
    shrunk = rgb.reshape(180, 4, 320, 4, 3).mean(axis=(1, 3)).astype(np.uint8)
    far_away[270:450, 480:800] = shrunk
    assert len(source.faces(0.0, far_away)) == 2
    assert len(MediaPipeFaces(in_parts=False).faces(0.0, far_away)) < 2
    assert len(MediaPipeFaces(smallest=80.0).faces(0.0, far_away)) == 0
    assert len(MediaPipeFaces(most=1).faces(0.0, rgb)) == 1


@pytest.mark.slow
def test_a_face_that_fills_the_picture_is_found_in_every_picture(source: FaceSource, real_data: Path) -> None:
    path = real_data / "talking_heads" / "hdtf" / "WDA_EdMarkey0_000.mp4"
    assert all(len(source.faces(picture.time, picture.rgb)) == 1 for picture in pictures(path))
