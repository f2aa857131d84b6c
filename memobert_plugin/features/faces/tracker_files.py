"""Faces that another tracker found and wrote down, so that a lab keeps the tool it trusts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from ...errors import UserError
from ..companion import companion_file
from .face import Face
from .tracker_rows import NO_TRACK, TrackerRows, read_tracker_rows

_NEAREST: Final = 0.75
_FURTHEST_SECONDS: Final = 0.1


class TrackerFaces:
    """Looks pictures up in the CSV that a tracker wrote for the film; layouts: :func:`.tracker_rows.read_tracker_rows`.

    A picture takes the faces of the tracker's picture that is nearest in time, if it is no further away than 0.75 of
    the tracker's usual step and 0.1 s; else it has no face.

    Args:
        path: one CSV file for the only film there is, or a folder of them (see :func:`..companion.companion_file`).

    Raises:
        UserError: no such file or folder.
    """

    name: Final = "tracker"
    version: Final = "1"

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give the tracker's CSV, or a folder with one per film")
        self._path = path
        self._file: Path | None = None
        self._rows: TrackerRows | None = None
        self._offset = 0.0
        self._reach = 0.0

    @property
    def options(self) -> dict[str, Any]:
        """Nothing: what the faces depend on is the tracker's file."""
        return {}

    def start(self, path: Path, offset_seconds: float = 0.0) -> None:
        """Read the film's file, unless it is the one read last.

        Raises:
            DefectiveClip: the film has no file here, or it is defective (file and row are named).
        """
        file = companion_file(self._path, path, ".csv")
        self._offset = offset_seconds
        if file != self._file:
            self._file, self._rows = None, None
            self._rows = read_tracker_rows(file)
            self._file = file
            steps = np.diff(np.unique(self._rows.times))
            self._reach = min(
                _FURTHEST_SECONDS, _NEAREST * float(np.median(steps)) if len(steps) else _FURTHEST_SECONDS
            )

    def faces(self, time: float, rgb: np.ndarray, left_edge: int = 0) -> list[Face]:
        """Return the faces written down for this moment whose middle lies between the picture's left and right edge.

        The tracker saw whole pictures: with ``left_edge`` its places are moved to those of the part.
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
    """Begin and end of the rows of the time nearest to ``moment``; empty where none is within ``reach`` seconds."""
    after = int(np.searchsorted(times, moment))
    near = [times[index] for index in (after - 1, after) if 0 <= index < len(times)]
    if not near:
        return 0, 0
    nearest = min(near, key=lambda time: abs(time - moment))
    if abs(nearest - moment) > reach + 1e-6:
        return 0, 0
    return int(np.searchsorted(times, nearest, "left")), int(np.searchsorted(times, nearest, "right"))
