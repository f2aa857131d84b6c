"""Expression networks of any tool as ONNX files: a face in, expressions and perhaps features out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from ...core.errors import DefectiveClip, UserError
from ...core.files import sha256_of
from ...core.onnx import onnx_reason, onnx_session, onnx_version
from ...data.frames import ExtractorInfo
from .encoder import FACE_ENCODERS, SIDE, FaceEncoder, check_faces

if TYPE_CHECKING:
    from torch import Tensor

_AT_ONCE: Final = 16
_TRIED: Final = 8
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels of ImageNet's pictures, as torchvision's networks expect them."""
Scale = Literal["255", "1", "imagenet"]


@dataclass(frozen=True)
class OnnxFaceOptions:
    """The file, its classes, and what it wants of pictures."""

    face_weights: Path | None = field(
        default=None, metadata={"help": "an ONNX file: float pictures of faces in", "metavar": "PATH"}
    )
    face_classes: str | None = field(
        default=None,
        metadata={
            "help": "the file's expressions in the order of its output, such as neutral,happiness,surprise",
            "metavar": "A,B",
        },
    )
    face_scale: Scale = field(
        default="255",
        metadata={"help": "grey levels from 0 to 255, from 0 to 1, or with ImageNet's mean and deviation"},
    )
    face_output: str | None = field(
        default=None,
        metadata={
            "help": "output with the expressions (default: the one as wide as --face-classes)",
            "metavar": "NAME",
        },
    )
    face_features: str | None = field(
        default=None,
        metadata={"help": "output that becomes frames (default: another one of the file; without one the expressions)",
                  "metavar": "NAME"},
    )  # fmt: skip


@FACE_ENCODERS.register("onnx")
class OnnxFaces(FaceEncoder):
    """Expressions ``(batch, classes)`` that an ONNX file makes of pictures ``(batch, channels, height, width)``.

    It reads the grey faces that every face encoder gets, 64 pixels wide, enlarged to the file's size; a file of three
    channels gets three equal ones. Pictures may also be ``(batch, height, width, channels)``.

    Args:
        options: see :class:`OnnxFaceOptions`.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: ONNX Runtime or a flag is missing, a damaged file, or one of other inputs or outputs.
    """

    name = "onnx"
    summary = "an ONNX file of any tool"
    Options = OnnxFaceOptions
    has_weights = False

    def __init__(self, options: OnnxFaceOptions, device: str = "cpu") -> None:
        import torch

        if options.face_weights is None or not options.face_classes:
            missing = "--face-weights" if options.face_weights is None else "--face-classes"
            raise UserError(f"--face-encoder onnx: needs {missing}; give the file and the order of its expressions")
        self._path, self._scale = options.face_weights, options.face_scale
        self.classes = [name.strip() for name in options.face_classes.split(",")]
        if len(self.classes) < 2 or not all(self.classes) or len(set(self.classes)) < len(self.classes):
            raise UserError(f"--face-classes {options.face_classes}: give two or more different names, with commas")
        self._session = onnx_session(self._path, device, torch.get_num_threads(), "--face-encoder onnx")
        self._read_input()
        self.weights_sha256, self.version = sha256_of(self._path), onnx_version()
        tried = np.random.default_rng(0).integers(0, 256, (_TRIED, SIDE, SIDE), dtype=np.uint8)
        found = self._outputs(tried)
        self.output = self._expression_output(found, options.face_output)
        self.features = self._feature_output(found, options.face_features)
        self._are_shares = _are_shares(found[self.output])
        self.dim = int(found[self.features].shape[1])

    @classmethod
    def from_options(cls, options: OnnxFaceOptions, device: str = "cpu") -> OnnxFaces:
        """Build the encoder."""
        return cls(options, device)

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encode uint8 ``(N, 64, 64)`` to features ``(N, D)`` and expression distributions ``(N, K)``, float32.

        Raises:
            DefectiveClip: the network gives NaN or infinite values.
            UserError: crops of another shape or kind.
        """
        check_faces(crops)
        if not len(crops):
            return np.zeros((0, self.dim), np.float32), np.zeros((0, len(self.classes)), np.float32)
        found = self._outputs(crops)
        features, shares = found[self.features], self._distributions(found[self.output])
        if not (np.isfinite(features).all() and np.isfinite(shares).all()):
            raise DefectiveClip("the face encoder gave NaN or infinite values")
        return features, shares

    def info(self, **options: Any) -> ExtractorInfo:
        """Describe the frames for ``extractor.json``; ``options`` are further things that they depend on."""
        own = {
            "face_classes": ",".join(self.classes),
            "face_scale": self._scale,
            "face_output": self.output,
            "face_features": self.features,
        }
        return ExtractorInfo(
            name=self.name,
            options={**options, **own},
            weights_sha256=self.weights_sha256,
            dim=self.dim,
            classes=list(self.classes),
            version=self.version,
        )

    def _read_input(self) -> None:
        """Learn the order of the axes, the size of pictures and how many go at once."""
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape) if len(inputs) == 1 and inputs[0].type == "tensor(float)" else []
        channels = [axis for axis in (1, 3) if len(shape) == 4 and shape[axis] in (1, 3)]
        sides = [shape[axis] for axis in ((2, 3) if channels[:1] == [1] else (1, 2))] if channels else []
        if not channels or not all(isinstance(side, int) and side > 0 for side in sides):
            found = ", ".join(f"{each.name}: {each.type} {each.shape}" for each in inputs)
            raise UserError(
                f"{self._path}: takes {found or 'nothing'}; it must take float pictures of one size, (batch, 1 or 3 "
                "channels, height, width) or channels last"
            )
        self._input, self._last = str(inputs[0].name), channels[0] == 3
        self._channels, self._size = int(shape[channels[0]]), (int(sides[0]), int(sides[1]))
        self._at_once = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else _AT_ONCE

    def _outputs(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs for faces uint8 ``(n, 64, 64)``, all of n rows; others are left out."""
        rows: dict[str, list[np.ndarray]] = {}
        for first in range(0, len(crops), self._at_once):
            part = crops[first : first + self._at_once]
            try:
                found = self._session.run(None, {self._input: self._pictures(part)})
            except Exception as error:  # of the runtime, whatever a foreign graph meets
                raise UserError(f"{self._path}: does not take such pictures ({onnx_reason(error)})") from None
            for each, value in zip(self._session.get_outputs(), found, strict=True):
                if getattr(value, "ndim", 0) >= 2 and len(value) >= len(part):
                    rows.setdefault(each.name, []).append(value[: len(part)].reshape(len(part), -1))
        return {name: np.concatenate(parts).astype(np.float32) for name, parts in rows.items()}

    def _pictures(self, crops: np.ndarray) -> np.ndarray:
        """Return faces as the file wants them; a fixed batch is filled up with the first face."""
        import torch
        from torch.nn import functional

        pictures: Tensor = torch.from_numpy(np.ascontiguousarray(crops)).float()[:, None]
        if self._size != (SIDE, SIDE):
            pictures = functional.interpolate(pictures, self._size, mode="bilinear", antialias=True)
        pictures = pictures.expand(-1, self._channels, -1, -1)
        if self._scale != "255":
            pictures = pictures / 255
        if self._scale == "imagenet":
            mean, deviation = (torch.tensor(each[: self._channels])[:, None, None] for each in (_MEAN, _DEVIATION))
            pictures = (pictures - mean) / deviation
        ready = (pictures.permute(0, 2, 3, 1) if self._last else pictures).contiguous().numpy()
        fixed = self._session.get_inputs()[0].shape[0]
        if isinstance(fixed, int) and len(ready) < fixed:
            ready = np.concatenate([ready, np.repeat(ready[:1], fixed - len(ready), axis=0)])
        return ready

    def _expression_output(self, found: dict[str, np.ndarray], wanted: str | None) -> str:
        fit = [name for name, values in found.items() if values.shape[1] == len(self.classes)]
        if wanted is not None and wanted not in fit:
            raise UserError(f"--face-output {wanted}: {self._path} has {_listed(found)}")
        if not fit:
            raise UserError(
                f"{self._path}: no output has {len(self.classes)} values, as --face-classes has names; it has "
                f"{_listed(found)}"
            )
        return wanted or fit[0]

    def _feature_output(self, found: dict[str, np.ndarray], wanted: str | None) -> str:
        if wanted is not None and wanted not in found:
            raise UserError(f"--face-features {wanted}: {self._path} has {_listed(found)}")
        others = [name for name in found if name != self.output]
        return wanted or (others[0] if others else self.output)

    def _distributions(self, values: np.ndarray) -> np.ndarray:
        """Return shares: the file's own, or the softmax of its scores."""
        if self._are_shares:
            return values
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def _are_shares(values: np.ndarray) -> bool:
    return bool((values >= 0).all() and np.allclose(values.sum(axis=1), 1.0, atol=1e-3))


def _listed(found: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{name} ({values.shape[1]} values)" for name, values in found.items()) or "no rows for faces"
