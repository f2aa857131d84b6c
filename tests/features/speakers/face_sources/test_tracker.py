"""Tracker files: OpenFace 2's layout, the plain one, bad rows, and faces looked up by time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.features.speakers.face_sources.tracker import (
    NO_TRACK,
    PLAIN_COLUMNS,
    PLAIN_EYES,
    PLAIN_MOUTH,
    TrackerFaces,
    read_tracker_rows,
)
from tests.films import set_display_matrix, write_film

OPENFACE_POSE = ["pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"]
OPENFACE_POINTS = [f"{axis}_{index}" for axis in "xy" for index in range(68)]
OPENFACE_UNITS = ["AU01_r", "AU45_c"]


def openface_points(x: float, y: float, size: float) -> dict[str, float]:
    """The 68 points of a face whose jaw spans ``size`` pixels around x, with its brows at y and its chin below."""
    points = dict.fromkeys(range(68), (x, y + size / 2))
    points |= {0: (x - size / 2, y + size * 0.3), 16: (x + size / 2, y + size * 0.3), 8: (x, y + size)}
    points |= {19: (x - size * 0.25, y), 24: (x + size * 0.25, y)}
    points |= {36: (x - size * 0.3, y + 10), 39: (x - size * 0.1, y + 12), 42: (x + size * 0.1, y + 12)}
    points |= {45: (x + size * 0.3, y + 10), 48: (x - size * 0.2, y + 70), 54: (x + size * 0.2, y + 70)}
    points |= {62: (x, y + 66), 66: (x, y + 75)}
    return {f"x_{i}": p[0] for i, p in points.items()} | {f"y_{i}": p[1] for i, p in points.items()}


def write_openface(path: Path, faces: list[tuple[float, int, int, dict[str, float]]], *, old: bool = False) -> Path:
    """Rows (timestamp, face_id, success, points) as OpenFace 2 writes them: a blank after every comma of the header."""
    names = ["frame", *([] if old else ["face_id"]), "timestamp", "confidence", "success", *OPENFACE_POSE]
    names += [*OPENFACE_POINTS, *OPENFACE_UNITS]
    lines = [", ".join(names)]
    for number, (time, face_id, success, points) in enumerate(faces, start=1):
        cells = [f"{number}", *([] if old else [f"{face_id}"]), f"{time:.3f}", "0.98", f"{success}", *["0.0"] * 6]
        lines.append(", ".join(cells + [f"{points[name]:.1f}" for name in OPENFACE_POINTS] + ["0.00", "1.00"]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_openface_landmarks_become_box_eyes_and_mouth(tmp_path: Path) -> None:
    points = openface_points(200.0, 100.0, 100.0)
    rows = read_tracker_rows(write_openface(tmp_path / "film.csv", [(0.04, 0, 1, points)]))
    np.testing.assert_allclose(rows.times, [0.04])
    np.testing.assert_allclose(rows.confidence, [0.98])
    np.testing.assert_allclose(rows.boxes, [[150.0, 82.0, 250.0, 200.0]])
    np.testing.assert_allclose(rows.eyes, [[[180.0, 111.0], [220.0, 111.0]]])
    np.testing.assert_allclose(rows.mouths, [[[180.0, 170.0], [220.0, 170.0], [200.0, 166.0], [200.0, 175.0]]])


def test_openface_rows_without_success_are_left_out(tmp_path: Path) -> None:
    points = openface_points(200.0, 100.0, 100.0)
    path = write_openface(tmp_path / "film.csv", [(0.0, 0, 0, points), (0.04, 0, 1, points)])
    np.testing.assert_allclose(read_tracker_rows(path).times, [0.04])


@pytest.mark.parametrize("old", [False, True])
def test_the_one_number_of_feature_extraction_is_no_identity(tmp_path: Path, old: bool) -> None:
    points = openface_points(200.0, 100.0, 100.0)
    path = write_openface(tmp_path / "film.csv", [(0.0, 0, 1, points), (0.04, 0, 1, points)], old=old)
    assert read_tracker_rows(path).tracks.tolist() == [NO_TRACK, NO_TRACK]


def test_the_numbers_of_several_faces_are_identities(tmp_path: Path) -> None:
    left, right = openface_points(100.0, 100.0, 80.0), openface_points(300.0, 100.0, 80.0)
    path = write_openface(tmp_path / "film.csv", [(0.04, 0, 1, left), (0.04, 1, 1, right), (0.0, 1, 1, right)])
    rows = read_tracker_rows(path)
    np.testing.assert_allclose(rows.times, [0.0, 0.04, 0.04])
    assert rows.tracks.tolist() == [1, 0, 1]


def test_openface_without_landmarks_is_told_how_to_write_them(tmp_path: Path) -> None:
    path = tmp_path / "film.csv"
    path.write_text("frame, face_id, timestamp, confidence, success, AU01_r\n1, 0, 0.0, 0.9, 1, 0.3\n")
    with pytest.raises(DefectiveClip, match=r"film\.csv: .*x_0; write 2D landmarks \(-2Dfp\)"):
        read_tracker_rows(path)


def test_a_plain_file_with_everything(tmp_path: Path) -> None:
    path = tmp_path / "film.csv"
    values = [0.1, 10, 20, 60, 80, 3, 0.5, 45, 40, 25, 41, 50, 65, 20, 66, 35, 62, 35, 70]
    path.write_text(",".join(PLAIN_COLUMNS) + "\n" + ",".join(map(str, values)) + "\n")
    rows = read_tracker_rows(path)
    assert rows.tracks.tolist() == [3]
    np.testing.assert_allclose(rows.boxes, [[10, 20, 60, 80]])
    np.testing.assert_allclose(rows.confidence, [0.5])
    np.testing.assert_allclose(rows.eyes, [[[25, 41], [45, 40]]])
    np.testing.assert_allclose(rows.mouths, [[[20, 66], [50, 65], [35, 62], [35, 70]]])


def test_a_plain_file_with_boxes_only_in_any_order_of_columns_and_rows(tmp_path: Path) -> None:
    path = tmp_path / "film.csv"
    path.write_text("\ufeffleft,top,right,bottom,time,track\n5,6,7,8,0.2,\n1,2,3,4,0.1,\n\n", encoding="utf-8")
    rows = read_tracker_rows(path)
    np.testing.assert_allclose(rows.times, [0.1, 0.2])
    np.testing.assert_allclose(rows.boxes, [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert rows.tracks.tolist() == [NO_TRACK, NO_TRACK]
    assert np.isnan(rows.eyes).all()
    assert np.isnan(rows.mouths).all()
    np.testing.assert_allclose(rows.confidence, 1.0)


def test_a_film_without_faces_has_a_header_only(tmp_path: Path) -> None:
    path = tmp_path / "film.csv"
    path.write_text("time,left,top,right,bottom\n")
    assert len(read_tracker_rows(path).times) == 0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0.1,1,2,3", "row 3: 4 cells, the header has 6"),
        ("0.1,1,2,3,4,0,9", "row 3: 7 cells"),
        ("0.1,1,2,three,4,0", "row 3: right is 'three', not a number"),
        ("0.1,1,2,,4,0", "row 3: right is '', not a number"),
        ("nan,1,2,3,4,0", "row 3: time is 'nan'"),
        ("0.1,1,2,inf,4,0", "row 3: right is 'inf'"),
        ("0.1,1,2,1e99,4,0", "row 3: right is '1e99'"),
        ("0.1,3,2,1,4,0", "row 3: an empty box"),
        ("0.1,1,2,3,4,0.5", "row 3: track is 0.5"),
        ("0.1,1,2,3,4,-2", "row 3: track is -2"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, row: str, reason: str) -> None:
    path = tmp_path / "film.csv"
    path.write_text(f"time,left,top,right,bottom,track\n0.0,1,2,3,4,0\n{row}\n")
    with pytest.raises(DefectiveClip) as caught:
        read_tracker_rows(path)
    assert str(caught.value).startswith(f"{path}, {reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [PLAIN_EYES, PLAIN_MOUTH])
def test_half_of_the_eyes_or_the_mouth_is_a_defect(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "film.csv"
    cells = ["5"] * (len(names) - 1) + [""]
    path.write_text(f"time,left,top,right,bottom,{','.join(names)}\n0.0,1,2,3,4,{','.join(cells)}\n")
    with pytest.raises(DefectiveClip, match=f"row 2: only some of {names[0]}"):
        read_tracker_rows(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "lacks the column time"),
        (b"time,left,top,right\n", "lacks the column bottom"),
        (b"time,left,top,right,bottom,colour\n", "unknown column 'colour'"),
        (b"time,left,top,right,bottom,left\n", "names a column twice"),
        (b"time,left,top,right,bottom\n\xff\xfe\n", "cannot be read as CSV"),
        (b"time,left,top,right,bottom\n\0,1,2,3,4\n", "film.csv"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "film.csv"
    path.write_bytes(content)
    with pytest.raises(DefectiveClip, match=reason):
        read_tracker_rows(path)


def test_a_missing_file_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(DefectiveClip, match="no such file"):
        read_tracker_rows(tmp_path / "film.csv")


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


def test_openface_counts_stored_pixels_and_a_plain_file_shown_ones(tmp_path: Path) -> None:
    """The film is stored 64x48, its pixels are twice as wide as high, and players mirror it."""
    pytest.importorskip("av")
    film = set_display_matrix(write_film(tmp_path / "film.mp4", seconds=0.4, aspect=Fraction(2)), -1, 0, 0, 1)
    shown = np.zeros((48, 128, 3), np.uint8)
    points = openface_points(20.0, 24.0, 16.0)
    source = TrackerFaces(write_openface(tmp_path / "openface.csv", [(0.0, 0, 1, points)]))
    source.start(tmp_path / "elsewhere.mp4")
    (stored,) = source.faces(0.0, shown)
    source.start(film)
    (face,) = source.faces(0.0, shown)
    left, top, right, bottom = stored.box
    assert face.box == pytest.approx((128 - 2 * right, top, 128 - 2 * left, bottom))
    assert face.eyes is not None and stored.eyes is not None
    np.testing.assert_allclose(face.eyes, np.stack([128 - 2 * stored.eyes[::-1, 0], stored.eyes[::-1, 1]], axis=1))
    (tmp_path / "plain.csv").write_text("time,left,top,right,bottom\n0,80,10,120,40\n")
    source = TrackerFaces(tmp_path / "plain.csv")
    source.start(film)
    assert source.faces(0.0, shown)[0].box == (80, 10, 120, 40)
