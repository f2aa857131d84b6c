"""Find faces and their landmarks with MediaPipe, as before the source ``litert``: for more frames like earlier ones.

``pip install mediapipe==0.10.21`` brings it; its wheel contains the models, and it needs NumPy below 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ....core.errors import UserError
from ..face import Box, Face, distinct, left_to_right, same_face, surest_first
from . import FACE_SOURCES, quiet, squares

_LEFT_EYE_CORNERS: Final = (33, 133)
_RIGHT_EYE_CORNERS: Final = (362, 263)
_MOUTH: Final = (61, 291, 13, 14)


@dataclass(frozen=True, slots=True)
class MediaPipeOptions:
    """No options: the detector has no flags."""


@FACE_SOURCES.register("mediapipe")
class MediaPipeFaces:
    """Two face detectors (near and far), then the face mesh with refined lips on a cut-out around each face.

    Each picture is processed alone, so that its faces do not depend on where a clip begins and a repeated run gives the
    same bytes. Both detectors are needed: on the HDTF clip of Ed Markey, whose face fills the picture, the far one
    misses 9 of 80 pictures and the near one none, while the near one misses faces narrower than about an eighth of the
    picture and the far one those narrower than a fifteenth.

    Args:
        min_confidence: detections below it are dropped.
        smallest: faces with a narrower box, in pixels, are dropped. FER+ pictures have 48 pixels.
        most: keep at most so many faces of a picture, the largest (the mesh costs about 5 ms each).
        in_parts: also search wide pictures in squares (two for 16:9, three for cinema formats; 7 ms each). This finds
            faces of a thirteenth of the picture's height, as in long shots.

    Raises:
        UserError: MediaPipe is not installed.
    """

    name: Final = "mediapipe"
    summary: ClassVar = "MediaPipe, if it is installed: frames as before the source litert"
    Options: ClassVar = MediaPipeOptions

    @classmethod
    def from_options(cls, options: MediaPipeOptions) -> MediaPipeFaces:
        """Build the source."""
        return cls()

    def __init__(
        self, *, min_confidence: float = 0.5, smallest: float = 24.0, most: int = 8, in_parts: bool = True
    ) -> None:
        self.options: dict[str, Any] = {
            "detectors": ["short_range", "full_range_sparse"],
            "landmarks": "face_mesh_with_attention",
            "min_confidence": min_confidence,
            "smallest": smallest,
            "most": most,
            "in_parts": in_parts,
        }
        self._smallest, self._most, self._in_parts = smallest, most, in_parts
        with quiet():
            try:
                from mediapipe.python.solutions import face_detection, face_mesh
            except ImportError as error:
                raise UserError(
                    f"faces by mediapipe: cannot be imported ({error}); needs `pip install mediapipe==0.10.21`; "
                    "`--faces litert` does without"
                ) from None
            self._detectors = [
                face_detection.FaceDetection(min_detection_confidence=min_confidence, model_selection=model)
                for model in (0, 1)
            ]
            self._mesh = face_mesh.FaceMesh(
                static_image_mode=True,
                max_num_faces=1,
                refine_landmarks=True,
                min_detection_confidence=min_confidence,
            )
            blank = np.zeros((128, 128, 3), dtype=np.uint8)
            for graph in (*self._detectors, self._mesh):
                graph.process(blank)
        self._mesh_has_logged = False
        self.version = f"mediapipe {version('mediapipe')}"

    def start(self, path: Path, offset_seconds: float = 0.0) -> None:
        """Begin a clip. Nothing has to be forgotten."""

    def faces(self, time: float, rgb: np.ndarray, left_edge: int = 0) -> list[Face]:
        """Return the faces of one picture, uint8 ``(H, W, 3)``, from left to right; time and place are not used."""
        near, far = self._detectors
        whole = [*_detected(near, rgb), *_detected(far, rgb)]
        searched = squares(rgb) if self._in_parts else ()
        squared = ((left, np.ascontiguousarray(square)) for left, square in searched)
        parts = [face for left, square in squared for face in _detected(far, square, left)]
        found = [*sorted(whole, key=surest_first), *sorted(parts, key=surest_first)]
        wide_enough = (face for face in found if face.box[2] - face.box[0] >= self._smallest)
        largest = sorted(distinct(wide_enough), key=lambda face: (-face.size, face.box))[: self._most]
        return sorted(distinct(self._with_landmarks(rgb, face) for face in largest), key=lambda face: face.box)

    def _with_landmarks(self, rgb: np.ndarray, face: Face) -> Face:
        """Return the face with the mesh's box, eyes and mouth, or unchanged if the mesh finds nothing."""
        (x, y), reach = face.centre, max(face.box[2] - face.box[0], face.box[3] - face.box[1])
        left, top = max(0, int(x - reach)), max(0, int(y - reach))
        cutout = np.ascontiguousarray(rgb[top : int(y + reach) + 1, left : int(x + reach) + 1])
        if not cutout.size:
            return face
        with nullcontext() if self._mesh_has_logged else quiet():
            meshes = self._mesh.process(cutout).multi_face_landmarks
        if not meshes:
            return face
        self._mesh_has_logged = True
        height, width = cutout.shape[:2]
        points = np.array([(left + point.x * width, top + point.y * height) for point in meshes[0].landmark])
        box: Box = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
        if not same_face(box, face.box):
            return face
        eyes = np.stack([points[list(corners)].mean(axis=0) for corners in (_LEFT_EYE_CORNERS, _RIGHT_EYE_CORNERS)])
        mouth = points[list(_MOUTH)]
        return Face(box, left_to_right(eyes), np.concatenate([left_to_right(mouth[:2]), mouth[2:]]), face.confidence)


def _detected(detector: Any, rgb: np.ndarray, left_edge: int = 0) -> Iterator[Face]:
    """Yield the faces that a detector finds in a part of a picture that begins at ``left_edge``."""
    height, width = rgb.shape[:2]
    for detection in detector.process(rgb).detections or []:
        place, points = detection.location_data.relative_bounding_box, detection.location_data.relative_keypoints
        left, top = left_edge + place.xmin * width, place.ymin * height
        yield Face(
            box=(left, top, left + place.width * width, top + place.height * height),
            eyes=left_to_right(np.array([(left_edge + point.x * width, point.y * height) for point in points[:2]])),
            confidence=float(detection.score[0]),
        )
