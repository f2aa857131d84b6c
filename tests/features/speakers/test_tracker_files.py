"""Looking faces up in what a tracker wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.features.speakers.tracker_files import PLAIN_EYES, PLAIN_MOUTH, TrackerFaces

PICTURE = np.zeros((100, 200, 3), dtype=np.uint8)


def write_boxes(path: Path, rows: list[tuple[float, float, int]]) -> Path:
    """One face 40 pixels wide for every (time, left, track)."""
    lines = [f"{time},{left},10,{left + 40},60,{track}" for time, left, track in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["time,left,top,right,bottom,track", *lines]) + "\n")
    return path


def test_a_picture_takes_the_faces_nearest_in_time(tmp_path: Path) -> None:
    path = write_boxes(tmp_path / "film.csv", [(0.04 * k, float(k), track) for k in range(10) for track in (0, 1)])
    source = TrackerFaces(path)
    source.start(tmp_path / "film.mp4")
    found = source.faces(0.1, PICTURE)
    assert [(face.box[0], face.track) for face in found] in ([(2.0, 0), (2.0, 1)], [(3.0, 0), (3.0, 1)])
    assert [face.box[0] for face in source.faces(0.161, PICTURE)] == [4.0, 4.0]
    assert source.faces(0.36 + 0.031, PICTURE) == []
    assert source.faces(7.0, PICTURE) == []


def test_a_gap_in_the_file_is_a_gap(tmp_path: Path) -> None:
    path = write_boxes(tmp_path / "film.csv", [(0.0, 0.0, 0), (0.04, 1.0, 0), (0.08, 2.0, 0), (0.6, 9.0, 0)])
    source = TrackerFaces(path)
    source.start(tmp_path / "film.mp4")
    assert [len(source.faces(time, PICTURE)) for time in (0.0, 0.1, 0.2, 0.5, 0.6)] == [1, 1, 0, 0, 1]


def test_a_slow_tracker_is_not_believed_for_long(tmp_path: Path) -> None:
    source = TrackerFaces(write_boxes(tmp_path / "film.csv", [(float(k), 0.0, 0) for k in range(5)]))
    source.start(tmp_path / "film.mp4")
    assert [len(source.faces(time, PICTURE)) for time in (1.0, 1.1, 1.2, 1.9, 2.0)] == [1, 1, 0, 1, 1]


def test_a_clip_counts_from_its_own_beginning(tmp_path: Path) -> None:
    source = TrackerFaces(write_boxes(tmp_path / "film.csv", [(0.1 * k, float(k), 0) for k in range(100)]))
    source.start(tmp_path / "film.mp4", 5.0)
    assert source.faces(0.2, PICTURE)[0].box[0] == 52.0
    source.start(tmp_path / "film.mp4", 1.0)
    assert source.faces(0.2, PICTURE)[0].box[0] == 12.0


def test_in_half_of_a_picture_places_are_those_of_the_half(tmp_path: Path) -> None:
    path = tmp_path / "film.csv"
    header = ",".join(["time", "left", "top", "right", "bottom", *PLAIN_EYES])
    path.write_text(f"{header}\n0.0,20,10,60,60,30,20,50,20\n0.0,120,10,160,60,130,20,150,20\n")
    source = TrackerFaces(path)
    source.start(tmp_path / "film.mp4")
    half = PICTURE[:, :100]
    for left_edge in (0, 100):
        (face,) = source.faces(0.0, half, left_edge)
        assert face.box == (20.0, 10.0, 60.0, 60.0)
        assert face.eyes is not None
        np.testing.assert_array_equal(face.eyes, [[30, 20], [50, 20]])
    assert len(source.faces(0.0, PICTURE)) == 2


def test_landmarks_are_handed_on_and_unknown_ones_are_none(tmp_path: Path) -> None:
    path = tmp_path / "film.csv"
    header = ",".join(["time", "left", "top", "right", "bottom", "confidence", *PLAIN_EYES, *PLAIN_MOUTH])
    known = "0.0,1,2,41,52,0.7,10,20,30,20,12,40,28,40,20,38,20,42"
    path.write_text(f"{header}\n{known}\n0.1,1,2,41,52,,,,,,,,,,,,,\n")
    source = TrackerFaces(path)
    source.start(tmp_path / "film.mp4")
    (face,) = source.faces(0.0, PICTURE)
    assert face.confidence == pytest.approx(0.7)
    assert face.mouth_opening == pytest.approx(4 / np.hypot(20, 20))
    (face,) = source.faces(0.1, PICTURE)
    assert (face.eyes, face.mouth, face.track) == (None, None, None)


def test_a_folder_has_one_file_per_film_and_tells_equal_names_apart(tmp_path: Path) -> None:
    write_boxes(tmp_path / "tracks" / "train" / "dia0_utt0.csv", [(0.0, 1.0, 0)])
    write_boxes(tmp_path / "tracks" / "dev" / "dia0_utt0.csv", [(0.0, 2.0, 0)])
    write_boxes(tmp_path / "tracks" / "film.csv", [(0.0, 3.0, 0)])
    source = TrackerFaces(tmp_path / "tracks")
    for film, left in (("train/dia0_utt0.mp4", 1.0), ("dev/dia0_utt0.mp4", 2.0), ("any/film.mkv", 3.0)):
        source.start(tmp_path / "corpus" / film)
        assert source.faces(0.0, PICTURE)[0].box[0] == left
    with pytest.raises(DefectiveClip, match=r"other\.mp4: .*tracks has no other\.csv"):
        source.start(tmp_path / "corpus" / "other.mp4")


def test_a_file_is_read_once_for_all_its_clips(tmp_path: Path) -> None:
    path = write_boxes(tmp_path / "film.csv", [(0.0, 3.0, 0)])
    source = TrackerFaces(path)
    source.start(tmp_path / "film.mp4")
    path.unlink()
    source.start(tmp_path / "film.mp4")
    assert len(source.faces(0.0, PICTURE)) == 1


def test_after_a_defective_file_nothing_of_it_or_the_one_before_is_left(tmp_path: Path) -> None:
    write_boxes(tmp_path / "good.csv", [(0.0, 3.0, 0)])
    (tmp_path / "bad.csv").write_text("time\n")
    source = TrackerFaces(tmp_path)
    source.start(tmp_path / "good.mp4")
    with pytest.raises(DefectiveClip, match=r"bad\.csv"):
        source.start(tmp_path / "bad.mp4")
    with pytest.raises(RuntimeError):
        source.faces(0.0, PICTURE)
    source.start(tmp_path / "good.mp4")
    assert len(source.faces(0.0, PICTURE)) == 1


def test_a_place_that_is_not_there_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        TrackerFaces(tmp_path / "nowhere")
