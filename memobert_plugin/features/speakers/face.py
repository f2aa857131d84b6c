"""A face in a picture: its box, eyes and mouth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels. May extend beyond the picture."""


_SAME_FACE: Final = 0.3
"""Overlap of two boxes from which on they are taken for one face."""
_SCALE_IN_BOX: Final = 0.61
"""Median over 965 FER+ pictures of :func:`face_scale` divided by the size of the face mesh's box."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face in one picture. x points to the right and y down, in pixels of the upright picture."""

    box: Box
    """From forehead to chin and from cheek to cheek."""
    eyes: np.ndarray | None = None
    """(2, 2) centres of the eye on the picture's left and of the eye on its right, each (x, y). None: unknown."""
    mouth: np.ndarray | None = None
    """(4, 2) left corner, right corner (of the picture), middle of the upper lip's inner edge, of the lower lip's."""
    confidence: float = 1.0
    """In [0, 1], on the source's own scale."""
    track: int | None = None
    """The person's number across pictures, if the source knows it."""
    crop: np.ndarray | None = None
    """The face cut out, where that was done before; None: it is cut out of the picture."""

    @property
    def centre(self) -> tuple[float, float]:
        """Return the middle of the box, (x, y)."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def size(self) -> float:
        """Return the geometric mean of the box's width and height, in pixels."""
        left, top, right, bottom = self.box
        return float(np.sqrt(max(right - left, 0.0) * max(bottom - top, 0.0)))

    @property
    def mouth_opening(self) -> float:
        """Return the distance between the inner lips divided by the face's scale; NaN if the mouth is unknown.

        The scale is :func:`face_scale`, or an estimate from the box if the eyes are unknown.
        """
        if self.mouth is None:
            return float("nan")
        scale = face_scale(self.eyes, self.mouth) if self.eyes is not None else _SCALE_IN_BOX * self.size
        return float(np.linalg.norm(self.mouth[2] - self.mouth[3]) / scale) if scale > 0 else float("nan")


def face_scale(eyes: np.ndarray, mouth: np.ndarray) -> float:
    """Return the length, in pixels, of the vector (eye to eye, middle of the eyes to middle of the mouth's corners).

    It changes less than either part when the head turns or nods.
    """
    across = np.linalg.norm(eyes[1] - eyes[0])
    down = np.linalg.norm(mouth[:2].mean(axis=0) - eyes.mean(axis=0))
    return float(np.hypot(across, down))


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, in [0, 1]."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (sum(areas) - width * height)


def same_face(one: Box, other: Box) -> bool:
    """Return whether two boxes of one picture are of one face."""
    return overlap(one, other) >= _SAME_FACE


def distinct(faces: Iterable[Face]) -> list[Face]:
    """Return the faces without those whose box overlaps an earlier one much."""
    kept: list[Face] = []
    for face in faces:
        if not any(same_face(face.box, other.box) for other in kept):
            kept.append(face)
    return kept


def surest_first(face: Face) -> tuple[float, Box]:
    """Return the key that sorts faces by falling confidence."""
    return -face.confidence, face.box


def left_to_right(points: np.ndarray) -> np.ndarray:
    """Return points ``(N, 2)`` in the order of their x."""
    return points[np.argsort(points[:, 0], kind="stable")]
