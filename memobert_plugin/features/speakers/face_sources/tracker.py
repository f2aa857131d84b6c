"""Read faces from the CSV file of another tracker: OpenFace 2, or a plain layout."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ....core.errors import DefectiveClip, UserError
from ....core.files import regular
from ...media.companion import companion_file
from ...media.geometry import Geometry
from ...media.streams import ANY_STREAMS, StreamChoice
from ..face import Face
from . import FACE_SOURCES

PLAIN_NEEDED: Final = ("time", "left", "top", "right", "bottom")
PLAIN_OPTIONAL: Final = ("track", "confidence")
PLAIN_EYES: Final = ("left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y")
PLAIN_MOUTH: Final = (
    "mouth_left_x",
    "mouth_left_y",
    "mouth_right_x",
    "mouth_right_y",
    "upper_lip_x",
    "upper_lip_y",
    "lower_lip_x",
    "lower_lip_y",
)
PLAIN_COLUMNS: Final = (*PLAIN_NEEDED, *PLAIN_OPTIONAL, *PLAIN_EYES, *PLAIN_MOUTH)

NO_TRACK: Final = -1
_VALUES_PER_FACE: Final = 18
_LARGEST: Final = 1e6

_OPENFACE_POINTS: Final = 68
_OPENFACE_EYES: Final = ((36, 39), (42, 45))
"""Outer and inner corner of each eye, in the order of the 68 points of iBUG 300-W."""
_OPENFACE_MOUTH: Final = (48, 54, 62, 66)
_FOREHEAD: Final = 0.18
"""Height of the forehead, which the 68 points lack, over brow to chin: median of the face mesh, 965 FER+ pictures."""

_NAN: Final = float("nan")
_Row = tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TrackerRows:
    """The faces of one film in the order of time, N rows."""

    times: np.ndarray
    """(N,) seconds."""
    tracks: np.ndarray
    """(N,) the persons' numbers, :data:`NO_TRACK` if the tracker knows none."""
    confidence: np.ndarray
    """(N,)."""
    boxes: np.ndarray
    """(N, 4) left, top, right, bottom."""
    eyes: np.ndarray
    """(N, 2, 2), NaN where unknown."""
    mouths: np.ndarray
    """(N, 4, 2), NaN where unknown."""
    in_stored_pixels: bool = False
    """True if places count the pixels that the film stores, not those that players show."""

    def shown(self, geometry: Geometry) -> TrackerRows:
        """Move places from the pixels that the film stores to those that players show."""
        corners = geometry.to_shown(self.boxes.reshape(-1, 2, 2))
        return replace(
            self,
            boxes=np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1),
            eyes=_left_to_right(geometry.to_shown(self.eyes)),
            mouths=_mouths_left_to_right(geometry.to_shown(self.mouths)),
            in_stored_pixels=False,
        )


def read_tracker_rows(path: Path) -> TrackerRows:
    """Read the tracker file of one film. Its header tells which of two layouts it has.

    OpenFace 2 (``FeatureExtraction`` or ``FaceLandmarkVidMulti``): the columns ``timestamp``, ``confidence``,
    ``success``, ``x_0`` to ``x_67`` and ``y_0`` to ``y_67`` are read, and ``face_id`` if it holds several numbers
    (``FeatureExtraction`` writes 0 for every face). Rows without success are left out. OpenFace counts stored pixels:
    it neither stretches nor turns pictures.

    Plain: ``time,left,top,right,bottom`` in seconds and shown pixels, and optionally ``track`` (a whole number),
    ``confidence``, and the columns of eyes and mouth (:data:`PLAIN_EYES`, :data:`PLAIN_MOUTH`). Left and right are
    those of the picture, lips are the middles of their inner edges. Optional cells may be empty.

    Raises:
        DefectiveClip: the file is missing, unreadable, in neither layout or has a bad row; the message names file and
            row.
    """
    values, tracks = array("d"), array("q")
    try:
        with regular(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            parse = _parser(path, header)
            for cells in reader:
                if not cells:
                    continue
                place = f"{path}, row {reader.line_num}"
                if len(cells) != len(header):
                    raise DefectiveClip(f"{place}: {len(cells)} cells, the header has {len(header)}")
                row = parse(place, cells)
                if row is not None:
                    values.extend(row[1:])
                    tracks.append(int(row[0]))
    except FileNotFoundError:
        raise DefectiveClip(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DefectiveClip(f"{path}: cannot be read as CSV ({error})") from None
    identities = np.array(tracks, dtype=np.int64)
    if "timestamp" in header and len(np.unique(identities)) < 2:
        identities[:] = NO_TRACK
    rows = _in_order(np.array(values).reshape(-1, _VALUES_PER_FACE), identities)
    return replace(rows, in_stored_pixels="timestamp" in header)


def _parser(path: Path, header: list[str]) -> Callable[[str, list[str]], _Row | None]:
    """Return a function from a row's cells to (track, time, confidence, box, eyes, mouth)."""
    column = {name: index for index, name in enumerate(header)}
    if len(column) < len(header):
        raise DefectiveClip(f"{path}: its header names a column twice")
    if "timestamp" in column:
        points = [f"{axis}_{index}" for axis in "xy" for index in range(_OPENFACE_POINTS)]
        absent = [name for name in ("confidence", "success", *points) if name not in column]
        if absent:
            raise DefectiveClip(f"{path}: an OpenFace file without the column {absent[0]}; write 2D landmarks (-2Dfp)")
        return lambda place, cells: _openface_row(place, cells, column)
    absent = [name for name in PLAIN_NEEDED if name not in column]
    unknown = [name for name in header if name not in PLAIN_COLUMNS]
    if absent or unknown:
        wrong = f"lacks the column {absent[0]}" if absent else f"has the unknown column {unknown[0]!r}"
        raise DefectiveClip(f"{path}: {wrong}; a tracker's file is OpenFace 2's or has {','.join(PLAIN_COLUMNS)}")
    return lambda place, cells: _plain_row(place, cells, column)


def _openface_row(place: str, cells: list[str], column: dict[str, int]) -> _Row | None:
    def number(name: str) -> float:
        return _number(place, name, cells[column[name]])

    if not number("success"):
        return None
    x = [number(f"x_{index}") for index in range(_OPENFACE_POINTS)]
    y = [number(f"y_{index}") for index in range(_OPENFACE_POINTS)]
    forehead = _FOREHEAD * (max(y) - min(y))
    eyes = [(axis[outer] + axis[inner]) / 2 for outer, inner in _OPENFACE_EYES for axis in (x, y)]
    mouth = [axis[point] for point in _OPENFACE_MOUTH for axis in (x, y)]
    track = number("face_id") if "face_id" in column else NO_TRACK
    box = (min(x), min(y) - forehead, max(x), max(y))
    return (track, number("timestamp"), number("confidence"), *box, *eyes, *mouth)


def _plain_row(place: str, cells: list[str], column: dict[str, int]) -> _Row:
    def number(name: str, otherwise: float = _NAN) -> float:
        text = cells[column[name]] if name in column else ""
        return otherwise if not text.strip() and name not in PLAIN_NEEDED else _number(place, name, text)

    track = number("track", NO_TRACK)
    if track != int(track) or track < NO_TRACK:
        raise DefectiveClip(f"{place}: track is {track:g}; give a whole number from 0, or leave it empty")
    box = [number(name) for name in ("left", "top", "right", "bottom")]
    if box[2] <= box[0] or box[3] <= box[1]:
        raise DefectiveClip(f"{place}: an empty box; right must exceed left, and bottom top")
    points = [[number(name) for name in names] for names in (PLAIN_EYES, PLAIN_MOUTH)]
    for names, found in zip((PLAIN_EYES, PLAIN_MOUTH), points, strict=True):
        if len({math.isnan(value) for value in found}) > 1:
            raise DefectiveClip(f"{place}: only some of {', '.join(names)}; give all of them or none")
    return (track, number("time"), number("confidence", 1.0), *box, *points[0], *points[1])


def _number(place: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = _NAN
    if not abs(value) <= _LARGEST:
        raise DefectiveClip(f"{place}: {name} is {text.strip()[:40]!r}, not a number")
    return value


def _in_order(values: np.ndarray, tracks: np.ndarray) -> TrackerRows:
    order = np.argsort(values[:, 0], kind="stable")
    values, tracks = values[order], tracks[order]
    return TrackerRows(
        times=values[:, 0],
        tracks=tracks,
        confidence=values[:, 1],
        boxes=values[:, 2:6],
        eyes=_left_to_right(values[:, 6:10].reshape(-1, 2, 2)),
        mouths=_mouths_left_to_right(values[:, 10:].reshape(-1, 4, 2)),
    )


def _left_to_right(pairs: np.ndarray) -> np.ndarray:
    """Order each of the pairs of points ``(N, 2, 2)`` by x."""
    swapped = pairs[:, 0, 0] > pairs[:, 1, 0]
    return np.where(swapped[:, None, None], pairs[:, ::-1], pairs)


def _mouths_left_to_right(mouths: np.ndarray) -> np.ndarray:
    """Order the two corners of each mouth ``(N, 4, 2)`` by x; the lips stay."""
    return np.concatenate([_left_to_right(mouths[:, :2]), mouths[:, 2:]], axis=1)


_NEAREST: Final = 0.75
_FURTHEST_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class TrackerOptions:
    """The tracker's files."""

    tracker: Path = field(
        metadata={
            "metavar": "PATH",
            "help": "CSV of OpenFace 2, or with time,left,top,right,bottom[,track,…]; a folder holds one NAME.csv per "
            "film",
        }
    )


@FACE_SOURCES.register("tracker")
class TrackerFaces:
    """Faces from the CSV that a tracker wrote for the film; layouts: :func:`read_tracker_rows`.

    A picture takes the faces of the tracker's picture that is nearest in time, if it is no further away than 0.75 of
    the tracker's usual step and 0.1 s. Otherwise it has no face.

    Args:
        path: one CSV file for the only film there is, or a folder of them (see
            :func:`memobert_plugin.features.media.companion.companion_file`).

    Raises:
        UserError: no such file or folder.
    """

    name: Final = "tracker"
    version: Final = "1"
    summary: ClassVar = "boxes and landmarks that another tracker wrote (--tracker)"
    Options: ClassVar = TrackerOptions

    @classmethod
    def from_options(cls, options: TrackerOptions) -> TrackerFaces:
        """Build the source."""
        return cls(options.tracker)

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give the tracker's CSV, or a folder with one per film")
        self._path = path
        self.streams: StreamChoice = ANY_STREAMS
        """The film's streams that the user asked for: stored pixels are those of its pictures."""
        self._read: tuple[Path, Path] | None = None
        self._rows: TrackerRows | None = None
        self._offset = 0.0
        self._reach = 0.0

    @property
    def options(self) -> dict[str, Any]:
        """Return nothing: the faces depend on the tracker's file alone."""
        return {}

    def start(self, path: Path, offset_seconds: float = 0.0) -> None:
        """Read the film's file, unless it is the one read last.

        Raises:
            DefectiveClip: the folder has no file for this film, or the file is defective.
        """
        file = companion_file(self._path, path, ".csv")
        self._offset = offset_seconds
        if (file, path) != self._read:
            self._read, self._rows = None, None
            rows = read_tracker_rows(file)
            if rows.in_stored_pixels and path.is_file():
                from ...media.pictures import film_geometry

                rows = rows.shown(film_geometry(path, self.streams))
            self._rows, self._read = rows, (file, path)
            steps = np.diff(np.unique(self._rows.times))
            self._reach = min(
                _FURTHEST_SECONDS, _NEAREST * float(np.median(steps)) if len(steps) else _FURTHEST_SECONDS
            )

    def faces(self, time: float, rgb: np.ndarray, left_edge: int = 0) -> list[Face]:
        """Return the file's faces at this time whose middle is between the picture's left and right edge.

        The file counts pixels of whole pictures; ``left_edge`` is subtracted from them.
        """
        if self._rows is None:
            raise RuntimeError("start() comes before faces()")
        rows, moment = self._rows, time + self._offset
        begin, end = _nearest(rows.times, moment, self._reach)
        found = (_face(rows, index, left_edge) for index in range(begin, end))
        return [face for face in found if 0 <= face.centre[0] < rgb.shape[1]]


def _face(rows: TrackerRows, index: int, left_edge: int) -> Face:
    left, top, right, bottom = rows.boxes[index].tolist()
    eyes, mouth, track = rows.eyes[index], rows.mouths[index], int(rows.tracks[index])
    return Face(
        box=(left - left_edge, top, right - left_edge, bottom),
        eyes=None if np.isnan(eyes).any() else eyes - (left_edge, 0),
        mouth=None if np.isnan(mouth).any() else mouth - (left_edge, 0),
        confidence=float(rows.confidence[index]),
        track=None if track == NO_TRACK else track,
    )


def _nearest(times: np.ndarray, moment: float, reach: float) -> tuple[int, int]:
    """Return begin and end of the rows of the time nearest to ``moment``, (0, 0) if all are further than ``reach``."""
    after = int(np.searchsorted(times, moment))
    near = [times[index] for index in (after - 1, after) if 0 <= index < len(times)]
    if not near:
        return 0, 0
    nearest = min(near, key=lambda time: abs(time - moment))
    if abs(nearest - moment) > reach + 1e-6:
        return 0, 0
    return int(np.searchsorted(times, nearest, "left")), int(np.searchsorted(times, nearest, "right"))
