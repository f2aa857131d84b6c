"""Pictures with drawn faces whose places are known."""

from __future__ import annotations

import numpy as np

from memobert_plugin.features.speakers.face import Face

SKIN, EYE, LIPS, WALL = 200, 40, 90, 120


def drawn_face(
    x: float, y: float, distance: float, *, angle: float = 0.0, opening: float = 0.1, track: int | None = None
) -> Face:
    """A face with its eyes' middle at (x, y) and ``distance`` pixels between the eyes, turned by ``angle`` radians."""

    def place(across: float, down: float) -> tuple[float, float]:
        right, below = across * distance, down * distance
        return (
            x + np.cos(angle) * right - np.sin(angle) * below,
            y + np.sin(angle) * right + np.cos(angle) * below,
        )

    return Face(
        box=(x - 1.15 * distance, y - 0.85 * distance, x + 1.15 * distance, y + 1.65 * distance),
        eyes=np.array([place(-0.5, 0.0), place(0.5, 0.0)]),
        mouth=np.array(
            [place(-0.35, 1.08), place(0.35, 1.08), place(0, 1.08 - opening / 2), place(0, 1.08 + opening / 2)]
        ),
        track=track,
    )


def picture(faces: list[Face], *, size: tuple[int, int] = (240, 320), wall: int = WALL, skin: int = SKIN) -> np.ndarray:
    """uint8 (H, W, 3) with an ellipse, two eyes and a mouth for every face."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float64)
    grey = np.full(size, float(wall))
    for face in faces:
        assert face.eyes is not None
        assert face.mouth is not None
        (x, y), (left, top, right, bottom) = face.centre, face.box
        distance = float(np.linalg.norm(face.eyes[1] - face.eyes[0]))
        grey[((columns - x) / (right - left)) ** 2 + ((rows - y) / (bottom - top)) ** 2 < 0.25] = skin
        for eye in face.eyes:
            grey[np.hypot(columns - eye[0], rows - eye[1]) < 0.12 * distance] = EYE
        middle, half = face.mouth.mean(axis=0), np.linalg.norm(face.mouth[3] - face.mouth[2]) / 2 + 1
        grey[((columns - middle[0]) / (0.35 * distance)) ** 2 + ((rows - middle[1]) / half) ** 2 < 1] = LIPS
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
