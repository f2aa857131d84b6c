"""What a face in a picture is, and what finds faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels; may reach beyond the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face in one picture; x to the right and y down, in pixels of the upright picture."""

    box: Box
    """From the forehead to the chin and from cheek to cheek."""
    eyes: np.ndarray | None = None
    """(2, 2) centres of the eye on the picture's left and of the eye on its right, each (x, y); None: unknown."""
    mouth: np.ndarray | None = None
    """(4, 2) corner on the picture's left, corner on its right, middles of the upper and the lower lip's inner edge."""
    confidence: float = 1.0
    """In [0, 1], on the source's own scale."""
    track: int | None = None
    """Identity across pictures, where the source itself knows it."""

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, (x, y)."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def size(self) -> float:
        """Geometric mean of the box's width and height, in pixels."""
        left, top, right, bottom = self.box
        return float(np.sqrt(max(right - left, 0.0) * max(bottom - top, 0.0)))

    @property
    def mouth_opening(self) -> float:
        """Distance of the inner lips as a multiple of the face's scale, NaN where the mouth is unknown.

        The scale is the length of the vector (eye to eye, eyes to mouth corners), which changes less than either part
        when the head turns or nods; without eyes it is the box's size times the share that this length has of it.
        """
        if self.mouth is None:
            return float("nan")
        scale = face_scale(self.eyes, self.mouth) if self.eyes is not None else _SCALE_IN_BOX * self.size
        return float(np.linalg.norm(self.mouth[2] - self.mouth[3]) / scale) if scale > 0 else float("nan")


_SCALE_IN_BOX = 0.61
"""Median of :func:`face_scale` over the box of the face mesh, 965 FER+ pictures."""


def face_scale(eyes: np.ndarray, mouth: np.ndarray) -> float:
    """Length in pixels of (distance between the eyes, distance from their middle to that of the mouth's corners)."""
    across = np.linalg.norm(eyes[1] - eyes[0])
    down = np.linalg.norm(mouth[:2].mean(axis=0) - eyes.mean(axis=0))
    return float(np.hypot(across, down))


class FaceSource(Protocol):
    """Finds the faces of a clip's pictures, or knows them from elsewhere."""

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]:
        """What the faces depend on."""

    @property
    def version(self) -> str: ...

    def start(self, path: Path, offset_seconds: float = 0.0) -> None:
        """Begin a clip of the film ``path``; forgets what it saw before.

        Args:
            path: the film or clip that the pictures come from.
            offset_seconds: the film's time at which the times given to :meth:`faces` begin; 0 where those are already
                times of the film.

        Raises:
            DefectiveClip: the source has nothing, or nothing readable, about this film.
        """

    def faces(self, time: float, rgb: np.ndarray, left_edge: int = 0) -> list[Face]:
        """Return the faces of one picture; called in the order of time.

        Args:
            time: seconds.
            rgb: uint8 ``(H, W, 3)``, which may be a part of the film's picture.
            left_edge: how many pixels of the film's picture lie left of that part.

        Returns:
            Faces in the part's own pixels.
        """


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (sum(areas) - width * height)
