"""Tracker files: OpenFace 2's layout and the plain one, and every way a row can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import DefectiveClip
from memobert_plugin.features.speakers.tracker_files import (
    NO_TRACK,
    PLAIN_COLUMNS,
    PLAIN_EYES,
    PLAIN_MOUTH,
    read_tracker_rows,
)

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
