"""Detectors of faces: quiet, without memory, near and far faces of drawings and of real clips."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.media.pictures import pictures
from memobert_plugin.features.speakers.face import Face
from memobert_plugin.features.speakers.face_sources import FaceSource, litert, load_face_source

pytest.importorskip("ai_edge_litert")


@pytest.fixture(scope="module", params=["litert", "mediapipe"])
def source(request: pytest.FixtureRequest) -> FaceSource:
    if request.param == "mediapipe":
        pytest.importorskip("mediapipe")
    return load_face_source(request.param)


@pytest.fixture(scope="module")
def interview(real_data: Path) -> list[np.ndarray]:
    path = real_data / "talking_heads" / "visualvoice" / "interview.mp4"
    return [picture.rgb for picture in pictures(path, 1.0, 0.0, 3.0)]


def values(faces: list[Face]) -> Iterator[np.ndarray]:
    for face in faces:
        assert face.eyes is not None
        assert face.mouth is not None
        yield np.concatenate([face.box, face.eyes.ravel(), face.mouth.ravel()])


def test_nothing_is_printed_and_no_logger_set_up(source: FaceSource, capfd: pytest.CaptureFixture[str]) -> None:
    handlers = list(logging.root.handlers)
    faces = load_face_source(source.name).faces(0.0, np.full((90, 160, 3), 128, dtype=np.uint8))
    assert faces == []
    assert capfd.readouterr() == ("", "")
    assert logging.root.handlers == handlers


def test_what_the_faces_depend_on_is_told(source: FaceSource) -> None:
    assert source.version.startswith({"litert": "ai-edge-litert ", "mediapipe": "mediapipe 0.10"}[source.name])
    assert source.options["min_confidence"] == 0.5


def test_candidates_that_overlap_are_averaged_by_their_confidence() -> None:
    def candidate(left: float) -> list[list[float]]:
        return [[left, 0], [left + 100, 100], [left + 70, 40], [left + 30, 40]]

    places = np.array([candidate(0), candidate(300), candidate(12)], dtype=np.float64)
    first, second = litert._joined(places, np.array([0.75, 0.9, 0.25]))
    assert (first.box, first.confidence) == ((300, 0, 400, 100), 0.9)
    assert (second.box, second.confidence) == ((3, 0, 103, 100), 0.75)
    assert second.eyes is not None
    np.testing.assert_allclose(second.eyes, [[33, 40], [73, 40]])


def test_a_turned_square_is_cut_out_and_the_edge_goes_on() -> None:
    y, x = np.mgrid[:80, :100]
    rgb = np.stack([x, y, np.zeros_like(x)], axis=2).astype(np.uint8)
    cosine, sine = 0.8, 0.6
    axes = 20 * np.array([[cosine, sine], [-sine, cosine]])
    cut = litert._cut_out(rgb, np.array([50.0, 40.0]), axes, 4)
    # Its first pixel's centre is 7.5 to the left and 7.5 above the middle; pixel 0 has its centre at 0.5.
    expected = np.array([50, 40]) + np.array([-7.5, -7.5]) @ np.array([[cosine, sine], [-sine, cosine]]) - 0.5
    np.testing.assert_allclose(cut[0, 0, :2] * 255, expected, atol=1e-3)
    beyond = litert._cut_out(rgb, np.array([500.0, -40.0]), axes, 4) * 255
    np.testing.assert_allclose(beyond, np.broadcast_to([99.0, 0.0, 0.0], beyond.shape), atol=1e-3)


@pytest.mark.parametrize("shape", [(90, 160), (160, 90), (1, 300)])
def test_a_picture_keeps_its_proportions_in_the_square(shape: tuple[int, int]) -> None:
    square, corner, size = litert._letterboxed(np.full((*shape, 3), 255, dtype=np.uint8), 128)
    rows, columns = np.nonzero(square[..., 0] > 0)
    assert square.min() == -1.0
    assert square.max() == pytest.approx(1.0)
    assert [columns.min(), rows.min()] == corner.tolist()
    assert (
        [np.ptp(columns) + 1, np.ptp(rows) + 1]
        == size.tolist()
        == [round(max(1, 128 * n / max(shape))) for n in shape[::-1]]
    )


def test_a_mirrored_view_and_a_picture_of_one_pixel_are_taken() -> None:
    faces = load_face_source("litert")
    assert faces.faces(0.0, np.zeros((60, 200, 3), dtype=np.uint8)[:, ::-1]) == []
    assert faces.faces(0.0, np.zeros((1, 1, 3), dtype=np.uint8)) == []


def test_a_damaged_or_missing_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "__file__", str(tmp_path / "litert.py"))
    with pytest.raises(UserError, match=r"short_range\.tflite: cannot be read .*; install the package again"):
        load_face_source("litert")
    folder = Path(load_face_source.__code__.co_filename).parent
    for name in litert.SHA256:
        shutil.copy(folder / name, tmp_path)
    load_face_source("litert")
    with open(tmp_path / litert.MESH, "ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match=r"face_landmark\.tflite: not the file that was shipped"):
        load_face_source("litert")


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
    """Two faces of 215 pixels, shrunk to 54 in pictures of 1280: long shots of a film; one in six may be missed."""

    def count(finder: Any) -> int:
        return sum(len(finder.faces(0.0, picture)) for picture in far_away)

    far_away = []
    for rgb in interview:
        far_away.append(np.full_like(rgb, 90))
        far_away[-1][270:450, 480:800] = rgb.reshape(180, 4, 320, 4, 3).mean(axis=(1, 3)).astype(np.uint8)
    kind: Any = type(source)
    found = count(source)
    assert 2 * len(far_away) - 1 <= found <= 2 * len(far_away)
    assert count(kind(in_parts=False)) < found
    assert count(kind(smallest=80.0)) == 0
    assert len(kind(most=1).faces(0.0, interview[0])) == 1


@pytest.mark.slow
def test_a_tilted_or_close_face_has_its_eyes_where_they_are(source: FaceSource, interview: list[np.ndarray]) -> None:
    """The left half of the interview: turned by 30 degrees about the face's middle, and the face alone."""
    rgb = interview[0][:, :640]
    (upright,) = source.faces(0.0, np.ascontiguousarray(rgb))
    assert upright.eyes is not None
    angle, centre = np.radians(30), np.array(upright.centre)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    y, x = np.mgrid[:720, :640]
    columns, rows = np.rint((np.stack([x, y], axis=2) - centre) @ turn.T + centre).astype(int).transpose(2, 0, 1)
    turned = rgb[rows.clip(0, 719), columns.clip(0, 639)]
    (tilted,) = source.faces(0.0, turned)
    assert tilted.eyes is not None
    apart = float(np.linalg.norm(upright.eyes[1] - upright.eyes[0]))
    np.testing.assert_allclose(tilted.eyes, (upright.eyes - centre) @ turn + centre, atol=0.08 * apart)
    left, top, right, bottom = (int(edge) for edge in upright.box)
    (close,) = source.faces(0.0, np.ascontiguousarray(rgb[top:bottom, left:right]))
    assert close.eyes is not None
    np.testing.assert_allclose(close.eyes, upright.eyes - (left, top), atol=0.08 * apart)


@pytest.mark.slow
def test_a_face_that_fills_the_picture_is_found_in_every_picture(source: FaceSource, real_data: Path) -> None:
    path = real_data / "talking_heads" / "hdtf" / "WDA_EdMarkey0_000.mp4"
    assert all(len(source.faces(picture.time, picture.rgb)) == 1 for picture in pictures(path))
