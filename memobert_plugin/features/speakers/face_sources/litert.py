"""Find faces and their landmarks with Google's face detectors and face mesh, shipped with this package.

LiteRT (``ai-edge-litert``) runs them. ``litert.md`` beside the three models says where they come from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ....core.errors import UserError, pip_install
from ..face import Box, Face, distinct, face_scale, left_to_right, overlap, same_face, surest_first
from . import FACE_SOURCES, quiet, squares

FAR: Final = "face_detection_full_range_sparse.tflite"
NEAR: Final = "face_detection_short_range.tflite"
MESH: Final = "face_landmark.tflite"
SHA256: Final = {
    FAR: "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    NEAR: "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    MESH: "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}

_CELLS: Final = {FAR: ((48, 1),), NEAR: ((16, 2), (8, 6))}
"""Grids of a detector's candidates: cells along a side, row by row, and candidates in each cell."""
_SAME_CANDIDATE: Final = 0.3
_MESH_SIDE: Final = 1.5
"""Side of the square that the mesh sees, over the longer side of the face's box."""
_EYE_CORNERS: Final = ((33, 133), (362, 263))
_MOUTH_CORNERS: Final = (61, 291)
_LIPS: Final = (13, 14)
"""Middle of the upper lip's inner edge and of the lower lip's."""
_REFINED: Final = np.array([[0.009, 0.011], [-0.009, 0.011], [0.012, 0.007], [-0.012, 0.007]])
"""Shifts to a refined mesh's eyes and corners of the mouth: to the right and down, as shares of the face's scale.

Means of 1 062 talking faces by MediaPipe's refined mesh, with which the framing of crops was measured.
"""
_WIDER_OPENING: Final = 1.3
"""By so much more the refined mesh's lips open and close (median of 16 films)."""


@dataclass(frozen=True, slots=True)
class LiteRtOptions:
    """No options: the detector has no flags."""


@FACE_SOURCES.register("litert")
class LiteRtFaces:
    """The far detector on a picture or on squares of a wide one, the near detector, then the face mesh on each face.

    Each picture is processed alone, so that its faces do not depend on where a clip begins and a repeated run gives the
    same bytes. The far detector misses faces wider than about half of what it sees, and the squares cut faces wider
    than their overlap. The near one finds both; it misses faces narrower than about an eighth of the picture.

    Args:
        min_confidence: faces that the detector is less sure of are dropped, and so are landmarks if the mesh is.
        smallest: faces with a narrower box, in pixels, are dropped. FER+ pictures have 48 pixels.
        most: keep at most so many faces of a picture, the largest (the mesh costs about 3 ms each).
        in_parts: search wide pictures in squares (two for 16:9, three for cinema formats; 5 ms each). This finds faces
            of a thirteenth of the picture's height, as in long shots.

    Raises:
        UserError: LiteRT is not installed, or a model's file is missing or damaged.
    """

    name: Final = "litert"
    summary: ClassVar = "the shipped detector and face mesh"
    Options: ClassVar = LiteRtOptions

    @classmethod
    def from_options(cls, options: LiteRtOptions) -> LiteRtFaces:
        """Build the source."""
        return cls()

    def __init__(
        self, *, min_confidence: float = 0.5, smallest: float = 24.0, most: int = 8, in_parts: bool = True
    ) -> None:
        self.options: dict[str, Any] = {
            "detectors": [SHA256[NEAR], SHA256[FAR]],
            "landmarks": SHA256[MESH],
            "min_confidence": min_confidence,
            "smallest": smallest,
            "most": most,
            "in_parts": in_parts,
        }
        self._least_logit = float(np.log(min_confidence / (1.0 - min_confidence)))
        self._smallest, self._most, self._in_parts = smallest, most, in_parts
        self._near, self._far, self._mesh = _Detector(NEAR), _Detector(FAR), _Model(MESH)
        self.version = f"ai-edge-litert {version('ai-edge-litert')}"

    def start(self, path: Path, offset_seconds: float = 0.0) -> None:
        """Begin a clip. Nothing has to be forgotten."""

    def faces(self, time: float, rgb: np.ndarray, left_edge: int = 0) -> list[Face]:
        """Return the faces of one picture, uint8 ``(H, W, 3)``, from left to right; time and place are not used."""
        rgb = np.ascontiguousarray(rgb)  # Mirrored pictures have negative strides, which torch refuses.
        parts = (list(squares(rgb)) if self._in_parts else []) or [(0, rgb)]
        far = [face for left, part in parts for face in self._far.faces(part, self._least_logit, left)]
        near = self._near.faces(rgb, self._least_logit) if len(parts) > 1 or not far else []
        # A square may cut a face; then the near detector's box is better.
        inside = [face for face in far if not _is_cut(face.box, parts, rgb.shape[1])]
        found = [*sorted(inside, key=surest_first), *near, *sorted(far, key=surest_first)]
        wide_enough = (face for face in found if face.box[2] - face.box[0] >= self._smallest)
        largest = sorted(distinct(wide_enough), key=lambda face: (-face.size, face.box))[: self._most]
        return sorted(distinct(self._with_landmarks(rgb, face) for face in largest), key=lambda face: face.box)

    def _with_landmarks(self, rgb: np.ndarray, face: Face) -> Face:
        """Return the face with the mesh's box, eyes and mouth, or unchanged if the mesh is not sure of it."""
        assert face.eyes is not None
        # A second look, in the square that the first one's points give, changes nothing that counts: on the talking
        # heads the square moves by 1 % and grows by 3 % of its side (medians).
        side = _MESH_SIDE * max(face.box[2] - face.box[0], face.box[3] - face.box[1])
        line = face.eyes[1] - face.eyes[0]
        right = line / max(float(np.linalg.norm(line)), 1e-6)
        level = np.stack([right, (-right[1], right[0])])
        values, logit = self._mesh(_cut_out(rgb, np.array(face.centre), side * level, self._mesh.size))
        if logit.item() < self._least_logit:
            return face
        points = (values.reshape(-1, 3)[:, :2] / np.float64(self._mesh.size) - 0.5) * side @ level + face.centre
        box: Box = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
        if not same_face(box, face.box):
            return face
        eyes = left_to_right(np.stack([points[list(corners)].mean(axis=0) for corners in _EYE_CORNERS]))
        corners = left_to_right(points[list(_MOUTH_CORNERS)])
        lips = points[list(_LIPS)]
        shift = _REFINED @ level * face_scale(eyes, corners)
        lips = lips.mean(axis=0) + _WIDER_OPENING * (lips - lips.mean(axis=0))
        return Face(box, eyes + shift[:2], np.concatenate([corners + shift[2:], lips]), face.confidence)


class _Model:
    """A shipped model with a square picture as input and two outputs, run on one thread."""

    def __init__(self, name: str) -> None:
        path = Path(__file__).with_name(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); install the package again") from None
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            raise UserError(f"{path}: not the file that was shipped; install the package again")
        # LiteRT logs that it made its first interpreter.
        with quiet():
            try:
                from ai_edge_litert.interpreter import Interpreter
            except ImportError as error:
                raise UserError(f"faces by litert: cannot be imported ({error}); {pip_install('faces')}") from None
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        (wanted,) = self._interpreter.get_input_details()
        self._input, self.size = wanted["index"], int(wanted["shape"][1])
        outputs = self._interpreter.get_output_details()
        self._outputs = [detail["index"] for detail in sorted(outputs, key=lambda detail: -np.prod(detail["shape"]))]

    def __call__(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values and logits of a float32 picture."""
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        values, logits = (self._interpreter.get_tensor(index)[0] for index in self._outputs)
        return values, logits


class _Detector(_Model):
    """A face detector, whose candidates are counted from the centres of cells."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        centres = [
            ((np.indices((cells, cells))[::-1].reshape(2, -1).T + 0.5) / cells).repeat(candidates, axis=0)
            for cells, candidates in _CELLS[name]
        ]
        self._centres = np.concatenate(centres)[:, None] * self.size

    def faces(self, rgb: np.ndarray, least_logit: float, left_edge: int = 0) -> list[Face]:
        """Return the faces of a part of a picture that begins at ``left_edge``, the surest first."""
        square, corner, shrunk = _letterboxed(rgb, self.size)
        values, logits = self(square)
        sure = logits[:, 0] >= least_logit
        # Pairs (x, y) in pixels of the square: the box's centre and its size, and six points, the eyes first.
        pairs, cells = values[sure].reshape(-1, 8, 2).astype(np.float64), self._centres[sure]
        centre, half, eyes = pairs[:, :1] + cells, pairs[:, 1:2] / 2, pairs[:, 2:4] + cells
        places = (np.concatenate([centre - half, centre + half, eyes], axis=1) - corner) / shrunk
        confidence = 1.0 / (1.0 + np.exp(-logits[sure, 0].astype(np.float64)))
        return list(_joined(places * rgb.shape[1::-1] + (left_edge, 0), confidence))


def _is_cut(box: Box, parts: list[tuple[int, np.ndarray]], width: int) -> bool:
    """Return whether a box reaches beyond every part of a picture of that width that it may lie in."""
    return not any(
        (left == 0 or left <= box[0]) and (left + part.shape[1] == width or box[2] <= left + part.shape[1])
        for left, part in parts
    )


def _letterboxed(rgb: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a picture in the middle of a black square, float32 in [-1, 1]; its corner and size there, as (x, y)."""
    import torch

    height, width = rgb.shape[:2]
    scale = size / max(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    shrunk = torch.nn.functional.interpolate(pixels, (rows, columns), mode="bilinear", antialias=True)
    top, left = (size - rows) // 2, (size - columns) // 2
    square = np.full((size, size, 3), -1.0, dtype=np.float32)
    # Planes become pixels while they are bytes: a quarter of this function's time less than as floats.
    inside = torch.from_numpy(square[top : top + rows, left : left + columns])
    inside.copy_(shrunk[0].permute(1, 2, 0).contiguous()).mul_(2 / 255).sub_(1)
    return square, np.array([left, top]), np.array([columns, rows])


def _cut_out(rgb: np.ndarray, centre: np.ndarray, axes: np.ndarray, pixels: int) -> np.ndarray:
    """Return a turned square of a picture, float32 in [0, 1]; what lies beyond the picture's edge repeats it.

    Args:
        rgb: uint8 ``(H, W, 3)``.
        centre: (x, y).
        axes: ``(2, 2)`` the square's upper edge and its left edge as vectors (x, y).
        pixels: along a side of the result.
    """
    import torch

    size = np.array(rgb.shape[1::-1])
    reach = np.abs(axes).sum(axis=0) / 2 + 1
    first = np.clip(np.floor(centre - reach), 0, size - 1).astype(int)
    last = np.clip(np.ceil(centre + reach), first + 1, size).astype(int)
    region = torch.from_numpy(rgb[first[1] : last[1], first[0] : last[0]]).permute(2, 0, 1)[None].float()
    # In torch's coordinates the region reaches from -1 to 1.
    vectors = np.stack([2 * axes[0], 2 * axes[1], 2 * (centre - first)]) / (last - first) - [[0], [0], [1]]
    line = (np.arange(pixels, dtype=np.float32) + 0.5) / pixels - 0.5
    x, y = (line * across + (line * down + middle)[:, None] for across, down, middle in vectors.T.astype(np.float32))
    sampled = torch.nn.functional.grid_sample(
        region, torch.from_numpy(np.stack([x, y], axis=2))[None], padding_mode="border", align_corners=False
    )
    cut: np.ndarray = sampled[0].permute(1, 2, 0).contiguous().mul_(1 / 255).numpy()
    return cut


def _joined(places: np.ndarray, confidence: np.ndarray) -> Iterator[Face]:
    """Yield faces from candidates, the surest first; candidates that overlap are averaged by their confidence.

    Args:
        places: ``(N, 4, 2)`` left top, right bottom and both eyes of each candidate.
        confidence: ``(N,)``.
    """
    left = np.argsort(-confidence, kind="stable")
    while len(left):
        boxes = [(*places[index, 0].tolist(), *places[index, 1].tolist()) for index in left]
        joined = np.array([overlap(boxes[0], box) >= _SAME_CANDIDATE for box in boxes])
        joined[0] = True
        corners_and_eyes = np.average(places[left[joined]], axis=0, weights=confidence[left[joined]])
        box: Box = (*corners_and_eyes[0].tolist(), *corners_and_eyes[1].tolist())
        yield Face(box, left_to_right(corners_and_eyes[2:]), confidence=float(confidence[left[0]]))
        left = left[~joined]
