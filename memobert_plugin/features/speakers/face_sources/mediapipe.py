"""Find faces and their landmarks with MediaPipe, whose wheel contains the models."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ....core.errors import UserError, pip_install
from ..face import Box, Face, overlap
from . import FACE_SOURCES

_LEFT_EYE_CORNERS: Final = (33, 133)
_RIGHT_EYE_CORNERS: Final = (362, 263)
_MOUTH: Final = (61, 291, 13, 14)
_SAME_FACE: Final = 0.3
_SHARED: Final = 0.2


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
    summary: ClassVar = "MediaPipe's detectors and face mesh"
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
        with _quiet():
            try:
                from mediapipe.python.solutions import face_detection, face_mesh
            except ImportError as error:
                raise UserError(f"faces by mediapipe: cannot be imported ({error}); {pip_install('faces')}") from None
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
        parts = [face for left, square in self._squares(rgb) for face in _detected(far, square, left)]
        found = [*sorted(whole, key=_surest_first), *sorted(parts, key=_surest_first)]
        wide_enough = (face for face in found if face.box[2] - face.box[0] >= self._smallest)
        largest = sorted(_distinct(wide_enough), key=lambda face: (-face.size, face.box))[: self._most]
        return sorted(_distinct(self._with_landmarks(rgb, face) for face in largest), key=lambda face: face.box)

    def _squares(self, rgb: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield left edge and pixels of squares, as high as the picture, that cover a wide picture."""
        height, width = rgb.shape[:2]
        count = round((width / height - _SHARED) / (1 - _SHARED)) if self._in_parts else 1
        for left in np.linspace(0, width - height, count).astype(int).tolist() if count > 1 else ():
            yield left, np.ascontiguousarray(rgb[:, left : left + height])

    def _with_landmarks(self, rgb: np.ndarray, face: Face) -> Face:
        """Return the face with the mesh's box, eyes and mouth, or unchanged if the mesh finds nothing."""
        (x, y), reach = face.centre, max(face.box[2] - face.box[0], face.box[3] - face.box[1])
        left, top = max(0, int(x - reach)), max(0, int(y - reach))
        cutout = np.ascontiguousarray(rgb[top : int(y + reach) + 1, left : int(x + reach) + 1])
        if not cutout.size:
            return face
        with nullcontext() if self._mesh_has_logged else _quiet():
            meshes = self._mesh.process(cutout).multi_face_landmarks
        if not meshes:
            return face
        self._mesh_has_logged = True
        height, width = cutout.shape[:2]
        points = np.array([(left + point.x * width, top + point.y * height) for point in meshes[0].landmark])
        box: Box = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
        if overlap(box, face.box) < _SAME_FACE:
            return face
        eyes = np.stack([points[list(corners)].mean(axis=0) for corners in (_LEFT_EYE_CORNERS, _RIGHT_EYE_CORNERS)])
        mouth = points[list(_MOUTH)]
        return Face(box, _left_to_right(eyes), np.concatenate([_left_to_right(mouth[:2]), mouth[2:]]), face.confidence)


def _detected(detector: Any, rgb: np.ndarray, left_edge: int = 0) -> Iterator[Face]:
    """Yield the faces that a detector finds in a part of a picture that begins at ``left_edge``."""
    height, width = rgb.shape[:2]
    for detection in detector.process(rgb).detections or []:
        place, points = detection.location_data.relative_bounding_box, detection.location_data.relative_keypoints
        left, top = left_edge + place.xmin * width, place.ymin * height
        yield Face(
            box=(left, top, left + place.width * width, top + place.height * height),
            eyes=_left_to_right(np.array([(left_edge + point.x * width, point.y * height) for point in points[:2]])),
            confidence=float(detection.score[0]),
        )


def _surest_first(face: Face) -> tuple[float, Box]:
    return -face.confidence, face.box


def _distinct(faces: Iterable[Face]) -> list[Face]:
    """Return the faces without those whose box overlaps an earlier one much."""
    distinct: list[Face] = []
    for face in faces:
        if all(overlap(face.box, other.box) < _SAME_FACE for other in distinct):
            distinct.append(face)
    return distinct


def _left_to_right(points: np.ndarray) -> np.ndarray:
    return points[np.argsort(points[:, 0], kind="stable")]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log lines of MediaPipe's C++ code off the terminal, unless it fails.

    It writes to file descriptor 2 directly: while it loads its models, which ends with the first picture, and once
    more with the first mesh.
    """
    try:
        terminal = os.dup(2)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as logged:
        os.dup2(logged.fileno(), 2)
        try:
            yield
        except BaseException:
            logged.seek(0)
            os.write(terminal, logged.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
