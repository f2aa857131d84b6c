"""The face source by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ...core.errors import UserError
from .face import FaceSource

FACE_SOURCES: Final = ("mediapipe", "tracker")


def load_face_source(name: str, *, tracker: Path | None = None) -> FaceSource:
    """Build a face source; MediaPipe is imported only when it is the one.

    Args:
        name: one of :data:`FACE_SOURCES`.
        tracker: what another tracker wrote, for ``tracker``: a CSV file, or a folder with one per film.

    Raises:
        UserError: an unknown name, a missing or unwanted ``tracker``, or MediaPipe is not installed.
    """
    if name == "mediapipe":
        if tracker is not None:
            raise UserError("faces by mediapipe: takes no tracker's file; give --faces tracker, or leave it out")
        from .mediapipe_faces import MediaPipeFaces

        return MediaPipeFaces()
    if name == "tracker":
        if tracker is None:
            raise UserError("faces by tracker: needs the tracker's CSV file, or a folder with one per film")
        from .tracker_files import TrackerFaces

        return TrackerFaces(tracker)
    raise UserError(f"faces by {name}: unknown; choose {' or '.join(FACE_SOURCES)}")
